"""Interlaced videos: what is found in them is what is found in the progressive scene."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

import nanoseg
from nanoseg.sources.open import open_source
from tests.helpers.videos import INTERLACED, av, weave, write_video

NOTE = "interlaced; deinterlaced by FFmpeg's bwdif, one frame out for each"


def moving(count, size_wh=(160, 128)):
    """Return frames in which two grey shapes move against each other."""
    frames = []
    for i in range(count):
        frame = np.full((size_wh[1], size_wh[0], 3), 60, np.uint8)
        cv2.rectangle(frame, (10 + 4 * i, 30), (50 + 4 * i, 90), (200, 200, 200), -1)
        cv2.circle(frame, (120 - 2 * i, 90), 20, (120, 120, 120), -1)
        frames.append(frame)
    return frames


def check(path, progressive, psnr=33.0):
    """Check that a video reads as the progressive frames; combed lines have about 24 dB here."""
    source = open_source(path)
    frames = list(source)
    assert len(frames) == len(progressive)
    assert min(cv2.PSNR(frame.image, truth) for frame, truth in zip(frames, progressive, strict=True)) > psnr
    return source


def test_interlaced_scene_has_the_objects_of_the_progressive_one(case):
    with nanoseg.load("parts") as segmenter:
        first = [next(iter(open_source(case(f"sources/01-interlaced/scene_{n}.mp4")))) for n in "ip"]
        found = [segmenter(frame, confidence=0.5) for frame in first]
    assert sorted(found[0].class_name) == sorted(found[1].class_name)
    assert cv2.PSNR(first[0].image, first[1].image) > 37.5


@pytest.mark.parametrize(
    ("name", "codec", "settings"),
    [
        ("a.mpg", "mpeg2video", {"options": {**INTERLACED, "b": "4000000"}}),
        ("a.ts", "mpeg2video", {"options": {**INTERLACED, "b": "4000000"}}),
        ("a.mts", "libx264", {"options": INTERLACED, "container": "mpegts"}),
        ("a.mkv", "libx264", {"options": {"x264-params": "bff=1"}}),
        ("a.mov", "prores_ks", {"options": {"flags": "+ildct"}, "pix_fmt": "yuv422p10le"}),
        ("a.avi", "mpeg4", {"options": {**INTERLACED, "b": "4000000"}}),
        ("noname", "libx264", {"options": INTERLACED, "container": "matroska"}),
    ],
)
def test_interlaced_codecs(tmp_path, name, codec, settings):
    frames = moving(20)
    path = write_video(tmp_path / name, weave(frames), codec, **settings)
    source = check(path, frames[0::2])
    assert (source.report.notes, source.report.damaged) == ([f"{path}: {NOTE}"], 0)


def test_interlaced_dv(tmp_path):
    frames = [cv2.resize(frame, (720, 576)) for frame in moving(6)]
    for name in ("a.dv", "a.avi"):
        check(write_video(tmp_path / name, weave(frames), "dvvideo"), frames[0::2])


def test_interlaced_motion_jpeg_in_two_pictures_a_frame(tmp_path):
    frames, path = moving(20, (320, 240)), tmp_path / "a.avi"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuvj420p"
        for index, (first, second) in enumerate(zip(frames[0::2], frames[1::2], strict=True)):
            fields = (first[1::2], second[0::2])
            packet = av.Packet(b"".join(cv2.imencode(".jpg", field)[1].tobytes() for field in fields))
            packet.stream, packet.pts, packet.dts = stream, index, index
            packet.time_base, packet.is_keyframe = Fraction(1, 25), True
            out.mux(packet)
    assert check(path, frames[0::2]).report.notes == [f"{path}: {NOTE}"]


@pytest.mark.parametrize("order", ["pi", "ip", "pip"])
def test_interlaced_part_of_a_stream(tmp_path, order):
    frames = moving(20)
    parts = {
        "p": write_video(tmp_path / "p.ts", frames[0::2], "mpeg2video", options={"b": "4000000"}),
        "i": write_video(tmp_path / "i.ts", weave(frames), "mpeg2video", options={**INTERLACED, "b": "4000000"}),
    }
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(parts[part].read_bytes() for part in order))
    source = check(joined, frames[0::2] * len(order))
    assert (source.report.notes, source.report.damaged) == ([f"{joined}: {NOTE}"], 0)


def test_interlaced_says_nothing_of_progressive_video(tmp_path):
    frames = moving(5)
    assert check(write_video(tmp_path / "a.mp4", frames), frames).report.notes == []
