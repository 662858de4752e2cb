"""load_yolo_nas restores the network from every trainer's file, and refuses other files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nanoseg.errors import BundleError
from nanoseg.models.checkpoints.layouts import PixelFormat
from nanoseg.models.checkpoints.load import Checkpoint, load_checkpoint
from nanoseg.models.checkpoints.yolo_nas import load_yolo_nas
from nanoseg.models.repvgg import QARepVGG
from nanoseg.models.yolo_nas import YoloNas
from tests.data.fill_weights import uniform_f32
from tests.helpers import yolo_nas_files as files

STATE, BLOCKS = files.state(), files.blocks()
OTHERS, BARE = files.others(STATE), files.without_reparam(STATE)
# A third of the blocks merged, a third folded into one convolution, the rest as trained.
MIXED = files.merged(files.merged(BARE, BLOCKS[::3]), BLOCKS[1::3], single=True)

LAYOUTS: dict[str, Any] = {
    "super-gradients, averaged": files.super_gradients(OTHERS, STATE),
    "super-gradients, not averaged": files.super_gradients(STATE, None),
    "super-gradients, empty average": {"net": STATE, "ema_net": {}},
    "super-gradients, on several GPUs": files.super_gradients(OTHERS, files.prefixed(STATE, "module.module.")),
    "super-gradients, weights only": {"net": files.prefixed(STATE, "module.")},
    "super-gradients, compiled": {"net": files.prefixed(STATE, "_orig_mod.")},
    "super-gradients, COCO recipe": files.super_gradients(STATE, None, files.COCO_RECIPE),
    "bare": STATE,
    "bare, wrapped": files.prefixed(STATE, "module.net."),
    "without rbr_reparam": BARE,
    "partly fused": {"net": files.merged(STATE, BLOCKS)},
    "fully fused": {"net": files.merged(STATE, BLOCKS, single=True)},
    "blocks in mixed forms": {"ema_net": files.prefixed(MIXED, "module."), "net": OTHERS},
    "modern-yolonas, averaged": files.lightning(OTHERS, STATE),
    "modern-yolonas, not averaged": files.lightning(STATE),
    "modern-yolonas, compiled": files.lightning(files.prefixed(STATE, "_orig_mod.")),
    "modern-yolonas, with weights of the loss": files.lightning(STATE, extra={"criterion.proj": torch.zeros(17)}),
    "modern-yolonas, its first trainer": {"model_state_dict": OTHERS, "ema": {"ema_state_dict": STATE, "updates": 3}},
    "modern-yolonas, its first trainer, not averaged": {"model_state_dict": STATE, "epoch": 3},
    "nanoseg": {"model": STATE, "architecture": "yolo_nas", "variant": "slim", "labels": files.LABELS},
}


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.from_numpy(uniform_f32(1, (1, 3, 64, 64)))


@pytest.fixture(scope="module")
def wanted(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return logits(files.network(), images)


def logits(network: YoloNas, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Raw predictions: scores and boxes would hide differences where they saturate."""
    with torch.no_grad():
        raw = network.with_raw(images)[1]
    return raw.cls_logits, raw.reg_distri


def saved(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
def test_load_yolo_nas_restores_the_network(layout: str, images: torch.Tensor, wanted: tuple, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(saved(LAYOUTS[layout], tmp_path / "weights.pth"))
    network = load_yolo_nas(checkpoint)
    assert (network.variant, network.num_classes, network.training) == ("slim", 3, False)
    torch.testing.assert_close(logits(network, images), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", ["partly fused", "fully fused", "blocks in mixed forms"])
def test_load_yolo_nas_fuses_partly_fused_networks(
    layout: str, images: torch.Tensor, wanted: tuple, tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(saved(LAYOUTS[layout], tmp_path / "weights.pth"))
    torch.testing.assert_close(logits(load_yolo_nas(checkpoint).fused(), images), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": json.dumps(files.LABELS)},
        {"format": "pt", "class_names": ", ".join(files.LABELS)},
        {"names": json.dumps({str(i): name for i, name in reversed(list(enumerate(files.LABELS)))})},
    ],
)
def test_load_checkpoint_reads_class_names_of_safetensors(
    metadata: dict, images: torch.Tensor, wanted: tuple, tmp_path: Path
) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file(STATE, tmp_path / "model.safetensors", metadata)
    checkpoint = load_checkpoint(tmp_path / "model.safetensors")
    assert checkpoint.labels == tuple(files.LABELS)
    torch.testing.assert_close(logits(load_yolo_nas(checkpoint), images), wanted)


@pytest.mark.parametrize("names", [{"0": "nut", "1": "bolt", "3": "washer"}, {"0": "nut", "a": "bolt"}, {}])
def test_load_checkpoint_ignores_incomplete_class_numbers(names: dict, tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file(BARE, tmp_path / "a.safetensors", {"names": json.dumps(names)})
    assert load_checkpoint(tmp_path / "a.safetensors").labels is None


def test_load_checkpoint_prefers_ema_net_in_average_model(images: torch.Tensor, wanted: tuple, tmp_path: Path) -> None:
    """Newer versions of super-gradients save both in average_model.pth."""
    checkpoint = load_checkpoint(saved(files.super_gradients(OTHERS, STATE), tmp_path / "average_model.pth"))
    assert checkpoint.origin.endswith(", its ema_net")
    torch.testing.assert_close(logits(load_yolo_nas(checkpoint), images), wanted, rtol=1e-4, atol=1e-4)


def test_load_checkpoint_of_safetensors_without_class_names(tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file(BARE, tmp_path / "a.safetensors", {"format": "pt"})
    save_file(BARE, tmp_path / "b.safetensors")
    assert [load_checkpoint(tmp_path / name).labels for name in ("a.safetensors", "b.safetensors")] == [None, None]


@pytest.mark.parametrize(
    ("content", "labels", "image_size", "rescale_px", "pixels"),
    [
        (
            files.super_gradients(BARE, None, files.FINE_TUNED),
            files.LABELS,
            320,
            320,
            PixelFormat(bgr=True, white=255.0),
        ),
        (files.super_gradients(BARE, None, files.COCO_RECIPE), files.LABELS, 640, 636, PixelFormat()),
        (files.super_gradients(BARE, None, files.STRETCHED), files.LABELS, 320, None, PixelFormat()),
        (files.super_gradients(BARE, None), None, None, None, None),
        (files.lightning(BARE, BARE), None, 320, None, PixelFormat()),
        ({"model": BARE, "architecture": "yolo_nas", "image_size": 320}, None, 320, None, PixelFormat()),
    ],
)
def test_load_checkpoint_reads_trainers_descriptions(
    content: dict,
    labels: list | None,
    image_size: int | None,
    rescale_px: int | None,
    pixels: PixelFormat | None,
    tmp_path: Path,
) -> None:
    found = load_checkpoint(saved(content, tmp_path / "weights.pth"))
    assert found.labels == (None if labels is None else tuple(labels))
    assert (found.image_size, found.rescale_px, found.pixels) == (image_size, rescale_px, pixels)


@pytest.mark.parametrize("weights", [STATE, MIXED, files.merged(STATE, BLOCKS)], ids=["trained", "mixed", "merged"])
@pytest.mark.parametrize("bgr", [False, True])
@pytest.mark.parametrize("white", [1.0, 255.0])
def test_load_yolo_nas_takes_rgb_in_0_to_1(weights: dict, bgr: bool, white: float, images: torch.Tensor) -> None:
    network = load_yolo_nas(Checkpoint(Path("w.pth"), weights, pixels=PixelFormat(bgr, white)))
    as_trained = (images.flip(1) if bgr else images) * white
    with torch.no_grad():
        found, stem = network.backbone.stem(images), files.network().backbone.stem(as_trained)
    torch.testing.assert_close(found, stem, rtol=1e-4, atol=1e-3 * white)
    assert (found > 0).any()


def test_load_yolo_nas_prefers_given_pixels(images: torch.Tensor) -> None:
    checkpoint = Checkpoint(Path("w.pth"), STATE, pixels=PixelFormat(True, 255.0))
    torch.testing.assert_close(
        load_yolo_nas(checkpoint, pixels=PixelFormat()).state_dict(), files.network().state_dict(), rtol=0, atol=0
    )


def test_load_yolo_nas_converts_half_precision() -> None:
    half = {name: value.half() if value.is_floating_point() else value for name, value in STATE.items()}
    found = load_yolo_nas(Checkpoint(Path("w.pth"), half)).state_dict()
    for name, value in STATE.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], half[name].to(value.dtype))


@pytest.mark.parametrize(("variant", "form"), [("slim", "merged"), ("s", "branches"), ("m", "merged"), ("l", "single")])
@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")
def test_load_yolo_nas_finds_the_variant(variant: str, form: Any) -> None:
    with torch.device("meta"):  # shapes without values, which is fast
        given = YoloNas(variant, 7)
        for module in given.modules():
            if isinstance(module, QARepVGG):
                module.set_form(form)
    one = torch.ones(1)
    state = {name: one.to(value.dtype).reshape([]).expand(value.shape) for name, value in given.state_dict().items()}
    checkpoint = Checkpoint(Path("w.pth"), state)
    with torch.device("meta"):
        for flag in (None, variant):
            network = load_yolo_nas(checkpoint, flag)
            assert (network.variant, network.num_classes) == (variant, 7)
            assert list(network.state_dict()) == list(given.state_dict())
    other = "m" if variant != "m" else "s"
    shown = variant.upper() if len(variant) == 1 else variant
    with pytest.raises(BundleError, match=f"^w.pth: holds YOLO-NAS {shown}, --variant {other} was given$"):
        load_yolo_nas(checkpoint, other)


def without(*names: str) -> dict:
    return {name: value for name, value in STATE.items() if not name.startswith(names)}


POSE = {f"heads.head{i}.pose_pred.weight": torch.zeros(34, 1, 1, 1) for i in (1, 2, 3)}
WIDER = {"backbone.stage1.blocks.conv3.conv.weight": torch.zeros(64, 64, 1, 1)}
REFUSED: dict[str, tuple[dict, dict, str]] = {
    "pose": (STATE | POSE, {}, r"holds YOLO-NAS-Pose, .* wanted the detector"),
    "another architecture": (STATE, {"architecture": "nanosam"}, "wanted a yolo_nas checkpoint, got one of nanosam"),
    "another network": (
        {"image_encoder.a": torch.zeros(1), "b": torch.zeros(1)},
        {},
        r"holds no YOLO-NAS: wanted backbone.stage1.blocks.conv3.conv.weight, .*; got image_encoder.a, b",
    ),
    "other widths": (
        STATE | WIDER,
        {},
        r"a YOLO-NAS that is none of slim, S, M, L: backbone.stage1.blocks.conv3.conv.weight \(64, 64\)$",
    ),
    "says another variant": (STATE, {"variant": "m"}, "holds YOLO-NAS slim, but says that it is M"),
    "a layer missing": (
        without("neck.neck2.conv."),
        {},
        r"not the weights of YOLO-NAS slim: 5 missing \(neck.neck2.conv.conv.weight, .*, \.\.\.\)$",
    ),
    "a branch missing": (
        without("backbone.stem.conv.branch_1x1."),
        {},
        r"2 missing \(backbone.stem.conv.branch_1x1.weight, backbone.stem.conv.branch_1x1.bias\)$",
    ),
    "branches and their sum missing": (
        {name: v for name, v in BARE.items() if not name.startswith("backbone.stem.conv.branch_")},
        {},
        r"7 missing \(backbone.stem.conv.branch_3x3.conv.weight",
    ),
    "class predictions missing": (
        without(*(f"heads.head{i}.cls_pred" for i in (1, 2, 3))),
        {},
        r"6 missing \(heads.head1.cls_pred.weight, heads.head1.cls_pred.bias",
    ),
    "heads of unlike count": (
        STATE | {"heads.head2.cls_pred.bias": torch.zeros(4)},
        {},
        r"1 of another shape \(heads.head2.cls_pred.bias \(4,\) for \(3,\)\)$",
    ),
    "foreign keys": (
        STATE | {f"extra.{i}": torch.zeros(1) for i in range(5)},
        {},
        r"5 unexpected \(extra.0, extra.1, extra.2, \.\.\.\)$",
    ),
    "a mean subtracted": (
        STATE,
        {"pixels": PixelFormat(shifted=True)},
        "RGB in 0..1, minus a mean; only channel order",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_load_yolo_nas_refuses_files(case: str) -> None:
    weights, description, message = REFUSED[case]
    with pytest.raises(BundleError, match=message) as caught:
        load_yolo_nas(Checkpoint(Path("w.pth"), weights, **description))
    assert str(caught.value).startswith("w.pth: ")
    assert "\n" not in str(caught.value)


def test_load_yolo_nas_refuses_a_pose_network(shared: Path) -> None:
    manifest = json.loads((shared / "reference" / "manifest_yolo_nas_pose_s.json").read_text())
    weights = {name: torch.zeros(()).expand(entry["shape"]) for name, entry in manifest.items()}
    with pytest.raises(BundleError, match="holds YOLO-NAS-Pose"):
        load_yolo_nas(Checkpoint(Path("w.pth"), weights))
