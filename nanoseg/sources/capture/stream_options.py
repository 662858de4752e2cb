"""How FFmpeg opens a stream: container format, protocols it may use, and what keeps the delay short."""

from __future__ import annotations

from dataclasses import dataclass

from nanoseg.errors import UsageError
from nanoseg.sources.camera_url import CameraUrl

# Frames that were read to analyse the stream are kept (no `nobuffer`): the first one is often the only keyframe for
# seconds. They are few, and what waits is read faster than it came.
_KNOWN = {"probesize": "32", "analyzeduration": "0", "fpsprobesize": "0"}
_PROBED = {"probesize": "1000000", "analyzeduration": "2000000", "fpsprobesize": "0"}
_WEB = "http,https,httpproxy,tcp,tls"
_WEB_FORMATS = "mpjpeg,mpegts,hls,flv,live_flv,mjpeg,h264,hevc,mov,matroska,ogg,asf,nut"
# The schemes: label, container format, protocols, options. Nothing that a stream says makes FFmpeg open a file.
_SCHEMES: dict[str, tuple[str, str | None, str, dict[str, str]]] = {
    "rtsp": ("RTSP", "rtsp", "rtp,srtp,udp,tcp", _KNOWN),
    "rtsps": ("RTSPS", "rtsp", "rtp,srtp,udp,tcp,tls", _KNOWN),
    "http": ("HTTP", None, _WEB + ",crypto", _PROBED),
    "https": ("HTTPS", None, "https,httpproxy,tcp,tls,crypto", _PROBED),
    "rtmp": ("RTMP", "flv", "rtmp,tcp", _PROBED),
    "rtmps": ("RTMPS", "flv", "rtmps,tls,tcp", _PROBED),
    "srt": ("SRT", "mpegts", "srt,udp", _PROBED),
    "udp": ("UDP", "mpegts", "udp", _PROBED),
    "tcp": ("TCP", "mpegts", "tcp", _PROBED),
}


@dataclass(frozen=True)
class StreamOptions:
    """What FFmpeg is given to open a stream."""

    label: str  # "RTSP over TCP"
    format: str | None  # container format; None: recognised by its content, among those allowed
    options: dict[str, str]
    second_format: str | None = None  # tried where the content is of no known format


def stream_options(url: CameraUrl) -> StreamOptions:
    """Return how a stream is opened.

    Raises:
        UsageError: the scheme is none of a stream.
    """
    scheme = url.address.partition("://")[0].lower()
    if scheme not in _SCHEMES:
        raise UsageError(f"{url.shown}: wanted a stream by {', '.join(_SCHEMES)}, got {scheme}")
    label, container_format, protocols, options = _SCHEMES[scheme]
    options = {**options, "protocol_whitelist": protocols}
    if container_format == "rtsp":
        label += f" over {url.transport.upper()}"
        # Sound would only add what is to be read, and its clock would be mixed into the picture's.
        options |= {"rtsp_transport": url.transport, "allowed_media_types": "video"}
    elif container_format is None:
        # Of a playlist the newest segment; a server that names another kind of file than it sends is believed.
        options |= {"format_whitelist": _WEB_FORMATS, "live_start_index": "-1", "seekable": "0"}
    elif scheme == "udp":
        options |= {"fifo_size": "50000", "overrun_nonfatal": "1"}
    elif scheme.startswith("rtmp"):
        options |= {"rtmp_live": "live", "rtmp_buffer": "100"}
    # Motion JPEG whose parts are not delimited as they should be is searched for pictures.
    return StreamOptions(label, container_format, options, None if container_format else "mjpeg")
