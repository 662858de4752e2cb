"""The mask decoder (and a segmenter's encoder) to ONNX: names, results, size, operators."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nanoseg.errors import BundleError, UsageError
from nanoseg.models.export import mask_decoder as decoder_module
from nanoseg.models.export.image_encoder import export_image_encoder
from nanoseg.models.export.mask_decoder import export_mask_decoder
from nanoseg.models.image_encoder import ResNet18Encoder, slim_encoder
from nanoseg.models.mask_decoder import MaskDecoder
from tests.data.fill_weights import fill, normal_f32

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
# Shapes that depend on data, or operators that TensorRT's parser does not support.
FORBIDDEN = {"OneHot", "NonZero", "If", "Loop", "Scan", "Einsum", "BatchNormalization"}


def run(path: Path, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def formula(data: Path, net: str) -> dict[str, torch.Tensor]:
    manifest = json.loads((data / f"manifest_{net}.json").read_text())
    return {name: torch.from_numpy(value) for name, value in fill(manifest).items()}


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of train_segmenter, of a small image size."""
    torch.manual_seed(0)
    parts = {"image_encoder": slim_encoder(64), "": MaskDecoder(64)}
    state = {f"{k}.{name}".lstrip("."): v for k, part in parts.items() for name, v in part.state_dict().items()}
    path = tmp_path_factory.mktemp("run") / "checkpoint.pt"
    about = {"architecture": "nanosam", "variant": "slim", "image_size": 64, "format": 1}
    torch.save({"model": state, **about}, path)
    return path


def test_export_image_encoder_of_a_segmenter(segmenter: Path, tmp_path: Path) -> None:
    out = tmp_path / "encoder.onnx"
    export_image_encoder(segmenter, out)
    assert [path.name for path in tmp_path.iterdir()] == ["encoder.onnx"]
    model = onnx.load(out)
    assert not {node.op_type for node in model.graph.node} & FORBIDDEN
    assert {entry.key: entry.value for entry in model.metadata_props}["architecture"] == "nanosam_slim"
    assert run(out, {"image": normal_f32(1, (1, 3, 64, 64))})["image_embeddings"].shape == (1, 256, 4, 4)


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The calls of export_onnx, which is not run: tracing takes seconds, and the tests above do it."""
    calls: list[dict[str, Any]] = []

    def record(module, first, path, outputs, *, dynamic_axes, inputs_to_check, metadata, **_):
        inputs = [first, *inputs_to_check]
        calls.append({"module": module, "inputs": inputs, "path": path, "axes": dynamic_axes, "metadata": metadata})
        return path

    monkeypatch.setattr(decoder_module, "export_onnx", record)
    return calls


def vit(channels: int, grid: int) -> dict[str, torch.Tensor]:
    """The first weights of segment-anything's image encoder."""
    return {
        "image_encoder.pos_embed": torch.zeros(1, grid, grid, channels),
        "image_encoder.patch_embed.proj.weight": torch.zeros(channels, 3, 16, 16),
        "image_encoder.neck.1.weight": torch.zeros(256),
    }


# (decoder's weights) -> content of the file, and the expected image size
LAYOUTS = {
    "sam_vit_b.pth": (lambda own: {**vit(768, 64), **own}, 1024),
    "sam_vit_h.pth, fine-tuned at 512": (lambda own: {**vit(1280, 32), **own}, 512),
    "a state_dict under model": (lambda own: {"model": {**vit(768, 64), **own}, "epoch": 3}, 1024),
    "saved from several GPUs": (lambda own: {f"module.{name}": value for name, value in own.items()}, 1024),
    "the decoder alone, in half precision": (lambda own: {name: value.half() for name, value in own.items()}, 1024),
    "a checkpoint of train_segmenter": (
        lambda own: {
            "model": {"image_encoder.pos_embedding": torch.zeros(1, 256, 6, 6), **own},
            "architecture": "nanosam",
            "variant": "slim",
            "image_size": 64,
            "format": 1,
        },
        64,
    ),
    "a segmenter's weights without their description": (
        lambda own: {"image_encoder.pos_embedding": torch.zeros(1, 256, 32, 32), **own},
        512,
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_export_mask_decoder_reads_layouts(
    layout: str, data: Path, tmp_path: Path, exported: list[dict[str, Any]]
) -> None:
    own = formula(data, "sam_prompt_encoder_mask_decoder")
    arrange, size_px = LAYOUTS[layout]
    torch.save(arrange(own), tmp_path / "checkpoint.pth")
    plain, masked = tmp_path / "decoder.onnx", tmp_path / "decoder_mask.onnx"
    assert export_mask_decoder(tmp_path / "checkpoint.pth", plain, mask_out=masked) == plain
    assert [call["path"] for call in exported] == [plain, masked]
    grid = size_px // 16
    for call in exported:
        assert call["metadata"]["weights"].startswith("checkpoint.pth sha256 ")
        assert call["module"].image_size == size_px
        assert call["inputs"][0]["image_embeddings"].shape == (1, 256, grid, grid)
        assert call["axes"].keys() == call["inputs"][0].keys() - {"image_embeddings"}
        found = call["module"].state_dict()
        assert found.keys() == own.keys()
        for name, value in own.items():
            assert torch.equal(found[name], value.half().float() if "half" in layout else value)
    masks = [each["mask_input"] for each in exported[1]["inputs"]]
    assert [len(mask) for mask in masks] == [len(each["point_labels"]) for each in exported[0]["inputs"]]
    assert masks[0].shape[1:] == (1, 4 * grid, 4 * grid)
    assert set(torch.cat([each["has_mask_input"] for each in exported[1]["inputs"]]).tolist()) == {0, 1}


WIDTHS = {768: "vit_b", 1024: "vit_l", 1280: None, 192: None}


@pytest.mark.parametrize("width", WIDTHS)
def test_export_mask_decoder_notes_other_embeddings(
    width: int, data: Path, tmp_path: Path, exported: list[dict[str, Any]]
) -> None:
    torch.save({**vit(width, 32), **formula(data, "sam_prompt_encoder_mask_decoder")}, tmp_path / "sam.pth")
    notes: list[str] = []
    export_mask_decoder(tmp_path / "sam.pth", tmp_path / "decoder.onnx", print_note=notes.append)
    vit_name = WIDTHS[width]
    wanted = f"sam_{vit_name}_mask_decoder" if vit_name else "sam_mask_decoder"
    assert [call["metadata"]["architecture"] for call in exported] == [wanted]
    assert len(notes) == (vit_name is not None)
    assert all(f"sam.pth: the decoder of SAM's {vit_name}" in note for note in notes)


@pytest.mark.parametrize(("size_px", "wanted"), [(None, 1024), (256, 256)])
def test_export_mask_decoder_size_of_a_file_without_one(size_px, wanted, data: Path, tmp_path: Path, exported) -> None:
    torch.save(formula(data, "sam_prompt_encoder_mask_decoder"), tmp_path / "checkpoint.pth")
    export_mask_decoder(tmp_path / "checkpoint.pth", tmp_path / "decoder.onnx", size_px=size_px)
    assert [call["module"].image_size for call in exported] == [wanted]


@pytest.mark.slow
def test_export_image_encoder_of_nanosam_equals_torch(data: Path, tmp_path: Path) -> None:
    weights = formula(data, "nanosam_resnet18_encoder")
    weights["pos_embedding"] = weights["pos_embedding"][:, :, :8, :8].contiguous()
    torch.save(weights, tmp_path / "nanosam.pth")
    out = tmp_path / "encoder.onnx"
    export_image_encoder(tmp_path / "nanosam.pth", out, variant="resnet18", size_px=128)
    encoder = ResNet18Encoder(image_size=128)
    encoder.load_state_dict(weights)
    image = normal_f32(2, (1, 3, 128, 128))
    with torch.inference_mode():
        wanted = encoder.eval()(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(run(out, {"image": image})["image_embeddings"], wanted, rtol=0, atol=1e-4)
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(out).graph.node}


REFUSED = {
    "a size off the grid": (export_mask_decoder, {"size_px": 100}, UsageError, "multiple of 16"),
    "an encoder's size off the grid": (export_image_encoder, {"size_px": 100}, UsageError, "multiple of 32"),
    "another variant": (export_image_encoder, {"variant": "resnet18"}, BundleError, "its weights are those of slim"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_exports_refuse_options(case: str, segmenter: Path, tmp_path: Path) -> None:
    export, options, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        export(segmenter, tmp_path / "x.onnx", **options)
    assert list(tmp_path.iterdir()) == []


def without(names: Mapping[str, Any], *prefixes: str) -> dict[str, Any]:
    return {name: value for name, value in names.items() if not name.startswith(prefixes)}


DECODER_REFUSED = {
    "a NanoSAM encoder": (
        lambda own: {
            "model": dict.fromkeys(["backbone.conv1.weight", "up_1.0.weight", "pos_embedding"], torch.zeros(1))
        },
        "got an image encoder alone (backbone.conv1.weight, up_1.0.weight, pos_embedding); take",
    ),
    "SAM's encoder alone": (lambda own: vit(768, 64), "got an image encoder alone (image_encoder.pos_embed, "),
    "a network of another kind": (
        lambda own: {f"layers.{i}.weight": torch.zeros(1) for i in range(9)},
        "got none of them (layers.0.weight, layers.1.weight, layers.2.weight, ...)",
    ),
    "half of the weights": (
        lambda own: without(own, "prompt_encoder."),
        "17 missing (prompt_encoder.pe_layer.positional_encoding_gaussian_matrix, prompt_encoder.point_embeddings.0",
    ),
    "unexpected weights": (
        lambda own: {**own, "mask_decoder.hf_token.weight": torch.zeros(1, 256)},
        "1 unexpected (mask_decoder.hf_token.weight)",
    ),
    "other shapes": (
        lambda own: {**own, "mask_decoder.iou_token.weight": torch.zeros(1, 128)},
        "1 of another shape (mask_decoder.iou_token.weight (1, 128) for (1, 256))",
    ),
}


@pytest.mark.parametrize("case", DECODER_REFUSED)
def test_export_mask_decoder_refuses_other_weights(
    case: str, data: Path, tmp_path: Path, exported: list[dict[str, Any]]
) -> None:
    arrange, message = DECODER_REFUSED[case]
    checkpoint = tmp_path / "checkpoint.pth"
    torch.save(arrange(formula(data, "sam_prompt_encoder_mask_decoder")), checkpoint)
    with pytest.raises(BundleError, match=re.escape(message)) as caught:
        export_mask_decoder(checkpoint, tmp_path / "x.onnx")
    assert str(caught.value).startswith(f"{checkpoint}: ")
    assert exported == []


def test_export_mask_decoder_refuses_an_unwritable_second_file(tmp_path: Path, exported: list[dict[str, Any]]) -> None:
    with pytest.raises(UsageError, match="cannot be written: Is a directory; choose another --mask-out"):
        export_mask_decoder(Path("absent.pth"), tmp_path / "x.onnx", mask_out=tmp_path)
    assert exported == []


def test_export_mask_decoder_refuses_one_path_for_both_files(segmenter: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.onnx"
    with pytest.raises(UsageError, match="--mask-out: wanted another file than --out"):
        export_mask_decoder(segmenter, out, mask_out=out)


@pytest.mark.parametrize("export", [export_mask_decoder, export_image_encoder])
def test_exports_refuse_a_detector(export, tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.zeros(1)}, "architecture": "yolo_nas"}, tmp_path / "other.pt")
    with pytest.raises(BundleError, match="one of yolo_nas"):
        export(tmp_path / "other.pt", tmp_path / "x.onnx")
