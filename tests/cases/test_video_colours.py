"""Colours, pixel shapes and orientation of videos: right when read, right and tagged when written."""

from fractions import Fraction

import numpy as np
import pytest

from nanoseg.errors import SourceError
from nanoseg.sinks.video import Video
from nanoseg.sources.open import open_source
from nanoseg.types import Frame
from tests.fakes.segmenter import nut_in_upper_left
from tests.helpers.videos import LOSSLESS, av, levels, write_video

BGR = [(60, 60, 60), (0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 255), (30, 200, 100), (128, 128, 128), (0, 0, 0)]
BT709, BT470BG, SMPTE170M, BT2020 = 1, 5, 6, 9


needs_bt2020 = pytest.mark.skipif(
    not hasattr(av.video.reformatter.Colorspace, "BT2020"), reason="needs PyAV 18 to write BT.2020"
)


def patches(size_wh=(128, 96)):
    """Return a frame of eight vertical bars."""
    frame = np.empty((size_wh[1], size_wh[0], 3), np.uint8)
    for index, color in enumerate(BGR):
        frame[:, index * size_wh[0] // 8 : (index + 1) * size_wh[0] // 8] = color
    return frame


def check(frame, atol):
    """Check the middle of each bar."""
    width = frame.image.shape[1] // 8
    middles = frame.image[frame.image.shape[0] // 2, width // 2 :: width]
    np.testing.assert_allclose(middles.astype(int), BGR, atol=atol)


def tags(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        aspect = stream.sample_aspect_ratio or 1
        return context.colorspace, context.color_primaries, context.color_trc, context.color_range, aspect


@pytest.mark.parametrize(
    ("codec", "settings"),
    [
        ("libx264", {"matrix": BT709}),
        ("libx264", {"matrix": BT470BG}),
        ("libx264", {"matrix": SMPTE170M}),
        pytest.param("libx264", {"matrix": BT2020}, marks=needs_bt2020),
        ("libx264", {"matrix": BT709, "full_range": True}),
        ("libx264", {"matrix": SMPTE170M, "full_range": True}),
        ("libx264", {}),  # without tags, in standard definition
        ("libx264", {"pix_fmt": "yuv420p10le", "matrix": BT709}),
        ("libx264", {"pix_fmt": "yuv422p", "matrix": SMPTE170M}),
        ("libx264", {"pix_fmt": "yuv444p", "matrix": BT709}),
        ("ffv1", {"pix_fmt": "yuva420p", "matrix": BT709, "options": {}}),
        ("ffv1", {"pix_fmt": "bgra", "options": {}}),
        ("ffv1", {"pix_fmt": "rgb48le", "options": {}}),
        ("ffv1", {"pix_fmt": "gbrp10le", "options": {}}),
        ("mjpeg", {"pix_fmt": "yuvj420p", "options": {"qmin": "1", "qmax": "1"}}),
        ("rawvideo", {"pix_fmt": "uyvy422", "matrix": SMPTE170M, "options": {}, "container": "mov"}),
    ],
)
def test_colours_are_read_right(tmp_path, codec, settings):
    settings = {"options": LOSSLESS if settings.get("pix_fmt") != "yuv420p10le" else {"qp": "1"}, **settings}
    path = write_video(tmp_path / ("a.mov" if "container" in settings else "a.mkv"), [patches()] * 2, codec, **settings)
    for frame in open_source(path):
        check(frame, 4)


def test_colours_without_tags_are_of_bt709_in_high_definition(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options=LOSSLESS)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        frame = av.VideoFrame.from_ndarray(patches((1280, 720)), format="bgr24")
        frame = frame.reformat(
            format="yuv420p", dst_colorspace=BT709, src_color_range=2, dst_color_range=1, interpolation=4 | 1 << 18
        )
        frame.color_range = frame.colorspace = 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    (read,) = open_source(path)
    check(read, 3)


def test_colours_of_grey(tmp_path):
    path = write_video(tmp_path / "a.mkv", levels(3, step=100), "ffv1", pix_fmt="gray")
    assert [frame.image[0, 0].tolist() for frame in open_source(path)] == [[0] * 3, [100] * 3, [200] * 3]


def copied(tmp_path, path):
    """Read a video, write it and return the copy's frames."""
    source = open_source(path)
    with Video(tmp_path / "copy.mp4", source.fps, video=source.video) as sink:
        for frame in source:
            sink.write(frame, nut_in_upper_left(frame), frame.image)
    return list(open_source(tmp_path / "copy.mp4"))


@pytest.mark.parametrize(
    ("size_wh", "matrix", "expected"),
    [
        ((128, 96), None, (SMPTE170M, BT709, BT709)),
        ((1280, 720), None, (BT709, BT709, BT709)),
        ((1280, 720), BT709, (BT709, BT709, BT709)),
        ((128, 96), BT709, (BT709, BT709, BT709)),
        ((1280, 720), SMPTE170M, (SMPTE170M, SMPTE170M, SMPTE170M)),
        ((128, 96), BT470BG, (BT470BG, BT470BG, BT470BG)),
        pytest.param((1280, 720), BT2020, (BT2020, BT2020, 14), marks=needs_bt2020),
    ],
)
@pytest.mark.parametrize("full_range", [False, True])
def test_colours_and_tags_are_kept(tmp_path, size_wh, matrix, expected, full_range):
    frame = patches(size_wh)
    if matrix is None:
        sources = [Frame(frame)]
        with Video(tmp_path / "copy.mp4", 25) as sink:
            sink.write(sources[0], nut_in_upper_left(sources[0]), frame)
        frames = list(open_source(tmp_path / "copy.mp4"))
    else:
        path = write_video(tmp_path / "a.mkv", [frame] * 2, matrix=matrix, full_range=full_range, options=LOSSLESS)
        frames = copied(tmp_path, path)
    assert tags(tmp_path / "copy.mp4") == (*expected, 1, 1)
    for each in frames:
        check(each, 8)  # of the encoder's quality


def test_colours_of_the_case(case, tmp_path):
    path = case("sources/22-colours/c709.mp4")
    before = [frame.image for frame in open_source(path)]
    after = [frame.image for frame in copied(tmp_path, path)]
    assert tags(tmp_path / "copy.mp4")[:3] == tags(path)[:3] == (1, 1, 1)
    np.testing.assert_allclose(np.mean(after, (1, 2)), np.mean(before, (1, 2)), atol=2)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.mpg", "mpeg2video")]
)
def test_colours_sample_aspect_ratio_is_kept(tmp_path, name, codec):
    aspect = Fraction(16, 9) * Fraction(96, 128) if codec == "mpeg2video" else Fraction(2)
    path = write_video(tmp_path / name, levels(5, (128, 96)), codec, aspect=aspect)
    assert [frame.size_hw for frame in copied(tmp_path, path)] == [(96, 128)] * 5
    assert tags(tmp_path / "copy.mp4")[4] == aspect


@pytest.mark.parametrize(
    ("degrees", "flips", "expected"),
    [
        (0, (), "WRGK"),
        (90, (), "RKWG"),
        (180, (), "KGRW"),
        (270, (), "GWKR"),
        (0, ("hflip",), "RWKG"),
        (0, ("vflip",), "GKWR"),
        (90, ("hflip",), "KRGW"),
    ],
)
def test_colours_turned_videos_are_upright(tmp_path, degrees, flips, expected):
    if not hasattr(av.video.stream.VideoStream, "set_display_rotation"):
        pytest.skip("needs PyAV 18 to write such videos")
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, :32], image[:24, 32:], image[24:, :32] = (255, 255, 255), (0, 0, 255), (0, 255, 0)
    path = write_video(
        tmp_path / "a.mp4",
        [image] * 2,
        aspect=Fraction(2),
        setup=lambda stream: stream.set_display_rotation(degrees, **dict.fromkeys(flips, True)),
    )
    frames = copied(tmp_path, path)
    turned = degrees % 180 == 90
    for each in (next(iter(open_source(path))), frames[0]):
        assert each.size_hw == ((64, 48) if turned else (48, 64))
        height, width = each.size_hw
        quarters = [
            each.image[y, x] > 128 for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)
        ]
        letters = {(True, True, True): "W", (False, False, True): "R", (False, True, False): "G", (False,) * 3: "K"}
        assert "".join(letters[tuple(quarter.tolist())] for quarter in quarters) == expected
    assert tags(tmp_path / "copy.mp4")[4] == (Fraction(1, 2) if turned else 2)


def test_colours_of_frames_whose_size_changes(tmp_path):
    with Video(tmp_path / "a.mp4", 25) as sink:
        for index, size_hw in enumerate([(96, 128), (96, 128), (48, 64), (200, 100), (95, 127), (1, 1)]):
            frame = Frame(np.full((*size_hw, 3), 200, np.uint8), index)
            sink.write(frame, nut_in_upper_left(frame), frame.image)
    frames = list(open_source(tmp_path / "a.mp4"))
    assert [frame.size_hw for frame in frames] == [(96, 128)] * 6
    np.testing.assert_allclose(frames[2].image, 200, atol=4)  # enlarged
    assert frames[3].image[:, :40].mean() > 190  # reduced to the height
    assert frames[3].image[:, 60:].mean() < 10


def test_colours_that_the_scaler_does_not_take(tmp_path):
    path = write_video(tmp_path / "a.nut", levels(3), "rawvideo", pix_fmt="rgb4")
    with pytest.raises(SourceError, match=r"a\.nut: frames of rgb4 cannot be converted: "):
        list(open_source(path))
