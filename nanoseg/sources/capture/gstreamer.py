"""Cameras and streams by GStreamer: the pipelines, and OpenCV reading them where it was built with GStreamer.

On a Jetson they decode and convert in hardware, and no frame passes the CPU's videoconvert. Elsewhere it makes BGR, as
OpenCV does not say which of NV12 and I420 it passes on.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction

from nanoseg.errors import DependencyError, SourceError, UsageError, needs
from nanoseg.sources.camera_url import CameraUrl
from nanoseg.sources.capture.capture import Captured, has_gstreamer, is_jetson
from nanoseg.sources.capture.pixels import ToBgr
from nanoseg.sources.capture.stream_clock import StreamClock
from nanoseg.sources.source import check_pixels

with needs("OpenCV", "opencv"):
    import cv2

_SINK = "appsink drop=true max-buffers=1 sync=false"
_BGR = "videoconvert ! video/x-raw, format=BGR"
_BGRX = "nvvidconv ! video/x-raw, format=BGRx"
_LATENCY_MS = 100  # of rtspsrc's jitter buffer, whose default is 2000
_V4L2_FORMATS = {"YUYV": "YUY2", "YUY2": "YUY2", "UYVY": "UYVY", "NV12": "NV12", "GREY": "GRAY8"}
_REPORTED = (  # what says most comes first
    re.compile(r"reported: (.+)"),
    re.compile(r"Error opening bin: (.+)"),
    re.compile(r"GStreamer warning: (?!Cannot query video)(.+)"),
)
_ARGUS_ADVICE = "where the camera was in use before: sudo systemctl restart nvargus-daemon"


def pipeline(url: CameraUrl, jetson: bool) -> str:
    """Return the text of the pipeline that reads a source, for OpenCV's appsink.

    Args:
        url: a CSI camera, a V4L2 device, or a stream over RTSP.
        jetson: whether nvv4l2decoder and nvvidconv are there, which every CSI camera needs.

    Raises:
        UsageError: an address holds characters that no pipeline may.
    """
    if url.kind == "csi":
        form = _caps("video/x-raw(memory:NVMM)", url, format="NV12")
        return f"nvarguscamerasrc sensor-id={int(url.address)} ! {form} ! {_BGRX} ! {_SINK}"
    if url.kind == "v4l2":
        source = f"v4l2src device={_quoted(url.address)}"
        if url.format in ("MJPG", "JPEG"):
            decoder = f"nvv4l2decoder mjpeg=1 ! {_BGRX}" if jetson else f"jpegdec ! {_BGR}"
            return f"{source} ! {_caps('image/jpeg', url)} ! {decoder} ! {_SINK}"
        values = {"format": _V4L2_FORMATS.get(url.format, url.format)} if url.format else {}
        return f"{source} ! {_caps('video/x-raw', url, **values)} ! {_BGRX if jetson else _BGR} ! {_SINK}"
    source = (
        f"rtspsrc location={_quoted(url.address)} protocols={url.transport} latency={_LATENCY_MS} drop-on-latency=true"
        " ! application/x-rtp, media=video"
    )
    codec = {"H264": "h264", "H265": "h265", "HEVC": "h265"}.get(url.format or "")
    parse = f"rtp{codec}depay ! {codec}parse" if codec else "parsebin"
    if jetson:
        decode = f"{parse} ! nvv4l2decoder enable-max-performance=1 disable-dpb=true ! {_BGRX}"
    else:
        decode = f"{f'{parse} ! avdec_{codec}' if codec else 'decodebin'} ! {_BGR}"
    return f"{source} ! {decode} ! queue leaky=downstream max-size-buffers=1 ! {_SINK}"


def _caps(media: str, url: CameraUrl, **values: str) -> str:
    fields = [media]
    if url.size_wh is not None:
        fields += [f"width={url.size_wh[0]}", f"height={url.size_wh[1]}"]
    if url.fps is not None:
        rate = Fraction(url.fps).limit_denominator(1001)
        fields.append(f"framerate={rate.numerator}/{rate.denominator}")
    return ", ".join(fields + [f"{key}={value}" for key, value in values.items()])


def _quoted(text: str) -> str:
    """Return a text as one value of a property, whatever it holds."""
    if not text.isprintable():
        raise UsageError(f"{text!r}: wanted an address of printable characters")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class GStreamerCapture:
    """A capture of a GStreamer pipeline by OpenCV."""

    clock = "arrival"

    def __init__(self, text: str, name: str, max_pixels: int, advice: str = "", form: str | None = None) -> None:
        """Open a pipeline.

        Args:
            text: the pipeline, which ends in an appsink.
            name: of the source, for messages.
            max_pixels: the largest frame that is accepted.
            advice: what to do where it does not open.
            form: GStreamer's name of the format that reaches the appsink, where it is neither BGR, BGRx nor grey.

        Raises:
            SourceError: it cannot be opened.
            DependencyError: this OpenCV was built without GStreamer.
        """
        if not has_gstreamer():
            raise DependencyError(
                f"{name}: this OpenCV ({cv2.__version__}) was built without GStreamer, as all from pip are; "
                "use the one of JetPack or Debian: python3 -m venv --system-site-packages, without opencv-python in it"
            )
        self._name, self._max_pixels, self._clock, self.damaged = name, max_pixels, StreamClock(), 0
        self._buffer_ns: int | None = None
        with _stderr() as printed:
            self._video = cv2.VideoCapture(text, cv2.CAP_GSTREAMER)
            opened = self._video.isOpened()
        if not opened:
            raise SourceError(f"{name}: GStreamer cannot open it: {_reason(printed())}{advice and '; '}{advice}")
        width, height = (int(self._video.get(each)) for each in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        fps = self._video.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= 1000 else None
        check_pixels(name, (width, height), max_pixels)
        self._to_bgr = ToBgr((width, height), form)
        rate = f" {self.fps:g} fps" if self.fps else ""
        self.description = f"{width}x{height}{rate}, GStreamer"

    def read(self) -> Captured:
        """Wait for the next frame; raises SourceError where the pipeline ends or fails."""
        taken, pixels = self._video.read()
        arrived_ns, wall_ns = time.monotonic_ns(), time.time_ns()
        if not taken or pixels is None:
            raise SourceError(f"{self._name}: GStreamer gives no more frames")
        before_ns, self._buffer_ns = self._buffer_ns, int(self._video.get(cv2.CAP_PROP_POS_MSEC) * 1_000_000)
        # Some sources have no time: it stays 0, or what it was.
        media_ns = self._buffer_ns if self._buffer_ns > 0 and self._buffer_ns != before_ns else None
        captured_ns = self._clock.captured_ns(arrived_ns, wall_ns, media_ns, None)
        return Captured(self._to_bgr.convert(pixels), captured_ns, media_ns)

    def close(self) -> None:
        """Stop the pipeline; on a Jetson this frees the session of nvargus-daemon."""
        self._video.release()


def open_csi(url: CameraUrl, max_pixels: int) -> GStreamerCapture:
    """Open a CSI camera of a Jetson; errors are those of GStreamerCapture."""
    if not is_jetson():
        raise SourceError(f"{url.name}: CSI cameras are read on a Jetson; this machine is none")
    return GStreamerCapture(pipeline(url, jetson=True), url.name, max_pixels, _ARGUS_ADVICE)


def open_gstreamer(url: CameraUrl, max_pixels: int) -> GStreamerCapture:
    """Open a V4L2 device or an RTSP stream by GStreamer; errors are those of GStreamerCapture."""
    return GStreamerCapture(pipeline(url, is_jetson()), url.name, max_pixels)


def _reason(printed: str) -> str:
    """Return the first cause in what OpenCV prints about a pipeline."""
    for reported in _REPORTED:
        if match := reported.search(printed):
            return match[1].strip()
    return "it does not start; GST_DEBUG=3 tells more"


@contextmanager
def _stderr() -> Iterator[Callable[[], str]]:
    """Catch what this process prints on its descriptor 2; yield a function that returns it."""
    with tempfile.TemporaryFile() as file:
        before = os.dup(2)
        text = b""

        def read() -> str:
            return text.decode(errors="replace")

        os.dup2(file.fileno(), 2)
        try:
            yield read
        finally:
            os.dup2(before, 2)
            os.close(before)
            file.seek(0)
            text = file.read()
