"""What ONNX Runtime's TensorRT provider is told: where it keeps the engines that it builds, and of which shapes."""

from __future__ import annotations

from pathlib import Path

from nanoseg.backends.onnxruntime.session import open_session
from nanoseg.backends.prompt_batches import PROMPTS_PER_CALL
from nanoseg.bundle import Graph
from nanoseg.engines.paths import cache_folder
from nanoseg.engines.recipe import RecipeOverrides, read_recipe
from nanoseg.errors import EngineError


def provider_options(name: str, graph: Graph) -> dict[str, str]:
    """Of the graph `name`; names are those of onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider."""
    return {**_profile(name, graph.path), **_cache(graph)}


def _cache(graph: Graph) -> dict[str, str]:
    # ONNX Runtime tells its engines apart by the graph's form, not by its weights: so a folder for each content.
    try:
        folder = cache_folder() / "onnxruntime-tensorrt" / graph.sha256[:16]
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, EngineError):  # then they are built at each start
        return {}
    place = str(folder)
    return {
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": place,
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": place,
    }


def _profile(name: str, path: Path) -> dict[str, str]:
    """How long the sides are that vary, as the recipe says; without it each new number of prompts builds an engine."""
    try:
        inputs = open_session(path, name=name, optimization="ORT_DISABLE_ALL").get_inputs()
    except EngineError:  # the engine's own session says what is wrong with the file
        return {}
    varying = {each.name: each.shape for each in inputs if not all(isinstance(side, int) for side in each.shape)}
    if not varying:
        return {}
    sides = read_recipe(name, None, RecipeOverrides(max_prompts=PROMPTS_PER_CALL)).dimensions
    if any(isinstance(side, str) and side not in sides for shape in varying.values() for side in shape):
        return {}  # a decoder made elsewhere, whose sides have names of their own
    return {
        f"trt_profile_{key}_shapes": ",".join(
            f"{tensor}:" + "x".join(str(side if isinstance(side, int) else getattr(sides[side], key)) for side in shape)
            for tensor, shape in varying.items()
        )
        for key in ("min", "opt", "max")
    }
