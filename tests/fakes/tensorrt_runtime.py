"""A strict fake of the half of TensorRT that runs engines, on the fake GPU of tests/fakes/cuda.py.

    plan = fake_plan(onnx_bytes, {"frame": (least, usual, most)})     what a builder would give
    trt = fake_trt(cuda)                 a module; after trt.fake.install(monkeypatch) `import tensorrt` finds it
    trt.fake.fails["execute_async_v3"] = "Error Code 1: Cask"         that function fails, and says this
    trt.fake.fails["capture"] = ""       engines wait for the GPU, which no capture holds
    trt.fake.text                        all messages of TensorRT to its logger
    trt.fake.seen = {}                   from now on, what was computed once is given again, for tests of many frames

A run is one piece of work on a stream of the fake GPU: when that runs, ONNX Runtime reads the inputs where they were
bound, and the outputs are written where they were bound. Engines and contexts count in cuda.alive and
cuda.allocations, and what the real library would not notice is kept for cuda.check().

Each rule is that of the function's comment in NvInferRuntime.h of TensorRT 10, where none other is named.
"""

from __future__ import annotations

import enum
import types

from nanoseg.engines.device import LIBRARIES
from tests.fakes.cuda_memory import Fault
from tests.fakes.tensorrt import DataType, ICudaEngine, ILogger, TensorIOMode
from tests.fakes.tensorrt_context import IExecutionContext, RtxExecutionContext, numbers
from tests.fakes.tensorrt_plan import Plan, fake_plan, profile_of
from tests.fakes.tensorrt_rtx import (
    DynamicShapesKernelSpecializationStrategy,
    ExecutionContextAllocationStrategy,
    IRuntimeConfig,
)
from tests.fakes.tensorrt_state import FakeTrt, answers

__all__ = ["fake_plan", "fake_trt", "profile_of"]


class TensorLocation(enum.Enum):
    DEVICE = 0
    HOST = 1


class Engine(ICudaEngine):
    """ICudaEngine. As in the bindings, a context keeps its engine, and an engine its runtime."""

    def __init__(self, fake, runtime, plan):
        modes = dict.fromkeys(plan.outputs, TensorIOMode.OUTPUT) | dict.fromkeys(plan.inputs, TensorIOMode.INPUT)
        super().__init__({name: (mode, plan.types[name], numbers(plan.dims[name])) for name, mode in modes.items()})
        self._fake, self._runtime, self._plan = fake, runtime, plan
        self._handle = fake.own(self, "trt engine")

    @property
    def device_memory_size_v2(self):
        return self._plan.memory

    def get_tensor_location(self, name):
        return TensorLocation.HOST if name in self._plan.host else TensorLocation.DEVICE

    def get_tensor_profile_shape(self, name, profile_index):
        if profile_index or name not in self._plan.inputs:
            raise ValueError(f"no profile {profile_index} of {name}")
        fixed = self.get_tensor_shape(name)
        return [tuple(each) for each in self._plan.profile.get(name, [fixed] * 3)]

    @answers(None)
    def create_execution_context(self, settings=ExecutionContextAllocationStrategy.STATIC):
        if isinstance(settings, IRuntimeConfig):
            settings._check(self)
            settings = settings._strategy
        elif self._fake.kind == "tensorrt-rtx":
            raise Fault("its kernels would change behind a captured graph's back: they are specialised lazily")
        if settings != ExecutionContextAllocationStrategy.USER_MANAGED:
            raise Fault("the fake allocates no activation memory: it is the user's")
        self._fake.cuda.current()
        return self._fake.module.IExecutionContext(self._fake, self)


class RtxEngine(Engine):
    """ICudaEngine of TensorRT for RTX."""

    def create_runtime_config(self):
        return IRuntimeConfig(self)


def fake_trt(cuda, version="10.3.0", kind="tensorrt"):
    """The module of a kind of TensorRT library for fake_plan's plans; `module.fake` is its state."""
    fake = FakeTrt(cuda, version, kind)

    class Runtime:
        def __init__(self, logger):
            assert isinstance(logger, ILogger)
            fake.register(self, logger)
            self._fake, self._logger = fake, logger  # as the bindings keep it
            self.engine_host_code_allowed = False

        @answers(None)
        def deserialize_cuda_engine(self, serialized_engine):
            # The real one takes the first device's primary context by itself, which may be another than ours.
            fake.cuda.current()
            plan = Plan(serialized_engine)
            if plan.version_compatible and not self.engine_host_code_allowed:
                raise Fault("the plan has host code, which engine_host_code_allowed does not allow")
            same = (plan.kind, plan.version) == (fake.kind, fake.version)
            # The developer guide, Version Compatibility; TensorRT for RTX has none.
            if not same and not (plan.version_compatible and fake.kind != "tensorrt-rtx"):
                raise Fault(f"the plan is of {plan.kind} {plan.version}")
            return kinds[fake.kind == "tensorrt-rtx"](fake, self, plan)

    kinds = Engine, RtxEngine
    module = types.ModuleType(LIBRARIES[kind].module)
    module.__version__, module.fake, fake.module = version, fake, module
    enums = (TensorIOMode, DataType, TensorLocation, ExecutionContextAllocationStrategy)
    for each in (*enums, ILogger, Runtime, IExecutionContext):
        setattr(module, each.__name__, each)
    module.ICudaEngine = kinds[kind == "tensorrt-rtx"]
    if kind == "tensorrt-rtx":
        module.IExecutionContext = RtxExecutionContext
        for each in (DynamicShapesKernelSpecializationStrategy, IRuntimeConfig):
            setattr(module, each.__name__, each)
    return module
