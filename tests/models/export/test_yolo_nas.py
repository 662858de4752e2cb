"""YOLO-NAS to ONNX: names, shapes and results of the file; a file that differs from torch is never put in place."""

import errno
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nanoseg.errors import BundleError, NanosegError, UsageError
from nanoseg.models.export import yolo_nas as export_module
from nanoseg.models.export.image_encoder import export_image_encoder
from nanoseg.models.export.mask_decoder import export_mask_decoder
from nanoseg.models.export.to_onnx import OPSET, export_onnx
from nanoseg.models.export.yolo_nas import export_yolo_nas
from nanoseg.models.yolo_nas import YoloNas
from tests.helpers import yolo_nas_files as files
from tests.helpers.paths import DATA

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
LABELS = ["nut", "bolt", "washer"]
NO_TEXT = DATA / "golden_processing.npz"


@pytest.fixture(scope="module")
def network() -> YoloNas:
    """A slim network whose BatchNorms have seen data."""
    torch.manual_seed(0)
    network = YoloNas("slim", num_classes=3).train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(2, 3, 64, 64))
    return network.eval()


@pytest.fixture(scope="module")
def checkpoint(network: YoloNas, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "checkpoint.pt"
    about = {"architecture": "yolo_nas", "variant": "slim", "labels": LABELS, "image_size": 96, "format": 1}
    torch.save({"model": network.state_dict(), **about}, path)
    return path


def test_export_yolo_nas_follows_the_checkpoints_description(
    network: YoloNas, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "detector.onnx"
    assert export_yolo_nas(checkpoint, out) == out
    assert [path.name for path in tmp_path.iterdir()] == ["detector.onnx"]
    model = onnx.load(out)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(about["labels"]) == LABELS
    assert about["architecture"] == "yolo_nas_slim"
    kinds = {node.op_type for node in model.graph.node}
    assert "BatchNormalization" not in kinds
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    shapes = {value.name: value.shape for value in (*session.get_inputs(), *session.get_outputs())}
    anchors = 12 * 12 + 6 * 6 + 3 * 3
    assert shapes == {"images": [1, 3, 96, 96], "boxes": [1, anchors, 4], "scores": [1, anchors, 3]}
    images = torch.rand(1, 3, 96, 96)
    boxes, scores = session.run(["boxes", "scores"], {"images": images.numpy()})
    with torch.no_grad():
        wanted = network(images)  # the training form, so that fusing is compared as well
    np.testing.assert_allclose(boxes, wanted.boxes.numpy(), atol=1e-2, rtol=0)
    np.testing.assert_allclose(scores, wanted.scores.numpy(), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_export_yolo_nas_folds_the_pixel_format_of_super_gradients(tmp_path: Path) -> None:
    """Fine-tuned on BGR in 0..255, with some blocks merged: the exported network takes RGB in 0..1."""
    mixed = files.merged(files.without_reparam(files.state()), files.blocks()[::2])
    torch.save(files.super_gradients(mixed, None, files.FINE_TUNED), tmp_path / "ckpt_best.pth")
    out = export_yolo_nas(tmp_path / "ckpt_best.pth", tmp_path / "detector.onnx", size_px=64)
    about = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    assert json.loads(about["labels"]) == files.LABELS
    assert about["weights"].startswith("ckpt_best.pth sha256 ")
    assert about["trained_on"].startswith("BGR in 0..255")
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    images = torch.rand(1, 3, 64, 64)
    boxes, scores = session.run(["boxes", "scores"], {"images": images.numpy()})
    with torch.no_grad():
        wanted = files.network()(images.flip(1) * 255)
    np.testing.assert_allclose(boxes, wanted.boxes.numpy(), atol=1e-2, rtol=0)
    np.testing.assert_allclose(scores, wanted.scores.numpy(), atol=1e-4, rtol=0)
    assert np.ptp(scores) > 0.1  # so that a difference would show


# image_processor in the file, options, metadata of the export, whether the pixel format was assumed
RECIPES = {
    "none": (None, {}, {}, True),
    "none, with --pixels": (None, {"pixels": "rgb"}, {"pixels_told": "yes"}, False),
    "fine-tuned": (files.FINE_TUNED, {}, {"pixels_told": "yes", "rescale_px": "320"}, False),
    "fine-tuned, another size": (files.FINE_TUNED, {"size_px": 64}, {"pixels_told": "yes"}, False),
    "COCO": (files.COCO_RECIPE, {}, {"pixels_told": "yes", "rescale_px": "636"}, False),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_export_yolo_nas_records_and_reports_the_pixel_format(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, options, wanted, assumed = RECIPES[recipe]
    torch.save(files.super_gradients(files.state(), files.state(), steps), tmp_path / "ckpt_best.pth")
    about: dict[str, str] = {}
    notes: list[str] = []
    monkeypatch.setattr(export_module, "export_onnx", lambda *_, metadata, **__: about.update(metadata))
    export_yolo_nas(tmp_path / "ckpt_best.pth", tmp_path / "x.onnx", print_note=notes.append, **options)
    assert {key: value for key, value in about.items() if key in ("pixels_told", "rescale_px")} == wanted
    assert about["weights"].endswith(", its ema_net")
    assert len(notes) == assumed
    assert all("assuming RGB in 0..1" in note and "--pixels" in note for note in notes)


REFUSED = {
    "labels of another count": ({"labels": "nut,bolt"}, UsageError, "wanted 3 names"),
    "COCO's labels": ({"labels": "coco"}, UsageError, "wanted 3 names"),
    "labels that are not text": ({"labels": str(NO_TEXT)}, UsageError, "golden_processing.npz"),
    "labels that do not exist": ({"labels": "no/labels.txt"}, UsageError, "no/labels.txt"),
    "a size off the grid": ({"size_px": 100}, UsageError, "multiple of 32"),
    "another variant": ({"variant": "s"}, BundleError, "holds YOLO-NAS slim, --variant s was given"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_export_yolo_nas_refuses_options(case: str, checkpoint: Path, tmp_path: Path) -> None:
    options, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        export_yolo_nas(checkpoint, tmp_path / "x.onnx", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ({"model": {"a": torch.ones(1)}, "architecture": "nanosam"}, BundleError, "one of nanosam"),
        ({"model": {"a": torch.ones(1)}}, BundleError, "holds no YOLO-NAS: wanted backbone.stage1"),
        (
            {"model": {"heads.head1.pose_pred.bias": torch.ones(34)}},
            BundleError,
            "holds no YOLO-NAS-Pose: wanted backbone.stage1",
        ),
        ({"model": files.state(), "labels": ["nut"]}, UsageError, "names 1 classes, but has 3; give --labels"),
        ([torch.ones(1)], BundleError, "got list"),
    ],
)
def test_export_yolo_nas_refuses_files(
    content: object, error: type[NanosegError], message: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(error, match=message):
        export_yolo_nas(tmp_path / "other.pt", tmp_path / "x.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["other.pt"]


class Product(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x @ y


class Drifting(Product):
    """Computes something else when it is exported than when it is run, like a faulty exporter."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return super().forward(x, y) + (0 if torch.compiler.is_compiling() else 1)


def test_export_onnx_checks_dynamic_axes_at_other_sizes(tmp_path: Path) -> None:
    inputs = [{"x": torch.rand(n, 4), "y": torch.rand(4, 5)} for n in (3, 1, 7)]
    out = export_onnx(
        Product(),
        inputs[0],
        tmp_path / "a.onnx",
        ["z"],
        dynamic_axes={"x": {0: "n"}},
        inputs_to_check=inputs[1:],
        metadata={"key": "value"},
    )
    model = onnx.load(out)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"
    assert [(entry.key, entry.value) for entry in model.metadata_props] == [("key", "value")]


def _disk_full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_export_onnx_reports_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_bytes", _disk_full)
    out = tmp_path / "a.onnx"
    with pytest.raises(UsageError, match=f"^{out}: cannot be written: No space left on device; choose another --out$"):
        export_onnx(Product(), {"x": torch.rand(2, 4), "y": torch.rand(4, 5)}, out, ["z"])
    assert list(tmp_path.iterdir()) == []


UNWRITABLE = {
    "below a file": ("file/x.onnx", "Not a directory"),
    "a folder": ("folder", "Is a directory"),
    "a system's folder": ("/proc/nanoseg/x.onnx", "No such file or directory"),
}


@pytest.mark.parametrize("case", UNWRITABLE)
@pytest.mark.parametrize("export", [export_yolo_nas, export_mask_decoder, export_image_encoder])
def test_exports_refuse_an_unwritable_path_before_reading_the_checkpoint(
    case: str, export: Callable[[Path, Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, reason = UNWRITABLE[case]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(f"{export.__module__}.load_checkpoint", pytest.fail)
    Path("file").write_text("one")
    Path("folder").mkdir()
    with pytest.raises(UsageError, match=f"{out}: cannot be written: {reason}; choose another --out"):
        export(Path("x.pth"), Path(out))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_export_onnx_keeps_the_old_file_where_the_new_one_differs(tmp_path: Path) -> None:
    out = tmp_path / "a.onnx"
    out.write_bytes(b"old")
    with pytest.raises(BundleError, match="'z' differs from torch by 1, limit"):
        export_onnx(Drifting(), {"x": torch.rand(2, 4), "y": torch.rand(4, 5)}, out, ["z"])
    assert out.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [out]


def test_export_onnx_writes_gelu_that_becomes_one_kernel(tmp_path: Path) -> None:
    inputs = {"x": torch.linspace(-6, 6, 64).reshape(8, 8)}
    model = onnx.load(export_onnx(nn.GELU(), inputs, tmp_path / "a.onnx", ["y"]))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    assert [node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node] == ["Gelu"]


def test_export_onnx_refuses_approximate_gelu(tmp_path: Path) -> None:
    with pytest.raises(torch.onnx.OnnxExporterError, match="approximate='tanh'"):
        export_onnx(nn.GELU("tanh"), {"x": torch.rand(2, 2)}, tmp_path / "a.onnx", ["y"])
    assert list(tmp_path.iterdir()) == []
