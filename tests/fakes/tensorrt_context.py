"""The execution contexts of tests/fakes/tensorrt_runtime.py."""

from __future__ import annotations

import math
import types

import numpy as np

from tests.fakes.cuda_memory import Fault
from tests.fakes.tensorrt_state import answers

ALIGNMENT = 256  # setTensorAddress: "The pointer must have at least 256-byte alignment"
SCRIBBLE = 0xAC  # what a run leaves in its activation memory


class IExecutionContext:
    def __init__(self, fake, engine):
        self._fake, self._engine, self._plan = fake, engine, engine._plan
        self._shapes, self._addresses, self._memory, self._size = {}, {}, None, engine._plan.memory
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
        network = numbers(self._plan.dims[name])
        if len(network) != len(shape) or any(want not in (-1, got) for want, got in zip(network, shape, strict=True)):
            raise Fault(f"{name}: {tuple(shape)} does not agree with the network's {network}")
        least, _, most = self._engine.get_tensor_profile_shape(name, 0)
        if any(not low <= dim <= high for low, dim, high in zip(least, shape, most, strict=True)):
            raise Fault(f"{name}: {tuple(shape)} exceeds the range {least} to {most} of profile 0")
        self._shapes[name] = tuple(shape)
        self._deferred = True
        self._changes.count += 1
        return True

    def get_tensor_shape(self, name):
        """Return a tensor's shape; -1 for a dimension that depends on an unset input shape, or on input values."""
        if name in self._plan.inputs:
            return self._shapes.get(name, numbers(self._plan.dims[name]))
        known = {dim: number for dim, number, _ in self._known()}
        return numbers([known.get(dim, dim) for dim in self._plan.dims[name]])

    def _known(self):
        for name, shape in self._shapes.items():
            yield from zip(self._plan.dims[name], shape, [name] * len(shape), strict=True)

    @answers(False)
    def set_tensor_address(self, name, memory):
        if name not in self._plan.dims:
            raise Fault(f"given invalid tensor name: {name}")
        if memory % ALIGNMENT:
            raise Fault(f"{name}: the address {memory:#x} is not aligned to {ALIGNMENT} bytes")
        self._addresses[name] = memory
        self._changes.count += 1
        return True

    @answers(0)
    def update_device_memory_size_for_shapes(self):
        """Return what the activations of the shapes that are set want; a size_t, so 0 and a logged error else."""
        for name in self._plan.inputs:
            if -1 in self.get_tensor_shape(name):
                raise Fault(f"the shape of {name} is not set")
        largest = {name: self._engine.get_tensor_profile_shape(name, 0)[2] for name in self._shapes}
        share = math.prod(math.prod(shape) / math.prod(largest[name]) for name, shape in self._shapes.items())
        self._size = -(-int(self._plan.memory * share) // ALIGNMENT) * ALIGNMENT
        self._changes.count += 1
        return self._size

    @answers(None)
    def set_device_memory(self, memory, size):
        """Return nothing, as TensorRT does: errors are in the log alone."""
        if memory % ALIGNMENT:
            raise Fault("the memory of activations is not aligned")
        if size < self._size:
            raise Fault(f"{size} bytes are fewer than the {self._size} of the engine")
        self._memory = memory
        self._changes.count += 1

    @answers(False)
    def execute_async_v3(self, stream_handle):
        cuda, plan = self._fake.cuda, self._plan
        bindings = {name: self._binding(name) for name in plan.dims}
        self._check_dims()
        if self._size and self._memory is None:
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
        scratch = [(self._memory, self._size)] if self._size else []
        reads, writes = (
            [(at, _size(*rest)) for at, *rest in map(bindings.get, n)] for n in (plan.inputs, plan.outputs)
        )
        run = self._work(bindings, scratch, self._changes.count if captured else None)
        cuda.enqueue(stream_handle, run, reads, writes + scratch)
        self._deferred = False
        return True

    def _binding(self, name):
        """Return (address, shape, dtype) of a tensor. Raises Fault where one is not set."""
        shape = self.get_tensor_shape(name)
        if -1 in shape:
            raise Fault(f"the shape of {name} is not set")
        if not self._addresses.get(name):
            raise Fault(f"no address is set for {name}")
        return self._addresses[name], shape, self._plan.dtypes[name]

    def _check_dims(self):
        """The developer guide, Named Dimensions: dimensions of one name are equal."""
        known = {}
        for dim, number, name in self._known():
            if isinstance(dim, str) and known.setdefault(dim, number) != number:
                raise Fault(f"{name}: its dimension {dim} is {number}, and {known[dim]} elsewhere")

    def _work(self, bindings, scratch, expected):
        """Return the work of one run, with the current shapes and addresses; it does not keep the context alive."""
        fake, plan, handle, changes = self._fake, self._plan, self._handle, self._changes

        def run(window):
            if handle not in fake.cuda.objects:
                fake.cuda.fault("a context is gone before its work is done")
            elif expected not in (None, changes.count):
                fake.cuda.fault("a graph is launched after the context that it was captured from was changed")
            if "run" in fake.fails:
                raise Fault(f"LAUNCH_FAILED: {fake.fails['run']}")
            values = fake.compute(plan, {name: np.array(window.array(*bindings[name])) for name in plan.inputs})
            for at, nbytes in scratch:
                window.array(at, (nbytes,), np.uint8)[:] = SCRIBBLE
            for name, value in values.items():
                assert value.shape == bindings[name][1]  # else it would be broadcast into binding
                window.array(*bindings[name])[...] = value

        return run


class RtxExecutionContext(IExecutionContext):
    """IExecutionContext of TensorRT for RTX."""

    def is_stream_capturable(self, stream):
        """1.2's release notes: "stream capture is not possible for all models"."""
        return "is_stream_capturable" not in self._fake.fails


def numbers(dims):
    return tuple(-1 if isinstance(dim, str) else dim for dim in dims)


def _size(shape, dtype):
    return math.prod(shape) * dtype.itemsize
