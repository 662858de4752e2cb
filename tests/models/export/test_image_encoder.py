"""Image encoders to ONNX from files in their publishers' layouts, with formula weights; other files are refused."""

import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from nanoseg.errors import BundleError, UsageError
from nanoseg.models.export import image_encoder as encoder_module
from nanoseg.models.export import mask_decoder as decoder_module
from nanoseg.models.export.image_encoder import export_image_encoder
from nanoseg.models.export.mask_decoder import export_mask_decoder
from nanoseg.models.image_encoder import ENCODERS, slim_encoder
from nanoseg.models.mask_decoder import MaskDecoder
from nanoseg.models.tiny_vit import TinyViTEncoder
from tests.data.fill_weights import fill, normal_f32

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
# Operators of MobileSAM's exported encoder: windows are made by Reshape, the attention bias is a constant.
PLAIN = {"Add", "Conv", "Div", "Erf", "Gemm", "LayerNormalization", "MatMul", "Mul", "Pad", "Reshape", "Slice"}
PLAIN |= {"Softmax", "Split", "Transpose"}
Weights = dict[str, torch.Tensor]


def formula(data: Path, net: str) -> Weights:
    manifest = json.loads((data / f"manifest_{net}.json").read_text())
    return {name: torch.from_numpy(value) for name, value in fill(manifest).items()}


@pytest.fixture(scope="module")
def mobile_sam(data: Path) -> Weights:
    return formula(data, "mobile_sam_vit_t")


@pytest.fixture(scope="module")
def nanosam(data: Path) -> Weights:
    return formula(data, "nanosam_resnet18_encoder")


@pytest.fixture(scope="module")
def ours() -> Weights:
    """A checkpoint of train_segmenter, for images of 64 pixels."""
    torch.manual_seed(0)
    parts = {"image_encoder.": slim_encoder(64), "": MaskDecoder(64)}
    return {prefix + name: value for prefix, part in parts.items() for name, value in part.state_dict().items()}


def bare(weights: Weights, prefix: str = "image_encoder.") -> Weights:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def optimizer() -> dict:
    """The state of Adam after a step."""
    layer = torch.nn.Linear(2, 2)
    adam = torch.optim.Adam(layer.parameters(), 3e-4)
    layer(torch.ones(1, 2)).sum().backward()
    adam.step()
    return adam.state_dict()


ABOUT = {"architecture": "nanosam", "variant": "slim", "image_size": 64, "format": 1}
# weights, their layout in the file, expected variant, size and architecture
LAYOUTS = {
    "mobile_sam.pt": ("mobile_sam", lambda w: w, "tiny_vit", 1024, "mobile_sam_tiny_vit"),
    "MobileSAM's encoder alone": ("mobile_sam", bare, "tiny_vit", 1024, "mobile_sam_tiny_vit"),
    "MobileSAM trained in parallel": (
        "mobile_sam",
        lambda w: {"model": {f"module.{k}": v for k, v in w.items()}},
        "tiny_vit",
        1024,
        "mobile_sam_tiny_vit",
    ),
    "NanoSAM's trainer": (
        "nanosam",
        lambda w: {"model": w, "optimizer": optimizer(), "epoch": 3},
        "resnet18",
        1024,
        "nanosam_resnet18",
    ),
    "NanoSAM's weights alone": ("nanosam", lambda w: w, "resnet18", 1024, "nanosam_resnet18"),
    "our trainer": ("ours", lambda w: {"model": w, **ABOUT}, "slim", 64, "nanosam_slim"),
    "our weights alone": ("ours", lambda w: w, "slim", 64, "nanosam_slim"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_export_image_encoder_finds_the_encoder(
    layout: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, wrap, variant, size, architecture = LAYOUTS[layout]
    weights: Weights = request.getfixturevalue(source)
    torch.save(wrap(weights), tmp_path / "weights.pt")
    exported = {}

    def export(encoder, feed, path, outputs, **options):
        exported.update(encoder=encoder, shape=tuple(feed["image"].shape), outputs=outputs, **options)
        return path

    monkeypatch.setattr(encoder_module, "export_onnx", export)
    out = tmp_path / "encoder.onnx"
    assert export_image_encoder(tmp_path / "weights.pt", out) == out
    assert exported["shape"] == (1, 3, size, size)
    assert exported["outputs"] == ["image_embeddings"]
    assert exported["metadata"]["architecture"] == architecture
    assert exported["metadata"]["weights"].startswith("weights.pt sha256 ")
    wanted = bare(weights) or weights
    state = exported["encoder"].state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in state.items())
    assert {name.split(".")[0] for name in wanted.keys() - state.keys()} <= {"norm_head", "head"}
    assert type(exported["encoder"]) is type(ENCODERS[variant](image_size=64))


def test_export_image_encoder_of_safetensors(
    mobile_sam: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file(mobile_sam, tmp_path / "mobile_sam.safetensors")
    found = []
    monkeypatch.setattr(encoder_module, "export_onnx", lambda encoder, *_, **__: found.append(encoder))
    export_image_encoder(
        tmp_path / "mobile_sam.safetensors", tmp_path / "encoder.onnx", variant="tiny_vit", size_px=512
    )
    assert isinstance(found[0], TinyViTEncoder)
    assert found[0].image_size == 512


def test_export_mask_decoder_of_mobile_sam(
    mobile_sam: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(mobile_sam, tmp_path / "mobile_sam.pt")
    found = []
    monkeypatch.setattr(decoder_module, "export_onnx", lambda decoder, *_, **__: found.append(decoder))
    export_mask_decoder(tmp_path / "mobile_sam.pt", tmp_path / "decoder.onnx")
    state = found[0].state_dict()
    assert state.keys() == without(mobile_sam, "image_encoder.").keys()
    assert all(torch.equal(value, mobile_sam[name]) for name, value in state.items())


@pytest.mark.slow
def test_export_image_encoder_of_mobile_sam_has_plain_operators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a network with fewer and narrower blocks, so that it takes seconds."""
    small = partial(TinyViTEncoder, widths=(8, 16, 16, 32), depths=(1, 1, 1, 1), heads=(2, 2, 4), windows=(3, 4, 3))
    monkeypatch.setitem(ENCODERS, "tiny_vit", small)
    shapes = {f"image_encoder.{k}": {"shape": v.shape, "dtype": str(v.dtype)} for k, v in small().state_dict().items()}
    shapes["image_encoder.head.weight"] = {"shape": (1000, 32), "dtype": "float32"}
    weights = {name: torch.from_numpy(value) for name, value in fill(shapes).items()}
    torch.save(weights, tmp_path / "mobile_sam.pt")
    out = tmp_path / "out" / "encoder.onnx"
    assert export_image_encoder(tmp_path / "mobile_sam.pt", out, size_px=112) == out
    assert list(out.parent.iterdir()) == [out]

    model = onnx.load(out)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 19)]
    assert {node.op_type for node in model.graph.node} <= PLAIN
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    values = [(value.name, value.shape) for value in (*session.get_inputs(), *session.get_outputs())]
    assert values == [("image", [1, 3, 112, 112]), ("image_embeddings", [1, 256, 7, 7])]
    image = normal_f32(2, (1, 3, 112, 112))
    network = small()
    network.load_state_dict(bare(weights), strict=False)
    with torch.inference_mode():
        wanted = network.eval()(torch.from_numpy(image)).numpy()
    (embedding,) = session.run(["image_embeddings"], {"image": image})
    np.testing.assert_allclose(embedding, wanted, rtol=0, atol=1e-4)


def names(*listed: str) -> Weights:
    """Weights of which only the names matter."""
    return {name: torch.ones(1) for name in listed}


def vit(width: int) -> Weights:
    """The layout of a SAM .pth; expanded tensors keep the file small."""
    encoder = {
        "image_encoder.pos_embed": torch.ones(1, 64, 64, width),
        "image_encoder.patch_embed.proj.weight": torch.ones(width, 3, 16, 16),
        **names("image_encoder.blocks.0.norm1.weight", "image_encoder.neck.0.weight"),
    }
    return {**encoder, **MaskDecoder(64).state_dict()}


def wide(weights: Weights) -> Weights:
    """Weights with a wider third stage, like TinyViT-11M."""
    return {k: v.repeat_interleave(2, 0) if "layers.2.blocks" in k and v.ndim else v for k, v in weights.items()}


def without(weights: Weights, part: str) -> Weights:
    return {name: value for name, value in weights.items() if part not in name}


# (mobile_sam, nanosam, ours) -> content of the file, options, part of the message
REFUSED = {
    "SAM vit_b": (lambda m, n, o: vit(768), {}, "SAM (vit_b)"),
    "SAM vit_l": (lambda m, n, o: vit(1024), {}, "with the decoder of mobile_sam.pt"),
    "SAM vit_h": (lambda m, n, o: vit(1280), {}, "MobileSAM's (mobile_sam.pt) with this file's decoder"),
    "SAM vit_h, as another variant": (lambda m, n, o: vit(1280), {"variant": "tiny_vit"}, "SAM (vit_h)"),
    "another ViT": (lambda m, n, o: vit(192), {}, "a ViT of width 192"),
    "a decoder": (lambda m, n, o: without(m, "image_encoder"), {}, "nanoseg export mask-decoder takes it"),
    "a detector": (
        lambda m, n, o: {"net": names("backbone.stem.conv.rbr_reparam.weight", "heads.head1.cls_pred.weight")},
        {},
        "nanoseg export yolo-nas takes",
    ),
    "PPHGNetV2": (
        lambda m, n, o: names("backbone.stem.stem1.conv.weight", "backbone.stages.0.x", "neck.inputs.0", "norm.weight"),
        {},
        "(backbone.stem.stem1.conv.weight, backbone.stages.0.x, neck.inputs.0, ...)",
    ),
    "NanoSAM's ResNet34": (
        lambda m, n, o: {"model": n | names("backbone.layer1.2.conv1.weight")},
        {},
        "nanoseg bundle make",
    ),
    "NanoSAM's ResNet50": (
        lambda m, n, o: {"model": n | names("backbone.layer1.0.conv3.weight")},
        {},
        "nanoseg bundle make",
    ),
    "a ResNet18 without its neck": (lambda m, n, o: without(n, "up_1"), {}, "no image encoder of NanoSAM's"),
    "TinyViT of another width": (lambda m, n, o: wide(m), {}, "not the weights of this TinyViTEncoder"),
    "TinyViT without the neck": (lambda m, n, o: without(m, "encoder.neck"), {}, "6 missing (neck.0.weight"),
    "a layer too many": (
        lambda m, n, o: m | names("image_encoder.neck.4.weight"),
        {},
        "1 unexpected (neck.4.weight)",
    ),
    "a position embedding of no shape": (
        lambda m, n, o: n | {"pos_embedding": torch.tensor(1.0)},
        {},
        "1 of another shape (pos_embedding",
    ),
    "another variant, NanoSAM": (
        lambda m, n, o: m,
        {"variant": "resnet18"},
        "--variant says resnet18, but its weights are those of tiny_vit; give --variant tiny_vit",
    ),
    "another variant, MobileSAM": (
        lambda m, n, o: {"model": n, "optimizer": optimizer(), "epoch": 0},
        {"variant": "tiny_vit"},
        "--variant says tiny_vit, but its weights are those of resnet18",
    ),
    "a file that contradicts itself": (
        lambda m, n, o: {"model": o, **ABOUT, "variant": "resnet18"},
        {},
        "its description says resnet18, but its weights are those of slim",
    ),
    "another network's file": (
        lambda m, n, o: {"model": names("a"), "architecture": "yolo_nas"},
        {},
        "wanted a nanosam checkpoint, got one of yolo_nas",
    ),
    "another size": (lambda m, n, o: n, {"size_px": 512}, "is for 1024 pixels a side, got --size 512"),
}
INVALID = {
    "a size off NanoSAM's grid": ("nanosam", {"size_px": 0}, "multiple of 32, got 0"),
    "a size off MobileSAM's grid": ("mobile_sam", {"size_px": 1000}, "multiple of 16, got 1000"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_export_image_encoder_refuses_files(
    case: str, mobile_sam: Weights, nanosam: Weights, ours: Weights, tmp_path: Path
) -> None:
    make, options, message = REFUSED[case]
    source = tmp_path / "weights.pth"
    torch.save(make(mobile_sam, nanosam, ours), source)
    with pytest.raises(BundleError, match=re.escape(message)):
        export_image_encoder(source, tmp_path / "x.onnx", **options)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("case", INVALID)
def test_export_image_encoder_refuses_sizes(case: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    weights, options, message = INVALID[case]
    torch.save(request.getfixturevalue(weights), tmp_path / "weights.pth")
    with pytest.raises(UsageError, match=message):
        export_image_encoder(tmp_path / "weights.pth", tmp_path / "x.onnx", **options)


def test_export_image_encoder_refuses_paddle(tmp_path: Path) -> None:
    (tmp_path / "sam_hgv2_b1.pdparams").write_bytes(b"\x80\x04.")
    with pytest.raises(BundleError, match="give their ONNX file to nanoseg bundle make"):
        export_image_encoder(tmp_path / "sam_hgv2_b1.pdparams", tmp_path / "x.onnx")


def test_export_image_encoder_refuses_unknown_variants(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="wanted resnet18 or slim or tiny_vit, got vit_t"):
        export_image_encoder(tmp_path / "absent.pt", tmp_path / "x.onnx", variant="vit_t")
