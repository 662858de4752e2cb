"""Progress of TensorRT's builder, and a way to stop it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ProgressCallback = Callable[[float, str], None]  # fraction of the build that is done, 0 to 1; the current phase


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class Phases:
    """TensorRT's nested build phases as one fraction that never decreases; a phase fills one step of its parent."""

    def __init__(self) -> None:
        self._active: dict[str, _Phase] = {}
        self._reported = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Begin a phase; `parent` is None for the whole build."""
        self._active[name] = _Phase(parent, max(steps, 1))

    def step(self, name: str, step: int) -> None:
        """Mark step number `step`, from 0, as done."""
        if name in self._active:
            self._active[name].done = step + 1

    def finish(self, name: str) -> None:
        """End a phase, perhaps before its last step."""
        self._active.pop(name, None)

    @property
    def fraction(self) -> float:
        """The fraction of the build that is done, 0 to 1."""
        self._reported = max(self._reported, self._inside(None))
        return self._reported

    def _inside(self, parent: str | None) -> float:
        return max((self._done(name, each) for name, each in self._active.items() if each.parent == parent), default=0)

    def _done(self, name: str, phase: _Phase) -> float:
        return min(1.0, (phase.done + self._inside(name)) / phase.steps)


def progress_monitor(api: Any, progress: ProgressCallback, stop: threading.Event) -> Any:
    """Return an IProgressMonitor of `api` that calls `progress`, and ends the build once `stop` is set.

    Its attribute `failed` is the exception that `progress` raised, which also ends the build: no exception can pass
    through TensorRT.
    """

    class Monitor(api.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            api.IProgressMonitor.__init__(self)
            self.failed: Exception | None = None
            self._phases = Phases()
            self._lock = threading.Lock()  # TensorRT may call from several threads

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with self._lock:
                self._phases.start(phase_name, parent_phase, num_steps)
                done = self._phases.fraction
            self._report(done, phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self._lock:
                self._phases.step(phase_name, step)
                done = self._phases.fraction
            self._report(done, phase_name)
            return not stop.is_set() and self.failed is None

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                self._phases.finish(phase_name)

        def _report(self, done: float, phase: str) -> None:
            if stop.is_set() or self.failed is not None:
                return
            try:
                progress(done, phase)
            except Exception as error:
                self.failed = error

    return Monitor()
