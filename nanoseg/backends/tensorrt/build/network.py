"""A deployment graph as a strongly typed TensorRT network, and the range of its shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nanoseg.backends.tensorrt.log import told_why
from nanoseg.errors import EngineError
from nanoseg.engines.recipe import Range, Recipe
from nanoseg.engines.device import spell_tensorrt
from nanoseg.engines.record import Profile


def spell_api(api: Any) -> str:
    """`TensorRT 10.3.0`, of the module."""
    return spell_tensorrt(api.__name__, api.__version__)


def parse(api: Any, builder: Any, log: Any, said: Sequence[str], graph: Path | bytes, name: str) -> tuple[Any, Any]:
    """The network of an ONNX file, and its parser, which holds the weights until the engine is built.

    Raises EngineError with the node that cannot be read.
    """
    network = builder.create_network(1 << int(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = api.OnnxParser(network, log)
    if not parser.parse(_content(graph)):
        raise EngineError(f"{name}: {spell_api(api)} cannot read it: {_parser_errors(parser) or told_why(list(said))}")
    return network, parser


def _content(graph: Path | bytes) -> bytes:
    if isinstance(graph, bytes):
        return graph
    try:
        return graph.read_bytes()
    except OSError as error:
        raise EngineError(f"{graph}: cannot be read: {error.strerror}") from error


def add_profile(builder: Any, config: Any, network: Any, recipe: Recipe, name: str) -> dict[str, Profile]:
    """Tell the builder how long each side that varies may be; gives the ranges by input.

    Raises EngineError for a side that the recipe does not know.
    """
    profiles = {}
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(tensor.shape)
        if any(side < 0 for side in shape):
            names = [tensor.get_dimension_name(axis) if side < 0 else None for axis, side in enumerate(shape)]
            sides = _ranges(shape, names, recipe.dimensions, f"{name}: '{tensor.name}'", recipe)
            least, mostly, most = ([getattr(side, end) for side in sides] for end in ("min", "opt", "max"))
            profiles[tensor.name] = Profile(least, mostly, most)
    if profiles:
        profile = builder.create_optimization_profile()
        for tensor_name, told in profiles.items():
            profile.set_shape(tensor_name, told.min, told.opt, told.max)
        if config.add_optimization_profile(profile) < 0:
            raise EngineError(f"{name}: TensorRT takes no shapes such as {recipe.path} gives: {profiles}")
    return profiles


def _ranges(
    shape: Sequence[int], names: Sequence[str | None], known: Mapping[str, Range], where: str, recipe: Recipe
) -> list[Range]:
    sides = []
    for axis, (side, dimension) in enumerate(zip(shape, names, strict=True)):
        if side >= 0:
            sides.append(Range(side, side, side))
        elif dimension is not None and dimension in known:
            sides.append(known[dimension])
        else:
            told = dimension or "without a name"
            raise EngineError(
                f"{where}: side {axis} varies ({told}), and {recipe.path} does not say how much; "
                f"add [dimensions.{dimension or 'NAME'}] with min, opt and max"
            )
    return sides


def _parser_errors(parser: Any) -> str:
    """What cannot be read, why, and what to do: by the first of the parser's errors; others follow from it."""
    if not parser.num_errors:
        return ""
    error = parser.get_error(0)
    node, operator = error.node_name(), error.node_operator()
    why = told_why([error.desc()])
    if not operator:
        return f"{why}; is the file whole? Fetch or make the bundle anew"
    more = f" (and {parser.num_errors - 1} more)" if parser.num_errors > 1 else ""
    return f"node {node or error.node()} ({operator}): {why}{more}; export the network without it"
