"""Pictures and videos from disk: what is read, and what is said of what cannot be."""

import itertools
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from nanoseg.errors import SourceError, UsageError
from nanoseg.sources.headers import inspect

cv2 = pytest.importorskip("cv2")
from nanoseg.sources import files, video  # noqa: E402
from nanoseg.sources.opening import open_source  # noqa: E402

LOSSLESS, LOSSY = (".bmp", ".png", ".tif", ".tiff"), (".jpeg", ".jpg", ".webp")
LIMIT = 1_000_000


def picture(width=40, height=30):
    """A smooth BGR ramp: JPEG keeps it within a few levels."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([x, y, (x + y) / 2], -1).astype(np.uint8)


def encoded(suffix, image=None, *flags):
    good, data = cv2.imencode(suffix, picture() if image is None else image, list(flags))
    assert good
    return data.tobytes()


@pytest.mark.parametrize("suffix", LOSSLESS + LOSSY)
def test_every_format_is_read_as_bgr(tmp_path, suffix):
    path = tmp_path / f"größe{suffix.upper()}"
    path.write_bytes(encoded(suffix))
    read = files.read_image(path, LIMIT)
    assert read.dtype == np.uint8
    assert read.shape == (30, 40, 3)
    assert np.abs(read.astype(int) - picture()).max() <= (0 if suffix in LOSSLESS else 12)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (picture()[..., 0], np.repeat(picture()[..., :1], 3, -1)),
        (picture().astype(np.uint16) * 257, picture()),
        (np.dstack([picture(), np.full((30, 40), 9, np.uint8)]), picture()),
    ],
    ids=["grey", "16 bits", "with alpha"],
)
def test_other_kinds_become_eight_bit_bgr(tmp_path, image, expected):
    (tmp_path / "a.png").write_bytes(encoded(".png", image))
    np.testing.assert_array_equal(files.read_image(tmp_path / "a.png", LIMIT), expected)


def with_exif_orientation(jpeg, orientation):
    tiff = b"MM\x00*\x00\x00\x00\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    segment = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def test_exif_orientation_is_applied(tmp_path):
    (tmp_path / "a.jpg").write_bytes(with_exif_orientation(encoded(".jpg"), 6))  # 6: to be turned right by 90 degrees
    read = files.read_image(tmp_path / "a.jpg", LIMIT)
    assert read.shape == (40, 30, 3)
    assert np.abs(read.astype(int) - cv2.rotate(picture(), cv2.ROTATE_90_CLOCKWISE)).max() <= 12


HEADERS = {
    "PNG": encoded(".png"),
    "JPEG": encoded(".jpg"),
    "progressive JPEG": encoded(".jpg", None, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "JPEG with EXIF": with_exif_orientation(encoded(".jpg"), 1),
    "BMP": encoded(".bmp"),
    "WebP": encoded(".webp", None, cv2.IMWRITE_WEBP_QUALITY, 80),
    "lossless WebP": encoded(".webp", None, cv2.IMWRITE_WEBP_QUALITY, 101),
    "TIFF": encoded(".tif"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_header_says_what_the_decoder_finds(name):
    data = HEADERS[name]
    header = inspect(data)
    assert header.format in name
    assert header.size_wh == (40, 30)
    assert header.complete
    if header.format != "TIFF":
        assert not inspect(data[:-1]).complete or header.format == "PNG"
        assert not inspect(data[: len(data) * 2 // 3]).complete


def test_headers_of_other_kinds():
    # A BMP whose rows run from the top, and a WebP with the extended header: few encoders write them.
    bmp = bytearray(HEADERS["BMP"])
    struct.pack_into("<i", bmp, 22, -30)
    assert inspect(bytes(bmp)).size_wh == (40, 30)
    extended = b"VP8X" + struct.pack("<II", 10, 0) + (39).to_bytes(3, "little") + (29).to_bytes(3, "little")
    riff = b"RIFF" + struct.pack("<I", 4 + len(extended)) + b"WEBP" + extended
    assert inspect(riff).size_wh == (40, 30)
    big_endian = b"MM\x00*" + struct.pack(">IH", 8, 2)
    big_endian += struct.pack(">HHIHH", 256, 3, 1, 40, 0) + struct.pack(">HHII", 257, 4, 1, 30)
    assert inspect(big_endian).size_wh == (40, 30)
    assert inspect(b"%PDF-1.7") is None
    assert inspect(b"RIFF\x00\x00\x00\x00AVI ") is None


@pytest.mark.parametrize("name", HEADERS)
def test_any_prefix_of_a_file_is_judged_without_a_crash(name):
    data = HEADERS[name]
    for end in itertools.chain(range(60), range(60, len(data), 37)):
        try:
            header = inspect(data[:end])
        except ValueError as error:
            assert "header cut short" in str(error)  # noqa: PT017
        else:
            assert header is None or header.size_wh == (40, 30)


def huge_png():
    """A valid header that asks for 100,000 x 100,000 pixels."""
    data = bytearray(encoded(".png"))
    struct.pack_into(">II", data, 16, 100_000, 100_000)
    return bytes(data)


BAD = {
    "missing": (None, "no such file"),
    "empty": (b"", "the file is empty"),
    "text": (b"hello, world", "wanted a PNG, JPEG, BMP, WebP or TIFF picture, got a file that begins b'hello, w'"),
    "cut PNG": (HEADERS["PNG"][:-20], "the PNG file is cut short at"),
    "cut JPEG": (HEADERS["JPEG"][:-20], "the JPEG file is cut short at"),
    "cut JPEG with EXIF": (HEADERS["JPEG with EXIF"][:-20], "the JPEG file is cut short at"),
    "cut WebP": (HEADERS["WebP"][:-20], "the WebP file is cut short at"),
    "cut BMP": (HEADERS["BMP"][:-20], "the BMP file is cut short at"),
    "cut TIFF": (HEADERS["TIFF"][:60], "TIFF header cut short at 60 bytes"),
    "cut header": (HEADERS["JPEG"][:30], "JPEG header cut short at 30 bytes"),
    "damaged": (HEADERS["PNG"][:8] + b"\x00" * 50, "the PNG file is cut short|cannot be decoded"),
    "enormous": (huge_png(), "100000 x 100000 pixels are more than the limit of 1000000; raise it with --max-pixels"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_picture_is_one_clear_line(tmp_path, name):
    data, message = BAD[name]
    path = tmp_path / "bad.jpg"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(SourceError, match=message) as raised:
        files.read_image(path, LIMIT)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_the_limit_counts_pixels(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(".png"))
    assert files.read_image(tmp_path / "a.png", 1200).shape == (30, 40, 3)
    with pytest.raises(SourceError, match="40 x 30 pixels are more than the limit of 1199"):
        files.read_image(tmp_path / "a.png", 1199)


def test_a_file_that_no_such_picture_can_fill_is_not_even_read(tmp_path):
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(1 << 30)  # sparse: it takes no room on disk
    with pytest.raises(SourceError, match="1073741824 bytes are more than 1000000 pixels can take"):
        files.read_image(tmp_path / "a.png", LIMIT)


def folder_with_bad_ones(folder):
    for name in ("b.png", "a.png", "e.png"):
        (folder / name).write_bytes(encoded(".png"))
    (folder / "c.png").write_bytes(b"")
    (folder / "d.jpg").write_bytes(b"not a picture")
    (folder / "notes.txt").write_text("none of it")
    (folder / "inside").mkdir()
    (folder / "inside" / "f.png").write_bytes(encoded(".png"))


@pytest.mark.parametrize("as_glob", [False, True])
def test_a_folder_goes_on_without_its_bad_files(tmp_path, as_glob):
    folder_with_bad_ones(tmp_path)
    told = []
    source = open_source(f"{tmp_path}/?.*" if as_glob else tmp_path, on_problem=told.append)
    frames = list(source)
    assert source.count == 5
    assert source.fps is None
    assert [(frame.index, frame.name) for frame in frames] == [
        (index, str(tmp_path / name)) for index, name in ((0, "a.png"), (1, "b.png"), (4, "e.png"))
    ]
    assert all(frame.captured_ns > 0 for frame in frames)
    assert [str(error).partition(": ")[0] for error in told] == [str(tmp_path / "c.png"), str(tmp_path / "d.jpg")]
    with pytest.raises(SourceError, match=r"c\.png: the file is empty"):
        list(open_source(tmp_path))


def test_a_glob_looks_into_folders(tmp_path):
    folder_with_bad_ones(tmp_path)
    names = [frame.name for frame in open_source(f"{tmp_path}/**/[ef].png")]
    assert names == [str(tmp_path / "e.png"), str(tmp_path / "inside" / "f.png")]


def test_a_name_with_a_bracket_is_a_name_first(tmp_path):
    (tmp_path / "a[1].png").write_bytes(encoded(".png"))
    assert len(list(open_source(tmp_path / "a[1].png"))) == 1


def test_a_name_that_is_not_utf8_can_be_written_and_printed(tmp_path):
    try:
        with open(os.fsencode(tmp_path) + b"/a\xff.png", "wb") as file:
            file.write(encoded(".png"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (frame,) = open_source(tmp_path)
    assert frame.name == str(tmp_path / "a\ufffd.png")


def test_a_folder_of_bad_files_alone_is_an_error(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"")
    told = []
    with pytest.raises(SourceError, match="none of 2 pictures could be read"):
        list(open_source(tmp_path, on_problem=told.append))
    assert len(told) == 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{}/nothing.jpg", "no such file or folder"),
        ("{}/" + "a" * 5000, "cannot be read: File name too long"),
        ("{}/*.jpg", "no file has such a name"),
        ("{}", "no pictures in this folder"),
        ("/dev/video0", "cameras and streams are not read by this version"),
        ("csi://0", "cameras and streams are not read by this version"),
        ("rtsp://camera.example/1", "cameras and streams are not read by this version"),
    ],
)
def test_a_source_that_is_none(tmp_path, source, message):
    with pytest.raises(SourceError, match=message):
        open_source(source.format(tmp_path))


def test_parts_is_endless_and_has_its_rate():
    source = open_source("parts://?seed=3&size=64x48&objects=2")
    frames = list(itertools.islice(source, 3))
    assert (source.count, source.fps) == (None, 25.0)
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert frames[0].image.shape == (48, 64, 3)
    with pytest.raises(UsageError, match="no such key 'speed'"):
        open_source("parts://?speed=3")


@pytest.fixture(scope="module")
def mjpeg(tmp_path_factory):
    """Twenty frames in an AVI file, each of one brightness, and noise so that the file is mostly frames."""
    path = tmp_path_factory.mktemp("video") / "clip.avi"
    rng = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.5, (64, 48))
    for level in range(0, 200, 10):
        writer.write(rng.integers(level, level + 50, (48, 64, 3), dtype=np.uint8))
    writer.release()
    return path


def test_a_video_frame_by_frame(mjpeg):
    source = open_source(mjpeg)
    assert (source.count, source.fps) == (20, 12.5)
    levels = [(frame.index, round((frame.image.mean() - 25) / 10), frame.name) for frame in source]
    assert levels == [(i, i, str(mjpeg)) for i in range(20)]


def test_a_colon_in_a_videos_name(tmp_path, mjpeg, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "line:1.avi").write_bytes(mjpeg.read_bytes())
    source = open_source("line:1.avi")
    assert len(list(source)) == 20
    assert source.paths == (Path("line:1.avi"),)


def test_a_picture_named_as_a_video_is_a_picture(tmp_path):
    (tmp_path / "a.mp4").write_bytes(encoded(".png"))
    assert open_source(tmp_path / "a.mp4").count == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"\x00\x00\x00\x18ftypmp42 and nothing more", "cannot be opened as a video"),
    ],
)
def test_a_bad_video_is_one_clear_line(tmp_path, capfd, data, message):
    (tmp_path / "a.mp4").write_bytes(data)
    with pytest.raises(SourceError, match=message):
        list(open_source(tmp_path / "a.mp4"))
    assert capfd.readouterr() == ("", "")


def test_a_video_cut_short_gives_what_it_has_and_then_says_so(tmp_path, mjpeg):
    (tmp_path / "cut.avi").write_bytes(mjpeg.read_bytes()[: mjpeg.stat().st_size // 2])
    frames = []
    with pytest.raises(SourceError, match=r"cut\.avi: the video stops after \d+ of 20 frames"):
        frames.extend(open_source(tmp_path / "cut.avi"))
    frames = list(itertools.islice(open_source(tmp_path / "cut.avi"), 5))
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]


def test_the_limit_holds_for_videos(mjpeg):
    with pytest.raises(SourceError, match="64 x 48 pixels are more than the limit of 3071"):
        video.open_video(mjpeg, 3071)
    assert video.open_video(mjpeg, 3072).count == 20


def test_text_is_not_played_as_a_video(tmp_path):
    (tmp_path / "a.txt").write_text("FFmpeg has a player for this\n" * 100)
    with pytest.raises(SourceError, match="wanted a PNG, JPEG, BMP, WebP or TIFF picture"):
        list(open_source(tmp_path / "a.txt"))
