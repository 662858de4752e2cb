"""Checkpoint to ONNX: names, shapes and numbers of the file, and that no unchecked file is ever put in place."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nanoseg.errors import BundleError
from nanoseg.models.export import OPSET, export_onnx
from nanoseg.models.yolo_nas import YoloNas
from tools.export_yolo_nas import main

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
LABELS = ["nut", "bolt", "washer"]
NO_TEXT = Path(__file__).with_name("data") / "golden_processing.npz"


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


REFUSED = {
    "labels of another count": (["--labels", "nut,bolt"], 2, "wanted 3 names"),
    "labels that are no text": (["--labels", str(NO_TEXT)], 2, "golden_processing.npz cannot be read as text"),
    "a size off the grid": (["--size", "100"], 2, "multiple of 32"),
    "another variant": (["--variant", "s"], 4, "not the weights of this YoloNas"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags, code, said = REFUSED[case]
    assert main(["--checkpoint", str(checkpoint), "--out", str(tmp_path / "x.onnx"), *flags]) == code
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_asks_for_the_variant(network: YoloNas, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(network.state_dict(), tmp_path / "bare.pth")
    assert main(["--checkpoint", str(tmp_path / "bare.pth"), "--out", str(tmp_path / "x.onnx")]) == 2
    assert "--variant s or slim" in capsys.readouterr().err


def test_refuses_weights_of_another_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": {"a": torch.zeros(1)}, "architecture": "nanosam", "variant": "slim"}, tmp_path / "other.pt")
    assert main(["--checkpoint", str(tmp_path / "other.pt"), "--out", str(tmp_path / "x.onnx")]) == 4
    assert "one of nanosam" in capsys.readouterr().err


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
