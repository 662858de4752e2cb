"""How far TensorRT's builder is, and a word to stop it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Report = Callable[[float, str], None]  # how much of the whole is done, 0 to 1, and what is being done


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class Phases:
    """TensorRT's phases, each inside one step of its parent's, as one number that never falls."""

    def __init__(self) -> None:
        self._under_way: dict[str, _Phase] = {}
        self._most = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """`parent` is None for the whole."""
        self._under_way[name] = _Phase(parent, max(steps, 1))

    def step(self, name: str, step: int) -> None:
        """Step number `step`, from 0, is done."""
        if name in self._under_way:
            self._under_way[name].done = step + 1

    def finish(self, name: str) -> None:
        """It is done, perhaps before its last step."""
        self._under_way.pop(name, None)

    @property
    def fraction(self) -> float:
        """How much of the whole is done, 0 to 1."""
        self._most = max(self._most, self._inside(None))
        return self._most

    def _inside(self, parent: str | None) -> float:
        return max(
            (self._done(name, each) for name, each in self._under_way.items() if each.parent == parent), default=0
        )

    def _done(self, name: str, phase: _Phase) -> float:
        return min(1.0, (phase.done + self._inside(name)) / phase.steps)


def progress_monitor(api: Any, report: Report, stop: threading.Event) -> Any:
    """TensorRT's IProgressMonitor that reports, and ends the build once `stop` is set.

    It has `failed`: what `report` raised, which ends the build, too; nothing may be raised through TensorRT.
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
            self._tell(done, phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self._lock:
                self._phases.step(phase_name, step)
                done = self._phases.fraction
            self._tell(done, phase_name)
            return not stop.is_set() and self.failed is None

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                self._phases.finish(phase_name)

        def _tell(self, done: float, doing: str) -> None:
            if stop.is_set() or self.failed is not None:
                return
            try:
                report(done, doing)
            except Exception as error:
                self.failed = error

    return Monitor()
