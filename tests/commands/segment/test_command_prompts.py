"""`nanoseg segment`: what the flags ask of the segmenter, and what is printed of its answer."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from nanoseg.processing import rle
from nanoseg.sinks.saved_masks import SavedMasks
from tests.commands.segment.engines import HEIGHT, WIDTH, requests, use
from tests.helpers.saved_masks import saved_masks

cv2 = pytest.importorskip("cv2")


@pytest.mark.parametrize(
    ("flags", "coords", "labels"),
    [
        ("--box 1,2,30,40", [[[1, 2], [30, 40]]], [[2, 3]]),
        ("--box 1,2,30,40 --box 0,0,64,48", [[[1, 2], [30, 40]], [[0, 0], [64, 48]]], [[2, 3], [2, 3]]),
        ("--point 5,6.5", [[[5, 6.5], [0, 0]]], [[1, -1]]),
        ("--background 7,8 --point 5,6 --point 9,9", [[[5, 6], [9, 9], [7, 8], [0, 0]]], [[1, 1, 0, -1]]),
        ("--box 1,2,30,40 --background 7,8 --point 5,6", [[[5, 6], [7, 8], [1, 2], [30, 40]]], [[1, 0, 2, 3]]),
    ],
)
def test_segment_prompts_of_the_flags(pipeline, call, photo, flags, coords, labels):
    code, out, err = call("segment", photo, *flags.split())
    assert (code, err) == (0, "")
    assert requests(pipeline) == (coords, labels)
    lines = out.splitlines()
    assert re.fullmatch(rf"{photo}: {len(coords)} masks?, [\d.]+ ms", lines[0])
    assert len(lines) == 1 + len(coords)
    assert re.fullmatch(
        r"  mask 0  prompt 0  confidence 0\.5\d\d  stability 0\.\d{3}  \d+ px in \d+,\d+,\d+,\d+", lines[1]
    )


def test_segment_json(pipeline, call, photo):
    code, out, err = call("segment", photo, "--box", "4,5,30,40", "--box", "20,10,60,44", "--json")
    assert (code, err) == (0, "")
    got = json.loads(out)
    masks = pipeline.segment(pipeline.embed(cv2.imread(str(photo))), boxes=[[4, 5, 30, 40], [20, 10, 60, 44]])
    assert got["size"] == [HEIGHT, WIDTH]
    assert list(got["latency_ms"]) == ["embed", "segment", "total"]
    assert got["prompts"] == [
        {"box": [4, 5, 30, 40], "points": [], "labels": [], "mask": False},
        {"box": [20, 10, 60, 44], "points": [], "labels": [], "mask": False},
    ]
    for i, (one, mask) in enumerate(zip(got["masks"], masks.full(), strict=True)):
        np.testing.assert_array_equal(rle.decode(one["mask"]), mask)
        down, across = np.nonzero(mask)
        assert one["xyxy"] == [across.min(), down.min(), across.max() + 1, down.max() + 1]
        assert one["area_px"] == mask.sum()
        assert one["confidence"] == pytest.approx(masks.confidence[i], abs=1e-6)
        assert one["stability"] == pytest.approx(masks.stability()[i], abs=1e-6)
        assert one["prompt"] == i
        assert one["file"] is None
    assert got["annotated"] is got["answer"] is None


def test_segment_json_has_points_and_labels(pipeline, call, photo):
    _, out, _ = call("segment", photo, "--point", "5,6", "--background", "7,8", "--json")
    assert json.loads(out)["prompts"] == [{"box": None, "points": [[5, 6], [7, 8]], "labels": [1, 0], "mask": False}]


def test_segment_refines_earlier_masks(pipeline, call, photo, tmp_path):
    pytest.importorskip("supervision", reason="needs nanoseg[draw]")
    boxes = ("--box", "4,5,30,40", "--box", "20,10,60,44")
    call("segment", photo, *boxes, "--out", tmp_path / "one")
    earlier = tmp_path / "one" / "photo.npz"
    logits = SavedMasks.read(earlier).logits
    for flags in (boxes, ()):
        code, out, err = call("segment", photo, *flags, "--mask-from", earlier, "--json")
        assert (code, err) == (0, "")
        feeds = pipeline.pipeline.engines["segment_mask"].calls[-1]
        np.testing.assert_array_equal(feeds["mask_input"][:, 0], logits)
        assert feeds["has_mask_input"].tolist() == [1, 1]
        assert requests(pipeline, "segment_mask") == ([[[4, 5], [30, 40]], [[20, 10], [60, 44]]], [[2, 3], [2, 3]])
        assert [one["mask"] for one in json.loads(out)["prompts"]] == [True, True]
    # In place, once and again: what is read was read before it is written.
    for _ in range(2):
        before = SavedMasks.read(earlier)
        assert call("segment", photo, "--mask-from", earlier, "--out", tmp_path / "one")[0] == 0
        after = SavedMasks.read(earlier)
        np.testing.assert_array_equal(after.prompts, before.prompts)
        assert (after.logits != before.logits).any()


def test_segment_refines_the_best_of_four_masks(monkeypatch, call, photo, tmp_path):
    pytest.importorskip("supervision", reason="needs nanoseg[draw]")
    pipeline = use(monkeypatch, masks=4, takes_masks=True)
    boxes = ("--box", "4,5,30,40", "--box", "20,10,60,44")
    code, out, _ = call("segment", photo, *boxes, "--all", "--json", "--out", tmp_path)
    assert code == 0
    got = json.loads(out)["masks"]
    assert [one["prompt"] for one in got] == [0] * 4 + [1] * 4
    assert [Path(one["file"]).name for one in got] == [f"photo-mask-{i}.png" for i in range(8)]
    assert all(Path(one["file"]).is_file() for one in got)
    assert call("segment", photo, *boxes, "--mask-from", tmp_path / "photo.npz")[0] == 0
    fed, answered = pipeline.pipeline.engines["segment_mask"].calls[-1], SavedMasks.read(tmp_path / "photo.npz")
    np.testing.assert_array_equal(fed["mask_input"][:, 0], answered.logits[[3, 7]])


def test_segment_refines_with_a_bundle_of_the_same_decoder(monkeypatch, call, photo, tmp_path):
    # The embedded bundle's answer, say, and the same networks with --mask-prompts.
    pipeline = use(monkeypatch, takes_masks=True)
    (tmp_path / "one.npz").write_bytes(saved_masks(bundle="without masks").to_npz())
    assert call("segment", photo, "--mask-from", tmp_path / "one.npz")[0] == 0
    assert len(pipeline.pipeline.engines["segment_mask"].calls) == 1


def test_segment_help_has_examples(call):
    code, out, err = call("segment", "--help")
    assert (code, err) == (0, "")
    assert "Examples:" in out
    for flag in ("--box", "--point", "--background", "--mask-from", "--out", "--bundle", "--all", "--json"):
        assert f"\n  {flag}" in out
    # Every line that refines names a bundle: the embedded one takes no masks.
    refining = [line for line in out.splitlines() if "nanoseg segment " in line and "--mask-from" in line]
    assert len(refining) == 2
    assert all("--bundle my-bundle" in line for line in refining)
    assert "madewith--mask-prompts" in re.sub(r"\s", "", out)  # lines are folded at hyphens, too


def test_segment_with_the_embedded_bundle(call, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")
    from nanoseg.sources.simulator.line import SimulatedLine

    line = SimulatedLine(5)
    frame, truth = line.frame(20), line.truth(20)
    assert cv2.imwrite(str(tmp_path / "belt.png"), frame.image)
    areas = [int(mask.sum()) for mask in truth.masks]
    largest = int(np.argmax(areas))
    box = ",".join(f"{side:.1f}" for side in truth.xyxy[largest])
    code, out, _ = call("segment", tmp_path / "belt.png", "--box", box, "--json")
    assert code == 0
    (one,) = json.loads(out)["masks"]
    mask, true = rle.decode(one["mask"]), truth.masks[largest]
    assert (mask & true).sum() / (mask | true).sum() > 0.8
