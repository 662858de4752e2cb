"""End-to-end detectors that could be something else, and detector specs that contradict themselves."""

from pathlib import Path

import numpy as np
import pytest

from nanoseg.errors import BundleError, UsageError
from nanoseg.onnx_graphs.adapt.detector_spec import read_detector_spec
from tests.helpers.end2end_detectors import ULTRALYTICS, load, one, plain, save_outputs, some_rows

BOTH = r'form = "end2end" .* or form = "scores"'
REFUSED = {
    "two classes": (one("bsc")(*some_rows(2)), {}, '[outputs]\njoint = "output0"\n', BOTH),
    "two classes without a spec": (one("bsc")(*some_rows(2)), {}, None, BOTH),
    "one class": (one("bsc")(*some_rows(1)), {}, '[outputs]\njoint = "output0"\n', BOTH),
    "batch and two classes": (
        one("0bsc")(*some_rows(2)), {}, '[outputs]\njoint = "output0"\n', f"scores of 3 classes, .*{BOTH}",
    ),
    "nothing found in the images": (
        {"output0": np.zeros((1, 30, 6), np.float32)}, {}, '[outputs]\njoint = "output0"\n', BOTH,
    ),
    "nothing found, with the batch": ({"output0": np.full((1, 30, 7), -1, np.float32)}, {}, None, BOTH),
    "an order of its own": (one("sbc")(*some_rows(9)), {}, '[outputs]\njoint = "output0"\n', "columns = "),
    "class ids among others": (one("bscm")(*some_rows(9)), {}, '[outputs]\njoint = "output0"\n', "column 5 holds"),
    "scores that call themselves end-to-end": (plain(2), ULTRALYTICS, None, "got fractions; "),
    "a spec of scores": (
        one("bsc")(*some_rows(2)), ULTRALYTICS, '[outputs]\njoint = "output0"\nobjectness = true\n', BOTH,
    ),
    "rotated boxes": (one("bsc")(*some_rows(2)), ULTRALYTICS | {"task": "obb"}, None, "task obb"),
    "lists that nothing tells apart": (
        {"a": some_rows(2)[0][None], "b": some_rows(2)[1][None], "c": some_rows(2)[1][None]}, {}, None,
        "name boxes, scores and class_ids",
    ),
    "class ids of another number": (
        {"boxes": some_rows(2)[0][None], "scores": some_rows(2)[1][None], "n": np.zeros((1, 9), np.int64)}, {},
        '[outputs]\nboxes = "boxes"\nscores = "scores"\nclass_ids = "n"\n', r"'n' wants \(1, 30\), got \(1, 9\)",
    ),
    "a count that is a list": (
        {"d": np.c_[some_rows(2)[0], some_rows(2)[1]][None], "l": some_rows(2)[2][None]}, {},
        '[outputs]\njoint = "d"\nclass_ids = "l"\ncount = "l"\n', r"'l' wants \(1, 1\), got \(1, 30\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", REFUSED)
def test_end2end_refused(form: str, tmp_path: Path) -> None:
    outputs, metadata, text, message = REFUSED[form]
    path = save_outputs(tmp_path / "d.onnx", outputs, metadata)
    with pytest.raises(BundleError, match=message) as error:
        load(path, text)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('joint = "a"\ncolumns = ["box", "score"]', "outputs.columns: wanted box, score and class once each, got box"),
        ('boxes = "a"\nscores = "b"\nform = "end2end"', "outputs: wanted class_ids beside boxes and scores"),
        ('class_ids = "b"', "outputs.class_ids: wanted with boxes and scores, or with joint"),
        (
            'joint = "a"\nclass_ids = "b"\ncolumns = ["box", "score", "class"]',
            "outputs.columns: wanted without class_ids",
        ),
        ('form = "scores"\nnms = true', 'outputs.nms: wanted with form = "end2end", got form = "scores"'),
        ('form = "end2end"\nactivation = "softmax"', 'outputs.activation: wanted with form = "scores"'),
        ('form = "end2end"\nbackground = "last"', 'outputs.background: wanted "first" or "none" for class ids'),
        ('columns = ["box", "score", "class"]', "outputs.columns: wanted with joint"),
    ],
)
def test_end2end_spec_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_text(f"[outputs]\n{text}\n")
    with pytest.raises(UsageError) as error:
        read_detector_spec(path)
    assert str(error.value).startswith(f"{path}: {message}")
