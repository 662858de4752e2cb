"""What TensorRT for RTX has to be told, and TensorRT has no words for, so that its work can be captured in graphs.

See docs.nvidia.com/deeplearning/tensorrt-rtx: "Working with Dynamic Shapes", "CUDA Graphs", and 1.2's release notes.
"""

from __future__ import annotations

from typing import Any

RTX = "tensorrt_rtx"


def require_user_allocation(api: Any, config: Any) -> None:
    """Let the builder `config` make an engine that allocates nothing while it runs; of other libraries all are so."""
    if api.__name__ == RTX and hasattr(api.BuilderFlag, "REQUIRE_USER_ALLOCATION"):  # since 1.2
        config.set_flag(api.BuilderFlag.REQUIRE_USER_ALLOCATION)


def context_settings(api: Any, engine: Any) -> Any:
    """What an engine's contexts are made with: activations lie where they are told to. Good for all of its contexts."""
    user_managed = api.ExecutionContextAllocationStrategy.USER_MANAGED
    if api.__name__ != RTX:
        return user_managed
    settings = engine.create_runtime_config()
    settings.set_execution_context_allocation_strategy(user_managed)
    # It compiles kernels on the device. By itself it begins with makeshift ones, and a thread puts better ones in their
    # place, which a graph captured meanwhile would not follow.
    settings.dynamic_shapes_kernel_specialization_strategy = api.DynamicShapesKernelSpecializationStrategy.EAGER
    settings.set_runtime_cache(settings.create_runtime_cache())  # what one context compiled the next finds there
    return settings


def can_capture(context: Any, stream: int) -> bool:
    """Whether the runs of a context can be captured: of others that is seen when it is tried."""
    ask = getattr(context, "is_stream_capturable", None)  # since 1.2
    return ask is None or bool(ask(stream))
