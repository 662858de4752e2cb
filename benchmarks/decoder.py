"""Time ten prompts in one call of the full-size mask decoder against ten calls of segment-anything's decoder.

    python benchmarks/decoder.py
    python benchmarks/decoder.py --boxes 6 --threads 1 --json

Boxes alone, and boxes with the mask of an earlier call. All four decoders are exported from the same random weights
and run in turn by ONNX Runtime, so that other load on the machine affects all of them; medians are compared. A plain
decoder without mask input is a little faster than the published file, which has one; both times are printed.
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
import torch

from nanoseg.models.export.to_onnx import export_onnx
from nanoseg.models.mask_decoder import MaskDecoder
from plain_decoder import PlainDecoder

# Largest accepted share of the time of plain calls without masks.
TARGET, MASK_TARGET = 0.72, 0.9
WARM_UP = 2  # rounds that fill caches and memory arenas
OUTPUTS = ["low_res_masks", "iou_predictions"]
SHARED = "image_embeddings"
Inputs = dict[str, np.ndarray]


def open_session(module: torch.nn.Module, inputs: Inputs, path: Path, batched: bool, threads: int) -> Any:
    """Export the module with the shapes of `inputs`, N dynamic if `batched`, and open it with ONNX Runtime."""
    tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
    axes = {name: {0: "N"} for name in inputs if name != SHARED} if batched else {}
    export_onnx(module, tensors, path, OUTPUTS, dynamic_axes=axes)
    import onnxruntime  # after nanoseg, which disables its telemetry

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def random_inputs(boxes: int, size_px: int) -> tuple[Inputs, Inputs]:
    """Return random boxes on a random embedding, without masks and with."""
    random = np.random.default_rng(0)
    grid = size_px // 16
    inputs = {
        SHARED: random.standard_normal((1, 256, grid, grid), np.float32),
        "point_coords": np.sort(random.random((boxes, 2, 2), np.float32) * size_px, 1),
        "point_labels": np.tile(np.array([2, 3], np.float32), (boxes, 1)),
    }
    masks = random.standard_normal((boxes, 1, 4 * grid, 4 * grid), np.float32) * 8
    return inputs, {**inputs, "mask_input": masks, "has_mask_input": np.ones(boxes, np.float32)}


def one_by_one(inputs: Inputs) -> list[Inputs]:
    """Return the same prompts as inputs of one prompt each."""
    count = len(inputs["point_coords"])
    return [{k: v if k == SHARED else v[i : i + 1] for k, v in inputs.items()} for i in range(count)]


def run_each(session: Any, inputs: list[Inputs]) -> list[Any]:
    """Run the session on each of the inputs."""
    return [session.run(OUTPUTS, each) for each in inputs]


def medians_ms(runs: list[Callable[[], list[Any]]], rounds: int) -> tuple[list[float], list[list[Any]]]:
    """Run all in turn, `rounds` times after the warm-up; return the median time and the last result of each."""
    times: list[list[float]] = [[] for _ in runs]
    results: list[list[Any]] = [[] for _ in runs]
    for _ in range(WARM_UP + rounds):
        for i, run in enumerate(runs):
            start = time.perf_counter()
            results[i] = run()
            times[i].append((time.perf_counter() - start) * 1e3)
    return [statistics.median(each[WARM_UP:]) for each in times], results


def measure(boxes: int, rounds: int, threads: int, size_px: int) -> dict[str, float]:
    """Return median times in milliseconds, their ratios, and the largest difference between the logits."""
    torch.manual_seed(0)
    decoder = MaskDecoder(size_px).eval()
    plain = PlainDecoder(decoder).eval()
    runs: list[Callable[[], list[Any]]] = []
    with tempfile.TemporaryDirectory() as folder:
        for inputs in random_inputs(boxes, size_px):
            single = one_by_one(inputs)
            ours = open_session(decoder, inputs, Path(folder, f"{len(runs)}.onnx"), boxes > 1, threads)
            theirs = open_session(plain, single[0], Path(folder, f"{len(runs) + 1}.onnx"), False, threads)
            runs.append(partial(ours.run, OUTPUTS, inputs))
            runs.append(partial(run_each, theirs, single))
    (batched_ms, plain_ms, masked_ms, plain_masked_ms), results = medians_ms(runs, rounds)
    return {
        "boxes": boxes,
        "size_px": size_px,
        "threads": threads,
        "rounds": rounds,
        "at_once_ms": round(batched_ms, 1),
        "one_by_one_ms": round(plain_ms, 1),
        "ratio": round(batched_ms / plain_ms, 3),
        "target": TARGET,
        "logits_difference": largest_difference(*results[:2]),
        "masked_at_once_ms": round(masked_ms, 1),
        "masked_one_by_one_ms": round(plain_masked_ms, 1),
        "masked_ratio": round(masked_ms / plain_ms, 3),
        "masked_ratio_to_masked": round(masked_ms / plain_masked_ms, 3),
        "masked_target": MASK_TARGET,
        "masked_logits_difference": largest_difference(*results[2:]),
    }


def largest_difference(found: list[Any], wanted: list[Any]) -> float:
    """Return the largest difference between the logits of one call for all prompts and those of a call for each."""
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
        f"largest difference of logits {found['logits_difference']:.1e}"
    )
    print(
        f"{found['boxes']} boxes with masks: at once {found['masked_at_once_ms']} ms, "
        f"ratio {found['masked_ratio']} to one by one without masks (target {MASK_TARGET}), "
        f"{found['masked_ratio_to_masked']} to one by one with them ({found['masked_one_by_one_ms']} ms), "
        f"largest difference of logits {found['masked_logits_difference']:.1e}"
    )


if __name__ == "__main__":
    main()
