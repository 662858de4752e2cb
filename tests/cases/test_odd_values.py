"""Values on a command line that are empty, huge or of another kind: a right result or one line."""

import pytest

from tests.helpers.videos import levels, write_video

pytest.importorskip("cv2")
pytest.importorskip("supervision")
HUGE = 10**30


@pytest.mark.parametrize("flags", [("--limit", HUGE), ("--max-pixels", HUGE), ("--max-pixels", 10**9)])
@pytest.mark.parametrize("source", ["video", "pictures"])
def test_huge_limits_limit_nothing(tmp_path, photos, oracle, call, source, flags):
    if source == "video":
        photos = tmp_path / "a.mp4"
        write_video(photos, levels(3))
    code, _, err = call("run", photos, *flags)
    assert (code, "error" in err) == (0, False)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["", "--json"], 3, "error: the source is empty; wanted an image"),
        (["parts://", "--results", ""], 2, "error: --results is empty; wanted a file"),
        (["parts://", "--out", "rtsp://user:secret@host/a.mp4"], 2, "error: --out rtsp:/***@host/a.mp4: wanted a file"),
        (["parts://", "--out", "file:///tmp/a.mp4"], 2, "error: --out file:/tmp/a.mp4: wanted a file or a folder"),
        (["parts://", "--results", "s3://bucket/r.jsonl"], 2, "error: --results s3://bucket/r.jsonl: wanted a file"),
    ],
)
def test_empty_and_foreign_names(tmp_path, monkeypatch, call, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    assert (result := call("run", *arguments))[:2] == (code, "")
    assert message in result[2]
    assert result[2].count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_folder_that_looks_like_a_url(tmp_path, monkeypatch, photos, oracle, call):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2024:").mkdir()
    (tmp_path / "run:").mkdir()
    for out in ("2024:/a", "run:/a"):
        assert call("run", photos, "--out", out)[0] == 0
