"""Addresses of live sources: what is one, its name and its options."""

import pytest

from nanoseg.errors import UsageError
from nanoseg.sources.camera_url import CameraUrl, parse_camera_url
from nanoseg.sources.fault_schedule import FRAME_KINDS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/dev/video0", CameraUrl("v4l2", "/dev/video0", "video0")),
        ("0", CameraUrl("v4l2", "/dev/video0", "video0")),
        ("v4l2:///dev/video2", CameraUrl("v4l2", "/dev/video2", "video2")),
        ("/dev/v4l/by-id/usb-C920-index0", CameraUrl("v4l2", "/dev/v4l/by-id/usb-C920-index0", "usb-C920-index0")),
        (
            "1?size=1280x720&fps=29.97&format=mjpg&name=door&backend=gstreamer",
            CameraUrl("v4l2", "/dev/video1", "door", (1280, 720), 29.97, "MJPG", backend="gstreamer", named=True),
        ),
        ("csi://1?size=1920X1080&fps=30", CameraUrl("csi", "1", "csi1", (1920, 1080), 30.0)),
        (
            "rtsp://me:p#s@s@cam.lan:554/h264?channel=1#transport=udp&timeout=10&frozen=0",
            CameraUrl(
                "stream",
                "rtsp://me:p%23s%40s@cam.lan:554/h264?channel=1",
                "cam.lan",
                transport="udp",
                timeout_s=10.0,
                frozen_s=0.0,
            ),
        ),
        ("RTSPS://cam/1", CameraUrl("stream", "RTSPS://cam/1", "cam")),
        ("rtsp://me:p#t=1@cam/1", CameraUrl("stream", "rtsp://me:p%23t=1@cam/1", "cam")),
        ("rtsp://me:a/b?c @cam:554/1", CameraUrl("stream", "rtsp://me:a%2Fb%3Fc%20@cam:554/1", "cam")),
        ("rtsp://me:a\"b%40@cam/1", CameraUrl("stream", "rtsp://me:a%22b%40@cam/1", "cam")),
        ("rtsp://cam:554/1?x=a@b", CameraUrl("stream", "rtsp://cam:554/1?x=a@b", "cam")),
        ("rtsp://cam/1#backend=gstreamer", CameraUrl("stream", "rtsp://cam/1", "cam", backend="gstreamer")),
        ("rtsp://[::1]:8554/a", CameraUrl("stream", "rtsp://[::1]:8554/a", "::1")),
        ("http://10.0.0.7/v?user=a&pwd=b", CameraUrl("stream", "http://10.0.0.7/v?user=a&pwd=b", "10.0.0.7")),
        ("udp://@:5000", CameraUrl("stream", "udp://@:5000", "udp")),
        ("srt://:9000?mode=listener#name=srt-1", CameraUrl("stream", "srt://:9000?mode=listener", "srt-1", named=True)),
        ("faults://?seed=3&source=rtsp://cam/1?a=1%26b=2&kinds=freeze&timeout=4",
         CameraUrl("faults", "rtsp://cam/1?a=1&b=2", "cam", timeout_s=4.0, faults="seed=3&kinds=freeze")),
        ("faults://?source=rtsp://cam/1%23timeout=2%26frozen=9%26name=door&seed=3",
         CameraUrl("faults", "rtsp://cam/1#timeout=2&frozen=9&name=door", "door", timeout_s=2.0, frozen_s=9.0,
                   faults="seed=3", named=True)),
        ("faults://?source=0?timeout=2%26name=a&timeout=4&frozen=0&name=b",
         CameraUrl("faults", "0?timeout=2&name=a", "b", timeout_s=4.0, frozen_s=0.0, named=True)),
        ("faults://", CameraUrl("faults", "parts://", "parts")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("live", [False, True])
def test_parse_camera_url(text, expected, live):
    assert parse_camera_url(text, live=live) == expected


@pytest.mark.parametrize(
    ("text", "name"),
    [("a/b c.mp4", "b-c"), ("file:///a/b.mkv", "b"), ("parts://?seed=1", "parts"), ("x/*.png", "source")],
)
def test_parse_camera_url_of_other_sources(text, name):
    assert parse_camera_url(text) is None
    assert parse_camera_url(text, live=True) == CameraUrl("live", text, name, frozen_s=0.0)


def test_parse_camera_url_prefers_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0").touch()
    (tmp_path / "2024").mkdir()
    assert parse_camera_url("0") is None
    assert parse_camera_url("2024", live=True) == CameraUrl("live", "2024", "2024", frozen_s=0.0)


V4L2_OPTIONS = "size, fps, format, backend, timeout, frozen, name"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0?resolution=1x1", f"0?resolution=1x1: no such option 'resolution'; there are {V4L2_OPTIONS}"),
        ("0?size=640", "0?size=640: size wants WIDTHxHEIGHT in pixels, such as 1280x720, got '640'"),
        ("0?size=0x480", "0?size=0x480: size wants WIDTHxHEIGHT in pixels, such as 1280x720, got '0x480'"),
        ("0?fps=0", "0?fps=0: fps wants frames a second, up to 1000, got '0'"),
        ("0?fps=nan", "0?fps=nan: fps wants frames a second, up to 1000, got 'nan'"),
        ("0?fps", "0?fps: fps wants frames a second, up to 1000, got none"),
        ("0?fps=1&fps=2", "0?fps=1&fps=2: fps is given twice"),
        ("0?name=../x", "0?name=../x: name wants letters, digits, '-', '_' and '.', got '../x'"),
        ("0?transport=tcp", f"0?transport=tcp: no such option 'transport'; there are {V4L2_OPTIONS}"),
        ("csi://0?format=NV12",
         "csi://0?format=NV12: no such option 'format'; there are size, fps, timeout, frozen, name"),
        ("csi://front", "csi://front: wanted the number of a CSI sensor, csi://0, got 'front'"),
        ("rtsp://a:b@cam/1#transport=http", "rtsp://***@cam/1#transport=http: transport wants tcp or udp, got 'http'"),
        ("rtsp://cam/1#timeout=0", "rtsp://cam/1#timeout=0: timeout wants seconds, 0.1 or more, got '0'"),
        ("rtsp://cam/1#main",
         "rtsp://cam/1#main: no such option 'main'; there are format, transport, backend, timeout, frozen, name"),
        ("rtsp://", "rtsp://: names no host; wanted rtsp://host/path"),
        ("http://[cam/1", "http://[cam/1: Invalid IPv6 URL; wanted http://host:port/path"),
        ("rtsp://a:b@cam:99999/1", "rtsp://***@cam:99999/1: Port out of range 0-65535; wanted rtsp://host:port/path"),
        ("rtsp://a:b@cam:x/1",
         "rtsp://***@cam:x/1: Port could not be cast to integer value as 'x'; wanted rtsp://host:port/path"),
        ("http://cam/1#backend=gstreamer",
         "http://cam/1#backend=gstreamer: backend=gstreamer is for RTSP and devices; leave it out"),
        ("faults://x", "faults://x: wanted faults://?source=SOURCE&..."),
        ("faults://?kinds=nonsense&seed=1",
         f"faults://: no kind 'nonsense'; wanted some of {', '.join(FRAME_KINDS)}"),
        ("faults://?source=rtsp://cam/1&every=2s&for=3s", "faults://: for=3s: wanted less than every=2s"),
        ("faults://?source=0?fps=x", "0?fps=x: fps wants frames a second, up to 1000, got 'x'"),
    ],
)  # fmt: skip
def test_parse_camera_url_refuses(text, message):
    with pytest.raises(UsageError) as error:
        parse_camera_url(text)
    assert str(error.value) == message
