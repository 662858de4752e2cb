"""The functions of tests/fakes/cuda.py for streams, events, captures and graphs.

What may not be asked of a stream or an event in a capture, and that it spoils the capture, stands in the CUDA
Programming Guide: CUDA Graphs, Prohibited and Unhandled Operations.
"""

# ruff: noqa: N802, N803
from __future__ import annotations

import threading

from tests.fakes.cuda_calls import MemoryCalls, gives
from tests.fakes.cuda_memory import Fault
from tests.fakes.cuda_streams import Capture, CapturedPoint, Event, Exec, Stream

NON_BLOCKING, BLOCKING_SYNC, DISABLE_TIMING, EXTERNAL = 1, 1, 2, 1
HIGHEST = -5  # priority of a stream
LEGACY = (0, 1)  # CU_STREAM_LEGACY is 1, and 0 means the same


class Calls(MemoryCalls):
    """All driver functions; their names and parameters are those of the bindings."""

    @gives(1)
    def cuStreamCreate(self, Flags):
        if Flags != NON_BLOCKING:
            self._cuda.fault("cuStreamCreate: a stream that waits for the legacy default stream")
        return self._module.CUstream(self._cuda.add("stream", Stream(self._cuda.current())))

    @gives(2)
    def cuCtxGetStreamPriorityRange(self):
        return 0, HIGHEST

    @gives(1)
    def cuStreamCreateWithPriority(self, flags, priority):
        if not HIGHEST <= priority <= 0:
            self._cuda.fault(f"cuStreamCreateWithPriority: {priority} is out of range")
        return self.cuStreamCreate(flags)

    @gives(0)
    def cuStreamDestroy(self, hStream):
        stream = self._cuda.take("stream", self._stream_handle(hStream))
        self._not_captured(stream)
        self._cuda.engine.orphans.append(stream)  # "released automatically once the device has completed all work"
        self._cuda.take("stream", hStream, remove=True)

    @gives(0)
    def cuStreamSynchronize(self, hStream):
        if self._stream_handle(hStream) in LEGACY:
            return
        stream = self._cuda.take("stream", hStream)
        self._not_captured(stream)
        self._finish(stream)

    @gives(0)
    def cuStreamWaitEvent(self, hStream, hEvent, Flags):
        stream = self._cuda.take("stream", self._stream_handle(hStream))
        point = self._cuda.take("event", self._event_handle(hEvent)).point
        if Flags:
            raise Fault("INVALID_VALUE")
        if isinstance(point, CapturedPoint):
            capture = point.capture
            if capture not in self._cuda.captures:
                raise Fault("CAPTURED_EVENT")
            if stream.capture not in (None, capture):
                capture.broken = stream.capture.broken = True
                raise Fault("STREAM_CAPTURE_MERGE")
            if capture.broken:
                raise Fault("STREAM_CAPTURE_INVALIDATED")
            capture.join(stream, point)
        elif stream.capture:
            stream.capture.broken = True
            raise Fault("STREAM_CAPTURE_ISOLATION")
        elif point:
            self._cuda.engine.wait(stream, point)

    @gives(1)
    def cuEventCreate(self, Flags):
        if Flags & ~(BLOCKING_SYNC | DISABLE_TIMING):
            raise Fault("INVALID_VALUE")
        return self._module.CUevent(self._cuda.add("event", Event(self._cuda.current(), not Flags & DISABLE_TIMING)))

    @gives(0)
    def cuEventDestroy(self, hEvent):
        self._cuda.take("event", self._event_handle(hEvent), remove=True)

    def _record(self, hEvent, hStream, external):
        event = self._cuda.take("event", self._event_handle(hEvent))
        if self._stream_handle(hStream) in LEGACY:
            event.point = None  # nothing is ever left to do on the legacy default stream here
            return
        stream = self._cuda.take("stream", hStream)
        capture = stream.capture
        if capture and capture.broken:
            raise Fault("STREAM_CAPTURE_INVALIDATED")
        if external:
            if not capture:
                raise Fault("INVALID_VALUE")  # "This flag is invalid outside of stream capture"
            capture.add(stream, "external", event)
        elif capture:
            event.point = CapturedPoint(capture, dict(capture.clocks[capture.lanes.index(stream)]))
            capture.add(stream, "mark", event.point)
        else:
            event.point = self._cuda.engine.mark(stream)

    @gives(0)
    def cuEventRecord(self, hEvent, hStream):
        self._record(hEvent, hStream, external=False)

    @gives(0)
    def cuEventRecordWithFlags(self, hEvent, hStream, flags):
        self._record(hEvent, hStream, external=flags == EXTERNAL)

    def _seen_from_outside(self, hEvent):
        event = self._cuda.take("event", self._event_handle(hEvent))
        if isinstance(event.point, CapturedPoint):
            event.point.capture.broken = True
            raise Fault("CAPTURED_EVENT")
        return event

    @gives(0)
    def cuEventSynchronize(self, hEvent):
        point = self._seen_from_outside(hEvent).point
        if point:
            self._guard(lambda: self._cuda.engine.reach(point))

    @gives(0)
    def cuEventQuery(self, hEvent):
        point = self._seen_from_outside(hEvent).point
        if point and not point.reached:
            self._guard(point.stream.step)  # so that whoever asks again and again gets on
            raise Fault("NOT_READY")
        if point:
            self._cuda.engine.reach(point)

    @gives(1)
    def cuEventElapsedTime(self, hStart, hEnd):
        start, end = (self._seen_from_outside(each) for each in (hStart, hEnd))
        if not (start.timing and end.timing and start.point and end.point):
            raise Fault("INVALID_HANDLE")
        if not (start.point.reached and end.point.reached):
            raise Fault("NOT_READY")
        return end.point.ms - start.point.ms

    # Captures and graphs.

    @gives(0)
    def cuStreamBeginCapture(self, hStream, mode):
        if not isinstance(mode, self._module.CUstreamCaptureMode):
            raise TypeError(f"wanted CUstreamCaptureMode, got {mode!r}")
        stream = self._cuda.take("stream", self._stream_handle(hStream))
        if stream.capture:
            raise Fault("ILLEGAL_STATE")
        stream.capture = Capture(stream, mode)
        self._cuda.captures.append(stream.capture)

    @gives(1)
    def cuStreamEndCapture(self, hStream):
        stream = self._cuda.take("stream", self._stream_handle(hStream))
        capture = stream.capture
        if not capture:
            raise Fault("ILLEGAL_STATE")
        if capture.origin is not stream:
            capture.broken = True
            raise Fault("STREAM_CAPTURE_UNMATCHED")
        if capture.thread != threading.get_ident():
            raise Fault("STREAM_CAPTURE_WRONG_THREAD")
        self._cuda.captures.remove(capture)
        for lane in capture.lanes:
            lane.capture = None
        if "cuStreamEndCapture" in self._cuda.fails:
            raise Fault(self._cuda.fails["cuStreamEndCapture"])
        if capture.broken:
            raise Fault("STREAM_CAPTURE_INVALIDATED")
        if not capture.joined():
            raise Fault("STREAM_CAPTURE_UNJOINED")
        return self._module.CUgraph(self._cuda.add("graph", capture))

    @gives(1)
    def cuGraphInstantiate(self, hGraph, flags):
        graph = Exec(self._cuda.take("graph", hGraph))
        return self._module.CUgraphExec(self._cuda.add("exec", graph))

    @gives(0)
    def cuGraphDestroy(self, hGraph):
        self._cuda.take("graph", hGraph, remove=True)

    @gives(0)
    def cuGraphExecDestroy(self, hGraphExec):
        self._cuda.take("exec", hGraphExec, remove=True)

    @gives(0)
    def cuGraphLaunch(self, hGraphExec, hStream):
        stream = self._cuda.take("stream", self._stream_handle(hStream))
        self._not_captured(stream)  # a graph inside a graph is not made up here
        self._cuda.engine.launch(self._cuda.take("exec", hGraphExec), stream)

    def _not_captured(self, stream):
        if stream.capture:
            stream.capture.broken = True
            raise Fault("STREAM_CAPTURE_UNSUPPORTED")
