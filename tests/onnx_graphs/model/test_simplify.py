"""Folding of shape computations by onnxslim, and the cases in which it is not taken."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from nanoseg.onnx_graphs.model.load import read_model
from nanoseg.onnx_graphs.model.opset import to_supported_opset
from nanoseg.onnx_graphs.model.shapes import infer_output_shapes, set_input_dims, shape_of
from nanoseg.onnx_graphs.model.simplify import simplify, unsupported_operators
from tests.helpers.onnx_run import run
from tests.helpers.tiny_networks import GRID, save

X = np.linspace(-4, 4, 24, dtype=np.float32).reshape(1, 2, 3, 4)


def node(op: str, inputs: list[str], output: str = "y", **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [output], **attributes)


def dynamic_batch(path: Path) -> Path:
    """Write the trace of `x.reshape(x.shape[0], -1)`: sides computed from the batch's."""
    nodes = [
        node("Shape", ["x"], "shape"),
        node("Gather", ["shape", "zero"], "n"),
        node("Concat", ["n", "rest"], "target", axis=0),
        node("Reshape", ["x", "target"]),
    ]
    constants = {"zero": np.array([0]), "rest": np.array([-1])}
    return save(path, {"x": ("batch", 2, 3, 4)}, {"y": ("batch", "columns")}, nodes, constants, 17)


def test_simplify_folds_shapes_of_a_fixed_batch(tmp_path: Path) -> None:
    path = dynamic_batch(tmp_path / "net.onnx")
    model = to_supported_opset(path, read_model(path))
    assert simplify(model) is model  # while the batch is open, they are needed
    set_input_dims(model, {"x": (1, None, None, None)})
    folded = infer_output_shapes(path, simplify(model), {})
    assert [each.op_type for each in folded.graph.node] == ["Reshape"]
    assert shape_of(folded.graph.output[0]) == (1, 24)
    np.testing.assert_array_equal(run(folded, x=X)["y"], X.reshape(1, 24))


def test_simplify_leaves_quantized_networks(tmp_path: Path) -> None:
    path = dynamic_batch(tmp_path / "net.onnx")
    model = to_supported_opset(path, read_model(path))
    set_input_dims(model, {"x": (1, None, None, None)})
    model.graph.node[-1].output[0] = "flat"
    model.graph.node.extend(
        [node("QuantizeLinear", ["flat", "s", "z"], "q"), node("DequantizeLinear", ["q", "s", "z"])]
    )
    model.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in {"s": np.float32(0.1), "z": np.int8(0)}.items()
    )
    kept = infer_output_shapes(path, simplify(model), {})
    assert "Shape" in {each.op_type for each in kept.graph.node}
    assert shape_of(kept.graph.output[0]) == (1, 24)


def test_simplify_discards_changed_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxslim

    path = dynamic_batch(tmp_path / "net.onnx")
    model = to_supported_opset(path, read_model(path))
    set_input_dims(model, {"x": (1, None, None, None)})

    def wrong(given: onnx.ModelProto, **_: object) -> onnx.ModelProto:
        given.graph.node[-1].output[0] = "z"
        given.graph.node.append(node("Neg", ["z"]))
        return given

    for slim in (wrong, lambda given, **_: 1 / 0):
        monkeypatch.setattr(onnxslim, "slim", slim)
        assert simplify(model) is model
    assert unsupported_operators(model) == []


@pytest.mark.parametrize("label", [2, 3, 1, 0, -1])
def test_simplify_discards_a_changed_label(label: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels of noise would be none of SAM's, and no network would do anything with them."""
    import onnxslim

    nodes = [
        node("Equal", ["point_labels", "label"], "is"),
        node("Cast", ["is"], "one", to=1),
        node("Shape", ["image_embeddings"], "shape"),
        node("Cast", ["shape"], "sides", to=1),
        node("ReduceMax", ["sides"], "most", keepdims=0),
        node("Mul", ["one", "most"]),
    ]
    inputs = {"image_embeddings": (1, 256, GRID, GRID), "point_labels": (3, 2)}
    path = save(tmp_path / "net.onnx", inputs, {"y": (3, 2)}, nodes, {"label": np.float32(label)})
    model = to_supported_opset(path, read_model(path))

    def wrong(given: onnx.ModelProto, **_: object) -> onnx.ModelProto:
        given.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.float32(-7), "label"))
        return given

    monkeypatch.setattr(onnxslim, "slim", lambda given, **_: given)
    assert simplify(model) is not model
    monkeypatch.setattr(onnxslim, "slim", wrong)
    assert simplify(model) is model
