"""GStreamer: the texts of the pipelines, and the system's OpenCV running them where it has GStreamer."""

import json
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from nanoseg.errors import DependencyError, SourceError, UsageError
from nanoseg.sources.camera_url import CameraUrl, parse_camera_url
from nanoseg.sources.capture import gstreamer
from nanoseg.sources.capture.gstreamer import GStreamerCapture, open_csi, open_gstreamer, pipeline
from tests.helpers.paths import ROOT

SINK = "appsink drop=true max-buffers=1 sync=false"
BGR = "videoconvert ! video/x-raw, format=BGR"
BGRX = "nvvidconv ! video/x-raw, format=BGRx"
RTSP = (
    'rtspsrc location="rtsp://u:p@cam/s?c=1" protocols={} latency=100 drop-on-latency=true'
    " ! application/x-rtp, media=video ! "
)
QUEUE = "queue leaky=downstream max-size-buffers=1"
PYTHON = "/usr/bin/python3"


@pytest.mark.parametrize(
    ("url", "jetson", "expected"),
    [
        (
            "csi://1?size=1280x720&fps=30",
            True,
            "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM), width=1280, height=720, framerate=30/1, "
            f"format=NV12 ! {BGRX} ! {SINK}",
        ),
        ("csi://0", True, f"nvarguscamerasrc sensor-id=0 ! video/x-raw(memory:NVMM), format=NV12 ! {BGRX} ! {SINK}"),
        (
            "/dev/video0?size=1920x1080&fps=29.97&format=MJPG",
            True,
            'v4l2src device="/dev/video0" ! image/jpeg, width=1920, height=1080, framerate=2997/100 ! '
            f"nvv4l2decoder mjpeg=1 ! {BGRX} ! {SINK}",
        ),
        ("/dev/video0?format=MJPG", False, f'v4l2src device="/dev/video0" ! image/jpeg ! jpegdec ! {BGR} ! {SINK}'),
        (
            "/dev/video2?format=YUYV&size=640x480",
            True,
            f'v4l2src device="/dev/video2" ! video/x-raw, width=640, height=480, format=YUY2 ! {BGRX} ! {SINK}',
        ),
        ("/dev/video2", False, f'v4l2src device="/dev/video2" ! video/x-raw ! {BGR} ! {SINK}'),
        (
            "rtsp://u:p@cam/s?c=1#format=H265&transport=udp",
            True,
            f"{RTSP.format('udp')}rtph265depay ! h265parse ! nvv4l2decoder enable-max-performance=1 disable-dpb=true ! "
            f"{BGRX} ! {QUEUE} ! {SINK}",
        ),
        (
            "rtsp://u:p@cam/s?c=1",
            True,
            f"{RTSP.format('tcp')}parsebin ! nvv4l2decoder enable-max-performance=1 disable-dpb=true ! {BGRX} ! "
            f"{QUEUE} ! {SINK}",
        ),
        (
            "rtsp://u:p@cam/s?c=1#format=H264",
            False,
            f"{RTSP.format('tcp')}rtph264depay ! h264parse ! avdec_h264 ! {BGR} ! {QUEUE} ! {SINK}",
        ),
        ("rtsp://u:p@cam/s?c=1", False, f"{RTSP.format('tcp')}decodebin ! {BGR} ! {QUEUE} ! {SINK}"),
    ],
)
def test_pipeline(url, jetson, expected):
    text = pipeline(parse_camera_url(url), jetson)
    assert text == expected
    assert ("videoconvert" in text) != jetson


@pytest.mark.parametrize(
    "address", ['rtsp://cam/a" ! filesink location="/tmp/x', "rtsp://u:p\\@cam/s", "rtsp://cam/a b ! fakesink"]
)
def test_no_address_adds_an_element(address):
    text = pipeline(CameraUrl("stream", address, "cam"), False)
    value, escaped = [], False
    for letter in text.removeprefix('rtspsrc location="'):
        if not escaped and letter == '"':
            break
        escaped = not escaped and letter == "\\"
        if not escaped:
            value.append(letter)
    assert "".join(value) == address


def test_control_characters_are_refused():
    with pytest.raises(UsageError, match="wanted an address of printable characters"):
        pipeline(CameraUrl("stream", "rtsp://cam/\n", "cam"), False)


def test_pips_opencv_has_no_gstreamer_and_says_what_to_do():
    if gstreamer.has_gstreamer():
        pytest.skip("this OpenCV has GStreamer")
    with pytest.raises(
        DependencyError, match=r"cam: this OpenCV .* was built without GStreamer, .*system-site-packages"
    ):
        open_gstreamer(parse_camera_url("rtsp://cam/stream#name=cam"), 10**6)


def test_csi_is_for_a_jetson():
    with pytest.raises(SourceError, match="csi0: CSI cameras are read on a Jetson; this machine is none"):
        open_csi(parse_camera_url("csi://0"), 10**6)


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        (
            "[ WARN:0@0.0] global cap_gstreamer.cpp (2784) handleMessage OpenCV | GStreamer warning: Embedded video "
            "playback halted; module rtspsrc0 reported: Could not open resource for reading and writing.",
            "Could not open resource for reading and writing.",
        ),
        ('GStreamer warning: Error opening bin: no element "nvvidconv"', 'no element "nvvidconv"'),
        ("", "it does not start; GST_DEBUG=3 tells more"),
    ],
)
def test_the_reason_is_gstreamers_own(printed, reason):
    assert gstreamer._reason(printed) == reason


@cache
def has_gstreamer():
    if not Path(PYTHON).exists():
        return False
    code = "import cv2; assert 'GStreamer:                   YES' in cv2.getBuildInformation()"
    return subprocess.run([PYTHON, "-c", code], capture_output=True).returncode == 0


def run_by_system(code):
    """Run code under the system's Python, whose OpenCV has GStreamer; it prints one JSON line."""
    if not has_gstreamer():
        pytest.skip(f"needs {PYTHON} with an OpenCV that has GStreamer")
    done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


CAPTURE = """
import json, sys
from nanoseg.sources.capture.gstreamer import GStreamerCapture
from nanoseg.errors import NanosegError
try:
    capture = GStreamerCapture({text!r}, "cam", 10**7, "try again", {form!r})
    frames = [capture.read() for _ in range(3)]
    first = frames[0].image
    print(json.dumps([capture.description, first.shape, first[0, 0].tolist(), frames[2].captured_ns > 10**18]))
    capture.close()
except NanosegError as error:
    print(json.dumps(str(error)))
"""


@pytest.mark.parametrize("form", ["BGR", "BGRx", "NV12", "I420", "YUY2", "GRAY8"])
def test_every_format_arrives_as_bgr(form):
    caps = f"video/x-raw, format={form}, width=64, height=48, framerate=30/1"
    text = f"videotestsrc pattern=red is-live=true ! {caps} ! {SINK}"
    description, shape, pixel, stamped = run_by_system(CAPTURE.format(text=text, form=form))
    assert (description, shape, stamped) == ("64x48 30 fps, GStreamer", [48, 64, 3], True)
    expected = [76, 76, 76] if form == "GRAY8" else [0, 0, 255]
    assert np.abs(np.array(pixel) - expected).max() <= 8


def test_a_pipeline_that_fails_is_one_line_with_gstreamers_reason():
    assert run_by_system(CAPTURE.format(text=f"nosuchelement ! {SINK}", form=None)) == (
        "cam: GStreamer cannot open it: cannot find appsink in manual pipeline; try again"
    )


def test_a_pipeline_that_ends_is_lost():
    text = f"videotestsrc num-buffers=2 ! video/x-raw, format=BGR, width=64, height=48 ! {SINK}"
    assert run_by_system(CAPTURE.format(text=text, form=None)) == "cam: GStreamer gives no more frames"


def test_the_capture_is_for_pictures_within_the_limit():
    code = CAPTURE.format(text=f"videotestsrc ! video/x-raw, format=BGR, width=4000, height=3000 ! {SINK}", form=None)
    assert "4000 x 3000 pixels are more than the limit" in run_by_system(code)
    assert GStreamerCapture.clock == "arrival"
