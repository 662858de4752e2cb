"""The fault injector, `faults://?source=rtsp://camera/stream&seed=7&kinds=hang,gone&every=20s&for=3s`.

It makes any source behave as cameras do at their worst, to try a set-up with; see nanoseg.sources.fault_schedule for
what it can do. It runs in the capture process, so that a read that hangs does hang.
"""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import replace

import numpy as np

from nanoseg.errors import SourceError
from nanoseg.sources.camera_url import CameraUrl, fault_kinds, is_rtsp, parse_camera_url
from nanoseg.sources.capture.capture import Capture, Captured, open_capture
from nanoseg.sources.capture.jpeg import decode_jpeg, encode_jpeg
from nanoseg.sources.fault_schedule import (
    OPENING_KINDS,
    Fault,
    FaultSchedule,
    parse_fault_schedule,
)
from nanoseg.sources.rtsp_proxy import RtspProxy

_NO_END_S = 3600.0
_RATE = 5  # one picture of so many
_MAX_JUMP_S = 60.0
_REASONS = {
    "error": "reading fails (injected)",
    "gone": "no such device (injected)",
    "permission": "permission denied (injected)",
}


def behind_faults(url: CameraUrl) -> CameraUrl:
    """Return the source behind the injector."""
    behind = parse_camera_url(url.address, live=True)
    if behind is None:
        raise SourceError(f"{url.address}: no live source")
    return behind


def read_schedule(url: CameraUrl) -> FaultSchedule:
    """Return the schedule of a `faults://` source; its options were checked when the source was parsed."""
    return parse_fault_schedule(url.faults, fault_kinds(behind_faults(url)))


def start_proxy(url: CameraUrl, started_ns: int) -> tuple[CameraUrl, RtspProxy | None]:
    """Start the proxy of an RTSP stream with faults, which outlives the capture processes.

    Args:
        url: of kind "faults".
        started_ns: time.monotonic_ns() from which the schedule counts.

    Returns:
        The source to open, which goes through the proxy, and the proxy, to be closed with the camera; None where the
        source behind is no RTSP stream.

    Raises:
        SourceError: there is no port for the proxy.
    """
    schedule, behind = read_schedule(url), behind_faults(url)
    if not is_rtsp(behind):
        return url, None
    proxy = RtspProxy(behind.address, schedule, started_ns)
    options = url.address.removeprefix(behind.address)  # those of the stream, behind #
    return replace(url, address=proxy.url + options), proxy


def open_faulty(url: CameraUrl, max_pixels: int, started_ns: int) -> Capture:
    """Open a source with faults; errors are those of `open_capture`, and the injected ones.

    Args:
        url: of kind "faults".
        max_pixels: the largest frame that is accepted.
        started_ns: time.monotonic_ns() from which the schedule counts.
    """
    schedule = read_schedule(url)
    fault = schedule.at((time.monotonic_ns() - started_ns) / 1e9)
    if fault is not None and fault.kind in OPENING_KINDS:
        raise SourceError(f"{url.name}: {_REASONS[fault.kind]}")
    return FaultyCapture(open_capture(behind_faults(url), max_pixels, started_ns), schedule, url.name, started_ns)


class FaultyCapture:
    """A capture whose frames and reads have the scheduled faults."""

    def __init__(self, behind: Capture, schedule: FaultSchedule, name: str, started_ns: int) -> None:
        """Wrap a capture, which is closed with this one."""
        self._behind, self._schedule, self._name, self._started_ns = behind, schedule, name, started_ns
        self._cut, self._reads = 0, 0
        self._frozen: tuple[int, np.ndarray] | None = None  # the number of the fault, and its picture
        self.description = f"{behind.description}, with faults"
        self.fps, self.clock = behind.fps, behind.clock
        self.damaged = 0  # frames so far that are lost or show errors

    def read(self) -> Captured:
        """Wait for the next frame.

        Raises:
            SourceError: the source is lost, or is said to be.
            EndOfSource: it gave its last frame.
        """
        overdue = 0
        while True:
            fault = self._fault()
            if fault is not None:
                self._interrupt(fault)
            captured = self._behind.read()
            overdue += captured.overdue
            fault = self._fault()  # that of the moment in which the frame is passed on
            changed = captured if fault is None else self._change(captured, fault)
            self.damaged, self.clock = self._behind.damaged + self._cut, self._behind.clock
            if changed is not None:
                return replace(changed, overdue=overdue)

    def close(self) -> None:
        """Close the source behind."""
        self._behind.close()

    def _fault(self) -> Fault | None:
        return self._schedule.at((time.monotonic_ns() - self._started_ns) / 1e9)

    def _interrupt(self, fault: Fault) -> None:
        """Do what a fault does to reading."""
        if fault.kind in _REASONS:
            raise SourceError(f"{self._name}: {_REASONS[fault.kind]}")
        if fault.kind == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif fault.kind == "hang":
            time.sleep(_NO_END_S)
        elif fault.kind == "stall":
            time.sleep(max(0.0, fault.end_s - (time.monotonic_ns() - self._started_ns) / 1e9))

    def _change(self, captured: Captured, fault: Fault) -> Captured | None:
        """Return a frame as the fault leaves it, or None where it is lost."""
        image, captured_ns, draw = captured.image, captured.captured_ns, random.Random(fault.seed)
        height, width = image.shape[:2]
        self._reads += 1
        if fault.kind == "freeze":
            if self._frozen is None or self._frozen[0] != fault.number:
                self._frozen = fault.number, image.copy()
            image = self._frozen[1]
        elif fault.kind == "black":
            image = np.zeros_like(image)
        elif fault.kind == "size":
            image = np.ascontiguousarray(image[: max(1, height // 2), : max(1, width * 2 // 3)])
        elif fault.kind == "rate" and self._reads % _RATE:
            return None
        elif fault.kind == "clock":
            captured_ns += int(draw.uniform(1.0, _MAX_JUMP_S) * draw.choice((-1, 1)) * 1e9)
        elif fault.kind == "truncated":
            data = encode_jpeg(image)
            whole = decode_jpeg(data[: random.Random(fault.seed + self._reads).randrange(2, len(data) - 2)])
            if whole is None:
                self._cut += 1
                return None
            image = whole
        return Captured(image, captured_ns, captured.media_ns)
