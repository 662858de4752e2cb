"""Build engines with TensorRT for RTX, which needs no GPU for it, and read from the layer list what they cost."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from nanoseg.backends.tensorrt.build.engine import configure
from nanoseg.backends.tensorrt.build.multiply_adds import multiply_adds, products
from nanoseg.backends.tensorrt.build.network import parse
from nanoseg.benchmark.layer import Layer
from nanoseg.engines.recipe import read_recipe
from nanoseg.errors import EngineError

Shapes = Mapping[str, tuple[int, ...]]
_BYTES = {"Float": 4, "Half": 2, "BFloat16": 2, "Int8": 1, "UInt8": 1, "FP8": 1, "Bool": 1, "Int32": 4, "Int64": 8}
_TENSOR = re.compile(r"Dimensions: \[([^\]]*)\], (?:Strides: \[[^\]]*\], StrideOrder: \[[^\]]*\], )?Datatype: (\w+)")
_NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_PRODUCTS = ("correlation", "deconv", "gemm", "runtime_fusion")  # kinds of kernels that multiply
_ON_HOST = ("ShapeHostToDevice", "shape_call")


@dataclass(frozen=True)
class Budget:
    """What one engine costs."""

    kernels: int
    traffic_mb: float
    activation_mb: float
    weights_mb: float
    layers_mb: Mapping[str, float]  # traffic by kind of layer, the largest first
    gmacs: Mapping[str, float]  # multiply-adds, 1e9, by precision
    inputs_mb: float
    outputs_mb: float


class Built(NamedTuple):
    """What building an engine has told."""

    log: list[str]  # of TensorRT for RTX, at level VERBOSE
    gmacs: Mapping[str, float]
    inputs_mb: float
    outputs_mb: float
    products: Mapping[str, tuple[str, int]] = {}  # precision and multiply-adds by the ONNX node's name


def measure(api: Any, graph: Path | bytes, name: str, shapes: Shapes) -> Budget:
    """Build an engine and read its layer list.

    Args:
        api: the module tensorrt_rtx.
        graph: the ONNX file, or its content.
        name: of the graph, for its recipe.
        shapes: of the inputs that vary.

    Raises:
        EngineError: it cannot be built.
    """
    return read_layers(build(api, graph, name, shapes))


def build(api: Any, graph: Path | bytes, name: str, shapes: Shapes) -> Built:
    """Build an engine as `measure` does; returns what is known of it then."""
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
    gmacs = {dtype: round(count / 1e9, 4) for dtype, count in multiply_adds(api, network).items()}
    by_node = products(api, network)
    if builder.build_serialized_network(network, config) is None:
        raise EngineError(f"{name}: TensorRT for RTX cannot build it: {messages[-1]}")
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    return Built(messages, gmacs, _tensors_mb(inputs), _tensors_mb(outputs), by_node)


def read_layers(built: Built) -> Budget:
    """Return the figures of a build."""
    found, traffic = kernels(built.log), Counter[str]()
    for name, tensors in found:
        traffic[name] += _nbytes(tensors)
    layers_mb = {layer: round(nbytes / 1e6, 2) for layer, nbytes in traffic.most_common() if nbytes >= 5000}
    return Budget(
        kernels=len(found),
        traffic_mb=round(sum(traffic.values()) / 1e6, 2),
        activation_mb=_logged(built.log, "Total Activation Memory"),
        weights_mb=_logged(built.log, "Total Weights Memory"),
        layers_mb=layers_mb,
        gmacs=built.gmacs,
        inputs_mb=built.inputs_mb,
        outputs_mb=built.outputs_mb,
    )


def kernels(messages: Sequence[str]) -> list[tuple[str, list[tuple[tuple[int, ...], str]]]]:
    """Return a layer list's kernels: the kind of each, and the shapes and types of its inputs, then its outputs."""
    return [(_kind(name), _tensors(row)) for name, _, row in _rows(messages)]


def layers(built: Built) -> list[Layer]:
    """Return the kernels of a build with their multiply-adds and bytes; constants count as weights."""
    counted = set[str]()
    found = []
    for name, kind, row in _rows(built.log):
        read, _, rest = row.partition(", Constants: [")
        constants, _, written = rest.partition("], Outputs: [")
        nodes = [each for each in _NODE.findall(row) if each in built.products] if kind in _PRODUCTS else []
        macs = sum(built.products[each][1] for each in nodes if each not in counted)
        counted.update(nodes)
        precision = built.products[nodes[0]][0] if macs else ""
        sizes = [_nbytes(_tensors(each)) for each in (read, written, constants)]
        found.append(Layer(_kind(name), precision, macs, True, *sizes))
    return found


def _rows(messages: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the kernels of a layer list: name, kind and the whole row."""
    listed = [message for message in messages if message.startswith("Layers:")][-1].partition("\nI/O Tensors")[0]
    for row in listed.split("\n"):
        name, kind = (re.search(pattern, row) for pattern in (r"^Name: ([^,]+)", r"LayerType: ([^,]+)"))
        if name is not None and kind is not None and kind[1] not in _ON_HOST:
            yield name[1], kind[1], row


def _nbytes(tensors: Sequence[tuple[tuple[int, ...], str]]) -> int:
    return sum(math.prod(dims) * _BYTES[dtype] for dims, dtype in tensors)


def _tensors(text: str) -> list[tuple[tuple[int, ...], str]]:
    """Return shapes and types of the tensors in a part of a row."""
    return [(tuple(int(dim) for dim in dims.split(",") if dim), dtype) for dims, dtype in _TENSOR.findall(text)]


def _kind(name: str) -> str:
    """Return the name of a layer without its number, which any other layer may change."""
    return re.sub(r"_myl\d+_\d+$", "", name.removeprefix("__myl_"))


def _tensors_mb(tensors: Sequence[Any]) -> float:
    nbytes: int = sum(math.prod(tensor.shape) * tensor.dtype.itemsize for tensor in tensors)
    return round(nbytes / 1e6, 3)


def _logged(messages: Sequence[str], what: str) -> float:
    found = [match for message in messages if (match := re.match(rf"{what}: (\d+)", message))]
    return round(int(found[-1][1]) / 1e6, 2) if found else 0.0
