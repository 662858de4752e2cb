"""A fake GPU with a context, in short words."""

import numpy as np
import pytest

from tests.fakes.cuda import FakeCuda
from tests.fakes.cuda_memory import Fault

LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL


class Machine:
    """A fake with a context, and short words for what tests do to it; a word gives the value, or raises the code."""

    def __init__(self):
        self.fake = FakeCuda()
        self("Init", 0)
        self("CtxPushCurrent", self("DevicePrimaryCtxRetain", 0))

    def __call__(self, function, *arguments):
        code, *values = getattr(self.fake.module, f"cu{function}")(*arguments)
        if code:
            raise Fault(code.name.removeprefix("CUDA_ERROR_"))
        return values[0] if len(values) == 1 else tuple(values)

    def stream(self):
        return self("StreamCreate", 1)

    def event(self):
        return self("EventCreate", 2)

    def device(self, nbytes=16):
        return int(self("MemAlloc", nbytes))

    def host(self, nbytes=16, flags=1):
        return self("MemHostAlloc", nbytes, flags)

    def capture(self, stream):
        self("StreamBeginCapture", stream, self.fake.module.CUstreamCaptureMode(LOCAL))

    def graph(self, stream):
        return self("GraphInstantiate", self("StreamEndCapture", stream), 0)

    def fill(self, stream, address, value, nbytes=16):
        def operation(window):
            window.array(address, (nbytes,), np.uint8)[...] = value

        self.fake.enqueue(stream, operation, writes=[(address, nbytes)])

    def at(self, address, nbytes=16):
        return set(self.fake.array(address, (nbytes,), np.uint8).tolist())

    def refuses(self, code, function, *arguments, fault=""):
        with pytest.raises(Fault, match=f"^{code}$"):
            self(function, *arguments)
        faults = self.fake.take_faults()
        assert len(faults) == bool(fault)
        if fault:
            assert fault in faults[0]
