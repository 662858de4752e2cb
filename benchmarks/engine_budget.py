"""Kernels, tensor traffic and memory of a bundle's engines, by the layer lists of TensorRT for RTX; no GPU is needed.

    python benchmarks/engine_budget.py                   # the embedded bundle, against engine_budget.json
    python benchmarks/engine_budget.py --full-size       # full-size networks in all precisions, against the same file
    python benchmarks/engine_budget.py --update          # after a change that is wanted: writes that part of the file
    python benchmarks/engine_budget.py --bundle coco --layers 10

Engines are built for SM 86, the nearest that TensorRT for RTX has to Orin's 87, with inputs of one shape: a frame of
1280x720, and 1, 4 and 8 boxes, of 8 % of the frame each. A detector in INT8 is there twice: as its file is, which
TensorRT builds, and in float16, as `nanoseg build` gives it to TensorRT for RTX. Traffic is the bytes of all inputs and
outputs of all layers; on a GPU a cache saves some of it. Multiply-adds, by precision, are those of convolutions and
matrix products; benchmarks/predict.py reads them. It ends with exit code 1 where a figure is more than 3 % above
its budget, and names the layers that grew. The history of engine_budget.json is the record of what changes have cost
and saved. Other versions of TensorRT for RTX fuse differently: their figures are not compared.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from common import write
from nanoseg.backends.tensorrt.build.builder import find_builder
from nanoseg.backends.tensorrt.build.layer_list import Budget, Shapes, measure
from nanoseg.benchmark.shapes import FRAME_HW, box_shapes
from nanoseg.bundle import EMBEDDED_BUNDLE, Bundle, open_bundle
from nanoseg.errors import NanosegError, UsageError
from nanoseg.onnx_graphs.deploy.float16 import float16_graph
from nanoseg.processing.geometry import Geometry

BUDGETS = Path(__file__).with_suffix(".json")
BOXES = (1, 4, 8)
TOLERANCE = 1.03
STAGES = ("prepare", "detect", "embed", "segment", "segment_mask", "segment_boxes")
RTX_DETECT = "detect fp16"
FULL_SIZE = "full-size"  # in engine_budget.json, beside the embedded bundle's name
FIGURES = ("kernels", "traffic_mb", "activation_mb", "weights_mb")


class Graphs(NamedTuple):
    """Deployment graphs; the first word of a name is the graph's, of which there may be several precisions."""

    files: Mapping[str, Path | bytes]  # ONNX
    geometry: Geometry  # of a frame of FRAME_HW


def graphs_of_bundle(bundle: Bundle) -> Graphs:
    """Return the graphs of a bundle, and its detector in float16, too, where it is INT8."""
    files: dict[str, Path | bytes] = {name: graph.built.path for name, graph in bundle.graphs.items()}
    if bundle.graphs["detect"].precision == "int8":
        files[RTX_DETECT] = float16_graph(bundle.graphs["detect"].path)
    return Graphs(files, Geometry.of(FRAME_HW, bundle.detector_px, bundle.rescale_px, bundle.encoder_px))


def full_size() -> Graphs:
    """Make the graphs of full-size networks."""
    import full_size_graphs as sizes  # it wants torch

    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, Path | bytes] = {**sizes.full_size_graphs(Path(folder))}
        path = Path(folder, "detect.onnx")
        path.write_bytes(bytes(files["detect"]))
        files[RTX_DETECT] = float16_graph(path)
    return Graphs(files, Geometry.of(FRAME_HW, sizes.DETECTOR_PX, sizes.RESCALE_PX, sizes.ENCODER_PX))


def cases(graphs: Graphs) -> dict[str, tuple[str, Shapes]]:
    """Return by name the key of a graph in `files`, and the shapes of its inputs that vary."""
    found: dict[str, tuple[str, Shapes]] = {}
    side = graphs.geometry.encoder_px // 4
    for key in sorted(graphs.files, key=lambda key: STAGES.index(key.split()[0])):
        name = key.split()[0]
        if not name.startswith("segment"):
            found[key] = key, {"frame": (1, *FRAME_HW, 3)} if name == "prepare" else {}
            continue
        for boxes in BOXES:
            if name == "segment_boxes":
                found[f"{key} {boxes}"] = key, box_shapes(boxes, graphs.geometry)
            else:
                shapes: Shapes = {"point_coords": (boxes, 2, 2), "point_labels": (boxes, 2)}
                masks: Shapes = {"mask_input": (boxes, 1, side, side), "has_mask_input": (boxes,)}
                found[f"{key} {boxes}"] = key, {**shapes, **(masks if name == "segment_mask" else {})}
    return found


def exceeded(name: str, now: Budget, budget: Mapping[str, Any] | None) -> list[str]:
    """Return a line for each figure that is above its budget, with the layers that grew most."""
    if budget is None:
        return [f"{name}: has no budget; --update writes one"]
    lines = []
    for figure in FIGURES:
        was, is_now = budget[figure], getattr(now, figure)
        if is_now > was * TOLERANCE:
            before = budget["layers_mb"]
            grown = Counter({layer: mb - before.get(layer, 0.0) for layer, mb in now.layers_mb.items()}).most_common(3)
            where = ", ".join(f"{layer} by {mb:.1f} MB" for layer, mb in grown if mb > 0)
            share = f"{is_now / was - 1:.1%} " if was else ""  # prepare has next to no weights
            lines.append(f"{name}: {figure} {is_now:g}, {share}above its budget of {was:g}; {where}")
    return lines


def main() -> int:
    """Parse the flags, print the figures and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--bundle", default=EMBEDDED_BUNDLE, help="(default: %(default)s)")
    what.add_argument("--full-size", action="store_true", help="networks of the real sizes with random weights")
    parser.add_argument("--update", action="store_true", help=f"write the figures to {BUDGETS.name}")
    parser.add_argument(
        "--layers", type=int, default=0, metavar="N", help="print the N kinds of layers of most traffic"
    )
    options = parser.parse_args()
    try:
        return run(options)
    except NanosegError as error:
        print(f"engine_budget: {error}", file=sys.stderr)
        return error.exit_code


def run(options: argparse.Namespace) -> int:
    """Measure, print and compare; returns the exit code."""
    api = find_builder("tensorrt-rtx").api
    bundle = None if options.full_size else open_bundle(options.bundle)
    part = FULL_SIZE if bundle is None else bundle.name
    if options.update and part not in (EMBEDDED_BUNDLE, FULL_SIZE):
        raise UsageError(f"--update: wanted the bundle {EMBEDDED_BUNDLE} or --full-size, got {part}")
    graphs = full_size() if bundle is None else graphs_of_bundle(bundle)
    measured: dict[str, Budget] = {}
    for name, (key, shapes) in cases(graphs).items():
        measured[name] = now = measure(api, graphs.files[key], key.split()[0], shapes)
        print(f"{name:20} {'  '.join(f'{figure} {getattr(now, figure):g}' for figure in FIGURES)}", flush=True)
        for layer, mb in list(now.layers_mb.items())[: options.layers]:
            print(f"    {mb:8.2f} MB  {layer}")
    budgets = json.loads(BUDGETS.read_text(encoding="utf-8"))
    if options.update:
        budgets[part] = {"tensorrt_rtx": api.__version__, "engines": {name: asdict(b) for name, b in measured.items()}}
        write(budgets, BUDGETS)
        return 0
    if part not in budgets:
        return 0
    if (wanted := budgets[part]["tensorrt_rtx"]) != api.__version__:
        print(f"not compared: the budgets are of TensorRT for RTX {wanted}, here is {api.__version__}")
        return 0
    engines = budgets[part]["engines"]
    lines = [line for name, now in measured.items() for line in exceeded(name, now, engines.get(name))]
    for line in lines:
        print(f"TOO MUCH: {line}")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
