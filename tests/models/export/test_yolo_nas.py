"""Checkpoint to ONNX: names, shapes and numbers of the file, and that no unchecked file is ever put in place."""

import errno
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from nanoseg.commands.export import image_encoder as export_image_encoder
from nanoseg.commands.export import mask_decoder as export_mask_decoder
from nanoseg.commands.export import yolo_nas as export_yolo_nas
from nanoseg.commands.export.yolo_nas import main
from nanoseg.errors import BundleError, UsageError
from nanoseg.models.export import yolo_nas as export_yolo_nas_job
from nanoseg.models.export.to_onnx import OPSET, export_onnx
from nanoseg.models.export.yolo_nas import export_checkpoint
from nanoseg.models.yolo_nas import YoloNas
from nanoseg.utils.files import check_writable
from tests.helpers import yolo_nas_files as files
from tests.helpers.paths import DATA

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
LABELS = ["nut", "bolt", "washer"]
NO_TEXT = DATA / "golden_processing.npz"


@pytest.fixture(scope="module")
def network() -> YoloNas:
    """A slim network with statistics that are not those of a fresh BatchNorm."""
    torch.manual_seed(0)
    made = YoloNas("slim", num_classes=3).train()
    with torch.no_grad():
        for _ in range(3):
            made(torch.rand(2, 3, 64, 64))
    return made.eval()


@pytest.fixture(scope="module")
def checkpoint(network: YoloNas, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "checkpoint.pt"
    about = {"architecture": "yolo_nas", "variant": "slim", "labels": LABELS, "image_size": 96, "format": 1}
    torch.save({"model": network.state_dict(), **about}, path)
    return path


def test_exports_what_the_checkpoint_says(network: YoloNas, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "detector.onnx"
    assert main(["--checkpoint", str(checkpoint), "--out", str(out)]) == 0
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
        wanted = network(images)  # the training form: folding and export in one comparison
    np.testing.assert_allclose(boxes, wanted.boxes.numpy(), atol=1e-2, rtol=0)
    np.testing.assert_allclose(scores, wanted.scores.numpy(), atol=1e-4, rtol=0)


def test_exports_what_super_gradients_saved(tmp_path: Path) -> None:
    """Fine-tuned on BGR in 0..255 at 320, some of its blocks merged: the bundle gives RGB in 0..1 all the same."""
    mixed = files.merged(files.without_reparam(files.state()), files.blocks()[::2])
    torch.save(files.super_gradients(mixed, None, files.FINE_TUNED), tmp_path / "ckpt_best.pth")
    out = export_checkpoint(tmp_path / "ckpt_best.pth", tmp_path / "detector.onnx", size_px=64)
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
    assert np.ptp(scores) > 0.1  # so that a difference would be seen


RECIPES = {
    "nothing said": (None, [], {}, True),
    "nothing said, asked for": (None, ["--pixels", "rgb"], {"pixels_told": "yes"}, False),
    "fine-tuned": (files.FINE_TUNED, [], {"pixels_told": "yes", "rescale_px": "320"}, False),
    "fine-tuned, of another size": (files.FINE_TUNED, ["--size", "64"], {"pixels_told": "yes"}, False),
    "COCO": (files.COCO_RECIPE, [], {"pixels_told": "yes", "rescale_px": "636"}, False),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_says_what_was_told_and_what_was_guessed(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps, flags, wanted, guessed = RECIPES[recipe]
    torch.save(files.super_gradients(files.state(), files.state(), steps), tmp_path / "ckpt_best.pth")
    about: dict[str, str] = {}

    def export(*_, metadata: dict[str, str], **__) -> str:
        about.update(metadata)
        return "written"

    monkeypatch.setattr(export_yolo_nas_job, "export_onnx", export)
    assert main(["--checkpoint", str(tmp_path / "ckpt_best.pth"), "--out", str(tmp_path / "x.onnx"), *flags]) == 0
    assert {key: value for key, value in about.items() if key in ("pixels_told", "rescale_px")} == wanted
    assert about["weights"].endswith(", its ema_net")
    said = capsys.readouterr()
    assert said.out == "written\n"
    assert ("taken for RGB in 0..1; --pixels tells otherwise" in said.err) == guessed
    assert said.err.count("\n") == guessed


REFUSED = {
    "labels of another count": (["--labels", "nut,bolt"], 2, "wanted 3 names"),
    "COCO's labels": (["--labels", "coco"], 2, "wanted 3 names, one a class of"),
    "labels that are no text": (["--labels", str(NO_TEXT)], 2, "golden_processing.npz cannot be read as text"),
    "labels that are not there": (["--labels", "no/labels.txt"], 2, "wanted a text file, found none"),
    "a size off the grid": (["--size", "100"], 2, "multiple of 32"),
    "another variant": (["--variant", "s"], 4, "holds YOLO-NAS slim, --variant s was given"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags, code, said = REFUSED[case]
    assert main(["--checkpoint", str(checkpoint), "--out", str(tmp_path / "x.onnx"), *flags]) == code
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        ({"model": {"a": torch.zeros(1)}, "architecture": "nanosam"}, 4, "one of nanosam"),
        ({"model": {"a": torch.zeros(1)}}, 4, "holds no YOLO-NAS: wanted backbone.stage1"),
        ({"model": {"heads.head1.pose_pred.bias": torch.zeros(34)}}, 4, "holds YOLO-NAS-Pose"),
        ({"model": files.state(), "labels": ["nut"]}, 2, "names 1 classes, but has 3; give --labels"),
        ([torch.zeros(1)], 4, "got list"),
    ],
)
def test_refuses_files(
    content: object, code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(content, tmp_path / "other.pt")
    assert main(["--checkpoint", str(tmp_path / "other.pt"), "--out", str(tmp_path / "x.onnx")]) == code
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["other.pt"]


class Product(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x @ y


class Drifting(Product):
    """Exported as one function, run as another: a stand-in for an exporter's mistake."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return super().forward(x, y) + (0 if torch.compiler.is_compiling() else 1)


def test_dynamic_axes_are_checked_at_other_sizes(tmp_path: Path) -> None:
    feeds = [{"x": torch.rand(n, 4), "y": torch.rand(4, 5)} for n in (3, 1, 7)]
    axes = {"x": {0: "n"}}
    out = export_onnx(Product(), feeds[0], tmp_path / "a.onnx", ["z"], axes, 1e-6, feeds[1:], {"key": "value"})
    model = onnx.load(out)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"
    assert [(entry.key, entry.value) for entry in model.metadata_props] == [("key", "value")]


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_bytes", _full)
    out = tmp_path / "a.onnx"
    with pytest.raises(UsageError, match=f"^{out}: cannot be written: No space left on device; choose another --out$"):
        export_onnx(Product(), {"x": torch.rand(2, 4), "y": torch.rand(4, 5)}, out, ["z"])
    assert list(tmp_path.iterdir()) == []


PLACES = {
    "below a file": ("file/x.onnx", "Not a directory"),
    "a folder": ("folder", "Is a directory"),
    "a system's folder": ("/proc/nanoseg/x.onnx", "No such file or directory"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("tool", [export_yolo_nas, export_mask_decoder, export_image_encoder])
def test_a_place_that_cannot_be_written_is_told_before_a_checkpoint_is_read(
    place: str, tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, why = PLACES[place]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(f"{tool.__name__}_job.load_checkpoint", pytest.fail)
    Path("file").write_text("one")
    Path("folder").mkdir()
    assert tool.main(["--checkpoint", "x.pth", "--out", out]) == 2
    assert f": {out}: cannot be written: {why}; choose another --out\n" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_what_a_place_is_tried_by_is_gone(tmp_path: Path) -> None:
    check_writable(tmp_path / "some" / "where" / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_differs_never_replaces_the_one_before(tmp_path: Path) -> None:
    out = tmp_path / "a.onnx"
    out.write_bytes(b"the one before")
    with pytest.raises(BundleError, match="'z' differs from torch by 1, limit"):
        export_onnx(Drifting(), {"x": torch.rand(2, 4), "y": torch.rand(4, 5)}, out, ["z"], atol=1e-4)
    assert out.read_bytes() == b"the one before"
    assert list(tmp_path.iterdir()) == [out]


def test_gelu_becomes_one_kernel(tmp_path: Path) -> None:
    feed = {"x": torch.linspace(-6, 6, 64).reshape(8, 8)}
    model = onnx.load(export_onnx(nn.GELU(), feed, tmp_path / "a.onnx", ["y"], atol=1e-6))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    assert [node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node] == ["Gelu"]


def test_no_other_gelu_is_taken_for_it(tmp_path: Path) -> None:
    with pytest.raises(torch.onnx.OnnxExporterError, match="approximate='tanh'"):
        export_onnx(nn.GELU("tanh"), {"x": torch.rand(2, 2)}, tmp_path / "a.onnx", ["y"])
    assert list(tmp_path.iterdir()) == []
