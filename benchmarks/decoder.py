"""Time ten prompts in one call of the full-size mask decoder against ten calls of segment-anything's decoder.

    python benchmarks/decoder.py
    python benchmarks/decoder.py --boxes 6 --threads 1 --json decoder.json

Boxes alone, boxes with the mask of an earlier call, and the masks of detected boxes, of 8 % of the frame each, that
are computed only where the boxes are, against whole ones. All decoders are exported from the same random weights and
run in turn by ONNX Runtime, so that other load on the machine affects all of them; medians are printed, and the
ratios have intervals. A plain decoder without mask input is a little faster than the published file, which has one;
both times are printed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common import result, write
from nanoseg.backends.onnxruntime.engine import OrtEngine
from nanoseg.backends.prompt_batches import decode, decode_boxes
from nanoseg.models.export.mask_decoder import example_inputs
from nanoseg.models.export.to_onnx import export_onnx
from nanoseg.models.mask_decoder import MaskDecoder
from nanoseg.onnx_graphs.adapt.decoder import load_decoder
from nanoseg.onnx_graphs.deploy.segment import segment_graph
from nanoseg.onnx_graphs.deploy.segment_boxes import segment_boxes_graph
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.prompts import Prompts
from nanoseg.processing.tiles import NOT_COMPUTED
from peers.turns import ratio
from plain_decoder import PlainDecoder

# Largest accepted share of the time of plain calls without masks.
TARGET, MASK_TARGET = 0.72, 0.9
BOX_TARGET = 0.66  # largest accepted share of the time of whole masks
FRAME_HW, BOX_PX = (720, 1280), 272  # boxes of 8 % of the frame
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


def times_ms(runs: list[Callable[[], list[Any]]], rounds: int) -> tuple[list[list[float]], list[list[Any]]]:
    """Run all in turn, `rounds` times after the warm-up; return the times and the last result of each."""
    times: list[list[float]] = [[] for _ in runs]
    results: list[list[Any]] = [[] for _ in runs]
    for _ in range(WARM_UP + rounds):
        for i, run in enumerate(runs):
            start = time.perf_counter()
            results[i] = run()
            times[i].append((time.perf_counter() - start) * 1e3)
    return [each[WARM_UP:] for each in times], results


def measure(boxes: int, rounds: int, threads: int, size_px: int) -> dict[str, float]:
    """Return median times in milliseconds, their ratios, and the largest difference between the logits."""
    torch.manual_seed(0)
    decoder = MaskDecoder(size_px).eval()
    plain = PlainDecoder(decoder).eval()
    runs: list[Callable[[], list[Any]]] = []
    with tempfile.TemporaryDirectory() as folder:
        runs += box_runs(decoder, Path(folder), boxes, threads)
        for inputs in random_inputs(boxes, size_px):
            single = one_by_one(inputs)
            ours = open_session(decoder, inputs, Path(folder, f"{len(runs)}.onnx"), boxes > 1, threads)
            theirs = open_session(plain, single[0], Path(folder, f"{len(runs) + 1}.onnx"), False, threads)
            runs.append(partial(ours.run, OUTPUTS, inputs))
            runs.append(partial(run_each, theirs, single))
    times, results = times_ms(runs, rounds)
    whole_ms, boxes_ms, batched_ms, plain_ms, masked_ms, plain_masked_ms = map(statistics.median, times)
    whole, near = results[0][0], results[1][0]
    computed = near != NOT_COMPUTED
    return {
        "boxes": boxes,
        "size_px": size_px,
        "threads": threads,
        "rounds": rounds,
        "at_once_ms": round(batched_ms, 1),
        "one_by_one_ms": round(plain_ms, 1),
        **ratio(times[2], times[3]),
        "target": TARGET,
        "logits_difference": largest_difference(*results[2:4]),
        "masked_at_once_ms": round(masked_ms, 1),
        "masked_one_by_one_ms": round(plain_masked_ms, 1),
        **ratio(times[4], times[3], "masked_ratio"),
        "masked_ratio_to_masked": round(masked_ms / plain_masked_ms, 3),
        "masked_target": MASK_TARGET,
        "masked_logits_difference": largest_difference(*results[4:]),
        "whole_masks_ms": round(whole_ms, 1),
        "masks_of_boxes_ms": round(boxes_ms, 1),
        **ratio(times[1], times[0], "masks_of_boxes_ratio"),
        "masks_of_boxes_target": BOX_TARGET,
        "masks_of_boxes_logits_difference": float(np.abs(whole - near)[computed].max()),
    }


def box_runs(decoder: MaskDecoder, folder: Path, boxes: int, threads: int) -> list[Callable[[], list[Any]]]:
    """Return the masks of boxes by segment.onnx, and by segment_boxes.onnx with the host's part of it."""
    first, *others = example_inputs(decoder.image_size, masks=False)
    axes = {name: {0: "N", 1: "P"} for name in first if name.startswith("point_")}
    network = export_onnx(decoder, first, folder / "decoder.onnx", OUTPUTS, dynamic_axes=axes, inputs_to_check=others)
    loaded = load_decoder(network)
    graphs = {"segment": segment_graph(loaded), "segment_boxes": segment_boxes_graph(loaded)}
    engines = {}
    for name, graph in graphs.items():
        assert graph is not None
        engines[name] = OrtEngine(graph.SerializeToString(), threads, name=name)
    random, geometry = np.random.default_rng(0), Geometry.of(FRAME_HW, 640, 636, decoder.image_size)
    corner = random.uniform(0, 1, (boxes, 2)) * (FRAME_HW[1] - BOX_PX, FRAME_HW[0] - BOX_PX)
    xyxy = np.concatenate([corner, corner + BOX_PX], 1).astype(np.float32)
    embedding = random.standard_normal((1, 256, decoder.grid, decoder.grid), np.float32)
    prompts = Prompts.from_detections(xyxy)
    return [
        lambda: list(decode(engines["segment"], embedding, geometry.vector(), prompts)),
        lambda: list(decode_boxes(engines["segment_boxes"], embedding, geometry, xyxy)),
    ]


def largest_difference(found: list[Any], wanted: list[Any]) -> float:
    """Return the largest difference between the logits of one call for all prompts and those of a call for each."""
    return float(max(np.abs(found[0][i] - one[0][0]).max() for i, one in enumerate(wanted)))


def main() -> None:
    """Parse the flags, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=9, help="8 or more (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", type=int, default=1024, help="side of the encoder's input, pixels")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result file there too")
    options = parser.parse_args()
    found = measure(options.boxes, options.rounds, options.threads, options.size)
    if options.json:
        write(result(found), options.json)
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
    print(
        f"{found['boxes']} masks of detected boxes of 8 % of the frame: {found['masks_of_boxes_ms']} ms, "
        f"ratio {found['masks_of_boxes_ratio']} to whole masks ({found['whole_masks_ms']} ms, target {BOX_TARGET}), "
        f"largest difference of logits {found['masks_of_boxes_logits_difference']:.1e}"
    )


if __name__ == "__main__":
    main()
