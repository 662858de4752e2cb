"""The RTSP server of rtsp_server.py, a process of the system's Python, which has GStreamer: not for use by itself.

It prints its port when it is ready, then obeys lines on its standard input: `stall`, `freeze`, `go`,
`size 640x480`, `close-clients`. It ends with its standard input.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from typing import Any

import gi
import numpy as np

from burnt_clock import draw_clock

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

SECOND_NS = 1_000_000_000


class Pictures:
    """What the camera sees: a grating, a square that moves, and the clock."""

    def __init__(self, size_wh: tuple[int, int], fps: float) -> None:
        self.fps, self.stalled, self.frozen = fps, False, False
        self.set_size(size_wh)

    def set_size(self, size_wh: tuple[int, int]) -> None:
        """Change the size of the pictures, from the next one on."""
        y, x = np.indices((size_wh[1], size_wh[0]), np.uint16)
        background = (96 + (x // 16 + y // 16) % 8 * 8).astype(np.uint8)
        chroma = np.full(size_wh[0] * size_wh[1] // 2, 128, np.uint8)
        self._scene = size_wh, background, chroma
        self._last: tuple[tuple[int, int], bytes] | None = None

    def next(self, index: int) -> tuple[tuple[int, int], bytes, int]:
        """Return size, pixels (I420) and the time of the picture in milliseconds."""
        size_wh, background, chroma = self._scene
        now_ms = time.time_ns() // 1_000_000
        if self.frozen and self._last is not None:
            return *self._last, now_ms
        luma = background.copy()
        height, width = luma.shape
        side, left = height // 4, index * 7 % (width - height // 4)
        luma[height // 2 : height // 2 + side, left : left + side] = 40 + index * 5 % 180
        draw_clock(luma, now_ms)
        self._last = size_wh, luma.tobytes() + chroma.tobytes()
        return *self._last, now_ms


def encoder(codec: str, options: argparse.Namespace) -> str:
    """Return the elements that encode one codec and put it into RTP packets."""
    # The server sends what the element of that name gives: here a network that loses packets or delays them.
    name = "name=pay0"
    if options.loss or options.delay_ms:
        name = (
            f"! netsim name=pay0 drop-probability={options.loss} delay-probability={int(options.delay_ms > 0)} "
            f"min-delay={options.delay_ms} max-delay={options.delay_ms + options.jitter_ms}"
        )
    gop = max(1, round(options.fps * options.keyframe_s))
    if codec == "mjpeg":
        return f"jpegenc quality=85 ! rtpjpegpay pt=26 {name}"
    if codec == "h265":
        rate = f"bitrate={options.bitrate}" if options.bitrate else "qp=26"
        return (
            f"x265enc tune=zerolatency speed-preset=ultrafast {rate} key-int-max={gop} log-level=error "
            "option-string=repeat-headers=1:scenecut=0:open-gop=0 ! h265parse "
            f"! rtph265pay pt=96 config-interval=-1 {name}"
        )
    # A constant quantizer decodes a frozen picture to the same pixels again and again.
    rate = f"bitrate={options.bitrate}" if options.bitrate else "pass=quant quantizer=23"
    return (
        f"x264enc tune=zerolatency speed-preset=ultrafast {rate} key-int-max={gop} threads=1 "
        f"option-string=scenecut=0 ! rtph264pay pt=96 config-interval=-1 aggregate-mode=zero-latency {name}"
    )


def feed(source: Any, pictures: Pictures, ended: threading.Event) -> None:
    """Push pictures at their rate until the media is gone."""
    index, size_wh, due = 0, None, time.monotonic()
    while not ended.is_set():
        due = max(due + 1 / pictures.fps, time.monotonic() - 1)
        if ended.wait(max(0.0, due - time.monotonic())):
            return
        if pictures.stalled:
            continue
        wh, pixels, _ = pictures.next(index)
        clock = source.get_clock()
        if clock is None:
            continue
        if wh != size_wh:
            size_wh = wh
            caps = f"video/x-raw,format=I420,width={wh[0]},height={wh[1]},framerate={round(pictures.fps * 1000)}/1000"
            source.set_property("caps", Gst.Caps.from_string(caps))
        buffer = Gst.Buffer.new_wrapped(pixels)
        buffer.pts = clock.get_time() - source.get_base_time()
        buffer.duration = round(SECOND_NS / pictures.fps)
        if source.emit("push-buffer", buffer) not in (Gst.FlowReturn.OK, Gst.FlowReturn.FLUSHING):
            return
        index += 1


def configure(media: Any, pictures: Pictures, ntp_time_source: str) -> None:
    """Start to feed a media that a client asked for."""
    ended = threading.Event()
    source = media.get_element().get_by_name("source")
    media.set_suspend_mode(GstRtspServer.RTSPSuspendMode.NONE)

    def prepared() -> None:
        # Sender reports give the time of capture, as the better cameras do, not that of sending.
        manager = next(
            each for each in media.get_element().get_parent().children if each.get_name().startswith("rtpbin")
        )
        manager.set_property("rtcp-sync-send-time", False)
        manager.set_property("ntp-time-source", ntp_time_source)

    media.connect("prepared", lambda _media: prepared())
    media.connect("unprepared", lambda _media: ended.set())
    threading.Thread(target=feed, args=(source, pictures, ended), daemon=True).start()


def authentication(options: argparse.Namespace) -> Any:
    """Return what wants the user and the password."""
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    if options.auth == "basic":
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(options.user, options.password), token)
    else:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(options.user, options.password, token)
    return auth


def obey(line: str, pictures: Pictures, server: Any) -> None:
    """Do what one line of the standard input says."""
    verb, _, argument = line.strip().partition(" ")
    if verb in ("stall", "freeze", "go"):
        pictures.stalled, pictures.frozen = verb == "stall", verb == "freeze"
    elif verb == "size":
        width, height = map(int, argument.split("x"))
        pictures.set_size((width, height))
    elif verb == "close-clients":
        server.client_filter(lambda _server, _client: GstRtspServer.RTSPFilterResult.REMOVE)
    else:
        sys.exit(f"unknown command: {line!r}")


def options_of_line() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", default="0")
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--fps", type=float, default=25)
    parser.add_argument("--keyframe-s", type=float, default=1)
    parser.add_argument("--bitrate", type=int, default=0)
    parser.add_argument("--max-sessions", type=int, default=0)
    parser.add_argument("--loss", type=float, default=0)
    parser.add_argument("--delay-ms", type=int, default=0)
    parser.add_argument("--jitter-ms", type=int, default=0)
    parser.add_argument("--ntp-time-source", default="ntp")
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    parser.add_argument("--auth", default="digest")
    return parser.parse_args()


def main() -> None:
    """Serve /h264, /h265 and /mjpeg until the standard input ends."""
    options = options_of_line()
    Gst.init(None)
    width, height = map(int, options.size.split("x"))
    pictures = Pictures((width, height), options.fps)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    if options.max_sessions:
        server.get_session_pool().set_max_sessions(options.max_sessions)
    if options.user:
        server.set_auth(authentication(options))
    for codec in ("h264", "h265", "mjpeg"):
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(
            "( appsrc name=source is-live=true format=time max-bytes=0 max-buffers=3 leaky-type=downstream "
            f"! {encoder(codec, options)} )"
        )
        factory.set_shared(True)
        factory.set_latency(0)
        if options.user:
            permissions = GstRtspServer.RTSPPermissions()
            permissions.add_role("user")
            permissions.add_permission_for_role("user", "media.factory.access", True)
            permissions.add_permission_for_role("user", "media.factory.construct", True)
            factory.set_permissions(permissions)
        factory.connect("media-configure", lambda _f, media: configure(media, pictures, options.ntp_time_source))
        server.get_mount_points().add_factory(f"/{codec}", factory)
    if not server.attach(None):
        sys.exit(f"port {options.port} is taken")
    loop = GLib.MainLoop()

    def commands() -> None:
        for line in sys.stdin:
            GLib.idle_add(lambda line=line: obey(line, pictures, server))
        loop.quit()

    threading.Thread(target=commands, daemon=True).start()
    print(server.get_bound_port(), flush=True)
    loop.run()


if __name__ == "__main__":
    main()
