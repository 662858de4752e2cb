"""The age of an RTSP camera's frames at delivery, true and as it is told; and that by OpenCV and GStreamer.

    python benchmarks/camera_age.py
    python benchmarks/camera_age.py --seconds 30 --json

The camera is rtsp_server.py on loopback, at 25 fps with a keyframe each second; the time that it burns into its
pictures tells their true age. OpenCV and GStreamer read the same stream with their default settings, by turns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]  # run without being installed

from burnt_clock import read_clock  # noqa: E402
from rtsp_server import PYTHON, RtspServer, missing, rtsp_server  # noqa: E402

WARM_UP_S = 6.0  # sender reports come within five seconds
PEERS = ("opencv-ffmpeg", "gstreamer")
# A peer reads in a process of its own: OpenCV with GStreamer is the system's.
PEER = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import cv2
from burnt_clock import read_clock
source, backend, warm_up_s, seconds = sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5])
capture, ages, begin = cv2.VideoCapture(source, backend), [], time.monotonic()
while time.monotonic() - begin < warm_up_s + seconds:
    ok, image = capture.read()
    if not ok:
        break
    if time.monotonic() - begin >= warm_up_s:
        burnt_ms = read_clock(image)
        ages.append(None if burnt_ms is None else time.time_ns() / 1e6 - burnt_ms)
print(json.dumps(ages))
"""
CAP_GSTREAMER, CAP_FFMPEG = 1800, 1900


@dataclass(frozen=True)
class Row:
    """What one reader gave of one stream; milliseconds."""

    stream: str
    reader: str
    frames: int
    unreadable: int  # frames whose clock cannot be read
    age_p50: float
    age_p99: float
    error_p50: float | None = None  # of the told age, where one is told: above 0 it is too young
    error_max: float | None = None  # the largest, whatever its sign


def summary(stream: str, reader: str, ages: list[float | None], errors: list[float] | None = None) -> Row:
    """Return the percentiles of what was read."""
    good = [age for age in ages if age is not None] or [float("nan")]
    p50, p99 = (round(float(np.percentile(good, percent)), 1) for percent in (50, 99))
    row = (stream, reader, len(ages), ages.count(None), p50, p99)
    if not errors:
        return Row(*row)
    return Row(*row, round(float(np.median(errors)), 1), round(max(abs(error) for error in errors), 1))


def read_by_nanoseg(server: RtspServer, codec: str, transport: str, seconds: float, stream: str) -> Row:
    """Read by nanoseg's own capture."""
    from nanoseg.sources.camera_url import CameraUrl
    from nanoseg.sources.capture.stream import open_stream

    url = CameraUrl("stream", server.url(codec), "camera", transport="udp" if transport == "udp" else "tcp")
    capture = open_stream(url, 1 << 24)
    ages: list[float | None] = []
    errors: list[float] = []
    begin = time.monotonic()
    while (passed := time.monotonic() - begin) < WARM_UP_S + seconds:
        captured = capture.read()
        now_ms, burnt_ms = time.time_ns() / 1e6, read_clock(captured.image)
        if passed >= WARM_UP_S:
            ages.append(None if burnt_ms is None else now_ms - burnt_ms)
            if burnt_ms is not None:
                errors.append(captured.captured_ns / 1e6 - burnt_ms)
    name = f"nanoseg ({capture.clock})"
    capture.close()
    return summary(stream, name, ages, errors)


def read_by_peer(peer: str, server: RtspServer, codec: str, transport: str, seconds: float, stream: str) -> Row:
    """Read by another library with its default settings."""
    url = server.url(codec)
    if peer == "gstreamer":
        source = f"rtspsrc location={url} protocols={transport} ! decodebin ! videoconvert ! video/x-raw,format=BGR ! "
        line = [PYTHON, "-c", PEER, str(ROOT / "benchmarks"), f"{source}appsink", str(CAP_GSTREAMER)]
    else:
        line = [sys.executable, "-c", PEER, str(ROOT / "benchmarks"), url, str(CAP_FFMPEG)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = f"rtsp_transport;{transport}"
    line += [str(WARM_UP_S), str(seconds)]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60 + 4 * seconds)
    ages = json.loads(done.stdout.strip().splitlines()[-1]) if done.returncode == 0 else []
    return summary(stream, peer, ages)


def measure(options: argparse.Namespace) -> list[Row]:
    """Measure each stream by each reader."""
    rows = []
    for size in options.sizes.split(","):
        width, height = map(int, size.split("x"))
        network = {"loss": options.loss, "delay_ms": options.delay_ms}
        with rtsp_server(size_wh=(width, height), **network) as server:
            for codec in options.codecs.split(","):
                for transport in options.transports.split(","):
                    stream = f"{size} {codec} {transport}"
                    rows.append(read_by_nanoseg(server, codec, transport, options.seconds, stream))
                    for peer in PEERS:
                        rows.append(read_by_peer(peer, server, codec, transport, options.seconds, stream))
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10, help="of each reader, after a warm-up")
    parser.add_argument("--sizes", default="640x480,1280x720")
    parser.add_argument("--codecs", default="h264,h265")
    parser.add_argument("--transports", default="tcp,udp")
    parser.add_argument("--loss", type=float, default=0, help="share of the RTP packets that are lost")
    parser.add_argument("--delay-ms", type=int, default=0, help="of the network")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if reason := missing():
        sys.exit(reason)
    rows = measure(options)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    print(f"{'stream':24}{'reader':20}{'frames':>7}{'bad':>5}{'age p50':>9}{'p99':>8}{'error p50':>11}{'max':>8}  ms")
    for row in rows:
        errors = "" if row.error_p50 is None else f"{row.error_p50:11.1f}{row.error_max:8.1f}"
        print(
            f"{row.stream:24}{row.reader:20}{row.frames:7}{row.unreadable:5}{row.age_p50:9.1f}{row.age_p99:8.1f}{errors}"
        )


if __name__ == "__main__":
    main()
