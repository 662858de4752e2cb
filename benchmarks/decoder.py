"""Ten boxes at once on the full-size mask decoder, against ten calls of segment-anything's, one box each.

    python benchmarks/decoder.py
    python benchmarks/decoder.py --boxes 6 --threads 1 --json

Both are exported from the same random weights and run in turn by ONNX Runtime, so that whatever else the machine does
falls on both; the medians are compared. The plain decoder has no mask input, which makes it a little faster than the
published file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from plain_decoder import PlainDecoder

from nanoseg.models.export import export_onnx
from nanoseg.models.mask_decoder import MaskDecoder

TARGET = 0.72
OUTPUTS = ["low_res_masks", "iou_predictions"]


def session(module: torch.nn.Module, feed: dict[str, np.ndarray], path: Path, axes: dict, threads: int):
    """The module as an ONNX Runtime session, exported with the feed's shapes."""
    args = {name: torch.from_numpy(value) for name, value in feed.items()}
    export_onnx(module, args, path, OUTPUTS, axes, atol=1e-2)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def measure(boxes: int, rounds: int, threads: int, size_px: int) -> dict[str, float]:
    """Medians in milliseconds, their ratio, and how far the two answers are apart."""
    torch.manual_seed(0)
    decoder = MaskDecoder(size_px).eval()
    random = np.random.default_rng(0)
    corners = np.sort(random.random((boxes, 2, 2), np.float32) * size_px, 1)
    together = {
        "image_embeddings": random.standard_normal((1, 256, size_px // 16, size_px // 16), np.float32),
        "point_coords": corners,
        "point_labels": np.tile(np.array([2, 3], np.float32), (boxes, 1)),
    }
    alone = [
        together | {name: together[name][i : i + 1] for name in ("point_coords", "point_labels")} for i in range(boxes)
    ]
    with tempfile.TemporaryDirectory() as folder:
        axes = {name: {0: "N"} for name in ("point_coords", "point_labels")} if boxes > 1 else {}
        ours = session(decoder, together, Path(folder, "ours.onnx"), axes, threads)
        plain = session(PlainDecoder(decoder).eval(), alone[0], Path(folder, "plain.onnx"), {}, threads)
    ours_ms, plain_ms = [], []
    for _ in range(rounds + 2):
        start = time.perf_counter()
        found = ours.run(OUTPUTS, together)
        between = time.perf_counter()
        wanted = [plain.run(OUTPUTS, feed) for feed in alone]
        plain_ms.append((time.perf_counter() - between) * 1e3)
        ours_ms.append((between - start) * 1e3)
    # The first two rounds warm caches and memory arenas.
    at_once, one_by_one = statistics.median(ours_ms[2:]), statistics.median(plain_ms[2:])
    return {
        "boxes": boxes,
        "size_px": size_px,
        "threads": threads,
        "rounds": rounds,
        "at_once_ms": round(at_once, 1),
        "one_by_one_ms": round(one_by_one, 1),
        "ratio": round(at_once / one_by_one, 3),
        "target": TARGET,
        "logits_apart": float(max(np.abs(found[0][i] - one[0][0]).max() for i, one in enumerate(wanted))),
    }


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


if __name__ == "__main__":
    main()
