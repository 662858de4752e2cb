"""Compare segment_boxes.onnx, which a CPU runs, with its form of low rank, which TensorRT builds: traffic and time.

    python benchmarks/low_rank.py                              # 1, 2, 4 and 8 boxes at 1024 px
    python benchmarks/low_rank.py --size 512 --boxes 1 8 --json

Of the same random weights: the traffic of TensorRT for RTX's layer list, ONNX Runtime's time on a CPU, in turns, and
the largest difference of their logits. Boxes are 8 % of the frame each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from nanoseg.backends.tensorrt.build.builder import find_builder
from nanoseg.backends.tensorrt.build.layer_list import measure
from nanoseg.benchmark.shapes import BOX_PX, FRAME_HW, box_shapes
from nanoseg.models.export.mask_decoder import export_mask_decoder
from nanoseg.models.mask_decoder import MaskDecoder
from nanoseg.onnx_graphs.adapt.decoder import load_decoder
from nanoseg.onnx_graphs.deploy.low_rank.graph import low_rank_graph
from nanoseg.onnx_graphs.deploy.segment_boxes import segment_boxes_graph
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.tiles import Tiles

WARM_UP, ROUNDS = 2, 9


def make_graphs(size_px: int, folder: Path) -> dict[str, Path]:
    """Export a decoder and compose both graphs of it."""
    torch.manual_seed(0)
    torch.save(MaskDecoder(size_px).state_dict(), folder / "decoder.pt")
    network = export_mask_decoder(folder / "decoder.pt", folder / "decoder.onnx", size_px=size_px)
    plain = segment_boxes_graph(load_decoder(network))
    assert plain is not None
    paths: dict[str, Path] = {}
    for name, graph in (("plain", plain), ("low_rank", low_rank_graph(plain))):
        if graph is None:
            raise SystemExit(f"low_rank: at {size_px} px there is no graph of low rank, as it saves nothing")
        onnx.save(graph, paths.setdefault(name, folder / f"{name}.onnx"))
    return paths


def inputs(boxes: int, geometry: Geometry) -> dict[str, np.ndarray]:
    """Return boxes on a random embedding."""
    random, grid = np.random.default_rng(boxes), geometry.encoder_px // 16
    corner = random.uniform(0, 1, (boxes, 2)) * (FRAME_HW[1] - BOX_PX, FRAME_HW[0] - BOX_PX)
    xyxy = np.concatenate([corner, corner + BOX_PX], 1).astype(np.float32)
    tiles = Tiles.of(xyxy, geometry)
    return {
        "image_embeddings": random.standard_normal((1, 256, grid, grid), np.float32),
        "boxes": xyxy,
        "geometry": geometry.vector(),
        "tile_prompts": tiles.prompts,
        "tile_tokens": tiles.tokens,
    }


def compare(size_px: int, counts: list[int], threads: int) -> list[dict[str, Any]]:
    """Return a row of figures for each number of boxes."""
    import onnxruntime

    api, settings = find_builder("tensorrt-rtx").api, onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    geometry, rows = Geometry.of(FRAME_HW, 640, 636, size_px), []
    with tempfile.TemporaryDirectory() as scratch:
        graphs = make_graphs(size_px, Path(scratch))
        sessions = {name: onnxruntime.InferenceSession(str(path), settings) for name, path in graphs.items()}
        for count in counts:
            feeds, found = inputs(count, geometry), dict[str, Any]()
            times: dict[str, list[float]] = {name: [] for name in graphs}
            for _ in range(WARM_UP + ROUNDS):
                for name, session in sessions.items():
                    start = time.perf_counter()
                    found[name] = session.run(["tile_logits"], feeds)[0]
                    times[name].append(time.perf_counter() - start)
            row: dict[str, Any] = {"boxes": count, "size_px": size_px}
            row["logits_difference"] = float(np.abs(found["plain"] - found["low_rank"]).max())
            for name, path in graphs.items():
                budget = measure(api, path, "segment_boxes", box_shapes(count, geometry))
                row[f"{name}_mb"], row[f"{name}_kernels"] = budget.traffic_mb, budget.kernels
                row[f"{name}_activation_mb"], row[f"{name}_weights_mb"] = budget.activation_mb, budget.weights_mb
                row[f"{name}_cpu_ms"] = round(statistics.median(times[name][WARM_UP:]) * 1e3, 1)
            row["traffic_ratio"] = round(row["low_rank_mb"] / row["plain_mb"], 3)
            row["cpu_time_ratio"] = round(row["low_rank_cpu_ms"] / row["plain_cpu_ms"], 3)
            rows.append(row)
    return rows


def main() -> None:
    """Parse the flags, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--size", type=int, default=1024, help="side of the encoder's input, pixels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for row in compare(options.size, options.boxes, options.threads):
        if options.json:
            print(json.dumps(row))
            continue
        print(
            f"{row['boxes']} boxes at {row['size_px']} px: "
            f"traffic {row['plain_mb']} -> {row['low_rank_mb']} MB ({row['traffic_ratio']}), "
            f"kernels {row['plain_kernels']} -> {row['low_rank_kernels']}, "
            f"activations {row['plain_activation_mb']} -> {row['low_rank_activation_mb']} MB, "
            f"weights {row['plain_weights_mb']} -> {row['low_rank_weights_mb']} MB; "
            f"CPU {row['plain_cpu_ms']} -> {row['low_rank_cpu_ms']} ms ({row['cpu_time_ratio']}); "
            f"largest difference of logits {row['logits_difference']:.1e}"
        )


if __name__ == "__main__":
    main()
