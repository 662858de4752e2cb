"""Ten prompts at once on the full-size mask decoder, against ten calls of segment-anything's, one prompt each.

    python benchmarks/decoder.py
    python benchmarks/decoder.py --boxes 6 --threads 1 --json

Boxes alone, and boxes refined by an earlier mask. All four decoders are exported from the same random weights and run
in turn by ONNX Runtime, so that whatever else the machine does falls on all of them; the medians are compared. A plain
decoder without mask input is a little faster than the published file, which has one; both are told.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from nanoseg.models.export.to_onnx import export_onnx
from nanoseg.models.mask_decoder import MaskDecoder
from plain_decoder import PlainDecoder

# At most this part of the time of plain calls without masks.
TARGET, MASK_TARGET = 0.72, 0.9
WARM_UP = 2  # rounds that fill caches and memory arenas
OUTPUTS = ["low_res_masks", "iou_predictions"]
SHARED = "image_embeddings"
Feed = dict[str, np.ndarray]


def session(module: torch.nn.Module, feed: Feed, path: Path, several: bool, threads: int) -> Any:
    """The module as an ONNX Runtime session, exported with the feed's shapes; N is dynamic if `several`."""
    args = {name: torch.from_numpy(value) for name, value in feed.items()}
    axes = {name: {0: "N"} for name in feed if name != SHARED} if several else {}
    export_onnx(module, args, path, OUTPUTS, dynamic_axes=axes, atol=1e-2)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def inputs(boxes: int, size_px: int) -> tuple[Feed, Feed]:
    """Random boxes on a random embedding, without masks and with."""
    random = np.random.default_rng(0)
    grid = size_px // 16
    feed = {
        SHARED: random.standard_normal((1, 256, grid, grid), np.float32),
        "point_coords": np.sort(random.random((boxes, 2, 2), np.float32) * size_px, 1),
        "point_labels": np.tile(np.array([2, 3], np.float32), (boxes, 1)),
    }
    masks = random.standard_normal((boxes, 1, 4 * grid, 4 * grid), np.float32) * 8
    return feed, {**feed, "mask_input": masks, "has_mask_input": np.ones(boxes, np.float32)}


def one_by_one(feed: Feed) -> list[Feed]:
    """The same prompts, one a feed."""
    count = len(feed["point_coords"])
    return [{k: v if k == SHARED else v[i : i + 1] for k, v in feed.items()} for i in range(count)]


def run_all(session: Any, feeds: list[Feed]) -> list[Any]:
    """One call a feed."""
    return [session.run(OUTPUTS, feed) for feed in feeds]


def medians_ms(runs: list[Callable[[], list[Any]]], rounds: int) -> tuple[list[float], list[list[Any]]]:
    """Run all in turn, `rounds` times and the warm-up; the median of each, milliseconds, and each one's last answer."""
    times: list[list[float]] = [[] for _ in runs]
    answers: list[list[Any]] = [[] for _ in runs]
    for _ in range(WARM_UP + rounds):
        for i, run in enumerate(runs):
            start = time.perf_counter()
            answers[i] = run()
            times[i].append((time.perf_counter() - start) * 1e3)
    return [statistics.median(some[WARM_UP:]) for some in times], answers


def measure(boxes: int, rounds: int, threads: int, size_px: int) -> dict[str, float]:
    """Medians in milliseconds, their ratios, and how far the answers are apart."""
    torch.manual_seed(0)
    decoder = MaskDecoder(size_px).eval()
    plain = PlainDecoder(decoder).eval()
    runs: list[Callable[[], list[Any]]] = []
    with tempfile.TemporaryDirectory() as folder:
        for feed in inputs(boxes, size_px):
            alone = one_by_one(feed)
            ours = session(decoder, feed, Path(folder, f"{len(runs)}.onnx"), boxes > 1, threads)
            theirs = session(plain, alone[0], Path(folder, f"{len(runs) + 1}.onnx"), False, threads)
            runs.append(partial(ours.run, OUTPUTS, feed))
            runs.append(partial(run_all, theirs, alone))
    (at_once, plainly, masked, plainly_masked), answers = medians_ms(runs, rounds)
    return {
        "boxes": boxes,
        "size_px": size_px,
        "threads": threads,
        "rounds": rounds,
        "at_once_ms": round(at_once, 1),
        "one_by_one_ms": round(plainly, 1),
        "ratio": round(at_once / plainly, 3),
        "target": TARGET,
        "logits_apart": apart(*answers[:2]),
        "masked_at_once_ms": round(masked, 1),
        "masked_one_by_one_ms": round(plainly_masked, 1),
        "masked_ratio": round(masked / plainly, 3),
        "masked_ratio_to_masked": round(masked / plainly_masked, 3),
        "masked_target": MASK_TARGET,
        "masked_logits_apart": apart(*answers[2:]),
    }


def apart(found: list[Any], wanted: list[Any]) -> float:
    """The largest difference between the logits of a call for all and those of a call each."""
    return float(max(np.abs(found[0][i] - one[0][0]).max() for i, one in enumerate(wanted)))


def main() -> None:
    """Parse the flags, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", type=int, default=1024, help="side of the encoder's input, pixels")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.boxes, options.rounds, options.threads, options.size)
    if options.json:
        print(json.dumps(found))
        return
    print(
        f"{found['boxes']} boxes at {found['size_px']} px, {found['threads']} threads: "
        f"at once {found['at_once_ms']} ms, one by one {found['one_by_one_ms']} ms, "
        f"ratio {found['ratio']} (target {TARGET}), "
        f"logits at most {found['logits_apart']:.1e} apart"
    )
    print(
        f"{found['boxes']} boxes refined by masks: at once {found['masked_at_once_ms']} ms, "
        f"ratio {found['masked_ratio']} to one by one without masks (target {MASK_TARGET}), "
        f"{found['masked_ratio_to_masked']} to one by one with them ({found['masked_one_by_one_ms']} ms), "
        f"logits at most {found['masked_logits_apart']:.1e} apart"
    )


if __name__ == "__main__":
    main()
