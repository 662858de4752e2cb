"""What TensorRT for RTX says of a bundle's frame: a second count of it, where that library is installed.

It is not the library of a Jetson: it knows no Orin, and runs INT8 convolutions in two kernels where TensorRT has one.
"""

from __future__ import annotations

from dataclasses import replace

from nanoseg.backends.tensorrt.build.builder import find_builder
from nanoseg.backends.tensorrt.build.layer_list import build, layers
from nanoseg.benchmark.estimate import PREPARE, BundleWork, StageWork
from nanoseg.benchmark.layer import Layer
from nanoseg.benchmark.shapes import FRAME_HW, Shapes, decoder_calls
from nanoseg.bundle import Bundle


def listed_work(bundle: Bundle, work: BundleWork) -> BundleWork:
    """Return a frame's work with the layers that TensorRT for RTX lists, which needs no GPU.

    Args:
        bundle: the bundle.
        work: what its graphs say.

    Raises:
        DependencyError: TensorRT for RTX is not installed.
        EngineError: an engine cannot be built.
    """
    api = find_builder("tensorrt-rtx").api

    def listed(name: str, shapes: Shapes) -> list[Layer]:
        return layers(build(api, bundle.graphs[name].built.path, name, shapes))

    found = {name: listed(name, {}) for name in ("detect", "embed")}
    found[PREPARE] = listed(PREPARE, {"frame": (1, *FRAME_HW, 3)})
    found["segment"], built = list[Layer](), dict[tuple[tuple[int, ...], ...], list[Layer]]()
    for name, shapes in decoder_calls(bundle, work.objects):  # all but the last have the same shapes
        key = tuple(shapes.values())
        if key not in built:
            built[key] = listed(name, shapes)
        found["segment"] += built[key]
    stages = {name: StageWork(name, stage.architecture, found[name]) for name, stage in work.stages.items()}
    return replace(work, stages=stages)
