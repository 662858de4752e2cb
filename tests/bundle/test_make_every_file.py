"""Every kind of file that people have becomes a bundle in one command, and the bundle runs a picture."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import nanoseg
from nanoseg.errors import BundleError
from nanoseg.types import Detections
from tests.data.fill_weights import image_u8

pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")
pytest.importorskip("onnx", reason="needs nanoseg[bundle]")

from tests.bundle.folders import make as bundle_make
from tests.helpers import tiny_networks as tiny
from tests.helpers.tiny_detectors import quantized_detector, table

LABELS = "nut,bolt,washer"
YOLOV8 = '[outputs]\njoint = "output0"\ntransposed = true\nbox_form = "cxcywh"\n'
BLUE_FIRST = '[input]\nlayout = "nhwc"\ncolour = "bgr"\nscale = 1\n[outputs]\nboxes = "b"\nscores = "s"\n'
Files = dict[str, Path | str | None]


def ours(folder: Path) -> Files:
    return {
        "detector": tiny.some_detector(folder / "detector.onnx"),
        "encoder": tiny.encoder(folder / "encoder.onnx"),
        "decoder": tiny.decoder(folder / "decoder.onnx"),
    }


def with_form(text: str, network: Callable[[Path], Path]) -> Callable[[Path], Files]:
    def make(folder: Path) -> Files:
        (folder / "form.toml").write_text(text)
        return {"detector": network(folder / "elsewhere.onnx"), "detector-spec": folder / "form.toml"}

    return make


def checkpoints(folder: Path) -> Files:
    """As super-gradients and the trainer here write them; a decoder's is exported with the photographs' pipeline."""
    torch = pytest.importorskip("torch", reason="needs nanoseg[export]")
    pytest.importorskip("onnxscript", reason="needs nanoseg[export]")
    from nanoseg.models.image_encoder import slim_encoder
    from nanoseg.models.yolo_nas import YoloNas

    torch.manual_seed(0)
    detector = YoloNas("slim", 3).train()
    with torch.no_grad():
        for _ in range(2):
            detector(torch.rand(2, 3, 64, 64))  # statistics that are not those of a fresh BatchNorm
    torch.save({"ema_net": detector.state_dict()}, folder / "detector.pth")
    state = {f"image_encoder.{name}": value for name, value in slim_encoder(64).state_dict().items()}
    about = {"architecture": "nanosam", "variant": "slim", "image_size": 64, "format": 1}
    torch.save({"model": state, **about}, folder / "segmenter.pt")
    return {"detector": folder / "detector.pth", "size": "64", "encoder": folder / "segmenter.pt"}


KINDS: dict[str, Callable[[Path], Files]] = {
    "our own exports": lambda folder: {},
    "NanoSAM's and SAM's decoder": lambda folder: {"decoder": tiny.sam_decoder(folder / "sam.onnx")},
    "the same, for masks too": lambda folder: {"decoder": tiny.sam_decoder(folder / "sam.onnx"), "mask-prompts": None},
    "SAM's decoder of one mask": lambda folder: {"decoder": tiny.sam_decoder(folder / "sam.onnx", single=True)},
    "super-gradients' YOLO-NAS": lambda folder: {
        "detector": table(7, corners=True).save(folder / "n.onnx", {"913": (0, 4), "904": (4, 7)}, name="input")
    },
    "modern-yolonas, any batch": lambda folder: {
        "detector": table(7, corners=True).save(
            folder / "n.onnx", {"pred_bboxes": (0, 4), "pred_scores": (4, 7)}, batch="batch", opset=20
        )
    },
    "quantized elsewhere": lambda folder: {"detector": quantized_detector(folder / "qat.onnx")},
    "YOLOv8's form": with_form(YOLOV8, lambda path: table(7).save(path, {"output0": (0, 7)}, transposed=True)),
    "channels last, blue first": with_form(
        BLUE_FIRST,
        lambda path: table(7, scale=255, corners=True).save(path, {"b": (0, 4), "s": (4, 7)}, nhwc=True),
    ),
    "checkpoints": checkpoints,
}


# Checkpoints are exported first.
EVERY_KIND = pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow) if kind == "checkpoints" else kind for kind in KINDS]
)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The bundle of a kind of file, made once."""
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            folder = tmp_path_factory.mktemp("files")
            files = ours(folder) | KINDS[kind](folder)
            flags = [text for flag, value in files.items() for text in (f"--{flag}", value) if text is not None]
            out = folder / "bundle"
            assert bundle_make([*map(str, flags), "--labels", LABELS, "--out", str(out)]) == 0
            made[kind] = out
        return made[kind]

    return make


def check(found: Detections, frame_hw: tuple[int, int], most: float = 1.0) -> None:
    height, width = frame_hw
    assert len(found) > 0
    assert found.mask.shape == (len(found), height, width)
    assert np.isfinite(found.masks.logits).all()
    assert ((found.confidence > 0) & (found.confidence <= most)).all()
    assert (found.xyxy >= 0).all()
    assert (found.xyxy[:, 2:] <= (width, height)).all()
    assert set(found.class_name) <= set(LABELS.split(","))


@EVERY_KIND
def test_make_every_file_on_an_image(kind: str, bundles: Callable[[str], Path]) -> None:
    image = image_u8(4, 48, 80)
    with nanoseg.load(bundles(kind), "onnxruntime", confidence=0.0) as segmenter:
        found = segmenter(image)
        check(found, (48, 80))
        embedding = segmenter.embed(image)
        unequal = {"points": [[[5, 6]], [[7, 8], [20, 30]]], "labels": [[1], [1, 0]]}
        both = segmenter.segment(embedding, **unequal)
        for i in range(2):
            alone = segmenter.segment(embedding, **{name: [values[i]] for name, values in unequal.items()})
            np.testing.assert_allclose(both.logits[i], alone.logits[0], atol=1e-3)
            np.testing.assert_allclose(both.confidence[i], alone.confidence[0], atol=1e-4)
        if "segment_mask" in segmenter.bundle.graphs:
            refined = segmenter.segment(embedding, **unequal, mask_input=both.logits)
            assert refined.full().shape == (2, 48, 80)
            assert np.abs(refined.logits - both.logits).max() > 1e-3
        else:
            with pytest.raises(BundleError, match="--mask-prompts"):
                segmenter.segment(embedding, **unequal, mask_input=both.logits)


@EVERY_KIND
def test_make_every_file_on_a_photograph(kind: str, bundles: Callable[[str], Path], shared: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="needs nanoseg[opencv]")
    paths = sorted((shared / "coco-mini").rglob("*.jpg"))
    if not paths:
        pytest.skip("needs the photographs of ../shared/coco-mini")
    image = cv2.imread(str(paths[0]))
    with nanoseg.load(bundles(kind), "onnxruntime", confidence=0.0, max_objects=5) as segmenter:
        check(segmenter(image), image.shape[:2])


def test_make_every_file_is_described(bundles: Callable[[str], Path]) -> None:
    from nanoseg.bundle import open_bundle

    precisions = {
        kind: open_bundle(bundles(kind)).graphs["detect"].precision for kind in KINDS if kind != "checkpoints"
    }
    assert precisions.pop("quantized elsewhere") == "int8"
    assert set(precisions.values()) == {"fp32"}
