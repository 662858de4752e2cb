"""Cameras that stream over HTTP, for tests: motion JPEG in parts, well made or not, and MPEG-TS."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np

from burnt_clock import draw_clock

FPS = 25


@contextmanager
def http_stream(content_type: str, chunks: Callable[[], Iterator[bytes]]) -> Iterator[str]:
    """Serve what `chunks` yields to each client, and give the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            with suppress(OSError):
                for chunk in chunks():
                    self.wfile.write(chunk)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/video"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def picture(index: int, size_wh: tuple[int, int] = (320, 240)) -> np.ndarray:
    """Return (H, W, 3) uint8 with a burnt-in clock and a number of grey."""
    image = np.full((size_wh[1], size_wh[0], 3), 60 + index % 100, np.uint8)
    draw_clock(image, time.time_ns() // 1_000_000)
    return image


@dataclass(frozen=True)
class Parts:
    """A camera of motion JPEG."""

    content_type: str = "multipart/x-mixed-replace; boundary=frame"
    delimiter: bytes = b"--frame"
    with_length: bool = True
    cut_every: int = 0  # each such picture is sent by half
    count: int = 500

    def __call__(self) -> Iterator[bytes]:
        """Yield the parts at their rate."""
        import cv2

        for index in range(self.count):
            jpeg = cv2.imencode(".jpg", picture(index))[1].tobytes()
            if self.cut_every and index % self.cut_every == self.cut_every - 1:
                jpeg = jpeg[: len(jpeg) // 2]
            length = b"Content-Length: %d\r\n" % len(jpeg) if self.with_length else b""
            yield self.delimiter + b"\r\nContent-Type: image/jpeg\r\n" + length + b"\r\n" + jpeg + b"\r\n"
            time.sleep(1 / FPS)


def mpegts(codec: str, count: int = 500) -> Iterator[bytes]:
    """Yield MPEG-TS at its rate: of libx264 without delay, of others with frames that are predicted from later ones."""
    import av

    out = io.BytesIO()
    with av.open(out, "w", format="mpegts") as container:  # PyAV 16 crashes where one is collected while it is open
        options = (
            {"preset": "ultrafast", "tune": "zerolatency", "g": "10"} if codec == "libx264" else {"g": "10", "bf": "2"}
        )
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(picture(index), format="bgr24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            for packet in stream.encode(frame):
                container.mux(packet)
            yield out.getvalue()
            out.seek(0)
            out.truncate()
            time.sleep(1 / FPS)
