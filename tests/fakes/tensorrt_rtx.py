"""The members of TensorRT for RTX that TensorRT lacks, for the fake runtime."""

import enum

from tests.fakes.cuda_memory import Fault


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


class DynamicShapesKernelSpecializationStrategy(enum.Enum):
    LAZY = 0
    EAGER = 1
    NONE = 2


class IRuntimeCache:
    """IRuntimeCache: the kernels compiled so far, here one for each context of an engine."""

    MAGIC = b"kernels:"

    def __init__(self):
        self.kernels = 0

    def serialize(self):
        return memoryview(self.MAGIC + b"k" * self.kernels)

    def deserialize(self, serialized_cache):
        if not serialized_cache.startswith(self.MAGIC):
            return False
        self.kernels = len(serialized_cache) - len(self.MAGIC)
        return True

    def reset(self):
        self.kernels = 0


class IRuntimeConfig:
    """IRuntimeConfig: TensorRT for RTX, "Working with Dynamic Shapes" and "Working with Runtime Cache"."""

    def __init__(self, engine):
        self._engine, self._cache = engine, None
        self._strategy = ExecutionContextAllocationStrategy.STATIC
        self.dynamic_shapes_kernel_specialization_strategy = DynamicShapesKernelSpecializationStrategy.LAZY

    def set_execution_context_allocation_strategy(self, strategy):
        self._strategy = strategy

    def create_runtime_cache(self):
        return IRuntimeCache()

    def set_runtime_cache(self, cache):
        self._cache = cache
        return True

    def get_runtime_cache(self):
        return self._cache

    def _check(self, engine):
        if engine is not self._engine:
            raise Fault("the runtime configuration is another engine's")
        if self.dynamic_shapes_kernel_specialization_strategy != DynamicShapesKernelSpecializationStrategy.EAGER:
            raise Fault("its kernels would change behind a captured graph's back: they are specialised lazily")
        if self._cache is not None:
            self._cache.kernels += 1
