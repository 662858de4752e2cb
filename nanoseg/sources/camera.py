"""A camera: the newest frame of a live source, which is opened again whenever it is lost."""

from __future__ import annotations

import selectors
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nanoseg import errors
from nanoseg.errors import NanosegError, SourceError, one_line, os_reason
from nanoseg.sources.camera_status import CameraCounts, CameraStatus, State
from nanoseg.sources.camera_url import CameraUrl
from nanoseg.sources.capture.child import CaptureProcess
from nanoseg.sources.capture.messages import CLOSED, ENDED, FAILED, FRAME, LOST, OPENED, STARTED
from nanoseg.sources.outage_messages import OutageMessages
from nanoseg.sources.watchdog import Do, Phase, Watchdog
from nanoseg.types import Frame
from nanoseg.utils.text import printable
from nanoseg.utils.waker import Waker

if TYPE_CHECKING:
    from nanoseg.sources.rtsp_proxy import RtspProxy

__all__ = ["Camera", "CameraStatus", "State"]

_GRACE_S = 0.5  # for the capture process to close its source


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A frame that was not read yet, in a slot of its process, which may have ended."""

    process: CaptureProcess
    offset: int
    frame: Frame  # its image is the slot's memory, which outlives the process


class Camera:
    """Read the newest frame of a live source.

    A process of its own captures; frames that are not read in time are replaced by newer ones and counted. A watchdog
    ends that process where no fresh frame comes, and opens the source again with growing pauses, for ever.
    """

    def __init__(
        self,
        url: CameraUrl,
        *,
        max_pixels: int,
        on_message: Callable[[str], None] | None = None,
        on_frame: Callable[[], None] | None = None,
    ) -> None:
        """Describe a camera; `start` opens it.

        Args:
            url: the source.
            max_pixels: the largest frame that is accepted.
            on_message: called with one line when the source is lost, and one when it is back.
            on_frame: called from the reading thread when a fresh frame is there, and when the source has ended.
        """
        self.url, self.name = url, url.name
        self._max_pixels, self._on_frame = max_pixels, on_frame or (lambda: None)
        self._on_message = on_message or (lambda _: None)
        self._changed = threading.Condition()  # guards what `read` and `status` see
        self.error: NanosegError | None = None  # why it ended, where trying again does not help: a library is missing
        self._state: State = "connecting"
        self._state_s = time.monotonic()  # since when
        self._reason = ""
        self._lines: list[str] = []  # to be told
        self._notify = False
        self._waiting: _Waiting | None = None
        self._counts = CameraCounts()
        self._proxy: RtspProxy | None = None
        self._behind = url  # what is opened; of the fault injector the stream through its proxy
        self._process: CaptureProcess | None = None
        self._is_new = False  # the process, at the last opening
        self._thread: threading.Thread | None = None

    def start(self) -> Camera:
        """Start to open the source, without waiting for it; returns the camera.

        Raises:
            SourceError: there is no port for the proxy of the fault injector.
        """
        if self._thread is not None or self._state == "closed":
            return self
        now_s, self._started_ns = time.monotonic(), time.monotonic_ns()
        self._counts.lost(now_s)
        if self.url.kind == "faults":
            from nanoseg.sources.faults import start_proxy

            self._behind, self._proxy = start_proxy(self.url, self._started_ns)
        self._watchdog = Watchdog(now_s, self.url.timeout_s, self.url.frozen_s)
        self._messages = OutageMessages(self.url.name, now_s, lambda line: self._lines.append(line))
        self._selector = selectors.DefaultSelector()
        self._waker = Waker()
        self._selector.register(self._waker, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name=f"camera {self.url.name}", daemon=True)
        self._thread.start()
        return self

    def read(self, timeout_s: float | None = None) -> Frame | None:
        """Return the newest frame that was not read before.

        Args:
            timeout_s: how long to wait for it; None: until there is one.

        Returns:
            The frame, owned by the caller, or None after the time, and where the source has ended or is closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._state in ("ended", "closed"), timeout_s)
            waiting, self._waiting = self._waiting, None
            if waiting is None:
                return None
        image = waiting.frame.image.copy()
        waiting.process.release(waiting.offset)
        return replace(waiting.frame, image=image)

    def status(self) -> CameraStatus:
        """Return what the camera did so far."""
        with self._changed:
            reason = "" if self._state == "live" else self._reason
            now_s = time.monotonic()
            return replace(self._counts.status(self._state, reason, now_s), since_s=now_s - self._state_s)

    def stop(self) -> None:
        """Start to close, without waiting for it. May be called twice."""
        with self._changed:
            if self._state != "closed":
                self._enter("closed")
                self._waiting = None
                self._changed.notify_all()
        if self._thread is not None:
            self._waker.wake()

    def close(self) -> None:
        """End the capture process, within a second whatever it does. May be called twice."""
        self.stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()  # from `on_message` not: it ends after that
        if self._proxy is not None:
            self._proxy.close()

    def _run(self) -> None:
        """Supervise the capture process until the camera is closed."""
        try:
            while self._state not in ("closed", "ended"):
                self._step()
                self._call_back()
        except BaseException as error:
            self._finish(SourceError(f"{self.name}: {one_line(error)}"))
            raise
        finally:
            self._end_process(_GRACE_S)
            with self._changed:
                self._counts.live(time.monotonic())  # time without frames counts no more
            self._selector.close()
            self._waker.close()

    def _step(self) -> None:
        # What has arrived comes first: where this process was stopped, or had no time, the source is not lost.
        for key, _ in self._selector.select(max(0.0, self._watchdog.deadline_s - time.monotonic())):
            if key.data is not None:
                key.data()
        now_s = time.monotonic()
        todo = Do.NOTHING if self._state in ("closed", "ended") else self._watchdog.tick(now_s)
        if todo is Do.KILL:
            self._end_process(0.0)
            self._note_lost(now_s)
        elif todo is Do.OPEN:
            self._open()

    def _call_back(self) -> None:
        lines, self._lines = self._lines, []
        for line in lines:
            self._on_message(line)
        if self._notify:
            self._notify = False
            self._on_frame()

    def _open(self) -> None:
        self._is_new = self._process is None
        if self._process is None:
            try:
                self._process = CaptureProcess(self._behind, self._max_pixels, self._started_ns)
            except OSError as error:
                self._watchdog.ended(time.monotonic(), f"no capture process: {os_reason(error)}")
                self._note_lost(time.monotonic())
                return
            self._selector.register(self._process.stdout, selectors.EVENT_READ, self._receive)
            self._selector.register(self._process.stderr, selectors.EVENT_READ, self._listen)
        self._process.send({"open": True})

    def _listen(self) -> None:
        if self._process is not None and not self._process.listen():
            self._selector.unregister(self._process.stderr)

    def _receive(self) -> None:
        process, now_s = self._process, time.monotonic()
        if process is None:
            return
        try:
            for kind, value in process.receive():
                self._take(process, kind, value, now_s)
        except (ValueError, TypeError, KeyError) as error:
            self._end_process(0.0)
            self._watchdog.ended(now_s, f"the capture process sent what is no message: {one_line(error)}")
            self._note_lost(now_s)
            return
        if process.ended and self._state != "ended":
            self._watchdog.ended(now_s, process.how_it_ended(self._end_process(_GRACE_S)))
            self._note_lost(now_s)

    def _take(self, process: CaptureProcess, kind: str, value: Any, now_s: float) -> None:
        if kind == FRAME:
            self._take_frame(process, value, now_s)
        elif kind == STARTED:
            self._watchdog.started(now_s, self._is_new)
        elif kind == OPENED:
            self._watchdog.opened(now_s)
            with self._changed:
                self._counts.opened(value)
        elif kind == LOST:
            self._watchdog.lost(now_s, value)
            self._note_lost(now_s)
        elif kind == CLOSED:
            self._watchdog.ended(now_s)
        elif kind == ENDED:
            with self._changed:
                self._counts.overdue(value)
            self._finish(None)
        elif kind == FAILED:
            self._finish(getattr(errors, value[0])(value[1]))

    def _take_frame(self, process: CaptureProcess, value: dict[str, Any], now_s: float) -> None:
        pixels = process.view(value["offset"], value["height"], value["width"])
        fresh = self._watchdog.frame(now_s, (value["sample"], value["checksum"]))
        with self._changed:
            index, media_ns = self._counts.frame(value, now_s)
            if fresh and self._state != "closed":
                if self._waiting is not None:
                    self._waiting.process.release(self._waiting.offset)
                    self._counts.dropped["newer"] += 1
                frame = Frame(pixels, index, value["captured_ns"], self.name, media_ns)
                self._waiting = _Waiting(process, value["offset"], frame)
                self._changed.notify_all()
            else:
                self._counts.dropped["frozen"] += not fresh
                process.release(value["offset"])
        if self._watchdog.phase is Phase.LIVE:
            self._note_live(now_s)
        else:
            self._note_lost(now_s)
        self._notify |= fresh

    def _note_live(self, now_s: float) -> None:
        with self._changed:
            if self._state in ("connecting", "lost"):
                self._enter("live")
            changes = self._counts.live(now_s)
        self._messages.live(now_s, changes)

    def _note_lost(self, now_s: float) -> None:
        with self._changed:
            self._reason = printable(self._watchdog.reason)
            if self._state == "live":
                self._enter("lost")
            self._counts.lost(now_s)
        self._messages.lost(now_s, self._reason)

    def _finish(self, error: NanosegError | None) -> None:
        with self._changed:
            if self._state != "closed":
                self._enter("ended")
                self.error = error
                self._reason = str(error or "it gave its last frame")
            self._changed.notify_all()
        self._notify = True

    def _enter(self, state: State) -> None:
        self._state, self._state_s = state, time.monotonic()

    def _end_process(self, grace_s: float) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        for pipe in (process.stdout, process.stderr):
            with suppress(KeyError):
                self._selector.unregister(pipe)
        self._counts.process_ended()
        return process.end(grace_s)
