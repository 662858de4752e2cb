"""`nanoseg bundle measure` on pictures whose truth is what a float32 bundle finds in them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import nanoseg
from nanoseg.bundle import Bundle
from nanoseg.errors import BundleError
from nanoseg.evaluation.accuracy import AccuracyMeter
from nanoseg.processing.rle import encode
from nanoseg.sources.simulator.demo_lines import DemoLines
from tests.data.fill_weights import image_u8

pytest.importorskip("pycocotools", reason="needs nanoseg[eval]")
pytest.importorskip("onnx", reason="needs nanoseg[bundle]")

from nanoseg.bundle import measure as measurement
from nanoseg.bundle.make import BundleOptions, make_bundle
from tests.helpers.tiny_bundles import LABELS, reduced_and_float
from tests.helpers.tiny_networks import decoder, encoder, some_detector
from tests.helpers.verbs import verb

measure_verb = verb("bundle", "measure")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle]:
    """One in INT8 and float16, the same in float32."""
    return reduced_and_float(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def pictures(bundles: tuple[Bundle, Bundle], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures and truth.json beside them, whose classes come in another order than the bundle's."""
    folder = tmp_path_factory.mktemp("pictures")
    ids = {name: 10 + i for i, name in enumerate(reversed(LABELS))}
    images, annotations = [], []
    with nanoseg.load(bundles[1].path) as segmenter:
        for number in range(4):
            image = image_u8(number, 48, 80)
            cv2.imwrite(str(folder / f"{number}.png"), image)
            images.append({"id": number, "file_name": f"{number}.png", "height": 48, "width": 80})
            found = segmenter(image)
            for box, name, mask in zip(found.xyxy.tolist(), found.class_name, found.mask, strict=True):
                left, top, right, bottom = box
                annotations.append({
                    "id": len(annotations) + 1, "image_id": number, "category_id": ids[str(name)],
                    "bbox": [left, top, right - left, bottom - top], "segmentation": encode(mask),
                    "area": int(mask.sum()), "iscrowd": 0,
                })  # fmt: skip
    assert len(annotations) > 40
    ids["a category that nothing has"] = 9
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "truth.json").write_text(json.dumps(truth))
    return folder


def flags(pictures: Path, bundle: Bundle, *more: object) -> list[str]:
    given = ("--bundle", bundle.path, "--images", pictures, "--annotations", pictures / "truth.json", *more)
    return [str(each) for each in given]


def test_measure_all_forms_and_write_accuracy(
    bundles: tuple[Bundle, Bundle], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Float32 is perfect, as the truth is its own; INT8's rounding costs something, and without it there is none."""
    reduced, floats = bundles
    out = tmp_path / "accuracy.json"
    assert measure_verb(flags(pictures, reduced, "--float", floats.path, "--out", out)) == 0
    text = capsys.readouterr().out.splitlines()
    assert text[0] == "reduced 1: 4 images of truth.json"
    assert [line.split()[0] for line in text[1:]] == ["float32", "deployed", "cpu"]
    assert text[1].split(maxsplit=1)[1] == "mAP50-95 1.0000, mAP50 1.0000, mIoU 1.0000"
    reported = json.loads(out.read_text())
    assert reported["float32"] == {"map50_95": 1, "map50": 1, "miou": 1, "dataset": "truth.json", "images": 4}
    assert 0.8 < reported["deployed"]["map50_95"] < 1
    assert 0.8 < reported["deployed"]["miou"] < 1
    points = 100 * (1 - reported["deployed"]["map50_95"])
    assert text[2].endswith(f"costs {points:.2f} points of mAP50-95, {1 - reported['deployed']['miou']:.4f} of mIoU")
    # The encoder's weights are float16 numbers still.
    assert re.fullmatch(r" +cpu +mAP50-95 1\.0000, .*, costs 0\.00 points of mAP50-95, 0\.000[012] of mIoU", text[3])
    folder = reduced.path.parent
    recipe = BundleOptions(
        folder / "int8.onnx", folder / "half.onnx", folder / "mouth.onnx", "reported", labels=folder / "labels.txt",
        accuracy=out,
    )  # fmt: skip
    made = make_bundle(recipe, tmp_path / "reported")
    assert (made.accuracy["float32"].map50, made.accuracy["deployed"].miou) == (1, reported["deployed"]["miou"])
    assert "accuracy.networks" not in (made.path / "bundle.toml").read_text()
    other = replace(recipe, encoder=folder / "eye.onnx")
    with pytest.raises(BundleError, match=r"accuracy\.json: accuracy of another encoder, sha256 "):
        make_bundle(other, tmp_path / "other")
    unbound = {name: value for name, value in reported.items() if name != "networks"}
    out.write_text(json.dumps(unbound))
    steps: list[str] = []
    assert make_bundle(other, tmp_path / "other", steps.append).accuracy["float32"].map50 == 1
    assert f"{out}: does not say which networks were measured; taken as it is" in steps


def test_measure_float32_bundle(
    bundles: tuple[Bundle, Bundle], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "accuracy.json"
    assert measure_verb(flags(pictures, bundles[1], "--limit", 2, "--out", out)) == 0
    reported = json.loads(out.read_text())
    assert reported["float32"] == reported["deployed"]
    assert (reported["deployed"]["map50_95"], reported["deployed"]["images"]) == (1, 2)
    assert "costs" not in capsys.readouterr().out


def test_measure_without_a_float32_bundle(
    bundles: tuple[Bundle, Bundle], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "accuracy.json"
    assert measure_verb(flags(pictures, bundles[0], "--limit", 1, "--out", out)) == 0
    assert json.loads(out.read_text()).keys() == {"deployed", "networks"}
    text = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in text[1:]] == ["deployed", "cpu"]


def test_measure_demo_frames_give_the_demos_figures() -> None:
    """For a bundle in float32; one in INT8 gives them on the CPU."""
    meter, lines = AccuracyMeter(), DemoLines()
    with nanoseg.load("parts", "onnxruntime") as segmenter:
        for index in range(2):
            meter.add(lines.truth(index), segmenter(lines.frame(index)))
        measured = measurement.measure_bundle(segmenter.bundle, measurement.open_labelled_images(None, None, 2))
    got, wanted = measured.get("cpu", measured["deployed"]), meter.result()
    assert 0 < got.map50_95 < 1
    for name in ("map50_95", "map50", "miou"):
        assert getattr(got, name) == wanted[name]


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--limit", "0"], 2, "Invalid value for '--limit'"),
        (["--out", "."], 2, ".: cannot be written: Is a directory; choose another --out"),
        (["--out", "truth.json/a.json"], 2, "truth.json/a.json: cannot be written: "),
        (["--bundle", "nowhere"], 4, "nowhere: no such bundle"),
        (["--float", "reduced"], 4, "reduced: wanted the labels of floats and float32 in all its graphs"),
        (["--float", "others"], 4, "others: wanted the labels of floats and float32 in all its graphs"),
        (["--bundle", "others"], 4, "others: wanted the labels of truth.json, has none called gear, nut; measure it"),
        (["--images", "nowhere"], 3, "nowhere: no such folder"),
        (["--annotations", "nothing.json"], 3, "nothing.json: wanted a COCO annotation file, found none"),
        (["--annotations", "empty.json"], 3, "empty.json: wanted images with objects in them, got 1 without"),
        (["--annotations", "boxes.json"], 3, "boxes.json: object 1 in 0.png: wanted a segmentation, got a box alone"),
        (["--out", "truth.json"], 2, "--out: truth.json is also the file of --annotations; give another name"),
        (["--images", "parts://"], 2, "--annotations: wanted with a folder of images"),
    ],
)
def test_measure_refuses(
    more: list[str], code: int, message: str, bundles: tuple[Bundle, Bundle], pictures: Path,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for bundle, name in zip(bundles, ("reduced", "floats"), strict=True):
        Path(name).symlink_to(bundle.path)
    truth = json.loads((pictures / "truth.json").read_text())
    Path("truth.json").write_text(json.dumps(truth))
    Path("empty.json").write_text(json.dumps(truth | {"images": truth["images"][:1], "annotations": []}))
    boxes = [{key: value for key, value in each.items() if key != "segmentation"} for each in truth["annotations"]]
    Path("boxes.json").write_text(json.dumps(truth | {"annotations": boxes}))
    networks = some_detector(Path("d.onnx")), encoder(Path("e.onnx")), decoder(Path("m.onnx"))
    Path("others.txt").write_text("bolt\nwasher\nspring")
    make_bundle(BundleOptions(*networks, "others", labels=Path("others.txt")), Path("others"))
    given = ["--bundle", "floats", "--images", str(pictures), "--annotations", "truth.json"]
    assert measure_verb([*given, *more]) == code
    text, error = capsys.readouterr()
    assert not text
    assert error.count("\n") == 1
    assert error.startswith(f"nanoseg: error: {message}")


def test_measure_interrupted(
    bundles: tuple[Bundle, Bundle], pictures: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(measurement, "_run", stop)
    assert measure_verb(flags(pictures, bundles[1], "--out", tmp_path / "a.json")) == 130
    assert capsys.readouterr().err == "nanoseg: interrupted; nothing was written\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--images", "."], "--images: no ground truth for .; give --annotations"),
        (["--annotations", "truth.json"], "--annotations: wanted with --images"),
    ],
)
def test_measure_images_without_ground_truth(
    given: list[str], message: str, bundles: tuple[Bundle, Bundle], pictures: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(pictures)
    assert measure_verb(["--bundle", str(bundles[1].path), *given]) == 2
    assert message in capsys.readouterr().err


def test_measure_validation_lines() -> None:
    from nanoseg.evaluation.simulated_scenes import SimulatedScenes

    pictures = measurement.open_labelled_images("parts://", None, 3)
    image, truth = pictures.load(0)
    wanted = SimulatedScenes(validation=True)[0]
    np.testing.assert_array_equal(image, wanted.image)
    np.testing.assert_array_equal(truth.masks, wanted.masks())
    assert (pictures.count, len(pictures.labels)) == (3, 10)


def test_measure_uses_the_bundles_thresholds(bundles: tuple[Bundle, Bundle], pictures: Path) -> None:
    """Of the float32 bundle, too: else two things would differ at once."""
    reduced, floats = bundles
    given = measurement.open_labelled_images(str(pictures), pictures / "truth.json", 2)
    measured = measurement.measure_bundle(reduced, given, replace(floats, confidence=0.9, iou=0.1))
    assert measured["float32"].map50_95 == 1
