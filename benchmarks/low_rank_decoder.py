"""Measure SAM's decoder for boxes without the image side of each prompt: the same results by algebra of low rank.

    python benchmarks/low_rank_decoder.py
    python benchmarks/low_rank_decoder.py --size 512 --boxes 1 4 8 --json

Compared with segment_boxes.onnx as bundles have it, of the same random weights: ONNX Runtime's time on a CPU, in turns,
and the traffic of TensorRT for RTX's layer list. Bundles do not hold it yet: at 1024 px it moves a fifth less for 8
boxes, but more for one or two, and a CPU is slower with it.


transformer.py makes for each prompt an image of 256 channels, several times over. Here that is never made, because all
that a prompt adds to the shared image E comes from its T (about 7) tokens times 8 heads. With E and V0 centred:

    after layer 0   image = g r (E + S0 V0) + c                     g, c: gain and shift of a LayerNorm
    after layer 1   image = g' r' (r (E' + S0 V0') + S1 V1) + c'  E', V0': g E and g V0, centred

S0 and S1 (X, 8 T) are weights of attention, V0 and V1 (8 T, 256) what the tokens give. So a projection of the image
side is one of E, which all prompts share, plus S times a small matrix; and LayerNorm's factor r follows from Gram
matrices:

    256 / r^2 = |E + S0 V0|^2 = |E|^2 + sum of S0 * (2 E V0^T + S0 V0 V0^T)

A constant b of the image, such as a bias, is part of V: the weights S of 8 heads sum to 8, so each row takes b / 8.

Shapes: N prompts, T tokens, 8 heads of 16, X cells of the image (g * g), one row of S each. Parameters are
those of TwoWayTransformer.
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

from engine_budget import BOX_PX, FRAME_HW, measure
from nanoseg.backends.tensorrt.build.builder import find_builder
from nanoseg.models.export.mask_decoder import OUTPUTS, example_inputs
from nanoseg.models.export.to_onnx import export_onnx
from nanoseg.models.mask_decoder import MaskDecoder
from nanoseg.models.transformer import (
    CHANNELS,
    HEADS,
    DensePrompts,
    TwoWayTransformer,
)
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


def two_way(
    net: Any, image: torch.Tensor, position: torch.Tensor, points: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the tokens (N, T, 256) and one image per prompt (N, X, 256), as TwoWayTransformer.forward does.

    Args:
        net: the parameters.
        image: (256, X) one image for all prompts.
        position: (256, X) its position encoding.
        points: (N, T, 256) output and prompt tokens.
        mask: (N, T) added to the logits of every attention to tokens.
    """
    first, second = net.layers

    # Layer 0: all prompts read one image.
    read, write = first.cross_attn_token_to_image, first.cross_attn_image_to_token
    bias = write.out_proj.bias[:, None]
    image, place = image + bias, position - bias  # the bias is part of E
    q = first.norm1(first.self_attn.tokens_to_tokens(points, points, mask))
    x = _queries(read, read.q_proj(q + points))
    weights = torch.softmax(x @ (read.k_proj.weight @ image + read.k_proj.weight @ place), -1)
    q = _after_reading(first, q, read, _own_heads(weights @ (read.v_proj.weight @ image).T) + _bias(read.v_proj, -bias))
    y = _queries(write, write.k_proj(q + points))
    rows = write.q_proj.weight @ image + (write.q_proj.weight @ place + write.q_proj.bias[:, None])
    s0 = _softmax_of_tokens(rows.T @ y.transpose(1, 2), mask)
    given = _blocks(write.split(write.v_proj(q)))
    out = _centred(write.out_proj.weight.T)  # (128, 256)
    v0 = given @ out
    mean = image.mean(0, keepdim=True)
    centred = image - mean
    crossed = (out @ image).T @ (2 * given).transpose(1, 2) + s0 @ (v0 @ v0.transpose(1, 2))
    r = _factor(first.norm4, centred.square().sum(0)[:, None] + (s0 * crossed).sum(-1, keepdim=True))

    # Layer 1.
    read, write = second.cross_attn_token_to_image, second.cross_attn_image_to_token
    gain, shift = first.norm4.weight, first.norm4.bias[:, None]
    place, scaled = position + shift, v0 * gain
    q = second.norm1(q + second.self_attn.tokens_to_tokens(q + points, q, mask))
    x = _queries(read, read.q_proj(q + points))
    logits = x @ (_centred(read.k_proj.weight * gain) @ image) + _mixed(x, scaled, read.k_proj) @ s0.transpose(1, 2)
    weights = torch.softmax(r.transpose(1, 2) * logits + x @ (read.k_proj.weight @ place), -1) * r.transpose(1, 2)
    taken = weights @ (_centred(read.v_proj.weight * gain) @ image).T + (weights @ s0) @ (scaled @ read.v_proj.weight.T)
    q = _after_reading(second, q, read, _own_heads(taken) + _bias(read.v_proj, shift))
    y = _queries(write, write.k_proj(q + points)).transpose(1, 2)
    logits = (_centred(write.q_proj.weight * gain) @ image).T @ y
    logits = logits + s0 @ _mixed(y.transpose(1, 2), scaled, write.q_proj).transpose(1, 2)
    table = write.q_proj.weight @ place + write.q_proj.bias[:, None]
    s1 = _softmax_of_tokens(r * logits + table.T @ y, mask)
    given_too = _blocks(write.split(write.v_proj(q)))
    out_gained, out_too = _centred(out * gain), _centred(write.out_proj.weight.T)
    constant = _centred(shift[:, 0] + write.out_proj.bias)
    v0, v1 = given @ out_gained, given_too @ out_too + constant / HEADS
    gained_mean = (centred * gain[:, None]).mean(0, keepdim=True)
    of_s0 = (_centred(out_gained * gain) @ image).T @ (2 * given).transpose(1, 2) + s0 @ (v0 @ v0.transpose(1, 2))
    of_both = (_centred(out_too * gain) @ image).T @ (2 * given_too).transpose(1, 2) + s0 @ (
        v0 @ (2 * v1).transpose(1, 2)
    )
    squares = r * r * s0 * of_s0 + s1 * (r * of_both + s1 @ (v1 @ v1.transpose(1, 2)))
    own = (centred * gain[:, None]).square().sum(0) - CHANNELS * gained_mean[0].square()
    twice = 2 * (_centred(constant * gain) @ image)
    r_too = _factor(second.norm4, r * (r * own[:, None] + twice[:, None]) + squares.sum(-1, keepdim=True))

    # The last attention of the tokens to the image.
    read = net.final_attn_token_to_image
    gain_too, shift = second.norm4.weight, second.norm4.bias[:, None]
    x = _queries(read, read.q_proj(q + points))
    keys, values = (_centred(_centred(each.weight * gain_too) * gain) for each in (read.k_proj, read.v_proj))
    rows0, rows1 = v0 * gain_too, v1 * gain_too
    logits = r.transpose(1, 2) * (x @ (keys @ image) + _mixed(x, rows0, read.k_proj) @ s0.transpose(1, 2))
    logits = r_too.transpose(1, 2) * (logits + _mixed(x, rows1, read.k_proj) @ s1.transpose(1, 2))
    weights = torch.softmax(logits + x @ (read.k_proj.weight @ (position + shift)), -1) * r_too.transpose(1, 2)
    scaled = weights * r.transpose(1, 2)
    taken = scaled @ (values @ image).T + (scaled @ s0) @ (rows0 @ read.v_proj.weight.T)
    taken = taken + (weights @ s1) @ (rows1 @ read.v_proj.weight.T)
    q = net.norm_final_attn(q + read.join(_own_heads(taken) + _bias(read.v_proj, shift)))

    images = r * ((image.T - mean.T) * gain - gained_mean.T + s0 @ v0) + s1 @ v1
    return q, images * r_too * gain_too + shift[:, 0]


def _blocks(x: torch.Tensor) -> torch.Tensor:
    """(N, 8, T, 16) -> (N, 8 T, 128), zero outside of each row's own head: products with all heads at once."""
    eye = torch.eye(HEADS, dtype=x.dtype, device=x.device).reshape(HEADS, 1, HEADS, 1)
    return (x.unsqueeze(3) * eye).flatten(3).flatten(1, 2)


def _own_heads(x: torch.Tensor) -> torch.Tensor:
    """(N, 8 T, 128) -> (N, 8, T, 16): of each row its own head."""
    eye = torch.eye(HEADS, dtype=x.dtype, device=x.device).reshape(HEADS, 1, HEADS, 1)
    return (x.reshape(x.shape[0], HEADS, -1, HEADS, x.shape[-1] // HEADS) * eye).sum(3)


def _queries(attention: Any, projected: torch.Tensor) -> torch.Tensor:
    """(N, T, 128) -> blocks (N, 8 T, 128), scaled."""
    return _blocks(attention.split(projected) * attention.scale)


def _bias(values: Any, shift: torch.Tensor) -> torch.Tensor:
    """The bias of a projection of values that are shifted by (256, 1): (8, 1, 16)."""
    bias: torch.Tensor = ((values.weight @ shift)[:, 0] + values.bias).reshape(HEADS, 1, -1)
    return bias


def _centred(x: torch.Tensor) -> torch.Tensor:
    return x - x.mean(-1, keepdim=True)


def _mixed(x: torch.Tensor, rows: torch.Tensor, projection: Any) -> torch.Tensor:
    """Products of queries (N, 8 T, 128) with projected rows (N, R, 256): (N, 8 T, R)."""
    mixed: torch.Tensor = x @ (rows @ projection.weight.T).transpose(1, 2)
    return mixed


def _softmax_of_tokens(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Softmax over the tokens of each head, (N, X, 8 T) -> (N, X, 8 T)."""
    by_head = logits.reshape(*logits.shape[:2], HEADS, -1) + mask[:, None, None]
    return torch.softmax(by_head, -1).flatten(2)


def _factor(norm: Any, squares: torch.Tensor) -> torch.Tensor:
    return torch.rsqrt(squares / CHANNELS + norm.eps)


def _after_reading(layer: Any, q: torch.Tensor, attention: Any, taken: torch.Tensor) -> torch.Tensor:
    q = layer.norm2(q + attention.join(taken))
    done: torch.Tensor = layer.norm3(q + layer.mlp(q))
    return done


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
