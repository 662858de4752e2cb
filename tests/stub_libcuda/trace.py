"""The trace of the stub driver: who may touch which bytes when, and what is left at the end.

Each piece of work knows what is certainly done before it, by a clock for each stream and one of the host's waits. Two
pieces of work of different streams that touch the same bytes, one of them writing, must know each other; memory may be
freed once the host knows all work on it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

_KEPT = 256  # accesses, before those that the host has waited for are dropped


class Access(NamedTuple):
    stream: int
    sequence: int
    first: int
    end: int
    writes: bool


class Trace:
    """What a process did on the stub driver; `faults` is empty where it kept order and lifetimes."""

    def __init__(self, path: Path) -> None:
        self.faults: list[str] = []
        self.made: Counter[str] = Counter()  # by kind, ever
        self.alive: dict[tuple[str, str], int] = {}  # (kind, name): bytes
        self.made_at: dict[str, Counter[str]] = {}  # `made` at each mark
        self.priorities: dict[int, int] = {}  # of streams
        self.event_flags: Counter[int] = Counter()
        self.context_flags: list[int] = []
        self.launches: dict[str, list[list[str]]] = {}  # what each launch of a graph did
        self.calls: Counter[str] = Counter()
        self._host: dict[int, int] = {}
        self._clocks: dict[int, dict[int, int]] = {}
        self._events: dict[tuple[str, str], dict[int, int]] = {}
        self._accesses: list[Access] = []
        self._current: list[str] | None = None  # the work of the graph that is being launched
        for line in path.read_text().splitlines():
            kind, *words = line.split()
            self.calls[kind] += 1
            if self._current is not None and kind in ("copy", "fill", "kernel"):
                self._current.append(" ".join([kind, *words[1:]]))
            getattr(self, "_" + kind.replace("-", "_"))(*words)
        for (kind, name), _ in self.alive.items():
            self.faults.append(f"left over: {kind} {name}")

    def _clock(self, stream: str) -> dict[int, int]:
        clock = self._clocks.setdefault(int(stream), {})
        _merge(clock, self._host)
        return clock

    def _work(self, stream: str, *spans: str) -> None:
        clock, number = self._clock(stream), int(stream)
        sequence = clock[number] = clock.get(number, 0) + 1
        for span in spans:
            how, at, nbytes = span.split(":")
            new = Access(number, sequence, int(at), int(at) + int(nbytes), how == "w")
            for old in self._accesses:
                overlap = old.first < new.end and new.first < old.end and (old.writes or new.writes)
                if overlap and clock.get(old.stream, 0) < old.sequence:
                    self.faults.append(f"race: streams {old.stream} and {number} at {max(old.first, new.first):#x}")
            self._accesses.append(new)
        if len(self._accesses) > _KEPT:
            self._accesses = [each for each in self._accesses if self._host.get(each.stream, 0) < each.sequence]

    _copy = _fill = _kernel = _work

    def _record(self, stream: str, event: str, version: str) -> None:
        self._events[event, version] = dict(self._clock(stream))

    def _wait(self, stream: str, event: str, version: str) -> None:
        _merge(self._clock(stream), self._events[event, version])

    def _synchronize_event(self, event: str, version: str) -> None:
        _merge(self._host, self._events.get((event, version), {}))

    def _synchronize_stream(self, stream: str) -> None:
        _merge(self._host, self._clock(stream))

    def _launch(self, _stream: str, graph: str) -> None:
        self._current = []
        self.launches.setdefault(graph, []).append(self._current)

    def _launched(self) -> None:
        self._current = None

    def _make(self, kind: str, name: str, nbytes: int = 0) -> None:
        self.made[kind] += 1
        self.alive[kind, name] = nbytes

    def _close(self, kind: str, name: str) -> None:
        if self.alive.pop((kind, name), None) is None:
            self.faults.append(f"closed twice: {kind} {name}")

    def _allocate(self, kind: str, address: str, nbytes: str) -> None:
        self._make(kind, address, int(nbytes))

    def _free(self, address: str) -> None:
        kind = "device" if ("device", address) in self.alive else "pinned"
        first, end = int(address), int(address) + self.alive.get((kind, address), 0)
        for each in self._accesses:
            if each.first < end and first < each.end and self._host.get(each.stream, 0) < each.sequence:
                self.faults.append(f"{kind} memory at {first:#x} is freed before work of stream {each.stream} is done")
        self._accesses = [each for each in self._accesses if each.end <= first or end <= each.first]
        self._close(kind, address)

    def _stream(self, number: str, priority: str) -> None:
        self._make("stream", number)
        self.priorities[int(number)] = int(priority)

    def _event(self, number: str, flags: str) -> None:
        self._make("event", number)
        self.event_flags[int(flags)] += 1

    def _graph(self, name: str) -> None:
        self._make("graph", name)

    def _close_stream(self, number: str) -> None:
        self._close("stream", number)

    def _close_event(self, number: str) -> None:
        self._close("event", number)

    def _close_graph(self, name: str) -> None:
        self._close("graph", name)

    def _retain(self) -> None:
        self._make("context", str(self.made["context"]))

    def _release(self) -> None:
        held = [key for key in self.alive if key[0] == "context"]
        self._close("context", held[-1][1] if held else "")

    def _context_flags(self, flags: str) -> None:
        self.context_flags.append(int(flags))

    def _mark(self, *words: str) -> None:
        self.made_at[" ".join(words)] = Counter(self.made)

    def _fault(self, *words: str) -> None:
        self.faults.append(" ".join(words))


def _merge(clock: dict[int, int], other: dict[int, int]) -> None:
    for stream, sequence in other.items():
        if clock.get(stream, 0) < sequence:
            clock[stream] = sequence
