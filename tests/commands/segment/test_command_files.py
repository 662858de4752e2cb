"""`nanoseg segment --out`: what is written, whole or not at all, and what is never written over."""

import errno
import json
import os

import numpy as np
import pytest

from nanoseg.processing.masks import positive
from tests.commands.segment.engines import HEIGHT, SIDE, WIDTH

cv2 = pytest.importorskip("cv2")


def test_segment_writes_files(pipeline, call, photo, tmp_path, monkeypatch):
    pytest.importorskip("supervision", reason="needs nanoseg[draw]")
    folder, before = tmp_path / "deep" / "out", photo.read_bytes()
    flags = ("--box", "4,5,30,40", "--box", "20,10,60,44", "--out", folder)
    code, out, err = call("segment", photo, *flags)
    assert (code, err) == (0, "")
    assert f"{folder / 'photo-mask-0.png'} to 1\n" in out
    names = ["photo-annotated.png", "photo-mask-0.png", "photo-mask-1.png", "photo.npz"]
    assert sorted(path.name for path in folder.iterdir()) == names
    masks = pipeline.segment(pipeline.embed(cv2.imread(str(photo))), boxes=[[4, 5, 30, 40], [20, 10, 60, 44]])
    for i, mask in enumerate(masks.full()):
        written = cv2.imread(str(folder / f"photo-mask-{i}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(written, mask * np.uint8(255))
    annotated = cv2.imread(str(folder / "photo-annotated.png"))
    assert annotated.shape == (HEIGHT, WIDTH, 3)
    assert (annotated != cv2.imread(str(photo))).any()
    with np.load(folder / "photo.npz", allow_pickle=False) as file:
        arrays = dict(file)
    np.testing.assert_array_equal(arrays["logits"], masks.logits)
    np.testing.assert_array_equal(arrays["confidence"], masks.confidence)
    np.testing.assert_array_equal(arrays["stability"], masks.stability())
    np.testing.assert_array_equal(arrays["prompts"], [[[4, 5, 2], [30, 40, 3]], [[20, 10, 2], [60, 44, 3]]])
    assert arrays["size_hw"].tolist() == [HEIGHT, WIDTH]
    assert photo.read_bytes() == before
    # Again, over what is there.
    with monkeypatch.context() as patch:
        made = []
        patch.setattr("nanoseg.processing.masks.positive", lambda *given: made.append(given) or positive(*given))
        assert call("segment", photo, *flags, "--json")[0] == 0
    assert len(made) == 2  # each mask once, for its file, the picture and its bounds
    assert sorted(path.name for path in folder.iterdir()) == names


def test_segment_reports_and_writes_an_empty_mask(pipeline, call, photo, tmp_path):
    pytest.importorskip("supervision", reason="needs nanoseg[draw]")
    nothing = -np.ones((1, 1, SIDE, SIDE), np.float32)
    answer = {"low_res_masks": nothing, "iou_predictions": np.zeros((1, 1), np.float32)}
    pipeline.pipeline.engines["segment"].answer = lambda feeds: answer
    code, out, _ = call("segment", photo, "--point", "5,6", "--out", tmp_path / "out")
    assert code == 0
    assert "stability 0.000  empty\n" in out
    assert not cv2.imread(str(tmp_path / "out" / "photo-mask-0.png")).any()
    _, out, _ = call("segment", photo, "--point", "5,6", "--json")
    assert (json.loads(out)["masks"][0]["xyxy"], json.loads(out)["masks"][0]["area_px"]) == (None, 0)


def test_segment_removes_masks_of_an_earlier_run(pipeline, call, photo, tmp_path):
    pytest.importorskip("supervision", reason="needs nanoseg[draw]")
    out = tmp_path / "out"
    two = ("--box", "4,5,30,40", "--box", "20,10,60,44")
    assert call("segment", photo, *two, *two, "--out", out)[0] == 0
    (out / "photo-mask-2.png").unlink()
    os.link(photo, out / "photo-mask-2.png")  # the source under another name
    for name in ("photo-mask-7.png", "photo-mask-03.png", "photograph-mask-1.png"):
        (out / name).write_bytes(b"somebody's own")
    before = photo.read_bytes()
    assert call("segment", photo, *two[:2], "--out", out)[0] == 0
    masks = sorted(path.name for path in out.iterdir() if "mask" in path.name)
    ours = ["photo-mask-0.png", "photo-mask-03.png", "photo-mask-2.png", "photo-mask-7.png"]
    assert masks == [*ours, "photograph-mask-1.png"]
    assert photo.read_bytes() == before


def test_segment_writes_all_files_or_none(pipeline, call, photo, tmp_path, monkeypatch):
    pytest.importorskip("supervision", reason="needs nanoseg[draw]")
    out = tmp_path / "out"
    assert call("segment", photo, "--point", "5,6", "--out", out)[0] == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 3:  # the second mask, after the .npz file and the first
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = call("segment", photo, "--box", "1,2,30,40", "--box", "4,5,60,40", "--out", out)
    assert (code, err) == (
        2,
        f"nanoseg: error: {out / 'photo-mask-1.png'}: cannot be written: No space left on device\n",
    )
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_segment_makes_no_folder_for_a_wrong_bundle(call, photo, tmp_path):
    pytest.importorskip("supervision", reason="needs nanoseg[draw]")
    code, _, _ = call("segment", photo, "--point", "1,2", "--bundle", tmp_path / "none", "--out", tmp_path / "out")
    assert code == 4
    assert not (tmp_path / "out").exists()


def test_segment_refuses_to_overwrite_its_source(pipeline, call, photo, tmp_path):
    pytest.importorskip("supervision", reason="needs nanoseg[draw]")
    before = photo.read_bytes()
    os.link(photo, tmp_path / "photo-mask-0.png")
    code, out, err = call("segment", photo, "--point", "1,2", "--out", tmp_path)
    assert (code, out) == (2, "")
    assert "photo-mask-0.png: would be written over a file that frames are read from" in err
    assert photo.read_bytes() == before
    assert pipeline.pipeline.engines["embed"].calls == []
