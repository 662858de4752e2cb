"""Kernels, tensor traffic and memory of a bundle's engines, by the layer lists of TensorRT for RTX; no GPU is needed.

    python benchmarks/engine_budget.py                   # the embedded bundle, against engine_budget.json
    python benchmarks/engine_budget.py --update          # after a change that is wanted: writes that file
    python benchmarks/engine_budget.py --bundle coco --layers 10

Engines are built for SM 86, the nearest that TensorRT for RTX has to Orin's 87, with inputs of one shape: a frame of
1280x720, and 1, 4 and 8 boxes, of 8 % of the frame each. A detector in INT8 is there twice: as its file is, which
TensorRT builds, and in float16, as `nanoseg build` gives it to TensorRT for RTX. Traffic is the bytes of all inputs and
outputs of all layers; on a GPU a cache saves some of it. It ends with exit code 1 where a figure is more than 3 % above
its budget, and names the layers that grew. The history of engine_budget.json is the record of what changes have cost
and saved. Other versions of TensorRT for RTX fuse differently: their figures are not compared.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common import write
from nanoseg.backends.tensorrt.build.builder import find_builder
from nanoseg.backends.tensorrt.build.engine import configure
from nanoseg.backends.tensorrt.build.network import parse
from nanoseg.bundle import EMBEDDED_BUNDLE, Bundle, open_bundle
from nanoseg.engines.recipe import read_recipe
from nanoseg.errors import EngineError, NanosegError, UsageError
from nanoseg.onnx_graphs.deploy.float16 import float16_graph
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.tiles import Tiles

BUDGETS = Path(__file__).with_suffix(".json")
FRAME_HW = (720, 1280)
BOXES = (1, 4, 8)
BOX_PX = 272  # side of each: 8 % of the frame
TOLERANCE = 1.03
RTX_DETECT = "detect fp16"
FIGURES = ("kernels", "traffic_mb", "activation_mb", "weights_mb")
_BYTES = {"Float": 4, "Half": 2, "BFloat16": 2, "Int8": 1, "UInt8": 1, "FP8": 1, "Bool": 1, "Int32": 4, "Int64": 8}
_TENSOR = re.compile(r"Dimensions: \[([^\]]*)\], (?:Strides: \[[^\]]*\], StrideOrder: \[[^\]]*\], )?Datatype: (\w+)")
_ON_HOST = ("ShapeHostToDevice", "shape_call")


@dataclass(frozen=True)
class Budget:
    """What one engine costs."""

    kernels: int
    traffic_mb: float
    activation_mb: float
    weights_mb: float
    layers_mb: Mapping[str, float]  # traffic by kind of layer, the largest first


def cases(bundle: Bundle) -> dict[str, tuple[str, dict[str, tuple[int, ...]]]]:
    """Return by name a graph of the bundle, and the shapes of its inputs that vary."""
    found: dict[str, tuple[str, dict[str, tuple[int, ...]]]] = {
        "prepare": ("prepare", {"frame": (1, *FRAME_HW, 3)}),
        "detect": ("detect", {}),
        **({RTX_DETECT: ("detect", {})} if bundle.graphs["detect"].precision == "int8" else {}),
        "embed": ("embed", {}),
    }
    for name in ("segment", "segment_mask"):
        for boxes in BOXES if name in bundle.graphs else ():
            side = bundle.encoder_px // 4
            shapes = {"point_coords": (boxes, 2, 2), "point_labels": (boxes, 2)}
            shapes |= {"mask_input": (boxes, 1, side, side), "has_mask_input": (boxes,)}
            found[f"{name} {boxes}"] = name, shapes
    for count in BOXES if "segment_boxes" in bundle.graphs else ():
        corner = np.linspace(0, 1, count)[:, None] * (FRAME_HW[1] - BOX_PX, FRAME_HW[0] - BOX_PX)
        xyxy = np.concatenate([corner, corner + BOX_PX], 1).astype(np.float32)
        geometry = Geometry.of(FRAME_HW, bundle.detector_px, bundle.rescale_px, bundle.encoder_px)
        tiles = Tiles.of(xyxy, geometry)
        shapes = {"boxes": xyxy.shape, "tile_prompts": tiles.prompts.shape, "tile_tokens": tiles.tokens.shape}
        found[f"segment_boxes {count}"] = "segment_boxes", shapes
    return found


def measure(api: Any, graph: Path | bytes, name: str, shapes: Mapping[str, tuple[int, ...]]) -> Budget:
    """Build an engine and read its layer list.

    Args:
        api: the module tensorrt_rtx.
        graph: the ONNX file, or its content.
        name: of the graph, for its recipe.
        shapes: of the inputs that vary.

    Raises:
        EngineError: it cannot be built.
    """
    return read_layers(build_log(api, graph, name, shapes))


def build_log(api: Any, graph: Path | bytes, name: str, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Build an engine as `measure` does; returns what TensorRT for RTX has logged at level VERBOSE."""
    messages: list[str] = []

    class Logger(api.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            api.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            messages.append(msg)

    logger = Logger()
    builder = api.Builder(logger)
    network, _parser = parse(api, builder, logger, messages, graph, name)
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        tensor.shape = shapes.get(tensor.name, tuple(tensor.shape))
    config = builder.create_builder_config()
    configure(api, config, read_recipe(name))
    config.profiling_verbosity = api.ProfilingVerbosity.DETAILED
    config.num_compute_capabilities = 1
    config.set_compute_capability(api.ComputeCapability.SM86, 0)
    if builder.build_serialized_network(network, config) is None:
        raise EngineError(f"{name}: TensorRT for RTX cannot build it: {messages[-1]}")
    return messages


def read_layers(messages: Sequence[str]) -> Budget:
    """Return the figures of a build from what TensorRT for RTX has logged at level VERBOSE."""
    found, traffic = kernels(messages), Counter[str]()
    for name, tensors in found:
        for dims, dtype in tensors:
            traffic[name] += math.prod(dims) * _BYTES[dtype]
    layers_mb = {layer: round(nbytes / 1e6, 2) for layer, nbytes in traffic.most_common() if nbytes >= 5000}
    return Budget(
        kernels=len(found),
        traffic_mb=round(sum(traffic.values()) / 1e6, 2),
        activation_mb=_logged(messages, "Total Activation Memory"),
        weights_mb=_logged(messages, "Total Weights Memory"),
        layers_mb=layers_mb,
    )


def kernels(messages: Sequence[str]) -> list[tuple[str, list[tuple[tuple[int, ...], str]]]]:
    """Return a layer list's kernels: the kind of each, and the shapes and types of its inputs, then its outputs."""
    listed = [message for message in messages if message.startswith("Layers:")][-1].partition("\nI/O Tensors")[0]
    found = []
    for row in listed.split("\n"):
        name, kind = (re.search(pattern, row) for pattern in (r"^Name: ([^,]+)", r"LayerType: ([^,]+)"))
        if name is not None and kind is not None and kind[1] not in _ON_HOST:
            tensors = [
                (tuple(int(dim) for dim in dims.split(",") if dim), dtype) for dims, dtype in _TENSOR.findall(row)
            ]
            found.append((_kind(name[1]), tensors))
    return found


def _kind(name: str) -> str:
    """Return the name of a layer without its number, which any other layer may change."""
    return re.sub(r"_myl\d+_\d+$", "", name.removeprefix("__myl_"))


def _logged(messages: Sequence[str], what: str) -> float:
    found = [match for message in messages if (match := re.match(rf"{what}: (\d+)", message))]
    return round(int(found[-1][1]) / 1e6, 2) if found else 0.0


def exceeded(name: str, now: Budget, budget: Mapping[str, Any]) -> list[str]:
    """Return a line for each figure that is above its budget, with the layers that grew most."""
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
    parser.add_argument("--bundle", default=EMBEDDED_BUNDLE, help="(default: %(default)s)")
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
    bundle, api = open_bundle(options.bundle), find_builder("tensorrt-rtx").api
    if options.update and bundle.name != EMBEDDED_BUNDLE:
        raise UsageError(f"--update: wanted the bundle {EMBEDDED_BUNDLE}, got {bundle.name}")
    measured: dict[str, Budget] = {}
    for name, (graph, shapes) in cases(bundle).items():
        path = bundle.graphs[graph].path
        measured[name] = now = measure(api, float16_graph(path) if name == RTX_DETECT else path, graph, shapes)
        print(f"{name:14} {'  '.join(f'{figure} {getattr(now, figure):g}' for figure in FIGURES)}", flush=True)
        for layer, mb in list(now.layers_mb.items())[: options.layers]:
            print(f"    {mb:8.2f} MB  {layer}")
    if options.update:
        write(
            {"tensorrt_rtx": api.__version__, "engines": {name: asdict(each) for name, each in measured.items()}},
            BUDGETS,
        )
        return 0
    if bundle.name != EMBEDDED_BUNDLE:
        return 0
    budgets = json.loads(BUDGETS.read_text(encoding="utf-8"))
    if budgets["tensorrt_rtx"] != api.__version__:
        print(f"not compared: the budgets are of TensorRT for RTX {budgets['tensorrt_rtx']}, here is {api.__version__}")
        return 0
    lines = [line for name, now in measured.items() for line in exceeded(name, now, budgets["engines"][name])]
    for line in lines:
        print(f"TOO MUCH: {line}")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
