"""Measure SAM's decoder for boxes without the image side of each prompt: the same results by algebra of low rank.

    python benchmarks/low_rank_decoder.py
    python benchmarks/low_rank_decoder.py --size 512 --boxes 1 4 8 --json

Compared with segment_boxes.onnx as bundles have it, of the same random weights: ONNX Runtime's time on a CPU, in turns,
and the traffic of TensorRT for RTX's layer list. Bundles do not hold it yet: at 1024 px it moves a fifth less for 8
boxes, but more for one or two, and a CPU is slower with it.
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
from torch import nn

from engine_budget import BOX_PX, FRAME_HW
from low_rank import two_way
from nanoseg.backends.tensorrt.build.builder import find_builder
from nanoseg.backends.tensorrt.build.layer_list import measure
from nanoseg.models.export.mask_decoder import OUTPUTS, example_inputs
from nanoseg.models.export.to_onnx import export_onnx
from nanoseg.models.mask_decoder import MaskDecoder
from nanoseg.models.transformer import DensePrompts, TwoWayTransformer
from nanoseg.onnx_graphs.adapt.decoder import load_decoder
from nanoseg.onnx_graphs.deploy.segment_boxes import segment_boxes_graph
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.tiles import Tiles

WARM_UP, ROUNDS = 2, 9


class LowRankTransformer(nn.Module):
    """A TwoWayTransformer that computes as `two_way` does; mask prompts are not taken."""

    def __init__(self, net: TwoWayTransformer) -> None:
        super().__init__()
        self.net = net

    def forward(
        self,
        image: torch.Tensor,
        position: torch.Tensor,
        points: torch.Tensor,
        mask: torch.Tensor,
        dense: DensePrompts | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return tokens and images as TwoWayTransformer.forward does."""
        return two_way(self.net, image[0].T, position.T, points, mask)


def box_graph(decoder: MaskDecoder, folder: Path, name: str) -> Path:
    """Export a decoder and compose segment_boxes of it; constants stay the nodes that compute them."""
    first, *others = example_inputs(decoder.image_size, masks=False)
    axes = {key: {0: "N", 1: "P"} for key in first if key.startswith("point_")}
    network = export_onnx(
        decoder,
        first,
        folder / f"{name}.onnx",
        OUTPUTS,
        dynamic_axes=axes,
        inputs_to_check=others,
        fold_limit_bytes=256,
    )
    graph = segment_boxes_graph(load_decoder(network))
    assert graph is not None
    onnx.save(graph, path := folder / f"{name}_boxes.onnx")
    return path


def inputs(boxes: int, size_px: int) -> dict[str, np.ndarray]:
    """Return boxes of 8 % of the frame on a random embedding."""
    random, grid = np.random.default_rng(boxes), size_px // 16
    corner = random.uniform(0, 1, (boxes, 2)) * (FRAME_HW[1] - BOX_PX, FRAME_HW[0] - BOX_PX)
    xyxy = np.concatenate([corner, corner + BOX_PX], 1).astype(np.float32)
    geometry = Geometry.of(FRAME_HW, 640, 636, size_px)
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

    api, options = find_builder("tensorrt-rtx").api, onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    torch.manual_seed(0)
    decoder, rows = MaskDecoder(size_px).eval(), []
    with tempfile.TemporaryDirectory() as scratch:
        graphs = {"plain": box_graph(decoder, Path(scratch), "plain")}
        head: Any = decoder.mask_decoder
        head.transformer = LowRankTransformer(head.transformer)
        graphs["low_rank"] = box_graph(decoder, Path(scratch), "low_rank")
        sessions = {name: onnxruntime.InferenceSession(str(path), options) for name, path in graphs.items()}
        for count in counts:
            feeds = inputs(count, size_px)
            times: dict[str, list[float]] = {name: [] for name in graphs}
            found: dict[str, Any] = {}
            for _ in range(WARM_UP + ROUNDS):
                for name, session in sessions.items():
                    start = time.perf_counter()
                    found[name] = session.run(["tile_logits"], feeds)[0]
                    times[name].append(time.perf_counter() - start)
            ms = {name: statistics.median(each[WARM_UP:]) * 1e3 for name, each in times.items()}
            shapes = {name: feeds[name].shape for name in ("boxes", "tile_prompts", "tile_tokens")}
            budgets = {name: measure(api, path, "segment_boxes", shapes) for name, path in graphs.items()}
            row: dict[str, Any] = {"boxes": count, "size_px": size_px}
            row["logits_difference"] = float(np.abs(found["plain"] - found["low_rank"]).max())
            for name in graphs:
                row |= {f"{name}_ms": round(ms[name], 1), f"{name}_mb": budgets[name].traffic_mb}
                row[f"{name}_kernels"] = budgets[name].kernels
            row["time_ratio"] = round(ms["low_rank"] / ms["plain"], 3)
            row["traffic_ratio"] = round(row["low_rank_mb"] / row["plain_mb"], 3)
            rows.append(row)
    return rows


def main() -> None:
    """Parse the flags, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--size", type=int, default=1024, help="side of the encoder's input, pixels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for row in compare(options.size, options.boxes, options.threads):
        if options.json:
            print(json.dumps(row))
            continue
        print(
            f"{row['boxes']} boxes at {row['size_px']} px: CPU {row['plain_ms']} -> {row['low_rank_ms']} ms "
            f"({row['time_ratio']}), traffic {row['plain_mb']} -> {row['low_rank_mb']} MB ({row['traffic_ratio']}), "
            f"kernels {row['plain_kernels']} -> {row['low_rank_kernels']}, "
            f"largest difference of logits {row['logits_difference']:.1e}"
        )


if __name__ == "__main__":
    main()
