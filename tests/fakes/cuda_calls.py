"""The functions of tests/fakes/cuda.py for devices, contexts and memory, with their errors."""

# ruff: noqa: N802, N803
from __future__ import annotations

from tests.fakes.cuda_memory import Fault
from tests.fakes.cuda_streams import Work

PORTABLE, DEVICEMAP = 1, 2


def gives(count, context=True, starts=True, unsafe=False):
    """Declare a function's values, whether it needs a context, and is "potentially unsafe" in a capture."""

    def mark(function):
        function.gives, function.context, function.starts, function.unsafe = count, context, starts, unsafe
        return function

    return mark


def reads_value(kind):
    """Return the number of an argument that is a handle or a plain number, as the bindings accept it."""

    def value(self, given):
        if not isinstance(given, int | getattr(self._module, kind)):
            raise TypeError(f"wanted {kind}, got {given!r}")
        return int(given)

    return value


class MemoryCalls:
    """The driver functions; their names and parameters are those of the bindings."""

    def __init__(self, cuda, module):
        self._cuda, self._module = cuda, module

    _stream_handle, _event_handle = reads_value("CUstream"), reads_value("CUevent")
    _address, _device_index, _context_handle = (reads_value(k) for k in ("CUdeviceptr", "CUdevice", "CUcontext"))

    # Devices.

    @gives(0, context=False, starts=False)
    def cuInit(self, Flags):
        if Flags:
            raise Fault("INVALID_VALUE")
        self._cuda.started = True

    @gives(1, context=False, starts=False)
    def cuDriverGetVersion(self):
        return self._cuda.driver_version

    @gives(1, context=False)
    def cuDeviceGet(self, ordinal):
        if not 0 <= ordinal < len(self._cuda.devices):
            raise Fault("INVALID_DEVICE")
        return self._module.CUdevice(ordinal)

    @gives(1, context=False)
    def cuDeviceGetName(self, length, dev):
        # The binding hands over a buffer of blanks; CUDA ends the name in it with a zero.
        return (self._cuda.devices[self._device_index(dev)].name.encode() + b"\0").ljust(length, b" ")

    @gives(1, context=False)
    def cuDeviceTotalMem(self, dev):
        return self._cuda.devices[self._device_index(dev)].memory_bytes

    @gives(1, context=False)
    def cuDeviceGetAttribute(self, attrib, dev):
        if not isinstance(attrib, self._module.CUdevice_attribute):
            raise TypeError(f"wanted CUdevice_attribute, got {attrib!r}")
        device, kind = self._cuda.devices[self._device_index(dev)], self._module.CUdevice_attribute
        return {
            kind.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: device.compute_capability[0],
            kind.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: device.compute_capability[1],
            kind.CU_DEVICE_ATTRIBUTE_INTEGRATED: int(device.integrated),
        }[attrib]

    # Contexts.

    @gives(1, context=False)
    def cuCtxGetCurrent(self):
        return self._module.CUcontext(self._cuda.stack()[-1] if self._cuda.stack() else 0)

    @gives(1, context=False)
    def cuCtxGetDevice(self):
        return self._module.CUdevice(self._cuda.take("context", self._cuda.current()).device)

    @gives(0, context=False)
    def cuCtxPushCurrent(self, ctx):
        self._cuda.take("context", self._context_handle(ctx))
        self._cuda.stack().append(int(ctx))

    @gives(1, context=False)
    def cuCtxPopCurrent(self):
        if not self._cuda.stack():
            raise Fault("INVALID_CONTEXT")
        return self._module.CUcontext(self._cuda.stack().pop())

    @gives(0, context=False)
    def cuCtxSetCurrent(self, ctx):
        # "If ctx is NULL this will pop the CUDA context stack if not empty"; else it takes the place of the top.
        if self._cuda.stack():
            self._cuda.stack().pop()
        if self._context_handle(ctx):
            self._cuda.take("context", ctx)
            self._cuda.stack().append(int(ctx))

    @gives(2, context=False)
    def cuDevicePrimaryCtxGetState(self, dev):
        return 0, int(self._cuda.retained[self._device_index(dev)] > 0)

    @gives(0, context=False)
    def cuDevicePrimaryCtxSetFlags(self, dev, flags):
        self._device_index(dev)

    @gives(1, context=False)
    def cuDevicePrimaryCtxRetain(self, dev):
        return self._module.CUcontext(self._cuda.retain(self._device_index(dev)))

    @gives(0, context=False)
    def cuDevicePrimaryCtxRelease(self, dev):
        # "does not pop the context from stack in any circumstances"
        self._cuda.release(self._device_index(dev))

    @gives(0)
    def cuCtxSynchronize(self):
        here = self._cuda.current()
        self._cuda.refuse_in_capture()  # "a broader handle" than a stream, as the programming guide has it
        for stream in [*self._cuda.streams_of(here), *self._cuda.engine.orphans]:
            self._finish(stream)

    # Memory.

    @gives(2)
    def cuMemGetInfo(self):
        return self._cuda.room()

    @gives(1, unsafe=True)
    def cuMemAlloc(self, bytesize):
        if bytesize < 1:
            raise Fault("INVALID_VALUE")
        if bytesize > self._cuda.room()[0]:
            raise Fault("OUT_OF_MEMORY")
        return self._module.CUdeviceptr(self._cuda.new_block("device", bytesize).address)

    @gives(0, unsafe=True)
    def cuMemFree(self, dptr):
        self._cuda.free_block("device", self._address(dptr))

    @gives(1, unsafe=True)
    def cuMemHostAlloc(self, bytesize, Flags):
        if bytesize < 1 or Flags & ~(PORTABLE | DEVICEMAP):
            raise Fault("INVALID_VALUE")
        return self._cuda.new_block("pinned", bytesize, bool(Flags & DEVICEMAP)).address

    @gives(0, unsafe=True)
    def cuMemFreeHost(self, p):
        self._cuda.free_block("pinned", p)

    @gives(1)
    def cuMemHostGetDevicePointer(self, p, Flags):
        # The real one also answers for memory that is not mapped, where addresses are unified; its page says it fails.
        block, first, _ = self._cuda.memory.on_host(p, 1)
        if Flags or block.device_address is None:
            raise Fault("INVALID_VALUE")
        return self._module.CUdeviceptr(block.device_address + first)

    @gives(1)
    def cuPointerGetAttribute(self, attribute, ptr):
        if attribute != self._module.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
            raise Fault("INVALID_VALUE")
        block = self._cuda.memory.whose(self._address(ptr))
        if block is None:
            raise Fault("INVALID_VALUE")
        return self._cuda.take("context", block.context).device

    def _copy(self, hStream, reads, writes):
        (source, first, end), (target, start, stop) = reads, writes

        def copy(window):
            target.data[start:stop] = source.data[first:end]

        stream = self._cuda.take("stream", self._stream_handle(hStream))
        self._cuda.give(stream, Work(copy, [], [], [(*reads, False), (*writes, True)]))

    @gives(0)
    def cuMemcpyHtoDAsync(self, dstDevice, srcHost, ByteCount, hStream):
        memory = self._cuda.memory
        self._copy(hStream, memory.on_host(srcHost, ByteCount), memory.on_device(self._address(dstDevice), ByteCount))

    @gives(0)
    def cuMemcpyDtoHAsync(self, dstHost, srcDevice, ByteCount, hStream):
        memory = self._cuda.memory
        self._copy(hStream, memory.on_device(self._address(srcDevice), ByteCount), memory.on_host(dstHost, ByteCount))

    @gives(0)
    def cuMemcpyDtoDAsync(self, dstDevice, srcDevice, ByteCount, hStream):
        source, target = (
            self._cuda.memory.on_device(self._address(each), ByteCount) for each in (srcDevice, dstDevice)
        )
        self._copy(hStream, source, target)

    @gives(0)
    def cuMemsetD8Async(self, dstDevice, uc, N, hStream):
        if not 0 <= uc <= 255:
            raise OverflowError(f"value {uc} does not fit an unsigned char")  # as the bindings make one of it
        part = block, first, end = self._cuda.memory.on_device(self._address(dstDevice), N)
        stream = self._cuda.take("stream", self._stream_handle(hStream))
        self._cuda.give(stream, Work(lambda window: block.data[first:end].fill(uc), [], [], [(*part, True)]))

    def _finish(self, stream):
        self._guard(lambda: self._cuda.engine.reach(self._cuda.engine.mark(stream)))

    def _guard(self, run):
        """Return errors of earlier work, which a wait reports."""
        try:
            run()
        except Fault:
            raise
        except Exception as error:
            raise Fault(f"LAUNCH_FAILED: work raised {error!r}") from error
