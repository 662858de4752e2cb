"""The address of a live source, and what is wanted of it: `/dev/video0?size=1280x720&fps=30&format=MJPG`.

Options of devices stand behind `?`. A stream's own query belongs to the camera, so options of streams stand behind `#`,
which is never sent: `rtsp://user:password@camera/stream?channel=1#transport=udp&timeout=10`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote, urlsplit

from nanoseg.errors import UsageError
from nanoseg.sources.fault_schedule import FRAME_KINDS, KINDS, parse_fault_schedule
from nanoseg.utils.urls import file_path, has_scheme, shown_url, split_user

Kind = Literal["v4l2", "csi", "stream", "live", "faults"]
STREAM_SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "srt", "udp", "tcp")
_DEVICE = re.compile(r"(?:v4l2:(?://)?)?(/dev/(?:video|v4l/)[^?]*)(?:\?(.*))?", re.DOTALL)
_NUMBER = re.compile(r"(?:v4l2://)?(\d{1,3})(?:\?(.*))?", re.DOTALL)
_CSI = re.compile(r"csi:(?://)?([^?]*)(?:\?(.*))?", re.DOTALL)
_USER_SAFE = ":!$&()*+,;=%~"
_MAX_SIDE_PX, _MAX_FPS, _MAX_TIME_S = 16384, 1000.0, 86400.0


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
    frozen_s: float = 60.0  # the same picture for so long counts as lost; 0: never, and every frame is passed on
    faults: str = ""  # of kind "faults": the options of the injector; address is the source behind it
    named: bool = False  # by `name=`: it stays where another source would have the same name

    @property
    def shown(self) -> str:
        """The address for messages: of a stream without user, password and query."""
        return shown_url(self.address) if self.kind == "stream" else self.address


def parse_camera_url(text: str, *, live: bool = False) -> CameraUrl | None:
    """Parse a live source.

    A file or folder of this name is read as such: one that is called `0`, too.

    Args:
        text: `/dev/video0`, `0`, `v4l2:///dev/video0`, `csi://0`, `rtsp://...` or another stream, `faults://?source=...`.
        live: whether any other source is read at its own pace, as a camera.

    Returns:
        The live source, or None where it is another one and not `live`.

    Raises:
        UsageError: an option is invalid; one line names it, what it wants and which there are.
    """
    scheme = text.partition("://")[0].lower() if has_scheme(text) else ""
    if scheme == "faults":
        return _parse_faults(text)
    if scheme in STREAM_SCHEMES:
        return _parse_stream(text)
    if _is_path(text):
        return _parse_live(text) if live else None
    if match := _DEVICE.fullmatch(text):
        return _parse_device(text, match[1], match[2])
    if match := _NUMBER.fullmatch(text):
        return _parse_device(text, f"/dev/video{match[1]}", match[2])
    if match := _CSI.fullmatch(text):
        if not re.fullmatch(r"\d{1,2}", match[1]):
            raise UsageError(f"{text}: wanted the number of a CSI sensor, csi://0, got '{match[1]}'")
        return _build("csi", text, match[1], f"csi{int(match[1])}", match[2])
    return _parse_live(text) if live else None


def is_rtsp(url: CameraUrl) -> bool:
    """Return whether the fault injector's proxy can stand before a source."""
    return url.kind == "stream" and url.address.lower().startswith("rtsp://")


def fault_kinds(behind: CameraUrl) -> tuple[str, ...]:
    """Return the kinds of faults that a source can have: an RTSP stream also those of its connection."""
    return tuple(KINDS if is_rtsp(behind) else FRAME_KINDS)


def _is_path(text: str) -> bool:
    path = Path(text)
    try:
        return path.is_file() or path.is_dir()
    except (OSError, ValueError):
        return False


def _parse_device(text: str, path: str, query: str | None) -> CameraUrl:
    return _build("v4l2", text, path, path.rstrip("/").rpartition("/")[2], query)


def _parse_stream(text: str) -> CameraUrl:
    address, options = text, None
    head, mark, tail = text.rpartition("#")
    if mark and "@" not in tail:  # else it is within the password
        address, options = head, tail
    scheme, _, rest = address.partition("://")
    user, place = split_user(rest)
    shown = shown_url(address) + ("" if options is None else f"#{options}")
    try:
        parts = urlsplit(f"x://{place}")
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{shown}: {error}; wanted {scheme.lower()}://host:port/path") from error
    if host is None and scheme.lower() not in ("udp", "tcp", "srt"):  # these may listen: udp://@:5000
        raise UsageError(f"{shown}: names no host; wanted {scheme.lower()}://host/path")
    if user is not None:  # what would end it, or hide it from redaction, is escaped
        address = f"{scheme}://{quote(user, safe=_USER_SAFE)}@{place}"
    return _build("stream", shown, address, _plain(host or scheme), options)


def _parse_faults(text: str) -> CameraUrl:
    rest = text.partition("://")[2]
    if not rest.startswith("?") and rest:
        raise UsageError(f"{text}: wanted faults://?source=SOURCE&...")
    own: list[str] = []
    faults: list[str] = []
    address = "parts://"
    for item in filter(None, rest[1:].split("&")):
        key, _, value = item.partition("=")
        if key == "source":
            address = unquote(value)
        else:
            (own if key in _OPTIONS["faults"] else faults).append(item)
    behind = parse_camera_url(address, live=True)
    if behind is None or behind.kind == "faults":
        raise UsageError(f"{text}: source wants a source that is no faults:// itself, got '{address}'")
    parse_fault_schedule("&".join(faults), fault_kinds(behind))
    behind_it: dict[str, Any] = {"named": behind.named, "timeout_s": behind.timeout_s}
    if behind.kind != "live":  # a file's frozen picture is injected
        behind_it["frozen_s"] = behind.frozen_s
    return _build("faults", text, address, behind.name, "&".join(own), faults="&".join(faults), **behind_it)


def _parse_live(text: str) -> CameraUrl:
    name = text.partition("://")[0] if has_scheme(text) and not file_path(text) else Path(text).stem
    return CameraUrl("live", text, _plain(name), frozen_s=0.0)  # a file that shows the same for long is not lost


def _build(kind: Kind, text: str, address: str, name: str, query: str | None, **values: Any) -> CameraUrl:
    """Return the live source with the options that its text gives."""
    known, given = _OPTIONS[kind], {"name": name, **values}
    seen = set()
    for item in filter(None, (query or "").split("&")):
        key, equals, value = item.partition("=")
        if key not in known:
            raise UsageError(f"{text}: no such option '{key}'; there are {', '.join(known)}")
        if key in seen:
            raise UsageError(f"{text}: {key} is given twice")
        seen.add(key)
        field, wanted, read = _READERS[key]
        try:
            given[field] = read(unquote(value))
        except ValueError:
            got = f"got '{unquote(value)}'" if equals else "got none"
            raise UsageError(f"{text}: {key} wants {wanted}, {got}") from None
    given["named"] = given.get("named", False) or "name" in seen
    if (backend := given.get("backend", "auto")) not in _BACKENDS.get(kind, ("auto",)):
        raise UsageError(f"{text}: backend wants {' or '.join(_BACKENDS[kind])}, got '{backend}'")
    if backend == "gstreamer" and kind == "stream" and not address.lower().startswith("rtsp"):
        raise UsageError(f"{text}: backend=gstreamer is for RTSP and devices; leave it out")
    return CameraUrl(kind, address, **given)


def _plain(name: str) -> str:
    return re.sub(r"[^\w.:-]+", "-", name).strip("-") or "source"


def _size(value: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", value.lower())
    if match is None or not all(0 < int(side) <= _MAX_SIDE_PX for side in match.groups()):
        raise ValueError
    return int(match[1]), int(match[2])


def _between(low: float, high: float) -> Callable[[str], float]:
    def read(value: str) -> float:
        number = float(value)
        if not (math.isfinite(number) and low <= number <= high):
            raise ValueError
        return number

    return read


def _pattern(pattern: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError
        return value

    return read


def _format(value: str) -> str:
    return _pattern(r"[A-Z0-9]{3,4}")(value.upper())


# An option: its field, what it wants, how it is read.
_READERS: dict[str, tuple[str, str, Callable[[str], Any]]] = {
    "size": ("size_wh", "WIDTHxHEIGHT in pixels, such as 1280x720", _size),
    "fps": ("fps", f"frames a second, up to {_MAX_FPS:.0f}", _between(0.001, _MAX_FPS)),
    "format": ("format", "a format of four letters, such as MJPG, YUYV, NV12 or H264", _format),
    "transport": ("transport", "tcp or udp", _pattern("tcp|udp")),
    "backend": ("backend", "auto, gstreamer, pyav (of streams) or opencv (of devices)", str),
    "timeout": ("timeout_s", "seconds, 0.1 or more", _between(0.1, _MAX_TIME_S)),
    "frozen": ("frozen_s", "seconds; 0 is never", _between(0, _MAX_TIME_S)),
    "name": ("name", "letters, digits, '-', '_' and '.'", _pattern(r"[\w-][\w.-]{0,63}")),
}
_BACKENDS: dict[Kind, tuple[str, ...]] = {
    "v4l2": ("auto", "gstreamer", "opencv"),
    "stream": ("auto", "gstreamer", "pyav"),
}
_OPTIONS: dict[Kind, tuple[str, ...]] = {
    "v4l2": ("size", "fps", "format", "backend", "timeout", "frozen", "name"),
    "csi": ("size", "fps", "timeout", "frozen", "name"),
    "stream": ("format", "transport", "backend", "timeout", "frozen", "name"),
    "faults": ("timeout", "frozen", "name"),
}
