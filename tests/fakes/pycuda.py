"""A strict fake of pycuda.driver and of libcuda, with the functions that nanoseg calls, over tests/fakes/cuda.py.

What it does is read off pycuda 2026.1's src/cpp/cuda.hpp: a stack of contexts of its own for each thread, objects that
are freed where that stack has their context on top, and an abort of the process where a thread ends with something on
it, which is a fault here. Names are those of tests/data/cuda-api/pycuda.json.
"""

from __future__ import annotations

import ctypes
import enum
import sys
import threading
import types

import numpy as np

WORDS = {"OUT_OF_MEMORY": "out of memory", "INVALID_CONTEXT": "invalid device context", "NO_DEVICE": "no device"}
INTEGRATED, MAJOR, MINOR = 18, 75, 76


class Error(Exception):
    pass


class LogicError(Error):
    pass


class MemoryError(Error, MemoryError):
    pass


class FakePycuda:
    """The fake `module` and libcuda, `library`; call check() at the end, as FakeCuda's."""

    def __init__(self, cuda):
        self.cuda, self.stacks = cuda, {}
        self.module = types.ModuleType("pycuda.driver")
        for each in (Error, LogicError, MemoryError, *classes(self)):
            setattr(self.module, each.__name__, each)
        for name in ("init", "mem_alloc", "mem_get_info", "pagelocked_empty"):
            setattr(self.module, name, getattr(self, name))
        for name in ("memcpy_htod_async", "memcpy_dtoh_async", "memcpy_dtod_async", "memset_d8_async"):
            setattr(self.module, name, getattr(self, name))
        self.library = Library(cuda)

    def ask(self, function, *arguments):
        code, *values = getattr(self.cuda.module, function)(*arguments)
        if code:
            name = code.name.removeprefix("CUDA_ERROR_")
            kind = MemoryError if name == "OUT_OF_MEMORY" else LogicError
            raise kind(f"{function} failed: {WORDS.get(name, name.lower().replace('_', ' '))}")
        return values[0] if len(values) == 1 else values

    def stack(self):
        return self.stacks.setdefault(threading.get_ident(), [])

    def top(self):
        """Return the context of a new object: explicit_context_dependent::acquire_context."""
        if not self.stack():
            raise LogicError("explicit_context_dependent failed: invalid device context - no currently active context?")
        return self.stack()[-1]

    def free(self, context, function, handle):
        """Do scoped_context_activation, and record a fault where pycuda would warn."""
        if self.stack() and self.stack()[-1] is context:
            self.ask(function, handle)
        elif threading.get_ident() != context.thread:
            self.cuda.fault(f"{function}: out-of-thread context could not be cleaned up")
        else:
            context.push()
            self.ask(function, handle)
            context.pop()

    def init(self, flags=0):
        self.ask("cuInit", flags)

    def mem_get_info(self):
        return tuple(self.ask("cuMemGetInfo"))

    def mem_alloc(self, nbytes, /):
        return self.module.DeviceAllocation(int(self.ask("cuMemAlloc", nbytes)))

    def pagelocked_empty(self, shape, dtype, order="C", mem_flags=0):
        nbytes = shape * np.dtype(dtype).itemsize
        return np.asarray(self.module.PagelockedHostAllocation(self.ask("cuMemHostAlloc", nbytes, mem_flags), nbytes))

    def memcpy_htod_async(self, dest, src, stream=None):
        view = memoryview(src)
        self.ask("cuMemcpyHtoDAsync", dest, ctypes.addressof(src), view.nbytes, stream.handle)

    def memcpy_dtoh_async(self, dest, src, stream=None):
        self.ask("cuMemcpyDtoHAsync", ctypes.addressof(dest), src, memoryview(dest).nbytes, stream.handle)

    def memcpy_dtod_async(self, dest, src, size, stream=None):
        self.ask("cuMemcpyDtoDAsync", dest, src, size, stream.handle)

    def memset_d8_async(self, dest, data, size, stream=None):
        self.ask("cuMemsetD8Async", dest, data, size, stream.handle)

    def install(self, monkeypatch):
        """Install pycuda, and no cuda-bindings."""
        for name, module in (
            *(("cuda", None), ("cuda.bindings", None), ("cuda.bindings.driver", None)),
            *(("pycuda", types.ModuleType("pycuda")), ("pycuda.driver", self.module)),
        ):
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(ctypes, "CDLL", lambda name: self.library)
        return self

    def check(self):
        assert not any(self.stacks.values()), "a thread that ends with a context on pycuda's stack aborts the process"
        self.cuda.check()


def classes(pycuda):
    """Return pycuda's classes, all of one fake driver."""
    ask = pycuda.ask

    class Device:
        def __init__(self, number):
            self._device = ask("cuDeviceGet", number)

        def name(self):
            return ask("cuDeviceGetName", 1024, self._device).split(b"\0")[0].decode()

        def total_memory(self):
            return ask("cuDeviceTotalMem", self._device)

        def get_attribute(self, attr):
            return ask("cuDeviceGetAttribute", pycuda.cuda.module.CUdevice_attribute(attr), self._device)

        def retain_primary_context(self):
            return Context(ask("cuDevicePrimaryCtxRetain", self._device), self._device)

    class Context:
        def __init__(self, context, device=None):
            self._context, self._device = context, device  # a device: it was retained
            self.thread = threading.get_ident()

        def __eq__(self, other):
            return isinstance(other, Context) and self.handle == other.handle

        def __hash__(self):
            return self.handle

        @property
        def handle(self):
            return int(self._context)

        def push(self):
            if pycuda.stack():
                ask("cuCtxPopCurrent")
            ask("cuCtxPushCurrent", self._context)
            pycuda.stack().append(self)

        @staticmethod
        def pop():
            if not pycuda.stack():
                raise LogicError("context::pop failed: invalid device context - cannot pop non-current context")
            ask("cuCtxPopCurrent")
            pycuda.stack().pop()
            if pycuda.stack():
                ask("cuCtxPushCurrent", pycuda.stack()[-1]._context)

        def detach(self):
            if pycuda.stack() and pycuda.stack()[-1] is self:
                ask("cuDevicePrimaryCtxRelease", self._device)
            elif self.thread == threading.get_ident():
                ask("cuCtxPushCurrent", self._context)
                ask("cuDevicePrimaryCtxRelease", self._device)  # "pop is implicit in detach": not here

        @staticmethod
        def get_current():
            return pycuda.stack()[-1] if pycuda.stack() else None

        @staticmethod
        def get_device():
            device = Device.__new__(Device)
            device._device = ask("cuCtxGetDevice")
            return device

        @staticmethod
        def synchronize():
            ask("cuCtxSynchronize")

    class Owned:
        def __init__(self, handle, function):
            self._owner, self._handle, self._function = pycuda.top(), handle, function

        def __del__(self):
            if self._handle is not None:
                self.free()

        def free(self):
            handle, self._handle = self._handle, None
            pycuda.free(self._owner, self._function, handle)

    class DeviceAllocation(Owned):
        def __init__(self, address):
            super().__init__(address, "cuMemFree")

        def __int__(self):
            return self._handle

    class PagelockedHostAllocation(Owned):
        def __init__(self, address, nbytes):
            super().__init__(address, "cuMemFreeHost")
            self.__array_interface__ = {"shape": (nbytes,), "typestr": "|u1", "data": (address, False), "version": 3}

        def get_device_pointer(self):
            return int(ask("cuMemHostGetDevicePointer", self._handle, 0))

    class Stream(Owned):
        def __init__(self, flags=0):
            super().__init__(ask("cuStreamCreate", flags), "cuStreamDestroy")

        @property
        def handle(self):
            return int(self._handle)

        def synchronize(self):
            ask("cuStreamSynchronize", self._handle)

        def wait_for_event(self, event):
            ask("cuStreamWaitEvent", self._handle, event._handle, 0)

    class Event(Owned):
        def __init__(self, flags=0):
            super().__init__(ask("cuEventCreate", int(flags)), "cuEventDestroy")

        def record(self, stream=None):
            ask("cuEventRecord", self._handle, stream.handle)
            return self

        def synchronize(self):
            ask("cuEventSynchronize", self._handle)
            return self

        def query(self):
            code = pycuda.cuda.module.cuEventQuery(self._handle)[0]
            if code.name not in ("CUDA_SUCCESS", "CUDA_ERROR_NOT_READY"):
                raise LogicError(f"cuEventQuery failed: {code.name}")
            return code == 0

        def time_since(self, event):
            return ask("cuEventElapsedTime", event._handle, self._handle)

    device_attribute = enum.IntEnum(
        "device_attribute",
        {"INTEGRATED": INTEGRATED, "COMPUTE_CAPABILITY_MAJOR": MAJOR, "COMPUTE_CAPABILITY_MINOR": MINOR},
    )
    event_flags = enum.IntEnum("event_flags", {"DEFAULT": 0, "BLOCKING_SYNC": 1, "DISABLE_TIMING": 2})

    class host_alloc_flags:  # noqa: N801
        PORTABLE, DEVICEMAP = 1, 2

    made = (Device, Context, DeviceAllocation, PagelockedHostAllocation, Stream, Event)
    return (*made, device_attribute, event_flags, host_alloc_flags)


class Library:
    """A fake of libcuda, called through ctypes."""

    def __init__(self, cuda):
        self._cuda = cuda

    def _ask(self, function, *arguments):
        return getattr(self._cuda.module, function)(*arguments)

    def cuCtxGetCurrent(self, pctx):  # noqa: N802
        code, context = self._ask("cuCtxGetCurrent")
        pctx._obj.value = int(context) or None
        return code

    def cuCtxSetCurrent(self, ctx):  # noqa: N802
        return self._ask("cuCtxSetCurrent", ctx.value or 0)[0]

    def cuCtxPopCurrent_v2(self, pctx):  # noqa: N802
        return self._ask("cuCtxPopCurrent")[0]

    def cuCtxGetDevice(self, device):  # noqa: N802
        code, found = self._ask("cuCtxGetDevice")
        device._obj.value = int(found or 0)
        return code

    def cuPointerGetAttribute(self, data, attribute, ptr):  # noqa: N802
        code, ordinal = self._ask("cuPointerGetAttribute", attribute, ptr.value)
        data._obj.value = int(ordinal or 0)
        return code

    def cuGetErrorName(self, error, text):  # noqa: N802
        text._obj.value = self._cuda.module.CUresult(error).name.encode()
        return 0
