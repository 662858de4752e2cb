"""`nanoseg segment`: what is asked of the segmenter, what is written and printed, what is refused and how."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nanoseg
from nanoseg import rle
from nanoseg.answers import Answer
from tests.data.fill_weights import image_u8
from tests.fakes import GRID, fake_engines, rows, segmenter_of
from tests.test_answers import IMAGE, answer

cv2 = pytest.importorskip("cv2")
ROOT = Path(__file__).resolve().parents[1]
SIDE = 4 * GRID
HEIGHT, WIDTH = 48, 64


@pytest.fixture
def chain(monkeypatch):
    """What `nanoseg.load` gives: fake engines that take masks."""
    return use(monkeypatch, takes_masks=True)


def use(monkeypatch, **engines):
    made = segmenter_of(fake_engines(rows(), **engines))
    monkeypatch.setattr(nanoseg, "load", lambda *_, **__: made)
    monkeypatch.setattr(made, "close", lambda: None)  # one test may call it several times
    return made


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    assert cv2.imwrite(str(path), IMAGE)
    return path


def asked(chain, name="segment"):
    """The last call's points and labels."""
    call = chain.chain.engines[name].calls[-1]
    return call["point_coords"].tolist(), call["point_labels"].tolist()


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
def test_what_the_flags_ask(chain, call, photo, flags, coords, labels):
    code, out, err = call("segment", photo, *flags.split())
    assert (code, err) == (0, "")
    assert asked(chain) == (coords, labels)
    lines = out.splitlines()
    assert re.fullmatch(rf"{photo}: {len(coords)} masks?, [\d.]+ ms", lines[0])
    assert len(lines) == 1 + len(coords)
    assert re.fullmatch(
        r"  mask 0  prompt 0  confidence 0\.5\d\d  stability 0\.\d{3}  \d+ px in \d+,\d+,\d+,\d+", lines[1]
    )


def test_json_tells_everything(chain, call, photo):
    code, out, err = call("segment", photo, "--box", "4,5,30,40", "--box", "20,10,60,44", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    masks = chain.segment(chain.embed(cv2.imread(str(photo))), boxes=[[4, 5, 30, 40], [20, 10, 60, 44]])
    assert told["size"] == [HEIGHT, WIDTH]
    assert list(told["latency_ms"]) == ["embed", "segment", "total"]
    assert told["prompts"] == [
        {"box": [4, 5, 30, 40], "points": [], "labels": [], "mask": False},
        {"box": [20, 10, 60, 44], "points": [], "labels": [], "mask": False},
    ]
    for i, (one, mask) in enumerate(zip(told["masks"], masks.full(), strict=True)):
        np.testing.assert_array_equal(rle.decode(one["mask"]), mask)
        down, across = np.nonzero(mask)
        assert one["xyxy"] == [across.min(), down.min(), across.max() + 1, down.max() + 1]
        assert one["area_px"] == mask.sum()
        assert one["confidence"] == pytest.approx(masks.confidence[i], abs=1e-6)
        assert one["stability"] == pytest.approx(masks.stability()[i], abs=1e-6)
        assert one["prompt"] == i
        assert one["file"] is None
    assert told["annotated"] is told["answer"] is None


def test_points_and_their_labels_in_json(chain, call, photo):
    _, out, _ = call("segment", photo, "--point", "5,6", "--background", "7,8", "--json")
    assert json.loads(out)["prompts"] == [{"box": None, "points": [[5, 6], [7, 8]], "labels": [1, 0], "mask": False}]


def test_files(chain, call, photo, tmp_path):
    pytest.importorskip("supervision", reason="needs nanoseg[draw]")
    folder, before = tmp_path / "deep" / "out", photo.read_bytes()
    flags = ("--box", "4,5,30,40", "--box", "20,10,60,44", "--out", folder)
    code, out, err = call("segment", photo, *flags)
    assert (code, err) == (0, "")
    assert f"masks    {folder / 'photo-mask-0.png'} to 1\n" in out
    names = ["photo-annotated.png", "photo-mask-0.png", "photo-mask-1.png", "photo.npz"]
    assert sorted(path.name for path in folder.iterdir()) == names
    masks = chain.segment(chain.embed(cv2.imread(str(photo))), boxes=[[4, 5, 30, 40], [20, 10, 60, 44]])
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
    assert call("segment", photo, *flags, "--json")[0] == 0
    assert sorted(path.name for path in folder.iterdir()) == names


def test_an_empty_mask_is_told_and_written(chain, call, photo, tmp_path):
    pytest.importorskip("supervision", reason="needs nanoseg[draw]")
    nothing = -np.ones((1, 1, SIDE, SIDE), np.float32)
    answer = {"low_res_masks": nothing, "iou_predictions": np.zeros((1, 1), np.float32)}
    chain.chain.engines["segment"].answer = lambda feeds: answer
    code, out, _ = call("segment", photo, "--point", "5,6", "--out", tmp_path / "out")
    assert code == 0
    assert "stability 0.000  empty\n" in out
    assert not cv2.imread(str(tmp_path / "out" / "photo-mask-0.png")).any()
    _, out, _ = call("segment", photo, "--point", "5,6", "--json")
    assert (json.loads(out)["masks"][0]["xyxy"], json.loads(out)["masks"][0]["area_px"]) == (None, 0)


def test_the_masks_of_an_earlier_call_are_refined(chain, call, photo, tmp_path):
    pytest.importorskip("supervision", reason="needs nanoseg[draw]")
    boxes = ("--box", "4,5,30,40", "--box", "20,10,60,44")
    call("segment", photo, *boxes, "--out", tmp_path / "one")
    earlier = tmp_path / "one" / "photo.npz"
    logits = Answer.read(earlier).logits
    for flags in (boxes, ()):
        code, out, err = call("segment", photo, *flags, "--mask-from", earlier, "--json")
        assert (code, err) == (0, "")
        feeds = chain.chain.engines["segment_mask"].calls[-1]
        np.testing.assert_array_equal(feeds["mask_input"][:, 0], logits)
        assert feeds["has_mask_input"].tolist() == [1, 1]
        assert asked(chain, "segment_mask") == ([[[4, 5], [30, 40]], [[20, 10], [60, 44]]], [[2, 3], [2, 3]])
        assert [one["mask"] for one in json.loads(out)["prompts"]] == [True, True]
    # In place, once and again: what is read was read before it is written.
    for _ in range(2):
        before = Answer.read(earlier)
        assert call("segment", photo, "--mask-from", earlier, "--out", tmp_path / "one")[0] == 0
        after = Answer.read(earlier)
        np.testing.assert_array_equal(after.prompts, before.prompts)
        assert (after.logits != before.logits).any()


def test_all_four_masks_and_the_best_of_them_refined(monkeypatch, call, photo, tmp_path):
    pytest.importorskip("supervision", reason="needs nanoseg[draw]")
    chain = use(monkeypatch, masks=4, takes_masks=True)
    boxes = ("--box", "4,5,30,40", "--box", "20,10,60,44")
    code, out, _ = call("segment", photo, *boxes, "--all", "--json", "--out", tmp_path)
    assert code == 0
    told = json.loads(out)["masks"]
    assert [one["prompt"] for one in told] == [0] * 4 + [1] * 4
    assert [Path(one["file"]).name for one in told] == [f"photo-mask-{i}.png" for i in range(8)]
    assert all(Path(one["file"]).is_file() for one in told)
    assert call("segment", photo, *boxes, "--mask-from", tmp_path / "photo.npz")[0] == 0
    fed, answered = chain.chain.engines["segment_mask"].calls[-1], Answer.read(tmp_path / "photo.npz")
    np.testing.assert_array_equal(fed["mask_input"][:, 0], answered.logits[[3, 7]])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "nothing to cut out: wanted --box LEFT,TOP,RIGHT,BOTTOM, --point X,Y or --mask-from FILE.npz"),
        ("--box 1,2,3", "--box 1,2,3: wanted LEFT,TOP,RIGHT,BOTTOM, 4 numbers, got 3"),
        ("--box 1,2,3,4,5", "--box 1,2,3,4,5: wanted .* got 5"),
        ("--box a,2,3,4", "--box a,2,3,4: wanted LEFT,TOP,RIGHT,BOTTOM, 4 numbers in pixels with commas between"),
        ("--box 1;2;3;4", "--box 1;2;3;4: wanted"),
        ("--box 9,2,3,4", "--box 9,2,3,4: wanted LEFT,TOP,RIGHT,BOTTOM with LEFT <= RIGHT and TOP <= BOTTOM"),
        ("--box 1,9,3,4", "--box 1,9,3,4: wanted .* TOP <= BOTTOM"),
        ("--box 1,2,65,4", "--box 1,2,65,4: outside the picture, which is 64 x 48 pixels"),
        ("--box 1,2,3,49", "--box 1,2,3,49: outside the picture"),
        ("--box -1,2,3,4", "--box -1,2,3,4: outside the picture"),
        ("--box 1,2,3,4 --box 1,2,3,99", "--box 1,2,3,99: outside the picture"),
        ("--point 1", "--point 1: wanted X,Y, 2 numbers, got 1"),
        ("--point 1,,2", "--point 1,,2: wanted X,Y"),
        ("--point nan,2", "--point nan,2: wanted X,Y in pixels of the picture, got a number without an end"),
        ("--point 1e999,2", "--point 1e999,2: wanted X,Y"),
        ("--point 1e300,2", "--point 1e300,2: outside the picture"),
        ("--point 1,2 --background 64.5,2", "--background 64.5,2: outside the picture"),
        ("--background ,", "--background ,: wanted X,Y"),
        ("--box 1,2,3,4 --box 1,2,3,4 --point 1,2", "--point, --background: 2 times --box leave open whose .*"),
        ("--box", ".*--box.*"),
        ("--point 1,2 --all", "all_masks: fake gives one mask a prompt; .*--masks all"),
        ("--point 1,2 --all --out {}/new", "all_masks: fake gives one mask a prompt; .*--masks all"),
        ("--mask-from {}/nothing.npz", "--mask-from .*nothing.npz: cannot be read: No such file or directory"),
        ("--mask-from {}", "--mask-from .*: cannot be read: Is a directory"),
        ("--mask-from {}/photo.png", "--mask-from .*photo.png: wanted an .npz file that nanoseg segment wrote, .*"),
        ("--mask-from {}/one.npz --box 1,2,3,4 --box 1,2,3,4", "--mask-from .*: holds the masks of 1 object, .* 2"),
        ("--mask-from {}/two.npz --point 1,2", "--mask-from .*: holds the masks of 2 objects, asked for 1; .*"),
        ("--mask-from {}/other.npz", "--mask-from .*: of a picture of 70 x 48 pixels, this one has 64 x 48"),
        ("--mask-from {}/same-size.npz", "--mask-from .*same-size.npz: of another picture of this size; .*"),
        ("--mask-from {}/same-size.npz --point 1,2", "--mask-from .*: of another picture of this size; .*"),
        ("--mask-from {}/coarse.npz", "--mask-from .*: written with the decoder of bundle 'fake', wanted .*'fake';.*"),
        ("--mask-from {}/sam.npz --out {0}/new", "--mask-from .*: written with .* 'sam', wanted .* 'fake'; .*"),
        ("--mask-from {}/outside.npz", "--mask-from .*outside.npz: 'prompts' lie outside its picture, .*"),
        ("--mask-from {}/nan.npz", "--mask-from .*nan.npz: 'logits' wants finite numbers; .*"),
        ("--point 1,2 --out {}/photo.png", ".*photo.png: cannot be made a folder to write to.*"),
    ],
)  # fmt: skip
def test_what_is_refused(chain, call, photo, tmp_path, flags, message):
    written = {
        "one": answer(),
        "two": answer(2),
        "other": answer(size_hw=(HEIGHT, 70)),
        "same-size": answer(image=image_u8(2, HEIGHT, WIDTH)),
        "coarse": answer(side=SIDE // 2),
        "sam": answer(bundle="sam", decoder="e" * 64),
        "outside": replace(answer(), prompts=np.float32([[[1, 49, 1]]])),
        "nan": replace(answer(), logits=np.full((1, SIDE, SIDE), np.nan, np.float32)),
    }
    for name, one in written.items():
        (tmp_path / f"{name}.npz").write_bytes(one.npz())
    listed = sorted(tmp_path.iterdir())
    code, out, err = call("segment", photo, *flags.replace("{}", "{0}").format(tmp_path).split())
    assert (code, out) == (2, "")
    assert re.fullmatch(rf"nanoseg: error: {message}.*\n", err)
    assert sorted(tmp_path.iterdir()) == listed
    assert chain.chain.engines["embed"].calls == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{}/nothing.png", "--point", "1,2"], 3, "nothing.png: no such file"),
        (["{}", "--point", "1,2"], 3, "wanted a picture, got a folder"),
        (["{}/photo.png", "--point", "1,2", "--max-pixels", "99"], 3, "64 x 48 pixels are more than the limit of 99"),
        (["{}/photo.png", "--mask-from", "{}/one.npz"], 4, "fake: has no segment_mask.onnx"),
    ],
)
def test_other_exit_codes(monkeypatch, call, photo, tmp_path, arguments, code, message):
    chain = use(monkeypatch)
    (tmp_path / "one.npz").write_bytes(answer().npz())
    got, out, err = call("segment", *(one.format(tmp_path) for one in arguments))
    assert (got, out, err.count("\n")) == (code, "", 1)
    assert message in err
    assert chain.chain.engines["embed"].calls == []


def test_a_bundle_of_the_same_decoder_refines(monkeypatch, call, photo, tmp_path):
    # The embedded bundle's answer, say, and the same networks with --mask-prompts.
    chain = use(monkeypatch, takes_masks=True)
    (tmp_path / "one.npz").write_bytes(answer(bundle="without masks").npz())
    assert call("segment", photo, "--mask-from", tmp_path / "one.npz")[0] == 0
    assert len(chain.chain.engines["segment_mask"].calls) == 1


def test_masks_of_an_earlier_run_go(chain, call, photo, tmp_path):
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


def test_an_answer_is_written_whole_or_not_at_all(chain, call, photo, tmp_path):
    pytest.importorskip("supervision", reason="needs nanoseg[draw]")
    out = tmp_path / "out"
    assert call("segment", photo, "--point", "5,6", "--out", out)[0] == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / "photo-mask-1.part.png").mkdir()  # the second mask cannot be written
    code, _, err = call("segment", photo, "--box", "1,2,30,40", "--box", "4,5,60,40", "--out", out)
    assert (code, err) == (2, f"nanoseg: error: {out / 'photo-mask-1.png'}: cannot be written: Is a directory\n")
    (out / "photo-mask-1.part.png").rmdir()
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_wrong_bundle_leaves_no_folder(call, photo, tmp_path):
    pytest.importorskip("supervision", reason="needs nanoseg[draw]")
    code, _, _ = call("segment", photo, "--point", "1,2", "--bundle", tmp_path / "none", "--out", tmp_path / "out")
    assert code == 4
    assert not (tmp_path / "out").exists()


def test_the_source_is_never_written_over(chain, call, photo, tmp_path):
    pytest.importorskip("supervision", reason="needs nanoseg[draw]")
    before = photo.read_bytes()
    os.link(photo, tmp_path / "photo-mask-0.png")
    code, out, err = call("segment", photo, "--point", "1,2", "--out", tmp_path)
    assert (code, out) == (2, "")
    assert "photo-mask-0.png: would be written over a file that frames are read from" in err
    assert photo.read_bytes() == before
    assert chain.chain.engines["embed"].calls == []


def test_help_has_examples(call):
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


def test_a_missing_library_is_told_before_the_work(photo, tmp_path):
    code = (
        "import sys; sys.modules['supervision'] = None; import nanoseg\n"
        "nanoseg.load = None\n"
        "from nanoseg.cli import main; main()"
    )
    arguments = ["segment", str(photo), "--point", "1,2", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (6, "")
    assert done.stderr == 'nanoseg: error: supervision is not installed: pip install "nanoseg[draw]"\n'


def test_the_embedded_bundle_cuts_out_a_part(call, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")
    from nanoseg.sources.parts import Line

    line = Line(5)
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
