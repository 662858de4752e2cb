"""Cameras: their modes by the kernel's structures, and the trial of one."""

import errno
import json
import shutil
import struct
import subprocess
import sys

import pytest

from nanoseg.doctor import v4l2_modes
from nanoseg.doctor.camera_trial import try_camera
from nanoseg.doctor.v4l2_modes import ENUM_FMT, ENUM_RATES, ENUM_SIZES, FORMAT, RATE, SIZE, Mode, read_modes
from nanoseg.errors import SourceError, UsageError

MJPG, YUYV, GREY = (int.from_bytes(name, "little") for name in (b"MJPG", b"YUYV", b"GREY"))
SIZES = {MJPG: [(1, (1920, 1080)), (1, (640, 480))], YUYV: [(1, (640, 480))], GREY: [(3, (64, 1024, 8, 48, 768, 2))]}
RATES = {(MJPG, 1920, 1080): [(1, (1, 30))], (MJPG, 640, 480): [(1, (1, 30)), (1, (1, 60)), (1, (1001, 15000))]}


def a_driver(descriptor, number, entry):
    """A kernel with three formats: two with sizes, one with a range of sizes and rates."""
    index, *wanted = struct.unpack_from("=5I", entry)
    lists = {
        ENUM_FMT: lambda: [MJPG, YUYV, GREY],
        ENUM_SIZES: lambda: SIZES[wanted[0]],
        ENUM_RATES: lambda: RATES.get(tuple(wanted[:3]), [(3, (1, 60, 1, 5, 1, 60))] if wanted[0] == GREY else []),
    }
    assert len(entry) == {ENUM_FMT: FORMAT, ENUM_SIZES: SIZE, ENUM_RATES: RATE}[number].size
    found = lists[number]()
    if index >= len(found):
        raise OSError(errno.EINVAL, "Invalid argument")
    if number == ENUM_FMT:
        assert wanted[0] == 1  # V4L2_BUF_TYPE_VIDEO_CAPTURE
        struct.pack_into("=I", entry, 44, found[index])
    else:
        kind, values = found[index]
        struct.pack_into(f"={1 + len(values)}I", entry, 8 if number == ENUM_SIZES else 16, kind, *values)
    return 0


def test_read_modes(tmp_path):
    device = tmp_path / "video0"
    device.touch()
    assert read_modes(device, a_driver) == (
        Mode("MJPG", 1920, 1080, (30.0,)),
        Mode("MJPG", 640, 480, (60.0, 30.0, 14.99)),
        Mode("YUYV", 640, 480, ()),
        Mode("GREY", 1024, 768, (60.0, 5.0)),
    )


@pytest.mark.parametrize("code", [errno.ENODEV, errno.ENOTTY, errno.EINVAL])
def test_a_device_that_has_no_modes(code, tmp_path):
    def fail(*_):
        raise OSError(code, "x")

    device = tmp_path / "video0"
    device.touch()
    assert read_modes(device, fail) == ()
    assert read_modes(device) == ()  # a file
    assert read_modes(tmp_path / "none") == ()


def test_a_list_without_end_ends(tmp_path):
    device = tmp_path / "video0"
    device.touch()
    assert len(read_modes(device, lambda *_: 0)) == v4l2_modes._MOST**2


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_the_numbers_and_structures_are_the_kernels(tmp_path):
    source = tmp_path / "sizes.c"
    source.write_text(
        """
#include <linux/videodev2.h>
#include <stddef.h>
#include <stdio.h>
int main(void) {
    printf("%lu %lu %lu %lu %lu %lu ", (unsigned long)VIDIOC_ENUM_FMT, (unsigned long)VIDIOC_ENUM_FRAMESIZES,
           (unsigned long)VIDIOC_ENUM_FRAMEINTERVALS, sizeof(struct v4l2_fmtdesc), sizeof(struct v4l2_frmsizeenum),
           sizeof(struct v4l2_frmivalenum));
    printf("%zu %zu %zu %d %d", offsetof(struct v4l2_fmtdesc, pixelformat), offsetof(struct v4l2_frmsizeenum, type),
           offsetof(struct v4l2_frmivalenum, type), V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_FRMSIZE_TYPE_DISCRETE);
}
"""
    )
    program = tmp_path / "sizes"
    if subprocess.run(["gcc", str(source), "-o", str(program)], capture_output=True).returncode:
        pytest.skip("needs the kernel's headers")
    found = [int(word) for word in subprocess.check_output([program]).split()]
    sizes = [FORMAT.size, SIZE.size, RATE.size]
    assert found == [ENUM_FMT, ENUM_SIZES, ENUM_RATES, *sizes, 44, 8, 16, 1, 1]


def test_try_camera_tells_what_its_frames_are(call):
    text = "faults://?source=parts://%3Fsize=160x120&kinds=stall&every=1000s&name=belt"
    code, out, err = call("doctor", "--camera", text, "--json")
    assert (code, err) == (0, "")
    trial = json.loads(out)["camera_trial"]
    assert (trial["width"], trial["height"], trial["frames"]) == (160, 120, 30)
    assert trial["clock"] == "arrival"
    assert 0 <= trial["age_ms"]["p50"] <= trial["age_ms"]["p99"] <= trial["age_ms"]["max"] < 10_000
    code, out, err = call("doctor", "--camera", text)
    assert code == 0
    assert out.startswith(f"{text} works\n")
    assert "160x120" in out
    assert "since arrival" in out


def test_try_camera_that_gives_nothing_is_one_line(monkeypatch):
    monkeypatch.setattr("nanoseg.doctor.camera_trial.FIRST_S", 1.0)
    with pytest.raises(SourceError, match=r"^video77: no frame within 1 s: .*/dev/video77: no such device"):
        try_camera("/dev/video77")


def test_try_camera_is_for_cameras():
    with pytest.raises(UsageError, match=r"--camera photo\.jpg: wanted a camera"):
        try_camera("photo.jpg")


def test_the_trial_loads_no_model():
    code = "import sys, nanoseg.doctor.camera_trial; assert 'onnxruntime' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
