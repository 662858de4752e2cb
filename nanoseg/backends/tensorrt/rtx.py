"""Settings that TensorRT for RTX needs so that its work can be captured in CUDA graphs; TensorRT has none of them.

See docs.nvidia.com/deeplearning/tensorrt-rtx: "Working with Dynamic Shapes", "CUDA Graphs", and 1.2's release notes.
"""

from __future__ import annotations

from typing import Any

from nanoseg.backends.tensorrt.kernel_file import KernelFile
from nanoseg.engines.device import LIBRARIES

RTX = LIBRARIES["tensorrt-rtx"].module


def require_user_allocation(api: Any, config: Any) -> None:
    """Set the builder flag for engines that allocate nothing while they run; TensorRT's never do."""
    if api.__name__ == RTX and hasattr(api.BuilderFlag, "REQUIRE_USER_ALLOCATION"):  # since 1.2
        config.set_flag(api.BuilderFlag.REQUIRE_USER_ALLOCATION)


def context_settings(api: Any, engine: Any, kernels: KernelFile | None = None) -> Any:
    """Return the argument of create_execution_context() for an engine: its activation memory is user-managed.

    Kernels that were compiled before are in `kernels`; those that are new can be saved with save_kernels().
    """
    user_managed = api.ExecutionContextAllocationStrategy.USER_MANAGED
    if api.__name__ != RTX:
        return user_managed
    settings = engine.create_runtime_config()
    settings.set_execution_context_allocation_strategy(user_managed)
    # It compiles kernels on the device. By default it begins with fallback kernels, and a thread replaces them later,
    # which a graph captured meanwhile would not follow.
    settings.dynamic_shapes_kernel_specialization_strategy = api.DynamicShapesKernelSpecializationStrategy.EAGER
    cache = settings.create_runtime_cache()  # contexts share compiled kernels
    if kernels is not None:
        kernels.load(cache)
    settings.set_runtime_cache(cache)
    return settings


def save_kernels(api: Any, settings: Any, kernels: KernelFile) -> None:
    """Save the kernels that were compiled for contexts made with these settings."""
    if api.__name__ == RTX and settings is not None:
        kernels.save(settings.get_runtime_cache())


def can_capture(context: Any, stream: int) -> bool:
    """Return whether TensorRT expects a capture to work; only TensorRT for RTX can say before it is tried."""
    is_capturable = getattr(context, "is_stream_capturable", None)  # since 1.2
    return is_capturable is None or bool(is_capturable(stream))
