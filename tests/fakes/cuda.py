"""A strict fake of cuda.bindings.driver over a fake GPU, with the functions that nanoseg calls.

    fake = FakeCuda()                 a GPU, or several; version="13" for the other bindings
    fake.install(monkeypatch)         import cuda.bindings.driver finds it
    fake.enqueue(stream.handle, operation, reads, writes)      work such as TensorRT puts on a stream
    fake.array(address, shape, dtype) what lies on the GPU, to look at or to set
    fake.fails["cuMemAlloc"] = "OUT_OF_MEMORY"                 cuStreamEndCapture ends it nevertheless
    fake.alive, fake.allocations      what is there now, and how much was ever made, by kind
    fake.check()                      at the end: nothing was misused, nothing is left

Where the real driver would go on with wrong bytes or bring the process down, the fake keeps a fault for check().
Each function does as the page of the CUDA driver API says that bears its name (docs.nvidia.com/cuda/cuda-driver-api);
where a rule comes from elsewhere, a comment names it. Names, arguments and enums are those of tests/data/cuda-api.
"""

from __future__ import annotations

import enum
import functools
import json
import sys
import threading
import types
from collections import Counter
from typing import NamedTuple

from tests.fakes.cuda_memory import Fault, Memory
from tests.fakes.cuda_stream_calls import Calls
from tests.fakes.cuda_streams import Engine, Work
from tests.helpers.paths import DATA

API = DATA / "cuda-api"
VERSIONS = {"12.9": 12090, "13": 13000}
HANDLES = ("CUdevice", "CUcontext", "CUdeviceptr", "CUstream", "CUevent", "CUgraph", "CUgraphExec")
STICKY = ("ILLEGAL_ADDRESS", "LAUNCH_FAILED")  # "leaves the process in an inconsistent state", CUresult


@functools.cache
def names_of(version):
    """Return the names of the real module, from tests/data/cuda-api."""
    return json.loads((API / f"{version}.json").read_text())


class FakeDevice(NamedTuple):
    name: str = "NVIDIA GeForce RTX 4090"
    compute_capability: tuple = (8, 9)
    integrated: bool = False
    memory_bytes: int = 24 << 30


ORIN = FakeDevice("Orin", (8, 7), True, 7_987_728_384)


class Context(NamedTuple):
    device: int
    primary: bool


class FakeCuda:
    """The state of the fake driver; its functions are in Calls."""

    def __init__(self, *devices, version="12.9", driver_version=None):
        self.devices = devices or (FakeDevice(),)
        self.memory = Memory()
        self.engine = Engine(self.memory)
        self.driver_version = driver_version or VERSIONS[version]
        self.fails, self.calls, self.allocations = {}, Counter(), Counter()
        self.started, self.broken = False, None
        self.objects, self.retained = {}, Counter()  # by handle; and primary contexts, by device
        self.captures = []
        self.local = threading.local()  # "the context stack of the calling CPU thread"
        self.lock = threading.RLock()
        self._next = 0x1000
        self.module = self._module(names_of(version), VERSIONS[version])

    def _module(self, api, version):
        module = types.ModuleType("cuda.bindings.driver")
        for name, members in api["enums"].items():
            setattr(module, name, enum.IntEnum(name, members))
        for name in HANDLES:
            setattr(module, name, type(name, (Handle,), {}))
        module.CUDA_VERSION, module.CU_MEMHOSTALLOC_PORTABLE, module.CU_MEMHOSTALLOC_DEVICEMAP = version, 1, 2
        functions = Calls(self, module)
        for name in dir(functions):
            if name.startswith("cu"):
                setattr(module, name, self._checked(name, getattr(functions, name)))
        return module

    def _checked(self, name, function):
        """Return the function as the bindings have it, which returns a tuple of the code and its values."""
        codes, gives = self.module_codes, function.gives

        @functools.wraps(function)
        def checked(*arguments):
            with self.lock:
                self.calls[name] += 1
                try:
                    if name in self.fails and name != "cuStreamEndCapture":
                        raise Fault(self.fails[name])
                    self._may(function)
                    got = function(*arguments)
                except Fault as fault:
                    code, _, what = str(fault).partition(": ")
                    if what:
                        self.fault(f"{name}: {what}")
                    if code in STICKY:
                        self.broken = code
                    return (codes(code), *[None] * gives)
            got = got if gives > 1 else (got,) if gives else ()
            return (codes("SUCCESS"), *got)

        return checked

    def module_codes(self, name):
        return self.module.CUresult[f"CUDA_{name}" if name == "SUCCESS" else f"CUDA_ERROR_{name}"]

    def _may(self, function):
        if not self.started and function.starts:
            raise Fault("NOT_INITIALIZED")
        if function.context:
            self.current()
            if self.broken:
                raise Fault(self.broken)
        if function.unsafe:
            self.refuse_in_capture(threading.get_ident())

    def refuse_in_capture(self, thread=None):
        """cuThreadExchangeStreamCaptureMode: "potentially unsafe" calls are prohibited, and invalidate the capture."""
        modes = self.module.CUstreamCaptureMode
        there = [
            each
            for each in self.captures
            if thread is None
            or (each.thread == thread and each.mode != modes.CU_STREAM_CAPTURE_MODE_RELAXED)
            or each.mode == modes.CU_STREAM_CAPTURE_MODE_GLOBAL
        ]
        for capture in there:
            capture.broken = True
        if there:
            raise Fault("STREAM_CAPTURE_UNSUPPORTED")

    def stack(self):
        if not hasattr(self.local, "stack"):
            self.local.stack = []
        return self.local.stack

    def current(self):
        """Return the handle of this thread's current context. Raises Fault."""
        if not self.stack():
            raise Fault("INVALID_CONTEXT")
        if self.stack()[-1] not in self.objects:
            raise Fault("CONTEXT_IS_DESTROYED")
        return self.stack()[-1]

    def add(self, kind, thing):
        """Return a new handle."""
        self._next += 0x10
        self.objects[self._next] = (kind, thing)
        self.allocations[kind] += 1
        return self._next

    def take(self, kind, handle, remove=False):
        """Return the object of a handle of a kind. Raises Fault."""
        given, thing = self.objects.get(int(handle), (None, None))
        if given != kind:
            raise Fault(f"INVALID_HANDLE: {int(handle):#x} is no {kind} that is there")
        if kind in ("stream", "event") and thing.context != self.current():
            raise Fault(f"INVALID_HANDLE: a {kind} of another context than the current one")
        if remove:
            del self.objects[int(handle)]
        return thing

    def streams_of(self, context):
        return [thing for kind, thing in self.objects.values() if kind == "stream" and thing.context == context]

    def retain(self, device):
        """Retain a device's primary context and return its handle; a new one after the last was released."""
        self.retained[device] += 1
        for handle, (kind, thing) in self.objects.items():
            if kind == "context" and thing == Context(device, True):
                return handle
        return self.add("context", Context(device, True))

    def release(self, device):
        if not self.retained[device]:
            raise Fault("INVALID_CONTEXT")
        self.retained[device] -= 1
        if self.retained[device]:
            return
        handle = next(handle for handle, (_, thing) in self.objects.items() if thing == Context(device, True))
        left = [kind for kind, thing in self.objects.values() if getattr(thing, "context", None) == handle]
        left += [each.kind for each in self.memory.blocks if each.context == handle and not each.freed]
        if left:
            self.fault(f"the primary context goes with {', '.join(left)} in it")
        del self.objects[handle]

    def room(self):
        """Return (free, total) bytes of the device in use."""
        device = self.take("context", self.current()).device
        contexts = (handle for handle, (kind, _) in self.objects.items() if kind == "context")
        here = {handle for handle in contexts if self.objects[handle][1].device == device}
        blocks = (each for each in self.memory.blocks if each.kind == "device" and not each.freed)
        taken = sum(each.nbytes for each in blocks if each.context in here)
        return self.devices[device].memory_bytes - taken, self.devices[device].memory_bytes

    def new_block(self, kind, nbytes, mapped=False):
        self.allocations[kind] += 1
        return self.memory.new(kind, self.current(), nbytes, mapped)

    def free_block(self, kind, address):
        block = next((b for b in self.memory.blocks if b.kind == kind and b.address == address and not b.freed), None)
        if block is None:
            raise Fault(f"INVALID_VALUE: no {kind} memory to free at {address:#x}, or freed before")
        if self.engine.in_use(block):
            self.fault(f"{kind} memory is freed before the work on it is waited for")
        self.memory.free(block)

    def fault(self, what):
        self.engine.faults.append(what)

    @property
    def alive(self):
        kinds = Counter(kind for kind, _ in self.objects.values() if kind != "context")
        kinds.update(each.kind for each in self.memory.blocks if not each.freed)
        kinds["primary"] = sum(self.retained.values())
        return +kinds

    def array(self, address, shape, dtype):
        return self.memory.array(address, shape, dtype)

    def enqueue(self, stream_handle, operation, reads=(), writes=()):
        """Enqueue work on a stream. `operation` gets a Window when it runs; reads and writes are (address, bytes).

        Raises Fault where a library would get an error code.
        """
        with self.lock:
            stream = self.take("stream", stream_handle)
            parts = [(*self.memory.on_device(*each), False) for each in reads]
            parts += [(*self.memory.on_device(*each), True) for each in writes]
            self.give(stream, Work(operation, list(reads), list(writes), parts))

    def give(self, stream, work):
        if stream.capture and stream.capture.broken:
            raise Fault("STREAM_CAPTURE_INVALIDATED")
        self.engine.give(stream, work)

    def create_context(self, device=0):
        """Create and push another library's context, as cuCtxCreate does; returns its handle."""
        self.started = True
        handle = self.add("context", Context(device, False))
        self.stack().append(handle)
        return handle

    def destroy_context(self, handle):
        del self.objects[handle]

    def take_faults(self):
        """Return and clear the faults so far, so that check() does not see them."""
        faults, self.engine.faults = self.engine.faults, []
        return faults

    def check(self):
        assert not self.engine.faults, self.engine.faults
        assert not self.memory.written_after_free()
        assert not self.alive, f"left over: {dict(self.alive)}"

    def install(self, monkeypatch):
        for name in ("cuda", "cuda.bindings"):
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        monkeypatch.setitem(sys.modules, "cuda.bindings.driver", self.module)
        return self


class Handle:
    """A handle type of the bindings, such as CUstream: a number with a type."""

    def __init__(self, init_value=0):
        self._value = int(init_value)

    def __int__(self):
        return self._value

    def __eq__(self, other):
        return type(other) is type(self) and int(other) == self._value

    def __hash__(self):
        return hash((type(self).__name__, self._value))

    def __repr__(self):
        return f"<{type(self).__name__} {self._value:#x}>"
