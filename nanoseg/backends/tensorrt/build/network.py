"""Parse a deployment graph into a strongly typed TensorRT network, and set its optimization profile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nanoseg.backends.tensorrt.log import join_messages
from nanoseg.engines.device import format_library, kind_of
from nanoseg.engines.recipe import DimensionRange, Recipe
from nanoseg.engines.record import Profile
from nanoseg.errors import EngineError
from nanoseg.utils.read_file import open_file


def format_api(api: Any) -> str:
    """Return a TensorRT module for messages: `TensorRT 10.3.0`."""
    return format_library(kind_of(api.__name__), api.__version__)


def parse(
    api: Any, builder: Any, logger: Any, messages: Sequence[str], graph: Path | bytes, name: str
) -> tuple[Any, Any]:
    """Parse an ONNX file.

    Args:
        api: the TensorRT module.
        builder: its IBuilder.
        logger: its ILogger, which appends to `messages`.
        messages: the logger's messages so far.
        graph: the ONNX file, or its content.
        name: for messages.

    Returns:
        The network, and its parser, which owns the weights until the engine is built.

    Raises:
        EngineError: naming the node that cannot be parsed.
    """
    network = builder.create_network(1 << int(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = api.OnnxParser(network, logger)
    # The path, where it is one, is that of the folder with weights outside of the file.
    arguments = (graph,) if isinstance(graph, bytes) else (_content(graph), str(graph))
    if not parser.parse(*arguments):
        problem = _parser_errors(parser) or join_messages(messages)
        raise EngineError(f"{name}: {format_api(api)} cannot read it: {problem}")
    return network, parser


def _content(graph: Path) -> bytes:
    with open_file(graph, EngineError) as file:
        return file.read()


def add_profile(builder: Any, config: Any, network: Any, recipe: Recipe, name: str) -> dict[str, Profile]:
    """Add the optimization profile of the recipe; returns the ranges of the inputs with dynamic dimensions.

    Raises EngineError for a dynamic dimension that the recipe does not name.
    """
    profiles = {}
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(tensor.shape)
        if any(dim < 0 for dim in shape):
            names = [tensor.get_dimension_name(axis) if dim < 0 else None for axis, dim in enumerate(shape)]
            ranges = _ranges(shape, names, recipe, f"{name}: '{tensor.name}'")
            profiles[tensor.name] = Profile(
                min=[each.min for each in ranges], opt=[each.opt for each in ranges], max=[each.max for each in ranges]
            )
    if profiles:
        profile = builder.create_optimization_profile()
        for tensor_name, shapes in profiles.items():
            profile.set_shape(tensor_name, shapes.min, shapes.opt, shapes.max)
        if config.add_optimization_profile(profile) < 0:
            raise EngineError(f"{name}: TensorRT does not accept the shapes of {recipe.path}: {profiles}")
    return profiles


def _ranges(shape: Sequence[int], names: Sequence[str | None], recipe: Recipe, where: str) -> list[DimensionRange]:
    ranges = []
    for axis, (dim, name) in enumerate(zip(shape, names, strict=True)):
        if dim >= 0:
            ranges.append(DimensionRange(dim, dim, dim))
        elif name is not None and name in recipe.dimensions:
            ranges.append(recipe.dimensions[name])
        else:
            raise EngineError(
                f"{where}: dimension {axis} is dynamic ({name or 'without a name'}), and {recipe.path} gives no range; "
                f"add [dimensions.{name or 'NAME'}] with min, opt and max"
            )
    return ranges


def _parser_errors(parser: Any) -> str:
    """Return the parser's first error and what to do about it; other errors usually follow from the first."""
    if not parser.num_errors:
        return ""
    error = parser.get_error(0)
    node, operator = error.node_name(), error.node_operator()
    reason = join_messages([error.desc()])
    if not operator:
        return f"{reason}; is the file whole? Fetch or make the bundle anew"
    more = f" (and {parser.num_errors - 1} more)" if parser.num_errors > 1 else ""
    return f"node {node or error.node()} ({operator}): {reason}{more}; export the network without it"
