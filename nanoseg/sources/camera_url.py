"""The address of a live source, and what is wanted of it: `/dev/video0?size=1280x720&fps=30&format=MJPG`.

Options of devices stand behind `?`. A stream's own query belongs to the camera, so options of streams stand behind `#`,
which is never sent: `rtsp://user:password@camera/stream?channel=1#transport=udp&timeout=10`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["v4l2", "csi", "stream", "live", "faults"]


@dataclass(frozen=True)
class CameraUrl:
    """A live source."""

    kind: Kind
    address: str  # /dev/video0, a CSI sensor's number, a stream's URL without options, any source that is read --live
    name: str  # short, for records, files and messages: "video0", "csi0", the stream's host, or `name=door`
    size_wh: tuple[int, int] | None = None  # pixels wanted; None: the source's default
    fps: float | None = None  # frames a second wanted
    format: str | None = None  # MJPG, YUYV, NV12, H264: of V4L2's pixels or a stream's codec
    transport: Literal["tcp", "udp"] = "tcp"  # of RTSP
    backend: Literal["auto", "gstreamer", "pyav", "opencv"] = "auto"
    timeout_s: float | None = None  # silence after which the source is lost; None: learnt from its frames
    frozen_s: float = 60.0  # the same picture for so long counts as lost; 0: never
    faults: str = ""  # of kind "faults": the options of the injector; address is the source behind it
