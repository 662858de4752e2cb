"""A camera for tests and measurements: an RTSP server on loopback whose pictures hold a burnt-in clock.

    with rtsp_server(size_wh=(1280, 720)) as server:
        server.url("h264")    # rtsp://127.0.0.1:PORT/h264
        server.command("stall")

GStreamer's server is run by the system's Python (Debian: python3-gst-1.0, gir1.2-gst-rtsp-server-1.0,
gstreamer1.0-plugins-ugly and -bad), as no wheel brings it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import quote

PYTHON = "/usr/bin/python3"
_SCRIPT = Path(__file__).with_name("rtsp_server_process.py")
_PROBE = """
import gi, numpy
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
for name in ("x264enc", "x265enc", "jpegenc", "rtph264pay", "appsrc"):
    assert Gst.ElementFactory.find(name), f"GStreamer has no {name}"
"""


class ServerError(RuntimeError):
    """The server does not start."""


@cache
def missing() -> str:
    """Return why the server cannot run on this machine, "" where it can."""
    if not os.path.exists(PYTHON):
        return f"needs {PYTHON} with GStreamer's RTSP server"
    done = subprocess.run([PYTHON, "-c", _PROBE], capture_output=True, text=True)
    reason = (done.stderr.strip().splitlines() or ["unknown"])[-1]
    return f"needs {PYTHON} with GStreamer's RTSP server: {reason}" if done.returncode else ""


@dataclass
class RtspServer:
    """A server that can be ended and started again on the same port."""

    size_wh: tuple[int, int] = (640, 480)
    fps: float = 25.0
    keyframe_s: float = 1.0  # between keyframes
    bitrate_kbps: int = 0  # 0: a constant quantizer
    user: str = ""
    password: str = ""
    auth: str = "digest"  # or "basic"
    max_sessions: int = 0  # 0: any number
    clock: str = "ntp"  # of sender reports; "running-time": a camera whose clock was never set
    loss: float = 0.0  # share of the packets that the network loses
    delay_ms: int = 0  # of each packet in the network
    jitter_ms: int = 0  # more than that, at random
    port: int = 0
    _process: subprocess.Popen[str] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        """The process, to be stopped by SIGSTOP or killed."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def url(self, codec: str = "h264", *, user: str | None = None, password: str | None = None) -> str:
        """Return the address of the stream of a codec: h264, h265 or mjpeg; with user and password where wanted."""
        user, password = self.user if user is None else user, self.password if password is None else password
        login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user else ""
        return f"rtsp://{login}127.0.0.1:{self.port}/{codec}"

    def start(self) -> None:
        """Start the server, on the port it had before, and wait until it accepts connections."""
        assert self._process is None, "the server is running"
        line = [PYTHON, str(_SCRIPT), f"--port={self.port}", f"--size={self.size_wh[0]}x{self.size_wh[1]}"]
        line += [f"--fps={self.fps}", f"--keyframe-s={self.keyframe_s}", f"--bitrate={self.bitrate_kbps}"]
        line += [f"--max-sessions={self.max_sessions}", f"--ntp-time-source={self.clock}", f"--auth={self.auth}"]
        line += [f"--loss={self.loss}", f"--delay-ms={self.delay_ms}", f"--jitter-ms={self.jitter_ms}"]
        line += [f"--user={self.user}", f"--password={self.password}"]
        # The variables of a virtual environment would lead the system's Python to its libraries.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        environment["GST_REGISTRY_FORK"] = "no"
        self._process = subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment
        )
        assert self._process.stdout is not None
        ready = self._process.stdout.readline()
        if not ready.strip().isdigit():
            self.stop()
            raise ServerError(f"the RTSP server did not start on port {self.port}")
        self.port = int(ready)

    def stop(self) -> None:
        """End the server as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None

    def command(self, line: str) -> None:
        """Give a command: `stall`, `freeze` the picture, `go` on, `size 1280x720`, `close-clients`."""
        assert self._process is not None, "the server is not running"
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()


@contextmanager
def rtsp_server(**options: object) -> Iterator[RtspServer]:
    """Run a server; the options are the fields of RtspServer.

    Raises:
        ServerError: this machine has no RTSP server of GStreamer's, or the port is taken.
    """
    if reason := missing():
        raise ServerError(reason)
    server = RtspServer(**options)  # type: ignore[arg-type]
    server.start()
    try:
        yield server
    finally:
        server.stop()
