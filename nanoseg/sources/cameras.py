"""Several cameras as one source: the newest frame of each in turn, so that they share one set of engines fairly."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType

from nanoseg.errors import NanosegError, SourceError, UsageError
from nanoseg.sources.camera import Camera, CameraStatus
from nanoseg.sources.camera_url import CameraUrl, parse_camera_url
from nanoseg.types import Frame

START_S = 30.0  # for the first frame of any camera
_WAIT_S = 0.5  # for a frame, until Ctrl-C and the start's end are looked at


def camera_urls(sources: Sequence[str], live: bool = False) -> list[CameraUrl]:
    """Return the live sources among those that a user names, with names that differ; empty where none is live.

    Args:
        sources: as `parse_camera_url` takes them.
        live: whether files and parts:// are read at their own pace, too.

    Raises:
        UsageError: an option is invalid, two sources have one `name=`, or only some of the sources are live.
    """
    parsed = [parse_camera_url(text, live=live) for text in sources]
    urls = [url for url in parsed if url is not None]
    if urls and len(urls) < len(parsed):
        other = sources[parsed.index(None)]
        raise UsageError(f"{other}: is no live source, others are; add --live to read it at its own pace beside them")
    taken: set[str] = set()
    for url in filter(lambda url: url.named, urls):
        if url.name in taken:
            raise UsageError(f"name={url.name} is given twice; wanted another name for each source")
        taken.add(url.name)
    for index, url in enumerate(urls):
        name, number = url.name, 1
        while name in taken and not url.named:
            number += 1
            name = f"{url.name}-{number}"
        taken.add(name)
        urls[index] = replace(url, name=name)
    return urls


class Cameras:
    """Read several cameras in turn.

    A camera that is away, slow or ended takes no turn and keeps none of the others waiting. A context manager.
    """

    def __init__(
        self,
        urls: Sequence[CameraUrl],
        *,
        max_pixels: int,
        on_message: Callable[[str, str], None] | None = None,
        start_s: float | None = START_S,
    ) -> None:
        """Start to open all cameras at once, without waiting for any.

        Args:
            urls: the cameras, whose names differ.
            max_pixels: the largest frame that is accepted.
            on_message: called with a camera's name and one line when it is lost, back or given up.
            start_s: seconds within which one of them has to give its first frame; None: wait for ever.
        """
        self._fresh, self._signals = threading.Condition(), 0
        self._max_pixels = max_pixels
        self._start_s, self._started_s, self._seen = start_s, time.monotonic(), False
        self._last = -1  # the camera that was served last
        self._on_message, self._told = on_message or (lambda *_: None), set[str]()
        self.cameras: Sequence[Camera] = ()
        self.update(urls)

    def __iter__(self) -> Iterator[Frame]:
        """Yield the newest frames, as `frames` does."""
        return self.frames()

    def frames(self, on_idle: Callable[[], None] | None = None) -> Iterator[Frame]:
        """Yield the newest frames until every camera has ended.

        Args:
            on_idle: called now and then while there is none; what it raises ends the frames.

        Raises:
            SourceError: none of them gave a frame within `start_s`; the message has the reason of each.
            NanosegError: all of them ended without a frame; the class is that of the first one's error.
        """
        while True:
            signals = self._signals  # before the look: what comes after it ends the wait
            frame = self._next()
            if frame is not None:
                self._seen = True
                yield frame
                continue
            states = [camera.status() for camera in self.cameras]
            if all(status.state in ("ended", "closed") for status in states):
                if not self._seen and any(status.reason for status in states):
                    raise self._error_class()(self._reasons(states))
                return
            self._tell_errors()
            if on_idle is not None:
                on_idle()
            if not self._seen and self._start_s is not None and time.monotonic() - self._started_s > self._start_s:
                raise SourceError(f"no frame within {self._start_s:g} s: {self._reasons(states)}")
            self._wait(signals, _WAIT_S)

    def read(self, timeout_s: float) -> Frame | None:
        """Return the newest frame of the next camera in turn that has one, or None where none has one in this time."""
        self._tell_errors()
        signals = self._signals
        frame = self._next()
        if frame is None:
            self._wait(signals, timeout_s)
            frame = self._next()
        return frame

    def update(self, urls: Sequence[CameraUrl]) -> None:
        """Read these cameras from now on: those that are the same go on, others are closed or started.

        One that has ended is started again. Not while another thread reads.

        Args:
            urls: the cameras, whose names differ.

        Raises:
            SourceError: there is no port for the proxy of the fault injector; all cameras are closed.
        """
        going_on = {
            camera.url: camera
            for camera in self.cameras
            if camera.url in urls and camera.status().state not in ("ended", "closed")
        }
        _close([camera for camera in self.cameras if camera.url not in going_on])  # first: a device is opened once
        self.cameras, self._last = list(going_on.values()), -1
        self._told.clear()
        try:
            for url in urls:
                if url not in going_on:
                    camera = Camera(
                        url,
                        max_pixels=self._max_pixels,
                        on_message=partial(self._on_message, url.name),
                        on_frame=self._notify,
                    )
                    self.cameras = [*self.cameras, going_on.setdefault(url, camera)]
                    camera.start()
        except BaseException:
            self.close()
            raise
        self.cameras = [going_on[url] for url in urls]

    def status(self) -> dict[str, CameraStatus]:
        """Return what each camera did so far, by name."""
        return {camera.name: camera.status() for camera in self.cameras}

    def close(self) -> None:
        """Close all cameras, within a second whatever they do. May be called twice."""
        _close(self.cameras)
        self._notify()

    def __enter__(self) -> Cameras:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _next(self) -> Frame | None:
        """Return the newest frame of the first camera, from the one after the last served on, that has a fresh one."""
        for step in range(1, len(self.cameras) + 1):
            index = (self._last + step) % len(self.cameras)
            frame = self.cameras[index].read(0)
            if frame is not None:
                self._last = index
                return frame
        return None

    def _reasons(self, states: Sequence[CameraStatus]) -> str:
        pairs = zip(self.cameras, states, strict=True)
        return "; ".join(f"{camera.name}: {status.reason or 'no frame yet'}" for camera, status in pairs)

    def _error_class(self) -> type[NanosegError]:
        return next((type(camera.error) for camera in self.cameras if camera.error is not None), SourceError)

    def _tell_errors(self) -> None:
        """Tell of a camera that has ended for good, once: the others go on."""
        for camera in self.cameras:
            if camera.error is not None and camera.name not in self._told:
                self._told.add(camera.name)
                self._on_message(camera.name, f"{camera.name}: given up: {camera.error}")

    def _wait(self, signals: int, timeout_s: float) -> None:
        """Wait until a camera has something new since so many signals, at most for this time."""
        with self._fresh:
            self._fresh.wait_for(lambda: self._signals != signals, timeout_s)

    def _notify(self) -> None:
        with self._fresh:
            self._signals += 1
            self._fresh.notify_all()


def _close(cameras: Sequence[Camera]) -> None:
    """Close cameras side by side: each may take its time, as one that hangs does."""
    for camera in cameras:
        camera.stop()
    for camera in cameras:
        camera.close()
