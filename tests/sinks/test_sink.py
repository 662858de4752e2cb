"""All file sinks: what is kept after each end, and what is refused."""

import pytest

from nanoseg.errors import EngineError, SourceError, UsageError
from nanoseg.sinks import video as video_sink
from nanoseg.sinks.images import ImageFolder
from nanoseg.sinks.json_lines import JsonLines
from nanoseg.sinks.sink import StopRequested, is_clean_end
from nanoseg.utils.files import part_path
from tests.fakes.segmenter import nut_in_upper_left
from tests.sinks.frames import frame, names, write_frames, write_one

ENDS = [(None, True), (KeyboardInterrupt, True), (SourceError, True), (StopRequested, True), (BrokenPipeError, True)]
ENDS += [(EngineError, False), (MemoryError, False), (OSError, False)]


@pytest.mark.parametrize(("end", "kept"), ENDS)
@pytest.mark.parametrize("kind", [JsonLines, lambda path: video_sink.Video(path, 25)], ids=["results", "video"])
def test_sink_output_after_each_end(tmp_path, kind, end, kept):
    path = tmp_path / "it.mp4"
    path.write_bytes(b"old")
    try:
        with kind(path) as sink:
            write_frames(sink)
            if end is not None:
                raise end
    except BaseException as error:
        assert type(error) is end  # noqa: PT017
    assert is_clean_end(end) == kept
    assert (path.read_bytes() != b"old") == kept
    assert part_path(path).exists() != kept


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: JsonLines(folder), "cannot be written: it is a folder"),
        (lambda folder: JsonLines("."), "cannot be written: it is a folder"),
        (lambda folder: JsonLines(folder / "file" / "a.jsonl"), "cannot be made a folder to write to"),
        (lambda folder: ImageFolder(folder / "file"), "cannot be made a folder to write to"),
        (lambda folder: video_sink.Video(folder / "file" / "a.mp4", 25), "cannot be made a folder to write to"),
    ],
)
def test_sink_path_that_cannot_be_written(tmp_path, make, message):
    (tmp_path / "file").write_text("a file")
    with pytest.raises(UsageError, match=message):
        make(tmp_path)


@pytest.mark.parametrize("name", ["x.png", "x.part.png"])
@pytest.mark.parametrize(
    "sink",
    [
        ImageFolder,
        lambda folder, sources: video_sink.Video(folder / "x.png", 25, sources),
        lambda folder, sources: JsonLines(folder / "x.png", sources),
    ],
    ids=["pictures", "video", "results"],
)
def test_sink_never_overwrites_a_source(tmp_path, sink, name):
    (tmp_path / name).write_bytes(b"precious")
    # The frame is of another file: all files of a folder are protected.
    one, sources = frame(0, "elsewhere/x.png"), [tmp_path / "missing.png", tmp_path / "." / name]
    message = "x.png: would be written over a file that frames are read from"
    with pytest.raises(UsageError, match=message), sink(tmp_path, sources) as opened:
        opened.write(one, nut_in_upper_left(one), one.image)
    assert (tmp_path / name).read_bytes() == b"precious"
    assert names(tmp_path) == [name]


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("x.png", lambda folder: write_one(ImageFolder(folder))),
        ("x.mp4", lambda folder: write_one(video_sink.Video(folder / "x.mp4", 25))),
    ],
)
def test_sink_folder_in_place_of_the_file(tmp_path, name, write):
    (tmp_path / name / "full").mkdir(parents=True)
    with pytest.raises(UsageError, match=f"{name}: cannot be written: "):
        write(tmp_path)
