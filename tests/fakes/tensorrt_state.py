"""The state of tests/fakes/tensorrt_runtime.py: logged messages, forced failures, and live objects."""

from __future__ import annotations

import sys
from collections import Counter
from typing import NamedTuple
from weakref import WeakSet, finalize

from nanoseg.engines.device import LIBRARIES
from tests.fakes.cuda_memory import Fault
from tests.fakes.tensorrt import Severity


class Alive(NamedTuple):
    """An entry of cuda.objects."""

    context: int


class FakeTrt:
    """The state of one fake module."""

    def __init__(self, cuda, version, kind):
        self.cuda, self.version, self.kind = cuda, version, kind
        self.fails, self.text, self.calls = {}, [], Counter()
        self.seen = None
        self.logger, self.runtimes = None, WeakSet()
        self.module = None
        # cudaGetLastError tells whoever asks next what went wrong last: trtexec cleans that up after a capture.
        self.stale = False

    def install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, LIBRARIES[self.kind].module, self.module)
        return self.module

    def register(self, runtime, logger):
        """Log TensorRT's warning: "TensorRT maintains only a single logger pointer at any given time"."""
        if not self.runtimes:
            self.logger = logger
        elif logger is not self.logger:
            self.say("logger passed into createInferRuntime differs from one already provided", Severity.WARNING)
        self.runtimes.add(runtime)

    def say(self, words, severity=Severity.ERROR):
        self.text.append(words)
        self.logger.log(severity, words)

    def compute(self, plan, feeds):
        """Return the outputs of a plan, by name."""
        if self.seen is None:
            return plan.run(feeds)
        key = plan, *((value.shape, value.tobytes()) for value in feeds.values())
        if key not in self.seen:
            self.seen[key] = plan.run(feeds)
        return self.seen[key]

    def own(self, owner, kind):
        """Count `owner` as alive until it is garbage collected; returns its handle."""
        handle = self.cuda.add(kind, Alive(self.cuda.current()))
        finalize(owner, self.gone, handle).atexit = False
        return handle

    def gone(self, handle):
        """Free it; its context must be current, as for cudaFree, which uses the primary context otherwise."""
        kind, made = self.cuda.objects.pop(handle)
        if self.cuda.stack()[-1:] != [made.context]:
            self.cuda.fault(f"a {kind} is destroyed where the context that it was made in is not current")


def answers(refused):
    """Decorate a function to log its Fault and return `refused`; tests can force its failure."""

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
