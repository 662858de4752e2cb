"""Streams, events and captures of a fake GPU: work runs when something waits for it, and not before.

So what is read without a wait is what was there before, and what one stream makes is not there for another that does
not wait for it. The other way round, work that runs too soon or too late, is found by clocks: each piece of work knows
what is certainly done before it, and two pieces that touch the same bytes, one of them writing, must know each other.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, NamedTuple

from tests.fakes.cuda_memory import Fault, Window


class Work(NamedTuple):
    """Work of a stream; reads and writes are (address, bytes), parts are the same within blocks."""

    operation: Any
    reads: list
    writes: list
    parts: list  # (block, first byte, end, writes)


class Point:
    """A position in a stream, as an event records it."""

    def __init__(self, stream, clock):
        self.stream, self.clock, self.reached, self.ms = stream, clock, False, None


class CapturedPoint:
    """A position in a capture, as an event records it there."""

    def __init__(self, capture, clock):
        self.capture, self.clock = capture, clock


class Stream:
    """A stream; its vector clock `clock` is how much of each stream is done before its next work."""

    count = 0

    def __init__(self, context):
        Stream.count += 1
        self.number, self.context = Stream.count, context
        self.queue, self.clock, self.capture = deque(), {}, None

    def run(self, until=None):
        while self.queue and not (until and until.reached):
            self.step()

    def step(self):
        if self.queue:
            self.queue.popleft()()


class Event:
    def __init__(self, context, timing):
        self.context, self.timing, self.point = context, timing, None


class Capture:
    """A capture in progress. Lane 0 is the stream that began it; each other stream in it has a lane."""

    def __init__(self, origin, mode):
        self.origin, self.mode, self.thread = origin, mode, threading.get_ident()
        self.lanes, self.clocks, self.entries, self.broken = [origin], [{}], [], False

    def add(self, stream, kind, payload=None):
        lane = self.lanes.index(stream)
        if kind in ("work", "external"):  # the others are edges of the graph, not nodes
            self.clocks[lane][lane] = self.clocks[lane].get(lane, 0) + 1
        self.entries.append((kind, lane, payload))

    def join(self, stream, point):
        if stream not in self.lanes:
            self.lanes.append(stream)
            self.clocks.append({})
            stream.capture = self
        later(self.clocks[self.lanes.index(stream)], point.clock)
        self.add(stream, "wait", point)

    def joined(self):
        return all(self.clocks[0].get(lane, 0) >= self.clocks[lane].get(lane, 0) for lane in range(len(self.lanes)))


class Exec:
    """An instantiated graph: the captured work, with the addresses of that time."""

    def __init__(self, capture):
        self.entries, self.context = capture.entries, capture.origin.context
        self.lanes = [Stream(self.context) for _ in capture.lanes[1:]]
        self.last = None


class Engine:
    """Runs the work of all streams."""

    def __init__(self, memory):
        self.memory, self.faults = memory, []
        self.known = {}  # the host's own clock: what it has waited for
        self.ms = 0.0  # each piece of work takes one
        self.orphans = []  # streams that were destroyed with work on them, which is still done

    def give(self, stream, work):
        """Append work to a stream, or to its capture."""
        if stream.capture:
            stream.capture.add(stream, "work", work)
            return
        later(stream.clock, self.known)
        sequence = stream.clock[stream.number] = stream.clock.get(stream.number, 0) + 1
        for block, first, end, writes in work.parts:
            if block.freed:
                raise Fault("ILLEGAL_ADDRESS: a graph is launched after memory that it works on was freed")
            for other, since, start, stop, wrote in block.history:
                if start < end and first < stop and (writes or wrote) and stream.clock.get(other, 0) < since:
                    self.faults.append(f"race: two streams use {block.kind} memory at {block.address:#x}, unordered")
        for block, first, end, writes in work.parts:
            if len(block.history) > 16:
                block.history = [each for each in block.history if not self._known(each)]
            block.history.append((stream.number, sequence, first, end, writes))
        stream.queue.append(lambda: self._do(work))

    def _do(self, work):
        self.ms += 1
        work.operation(Window(self.memory, work.reads, work.writes))

    def _known(self, touch):
        return self.known.get(touch[0], 0) >= touch[1]

    def in_use(self, block):
        """Return whether the host has not yet waited for all work on a block."""
        return not all(map(self._known, block.history))

    def mark(self, stream):
        later(stream.clock, self.known)
        point = Point(stream, dict(stream.clock))

        def reach():
            point.reached, point.ms = True, self.ms

        stream.queue.append(reach)
        return point

    def wait(self, stream, point):
        later(stream.clock, point.clock)
        stream.queue.append(lambda: point.reached or point.stream.run(point))

    def reach(self, point):
        """Make the host wait for a position in a stream."""
        point.stream.run(point)
        later(self.known, point.clock)

    def launch(self, graph, stream):
        """cuGraphLaunch: "ordered behind both any previous work in hStream and any previous launches"."""
        if graph.last:
            self.wait(stream, graph.last)
        begin = self.mark(stream)
        lanes, points = [stream, *graph.lanes], {}
        for lane in graph.lanes:
            self.wait(lane, begin)
        for kind, lane, payload in graph.entries:
            if kind == "work":
                self.give(lanes[lane], payload)
            elif kind == "wait":
                self.wait(lanes[lane], points[payload])
            elif kind == "mark":
                points[payload] = self.mark(lanes[lane])
            else:  # an external event: each launch records it
                payload.point = self.mark(lanes[lane])
        graph.last = self.mark(stream)


def later(clock, other):
    """Merge the vector clock `other` into `clock`."""
    for stream, sequence in other.items():
        if clock.get(stream, 0) < sequence:
            clock[stream] = sequence
