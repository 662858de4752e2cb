"""`nanoseg segment`: what is refused and how."""

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tests.commands.segment.engines import HEIGHT, SIDE, WIDTH, use
from tests.data.fill_weights import image_u8
from tests.helpers.paths import ROOT
from tests.helpers.saved_masks import saved_masks

pytest.importorskip("cv2")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "no prompt: wanted --box LEFT,TOP,RIGHT,BOTTOM, --point X,Y or --mask-from FILE.npz"),
        ("--box 1,2,3", "--box 1,2,3: wanted LEFT,TOP,RIGHT,BOTTOM, 4 numbers, got 3"),
        ("--box 1,2,3,4,5", "--box 1,2,3,4,5: wanted .* got 5"),
        ("--box a,2,3,4", "--box a,2,3,4: wanted LEFT,TOP,RIGHT,BOTTOM, 4 numbers in pixels, separated by commas"),
        ("--box 1;2;3;4", "--box 1;2;3;4: wanted"),
        ("--box 9,2,3,4", "--box 9,2,3,4: wanted LEFT,TOP,RIGHT,BOTTOM with LEFT <= RIGHT and TOP <= BOTTOM"),
        ("--box 1,9,3,4", "--box 1,9,3,4: wanted .* TOP <= BOTTOM"),
        ("--box 1,2,65,4", "--box 1,2,65,4: outside the image, which has 64 x 48 pixels"),
        ("--box 1,2,3,49", "--box 1,2,3,49: outside the image"),
        ("--box -1,2,3,4", "--box -1,2,3,4: outside the image"),
        ("--box 1,2,3,4 --box 1,2,3,99", "--box 1,2,3,99: outside the image"),
        ("--point 1", "--point 1: wanted X,Y, 2 numbers, got 1"),
        ("--point 1,,2", "--point 1,,2: wanted X,Y"),
        ("--point nan,2", "--point nan,2: wanted X,Y in pixels of the image, got a number that is not finite"),
        ("--point 1e999,2", "--point 1e999,2: wanted X,Y"),
        ("--point 1e300,2", "--point 1e300,2: outside the image"),
        ("--point 1,2 --background 64.5,2", "--background 64.5,2: outside the image"),
        ("--background ,", "--background ,: wanted X,Y"),
        ("--box 1,2,3,4 --box 1,2,3,4 --point 1,2", "--point, --background: 2 times --box leave open which box .*"),
        ("--box", ".*--box.*"),
        ("--point 1,2 --all", "all_masks: fake gives one mask a prompt; .*--masks all"),
        ("--point 1,2 --all --out {}/new", "all_masks: fake gives one mask a prompt; .*--masks all"),
        ("--mask-from {}/nothing.npz", "--mask-from .*nothing.npz: cannot be read: No such file or directory"),
        ("--mask-from {}", "--mask-from .*: it is a folder"),
        ("--mask-from {}/photo.png", "--mask-from .*photo.png: wanted an .npz file that nanoseg segment wrote, .*"),
        ("--mask-from {}/one.npz --box 1,2,3,4 --box 1,2,3,4", "--mask-from .*: holds the masks of 1 object, .* 2"),
        ("--mask-from {}/two.npz --point 1,2", "--mask-from .*: holds the masks of 2 objects, the flags name 1; .*"),
        ("--mask-from {}/other.npz", "--mask-from .*: of an image of 70 x 48 pixels, this one has 64 x 48"),
        ("--mask-from {}/same-size.npz", "--mask-from .*same-size.npz: of another image of this size; .*"),
        ("--mask-from {}/same-size.npz --point 1,2", "--mask-from .*: of another image of this size; .*"),
        ("--mask-from {}/coarse.npz", "--mask-from .*: written with the decoder of bundle 'fake', wanted .*'fake';.*"),
        ("--mask-from {}/sam.npz --out {0}/new", "--mask-from .*: written with .* 'sam', wanted .* 'fake'; .*"),
        ("--mask-from {}/outside.npz", "--mask-from .*outside.npz: 'prompts' lie outside its picture, .*"),
        ("--mask-from {}/nan.npz", "--mask-from .*nan.npz: 'logits' wants finite numbers; .*"),
        ("--point 1,2 --out {}/photo.png", ".*photo.png: cannot be made a folder to write to.*"),
    ],
)  # fmt: skip
def test_segment_refuses(pipeline, call, photo, tmp_path, flags, message):
    written = {
        "one": saved_masks(),
        "two": saved_masks(2),
        "other": saved_masks(size_hw=(HEIGHT, 70)),
        "same-size": saved_masks(image=image_u8(2, HEIGHT, WIDTH)),
        "coarse": saved_masks(side=SIDE // 2),
        "sam": saved_masks(bundle="sam", decoder="e" * 64),
        "outside": replace(saved_masks(), prompts=np.float32([[[1, 49, 1]]])),
        "nan": replace(saved_masks(), logits=np.full((1, SIDE, SIDE), np.nan, np.float32)),
    }
    for name, one in written.items():
        (tmp_path / f"{name}.npz").write_bytes(one.to_npz())
    listed = sorted(tmp_path.iterdir())
    code, out, err = call("segment", photo, *flags.replace("{}", "{0}").format(tmp_path).split())
    assert (code, out) == (2, "")
    assert re.fullmatch(rf"nanoseg: error: {message}.*\n", err)
    assert sorted(tmp_path.iterdir()) == listed
    assert pipeline.pipeline.engines["embed"].calls == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{}/nothing.png", "--point", "1,2"], 3, "nothing.png: cannot be read: No such file"),
        (["{}", "--point", "1,2"], 3, "it is a folder"),
        (["{}/photo.png", "--point", "1,2", "--max-pixels", "99"], 3, "64 x 48 pixels are more than the limit of 99"),
        (["{}/photo.png", "--mask-from", "{}/one.npz"], 4, "fake: has no segment_mask.onnx"),
    ],
)
def test_segment_exit_codes(monkeypatch, call, photo, tmp_path, arguments, code, message):
    pipeline = use(monkeypatch)
    (tmp_path / "one.npz").write_bytes(saved_masks().to_npz())
    got, out, err = call("segment", *(one.format(tmp_path) for one in arguments))
    assert (got, out, err.count("\n")) == (code, "", 1)
    assert message in err
    assert pipeline.pipeline.engines["embed"].calls == []


def test_segment_reports_a_missing_library_before_the_work(photo, tmp_path):
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
