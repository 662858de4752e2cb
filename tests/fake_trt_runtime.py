"""A strict stand-in for the half of TensorRT that runs engines, on the made-up GPU of tests/fake_cuda.py.

    plan = fake_plan(onnx_bytes, {"frame": (least, usual, most)})     what a builder would give
    trt = fake_trt(cuda)                 a module; after trt.fake.install(monkeypatch) `import tensorrt` finds it
    trt.fake.fails["execute_async_v3"] = "Error Code 1: Cask"         that function fails, and says this
    trt.fake.fails["capture"] = ""       engines wait for the GPU, which no capture holds
    trt.fake.said                        all that TensorRT told its logger
    trt.fake.seen = {}                   from now on, what was computed once is given again, for tests of many frames

A run is one piece of work on a stream of the made-up GPU: when that runs, ONNX Runtime reads the inputs where they were
bound, and the outputs are written where they were bound. Engines and contexts count in cuda.alive and
cuda.allocations, and what the real library would not notice is kept for cuda.check().

Each rule is that of the function's comment in NvInferRuntime.h of TensorRT 10, where none other is named.
"""

from __future__ import annotations

import enum
import math
import sys
import types
from collections import Counter
from typing import NamedTuple
from weakref import WeakSet, finalize

import numpy as np

from tests.fake_cuda_memory import Fault
from tests.fake_tensorrt import DataType, ICudaEngine, ILogger, Severity, TensorIOMode
from tests.fake_trt_plan import Plan, fake_plan, profile_of
from tests.fake_trt_rtx import (
    DynamicShapesKernelSpecializationStrategy,
    ExecutionContextAllocationStrategy,
    IRuntimeConfig,
)

__all__ = ["fake_plan", "fake_trt", "profile_of"]

ALIGNMENT = 256  # setTensorAddress: "The pointer must have at least 256-byte alignment"
SCRIBBLE = 0xAC  # what a run leaves in its activation memory


class TensorLocation(enum.Enum):
    DEVICE = 0
    HOST = 1


class Alive(NamedTuple):
    """An entry of cuda.objects."""

    context: int


class FakeTrt:
    """What the parts of one module share."""

    def __init__(self, cuda, version, kind):
        self.cuda, self.version, self.kind = cuda, version, kind
        self.fails, self.said, self.calls = {}, [], Counter()
        self.seen = None
        self.logger, self.runtimes = None, WeakSet()
        self.module = None
        # cudaGetLastError tells whoever asks next what went wrong last: trtexec cleans that up after a capture.
        self.stale = False

    def install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, self.kind, self.module)
        return self.module

    def register(self, runtime, logger):
        """TensorRT warns: "TensorRT maintains only a single logger pointer at any given time"."""
        if not self.runtimes:
            self.logger = logger
        elif logger is not self.logger:
            self.say("logger passed into createInferRuntime differs from one already provided", Severity.WARNING)
        self.runtimes.add(runtime)

    def say(self, words, severity=Severity.ERROR):
        self.said.append(words)
        self.logger.log(severity, words)

    def compute(self, plan, feeds):
        """The outputs of a plan, by name."""
        if self.seen is None:
            return plan.run(feeds)
        key = plan, *((value.shape, value.tobytes()) for value in feeds.values())
        if key not in self.seen:
            self.seen[key] = plan.run(feeds)
        return self.seen[key]

    def own(self, owner, kind):
        """Count `owner` as alive until nothing holds it; gives its handle."""
        handle = self.cuda.add(kind, Alive(self.cuda.current()))
        finalize(owner, self.gone, handle).atexit = False
        return handle

    def gone(self, handle):
        """What its memory was made in must be current, as for cudaFree, which takes the primary context otherwise."""
        kind, made = self.cuda.objects.pop(handle)
        if self.cuda.stack()[-1:] != [made.context]:
            self.cuda.fault(f"a {kind} is destroyed where the context that it was made in is not current")


def answers(refused):
    """A function that tells the logger why it fails, and then gives `refused`; one that a test may let fail."""

    def mark(function):
        name = function.__name__

        def answering(self, *arguments):
            fake = self._fake
            fake.calls[name] += 1
            try:
                if name in fake.fails:
                    raise Fault(fake.fails[name])
                return function(self, *arguments)
            except Fault as fault:
                if str(fault).startswith("ILLEGAL_ADDRESS"):  # the real library believes any address
                    fake.cuda.fault(f"{name}: {fault}")
                fake.say(f"{name}: Error Code 3: API Usage Error ({fault})")
                return refused

        answering.__name__ = name
        return answering

    return mark


class Engine(ICudaEngine):
    """ICudaEngine. As in the bindings, a context keeps its engine, and an engine its runtime."""

    def __init__(self, fake, runtime, plan):
        modes = dict.fromkeys(plan.outputs, TensorIOMode.OUTPUT) | dict.fromkeys(plan.inputs, TensorIOMode.INPUT)
        super().__init__({name: (mode, plan.types[name], _numbers(plan.sides[name])) for name, mode in modes.items()})
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
        elif self._fake.kind == "tensorrt_rtx":
            raise Fault("its kernels would change behind a captured graph's back: they are specialised lazily")
        if settings != ExecutionContextAllocationStrategy.USER_MANAGED:
            raise Fault("the stand-in allocates no activation memory: it is the user's")
        self._fake.cuda.current()
        return self._fake.module.IExecutionContext(self._fake, self)


class RtxEngine(Engine):
    """ICudaEngine of TensorRT for RTX."""

    def create_runtime_config(self):
        return IRuntimeConfig(self)


class IExecutionContext:
    def __init__(self, fake, engine):
        self._fake, self._engine, self._plan = fake, engine, engine._plan
        self._shapes, self._addresses, self._memory = {}, {}, None
        # The developer guide, CUDA Graphs: enqueue once after an input's shape changed, before the capture, "to flush
        # deferred updates"; the capture fails otherwise, as what is put off allocates.
        self._deferred = True
        # The same page: to modify "the context from which the graph was captured will result in undefined behavior".
        self._changes = types.SimpleNamespace(count=0)  # its work counts them too
        self._handle = fake.own(self, "trt context")

    @answers(False)
    def set_input_shape(self, name, shape):
        if name not in self._plan.inputs:
            raise Fault(f"given invalid tensor name: {name}")
        network = _numbers(self._plan.sides[name])
        if len(network) != len(shape) or any(want not in (-1, got) for want, got in zip(network, shape, strict=True)):
            raise Fault(f"{name}: {tuple(shape)} does not agree with the network's {network}")
        least, _, most = self._engine.get_tensor_profile_shape(name, 0)
        if any(not low <= side <= high for low, side, high in zip(least, shape, most, strict=True)):
            raise Fault(f"{name}: {tuple(shape)} exceeds the range {least} to {most} of profile 0")
        self._shapes[name] = tuple(shape)
        self._deferred = True
        self._changes.count += 1
        return True

    def get_tensor_shape(self, name):
        """Of an output: -1 for a side that depends on an input whose shape is not set, or on what is fed."""
        if name in self._plan.inputs:
            return self._shapes.get(name, _numbers(self._plan.sides[name]))
        known = {side: number for side, number, _ in self._known()}
        return _numbers([known.get(side, side) for side in self._plan.sides[name]])

    def _known(self):
        for name, shape in self._shapes.items():
            yield from zip(self._plan.sides[name], shape, [name] * len(shape), strict=True)

    @answers(False)
    def set_tensor_address(self, name, memory):
        if name not in self._plan.sides:
            raise Fault(f"given invalid tensor name: {name}")
        if memory % ALIGNMENT:
            raise Fault(f"{name}: the address {memory:#x} is not aligned to {ALIGNMENT} bytes")
        self._addresses[name] = memory
        self._changes.count += 1
        return True

    @answers(None)
    def set_device_memory(self, memory, size):
        """It gives nothing back, so that its errors are in the log alone."""
        if memory % ALIGNMENT:
            raise Fault("the memory of activations is not aligned")
        if size < self._plan.memory:
            raise Fault(f"{size} bytes are fewer than the {self._plan.memory} of the engine")
        self._memory = memory
        self._changes.count += 1

    @answers(False)
    def execute_async_v3(self, stream_handle):
        cuda, plan = self._fake.cuda, self._plan
        places = {name: self._place(name) for name in plan.sides}
        self._check_sides()
        if plan.memory and self._memory is None:
            raise Fault("no memory is set for activations")
        captured = cuda.take("stream", stream_handle).capture is not None
        if not captured and self._fake.stale:
            self._fake.stale = False
            raise Fault("Cuda Runtime (operation not permitted when stream is capturing)")
        if captured:
            if self._deferred or "capture" in self._fake.fails:
                self._fake.stale = True
                cuda.refuse_in_capture()
            self._changes.count += 1  # a second graph shares what the context keeps between runs with the first
        # "the memory is in use from the invocation of enqueueV3() until network execution is complete"
        scratch = [(self._memory, plan.memory)] if plan.memory else []
        reads, writes = ([(at, _size(*rest)) for at, *rest in map(places.get, n)] for n in (plan.inputs, plan.outputs))
        run = self._work(places, scratch, self._changes.count if captured else None)
        cuda.enqueue(stream_handle, run, reads, writes + scratch)
        self._deferred = False
        return True

    def _place(self, name):
        """(address, shape, dtype). Raises Fault where one is not known."""
        shape = self.get_tensor_shape(name)
        if -1 in shape:
            raise Fault(f"the shape of {name} is not set")
        if not self._addresses.get(name):
            raise Fault(f"no address is set for {name}")
        return self._addresses[name], shape, self._plan.dtypes[name]

    def _check_sides(self):
        """The developer guide, Named Dimensions: sides of one name are equal."""
        known = {}
        for side, number, name in self._known():
            if isinstance(side, str) and known.setdefault(side, number) != number:
                raise Fault(f"{name}: its side {side} is {number}, and {known[side]} elsewhere")

    def _work(self, places, scratch, expected):
        """What the GPU does, with the shapes and addresses of now; it does not keep the context."""
        fake, plan, handle, changes = self._fake, self._plan, self._handle, self._changes

        def run(window):
            if handle not in fake.cuda.objects:
                fake.cuda.fault("a context is gone before its work is done")
            elif expected not in (None, changes.count):
                fake.cuda.fault("a graph is launched after the context that it was captured from was changed")
            if "run" in fake.fails:
                raise Fault(f"LAUNCH_FAILED: {fake.fails['run']}")
            values = fake.compute(plan, {name: np.array(window.array(*places[name])) for name in plan.inputs})
            for at, nbytes in scratch:
                window.array(at, (nbytes,), np.uint8)[:] = SCRIBBLE
            for name, value in values.items():
                assert value.shape == places[name][1]  # else it would be broadcast into place
                window.array(*places[name])[...] = value

        return run


class RtxExecutionContext(IExecutionContext):
    """IExecutionContext of TensorRT for RTX."""

    def is_stream_capturable(self, stream):
        """1.2's release notes: "stream capture is not possible for all models"."""
        return "is_stream_capturable" not in self._fake.fails


def _numbers(sides):
    return tuple(-1 if isinstance(side, str) else side for side in sides)


def _size(shape, dtype):
    return math.prod(shape) * dtype.itemsize


def fake_trt(cuda, version="10.3.0", kind="tensorrt"):
    """A module such as tensorrt, tensorrt_lean or tensorrt_rtx, for fake_plan's plans; `module.fake` is its state."""
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
            if not same and not (plan.version_compatible and fake.kind != "tensorrt_rtx"):
                raise Fault(f"the plan is of {plan.kind} {plan.version}")
            return kinds[fake.kind == "tensorrt_rtx"](fake, self, plan)

    kinds = Engine, RtxEngine
    module = types.ModuleType(kind)
    module.__version__, module.fake, fake.module = version, fake, module
    enums = (TensorIOMode, DataType, TensorLocation, ExecutionContextAllocationStrategy)
    for each in (*enums, ILogger, Runtime, IExecutionContext):
        setattr(module, each.__name__, each)
    module.ICudaEngine = kinds[kind == "tensorrt_rtx"]
    if kind == "tensorrt_rtx":
        module.IExecutionContext = RtxExecutionContext
        for each in (DynamicShapesKernelSpecializationStrategy, IRuntimeConfig):
            setattr(module, each.__name__, each)
    return module
