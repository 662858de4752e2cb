"""A fake of onnxruntime-gpu with one GPU: its sessions compute on the CPU, its memory is out of the host's reach.

It holds only names that the installed onnxruntime has, with their arguments (tests/backends/onnxruntime/test_gpu.py).
What each does is
what onnxruntime.ai/docs/api/python/api_summary and /docs/performance/tune-performance/iobinding say of it: an input of
the host is copied when it is bound, an output lies where it was bound to, in memory that each run makes.
"""

from __future__ import annotations

import weakref
from collections import Counter

import numpy as np
import onnxruntime

PROVIDERS = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")


class FakeOrtGpu:
    """`alive` are the values on the GPU, `fetched` and `sent` the bytes that went to the host and came from it."""

    def __init__(self, starts=PROVIDERS):
        """`starts` are those of the providers that find what they need."""
        self.starts = starts
        self.alive, self.moved = weakref.WeakSet(), Counter()
        self.calls = []  # (graph, provider, options) of each session
        self._real = onnxruntime.InferenceSession

    def install(self, monkeypatch):
        from nanoseg.backends.onnxruntime import gpu

        # Once a process, of libraries that this machine has not.
        monkeypatch.setattr(gpu, "_load_libraries", lambda: "")
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(PROVIDERS))
        monkeypatch.setattr(onnxruntime, "InferenceSession", self.session)
        return self

    def session(self, path_or_bytes, sess_options=None, providers=None, provider_options=None, **kwargs):
        named = [(each, {}) if isinstance(each, str) else each for each in providers]
        assert all(name in PROVIDERS for name, _ in named), "ONNX Runtime refuses names that it does not know"
        assert all(isinstance(value, str) for _, options in named for value in options.values())
        started = [(name, options) for name, options in named if name in self.starts]
        self.calls.append((path_or_bytes, *started[0]))
        computes = self._real(path_or_bytes, sess_options, providers=["CPUExecutionProvider"], **kwargs)
        if started[0][0] == "CPUExecutionProvider":
            return computes
        return InferenceSession(self, computes, [name for name, _ in started])


class InferenceSession:
    """One on the GPU; run() is left out, as what it gives comes to the host."""

    def __init__(self, gpu, computes, providers):
        self._gpu, self._computes, self._providers = gpu, computes, providers

    def get_providers(self):
        return self._providers

    def get_inputs(self):
        return self._computes.get_inputs()

    def get_outputs(self):
        return self._computes.get_outputs()

    def io_binding(self):
        return IOBinding(self)

    def run_with_iobinding(self, iobinding, run_options=None):
        if iobinding._session is not self:
            raise ValueError("IOBinding must be used with the session that created it.")
        if not iobinding._settled:
            raise RuntimeError("an input may still be on its way: synchronize_inputs()")
        names = list(iobinding._to)
        feeds = {name: value._array for name, value in iobinding._inputs.items()}
        outputs = self._computes.run(names, feeds)
        iobinding._outputs = [
            OrtValue(self, array.copy(), iobinding._to[name]) for name, array in zip(names, outputs, strict=True)
        ]
        self._gpu.moved["fetched"] += sum(
            array.nbytes for name, array in zip(names, outputs, strict=True) if iobinding._to[name] == "cpu"
        )


class IOBinding:
    def __init__(self, session):
        self._session, self._inputs, self._to, self._outputs = session, {}, {}, []
        self._settled = True

    def bind_cpu_input(self, name, arr_on_cpu):
        assert arr_on_cpu.flags.c_contiguous
        self._inputs[name] = OrtValue(self._session, arr_on_cpu.copy(), "cuda")
        self._settled = False
        self._session._gpu.moved["sent"] += arr_on_cpu.nbytes

    def bind_ortvalue_input(self, name, ortvalue):
        ortvalue._check()
        self._inputs[name] = ortvalue

    def bind_output(self, name, device_type="cpu", device_id=0, element_type=None, shape=None, buffer_ptr=None):
        assert device_type in ("cpu", "cuda")
        assert device_id == 0
        assert buffer_ptr is None, "not supported by this fake"
        self._to[name] = device_type

    def synchronize_inputs(self):
        self._settled = True

    def synchronize_outputs(self):
        pass

    def get_outputs(self):
        return self._outputs


class OrtValue:
    """Memory of a session: not to be touched once that is gone."""

    def __init__(self, session, array, device_type):
        self._of, self._array, self._device = weakref.ref(session), array, device_type
        self._gpu = session._gpu
        if device_type == "cuda":
            self._gpu.alive.add(self)

    def shape(self):
        return list(self._array.shape)

    def device_name(self):
        return self._device

    def numpy(self):
        self._check()
        if self._device == "cuda":
            self._gpu.moved["fetched"] += self._array.nbytes
            return self._array.copy()
        return np.asarray(self._array)

    def _check(self):
        assert self._device == "cpu" or self._of() is not None, "the session that this memory was of is gone"
