"""Checkpoint to ONNX for both halves of the segmenter: names, numbers, size, and only plain operators."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nanoseg.models.image_encoder import ResNet18Encoder, slim_encoder
from nanoseg.models.mask_decoder import MaskDecoder
from tests.data.fill_weights import fill, normal_f32
from tools import export_image_encoder, export_mask_decoder

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
# Shapes that depend on data, or what TensorRT's parser does not take.
FORBIDDEN = {"OneHot", "NonZero", "If", "Loop", "Scan", "Einsum", "BatchNormalization"}


def run(path: Path, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def formula(data: Path, net: str) -> dict[str, torch.Tensor]:
    manifest = json.loads((data / f"manifest_{net}.json").read_text())
    return {name: torch.from_numpy(value) for name, value in fill(manifest).items()}


@pytest.fixture(scope="module")
def decoder(data: Path) -> MaskDecoder:
    decoder = MaskDecoder()
    decoder.load_state_dict(formula(data, "sam_prompt_encoder_mask_decoder"))
    return decoder.eval()


@pytest.fixture(scope="module")
def full_size(decoder: MaskDecoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """decoder.onnx of a bare SAM checkpoint, with keys of an image encoder beside the decoder's."""
    folder = tmp_path_factory.mktemp("full")
    torch.save({**decoder.state_dict(), "image_encoder.neck.0.weight": torch.zeros(1)}, folder / "sam.pth")
    out = folder / "decoder.onnx"
    assert export_mask_decoder.main(["--checkpoint", str(folder / "sam.pth"), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as the training script writes it, of a small image size."""
    torch.manual_seed(0)
    parts = {"image_encoder": slim_encoder(64), "": MaskDecoder(64)}
    state = {f"{k}.{name}".lstrip("."): v for k, part in parts.items() for name, v in part.state_dict().items()}
    path = tmp_path_factory.mktemp("run") / "checkpoint.pt"
    about = {"architecture": "nanosam", "variant": "slim", "image_size": 64, "format": 1}
    torch.save({"model": state, **about}, path)
    return path


def test_decoder_file(full_size: Path) -> None:
    model = onnx.load(full_size)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 19)]
    assert not {node.op_type for node in model.graph.node} & FORBIDDEN
    assert full_size.stat().st_size <= 17_000_000
    session = onnxruntime.InferenceSession(str(full_size), providers=["CPUExecutionProvider"])
    assert {value.name: value.shape for value in session.get_inputs()} == {
        "image_embeddings": [1, 256, 64, 64],
        "point_coords": ["N", "P", 2],
        "point_labels": ["N", "P"],
    }
    assert [(value.name, value.shape) for value in session.get_outputs()] == [
        ("low_res_masks", ["N", 4, 256, 256]),
        ("iou_predictions", ["N", 4]),
    ]


@pytest.mark.parametrize("case", ["box", "point", "box_plus_points", "point_with_pad"])
def test_decoder_golden(full_size: Path, data: Path, case: str) -> None:
    with np.load(data / "golden_sam_mask_decoder.npz") as file:
        golden = {name.removeprefix(f"{case}."): file[name] for name in file.files if name.startswith(f"{case}.")}
    feed = {name: golden[name] for name in ("point_coords", "point_labels")}
    found = run(full_size, {"image_embeddings": normal_f32(31, (1, 256, 64, 64)), **feed})
    np.testing.assert_allclose(found["iou_predictions"], golden["iou_predictions"], rtol=0, atol=6e-6)
    sample = found["low_res_masks"].ravel()[:: int(golden["low_res_masks.stride"])]
    np.testing.assert_allclose(sample, golden["low_res_masks.sample"], rtol=0, atol=2e-4)


def test_checkpoint_says_what_it_is(segmenter: Path, tmp_path: Path) -> None:
    decoder, encoder = tmp_path / "decoder.onnx", tmp_path / "encoder.onnx"
    assert export_mask_decoder.main(["--checkpoint", str(segmenter), "--out", str(decoder)]) == 0
    assert export_image_encoder.main(["--checkpoint", str(segmenter), "--out", str(encoder)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["decoder.onnx", "encoder.onnx"]
    model = onnx.load(encoder)
    assert not {node.op_type for node in model.graph.node} & FORBIDDEN
    assert {entry.key: entry.value for entry in model.metadata_props}["architecture"] == "nanosam_slim"
    embedding = run(encoder, {"image": normal_f32(1, (1, 3, 64, 64))})["image_embeddings"]
    assert embedding.shape == (1, 256, 4, 4)
    prompts = {"point_coords": np.full((7, 3, 2), 20, np.float32), "point_labels": np.ones((7, 3), np.float32)}
    masks = run(decoder, {"image_embeddings": embedding, **prompts})["low_res_masks"]
    assert masks.shape == (7, 4, 16, 16)


def test_published_encoder_has_no_prefix(data: Path, tmp_path: Path) -> None:
    weights = formula(data, "nanosam_resnet18_encoder")
    weights["pos_embedding"] = weights["pos_embedding"][:, :, :8, :8].contiguous()
    torch.save(weights, tmp_path / "nanosam.pth")
    out = tmp_path / "encoder.onnx"
    flags = ["--checkpoint", str(tmp_path / "nanosam.pth"), "--out", str(out), "--variant", "resnet18", "--size", "128"]
    assert export_image_encoder.main(flags) == 0
    encoder = ResNet18Encoder(image_size=128)
    encoder.load_state_dict(weights)
    image = normal_f32(2, (1, 3, 128, 128))
    with torch.inference_mode():
        wanted = encoder.eval()(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(run(out, {"image": image})["image_embeddings"], wanted, rtol=0, atol=1e-4)
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(out).graph.node}


REFUSED = {
    "a size off the grid": (export_mask_decoder, ["--size", "100"], 2, "multiple of 16"),
    "an encoder's size off the grid": (export_image_encoder, ["--size", "100"], 2, "multiple of 32"),
    "another variant": (export_image_encoder, ["--variant", "resnet18"], 4, "not the weights of this ResNet18Encoder"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str, segmenter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tool, flags, code, said = REFUSED[case]
    assert tool.main(["--checkpoint", str(segmenter), "--out", str(tmp_path / "x.onnx"), *flags]) == code
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tool", [export_mask_decoder, export_image_encoder])
def test_refuses_a_detector(tool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": {"a": torch.zeros(1)}, "architecture": "yolo_nas"}, tmp_path / "other.pt")
    assert tool.main(["--checkpoint", str(tmp_path / "other.pt"), "--out", str(tmp_path / "x.onnx")]) == 4
    assert "one of yolo_nas" in capsys.readouterr().err
