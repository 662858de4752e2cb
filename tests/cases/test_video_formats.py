"""Videos are known by their content whatever their name; nothing in a file makes another one be read."""

import os
import shutil

import numpy as np
import pytest

from nanoseg.errors import SourceError
from nanoseg.sinks.video import Video
from nanoseg.sources.motion_jpeg import is_motion_jpeg
from nanoseg.sources.open import open_source
from tests.fakes.segmenter import nut_in_upper_left
from tests.helpers.videos import av, levels, write_video

cv2 = pytest.importorskip("cv2")
X265 = {"options": {"x265-params": "log-level=none"}}
SVT = {"options": {"preset": "12"}}


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("05-raw-mjpeg/raw.mjpeg", 10),
        ("15-av1/av1b.mp4", 25),
        ("19-video-suffixes/clip.h264", 50),
        ("23-first-page/multi.gif", 3),
    ],
)
def test_formats_of_the_cases(case, tmp_path, name, count):
    for path in (case(f"sources/{name}"), tmp_path / "no suffix", tmp_path / "a.txt"):
        if not path.exists():
            shutil.copy(case(f"sources/{name}"), path)
        source = open_source(path)
        assert (len(list(source)), source.report.notes) == (count, [])


@pytest.mark.parametrize(
    ("name", "codec", "settings"),
    [
        ("noname", "libx264", {"container": "mp4"}),
        ("noname", "libx264", {"container": "matroska"}),
        ("noname", "libx264", {"container": "mpegts"}),
        ("noname", "libx264", {"container": "h264"}),
        ("noname", "libx265", {"container": "hevc", **X265}),
        ("a.hevc", "libx265", {"container": "mp4", **X265}),
        ("a.m2ts", "libx264", {"container": "mpegts"}),
        ("a.vob", "mpeg2video", {"container": "vob"}),
        ("a.mpg", "mpeg1video", {"container": "mpeg"}),
        ("a.3g2", "mpeg4", {"container": "3g2"}),
        ("a.mkv", "ffv1", {"pix_fmt": "yuv444p"}),
        ("a.webm", "libvpx-vp9", {}),
        ("a.dat", "libvpx", {"container": "webm"}),
        ("a.flv", "flv", {}),
        ("a.wmv", "wmv2", {"container": "asf"}),
        ("a.y4m", "wrapped_avframe", {"container": "yuv4mpegpipe"}),
        ("a.mjpeg", "mjpeg", {"container": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("noname", "mjpeg", {"container": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("a.mov", "prores_ks", {"pix_fmt": "yuv422p10le"}),
        ("a.png", "libx264", {"container": "mp4"}),
        ("a.mp4", "gif", {"container": "gif", "pix_fmt": "rgb8"}),
        ("a.mkv", "libsvtav1", SVT),
        ("a.obu", "libsvtav1", {"container": "obu", **SVT}),
    ],
)
def test_formats_by_content(tmp_path, name, codec, settings):
    path = write_video(tmp_path / name, levels(8, (128, 96), 30), codec, **settings)
    source = open_source(path)
    frames = list(source)
    assert [frame.size_hw for frame in frames] == [(96, 128)] * 8
    np.testing.assert_allclose([frame.image.mean() for frame in frames], range(0, 240, 30), atol=8)
    assert (source.report.damaged, source.report.notes, source.paths) == (0, [], (path,))


def test_formats_mxf(tmp_path):
    path = write_video(tmp_path / "a.mxf", levels(4, (720, 576), 30), "mpeg2video")
    assert len(list(open_source(path))) == 4


LISTS = {
    "ffconcat": "ffconcat version 1.0\nfile '{video}'\n",
    "ffconcat of an absolute path": "ffconcat version 1.0\nfile 'file:{folder}/{video}'\n",
    "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{video}\n#EXT-X-ENDLIST\n",
    "SDP": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=No\r\nm=video 1234 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n",
    "DASH": '<?xml version="1.0"?>\n<MPD type="static"><BaseURL>{video}</BaseURL></MPD>',
    "ASX": '<asx version="3.0"><entry><ref href="{video}"/></entry></asx>',
}


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".ts", ""])
def test_formats_lists_of_other_files_play_nothing(tmp_path, case, kind, suffix):
    shutil.copy(case("sources/15-av1/av1b.mp4"), tmp_path / "video.mp4")
    path = tmp_path / f"list{suffix}"
    path.write_text(LISTS[kind].format(video="video.mp4", folder=tmp_path))
    with pytest.raises(SourceError, match="wanted a picture or a video, got a list of other files"):
        list(open_source(path))


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"1\n00:00:01,000 --> 00:00:02,000\nsubtitles\n", "a file that begins b'1\\\\n00:00:'"),
        (b"[Script Info]\nScriptType: v4.00+\n", "a file that begins"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"\x1b[2Jcolour\n" * 100, r"a file that begins b'\\x1b\[2Jcolo'"),
    ],
)
def test_formats_of_neither_picture_nor_video(tmp_path, content, got):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(SourceError, match=f"wanted a picture or a video, got {got}.*; pictures are PNG, .* videos MP4"):
        list(open_source(tmp_path / "a.mp4"))


@pytest.mark.parametrize(
    ("name", "codec"), [("a.wav", "pcm_s16le"), ("a.m4a", "aac"), ("a.mka", "aac"), ("a.mp4", "aac")]
)
def test_formats_of_sound(tmp_path, name, codec):
    with av.open(str(tmp_path / name), "w") as out:
        stream = out.add_stream(codec, rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.int16), "s16", "mono")
        sound.rate = 44100
        for frame in [*av.AudioResampler(stream.format.name, "mono", 44100).resample(sound), None]:
            out.mux(stream.encode(frame))
    with pytest.raises(SourceError, match="there is no video in it, only sound"):
        open_source(tmp_path / name)


def two_tracks(path, sizes_wh, covers=()):
    with av.open(str(path), "w") as out:
        streams = []
        for index, size_wh in enumerate(sizes_wh):
            stream = out.add_stream("mjpeg" if index in covers else "libx264", rate=25)
            stream.width, stream.height = size_wh
            stream.pix_fmt = "yuvj420p" if index in covers else "yuv420p"
            if index in covers:
                stream.disposition = av.stream.Disposition.attached_pic.value
            streams.append(stream)
        for index, stream in enumerate(streams):
            for image in levels(1 if index in covers else 6, sizes_wh[index]):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            out.mux(stream.encode(None))
    return path


def test_formats_of_two_tracks(tmp_path):
    path = two_tracks(tmp_path / "a.mkv", [(64, 48), (128, 96)])
    source = open_source(path)
    assert [frame.size_hw for frame in source] == [(96, 128)] * 6
    assert source.report.notes == [f"{path}: 2 video tracks; the one of 128 x 96 pixels was read"]


def test_formats_cover_pictures_are_no_video(tmp_path):
    source = open_source(two_tracks(tmp_path / "a.mp4", [(64, 48), (640, 480)], covers=(1,)))
    assert [frame.size_hw for frame in source] == [(48, 64)] * 6
    assert source.report.notes == []
    with pytest.raises(SourceError, match=r"there is no video in it, only .* a cover picture"):
        open_source(two_tracks(tmp_path / "b.mp4", [(640, 480)], covers=(0,)))


NAMES = [
    b"caf\xe9.mkv",
    b"a:b.mkv",
    b"-x.mkv",
    b"a%03d.mkv",
    b"new\nline.mkv",
    b"[a]*.mkv",
    b"\x1b[31m.mkv",
    b"concat:a|b",
]


@pytest.mark.parametrize("name", NAMES)
def test_formats_of_any_name_are_read_and_written(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "plain", levels(5), container="matroska")
    try:
        shutil.copy(tmp_path / "plain", os.fsencode(tmp_path) + b"/" + name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    source = open_source(os.fsdecode(name))
    frames = list(source)
    assert len(frames) == 5
    assert frames[0].name == name.decode("utf-8", "backslashreplace")
    with Video(_out(tmp_path, name), 25) as sink:
        for frame in frames:
            sink.write(frame, nut_in_upper_left(frame), frame.image)
    assert len(list(open_source(_out(tmp_path, name)))) == 5


def _out(folder, name):
    return folder / "out" / f"{os.fsdecode(name)}.mp4"


def test_formats_motion_jpeg_is_told_from_photographs(tmp_path):
    one = cv2.imencode(".jpg", levels(1)[0])[1].tobytes()
    thumbnail = one[:2] + b"\xff\xe1" + (len(one) + 2).to_bytes(2, "big") + one + one[2:]
    index = one[:2] + b"\xff\xe2\x00\x0aMPF\0abcd" + one[2:]
    for content, expected in (
        (one, False),
        (one * 3, True),
        (thumbnail, False),
        (thumbnail * 2, True),
        (index * 2, False),
    ):
        (tmp_path / "a").write_bytes(content)
        assert is_motion_jpeg(tmp_path / "a") is expected
    (tmp_path / "burst.jpg").write_bytes(one * 3)  # a photograph with another behind it, as phones write them
    assert open_source(tmp_path / "burst.jpg").fps is None


def test_formats_pipes_and_devices_are_refused(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    for path in (tmp_path / "a.mp4", "/dev/null", "/dev/zero"):
        with pytest.raises(SourceError, match=r"cannot be read: it is a (FIFO|device), wanted a file"):
            open_source(path)
