"""Options of ONNX Runtime's TensorRT provider: the cache of the engines that it builds, and their shapes."""

from __future__ import annotations

from pathlib import Path

from nanoseg.backends.onnxruntime.session import open_session
from nanoseg.backends.prompt_batches import PROMPTS_PER_CALL
from nanoseg.bundle import Graph
from nanoseg.engines.paths import cache_folder
from nanoseg.engines.recipe import RecipeOverrides, read_recipe
from nanoseg.errors import EngineError


def provider_options(name: str, graph: Graph) -> dict[str, str]:
    """Return the options for one graph; they are described in ONNX Runtime's TensorRT-ExecutionProvider page."""
    return {**_profile(name, graph.path), **_cache(graph)}


def _cache(graph: Graph) -> dict[str, str]:
    # ONNX Runtime names engines by the graph's structure, not by its weights: so a folder for each content.
    try:
        folder = cache_folder() / "onnxruntime-tensorrt" / graph.sha256[:16]
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, EngineError):  # then they are built at each start
        return {}
    path = str(folder)
    return {
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": path,
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": path,
    }


def _profile(name: str, path: Path) -> dict[str, str]:
    """Return the profile of dims that vary, from the recipe; without it each new number of prompts builds an engine."""
    try:
        inputs = open_session(path, name=name, optimization="ORT_DISABLE_ALL").get_inputs()
    except EngineError:  # the engine's own session reports what is wrong with the file
        return {}
    varying = {each.name: each.shape for each in inputs if not all(isinstance(dim, int) for dim in each.shape)}
    if not varying:
        return {}
    dims = read_recipe(name, None, RecipeOverrides(max_prompts=PROMPTS_PER_CALL)).dimensions
    if any(isinstance(dim, str) and dim not in dims for shape in varying.values() for dim in shape):
        return {}  # a decoder made elsewhere, whose dims have names of their own
    return {
        f"trt_profile_{key}_shapes": ",".join(
            f"{tensor}:" + "x".join(str(dim if isinstance(dim, int) else getattr(dims[dim], key)) for dim in shape)
            for tensor, shape in varying.items()
        )
        for key in ("min", "opt", "max")
    }
