"""Networks of any opset and exporter, converted to opset 19 with the same outputs."""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.model.load import read_model
from nanoseg.onnx_graphs.model.opset import to_supported_opset
from tests.helpers.onnx_run import run
from tests.helpers.tiny_networks import HALF, save

X = np.linspace(-4, 4, 24, dtype=np.float32).reshape(1, 2, 3, 4)
WEIGHT = np.arange(6, dtype=np.float32).reshape(3, 2, 1, 1)


def network(path: Path, nodes: list[onnx.NodeProto], opset: int, **constants: np.ndarray) -> Path:
    return save(path, {"x": X.shape}, {"y": ("a", "b", "c", "d")}, nodes, constants, opset)


def lifted(path: Path) -> onnx.ModelProto:
    model = to_supported_opset(path, read_model(path))
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 19)]
    onnx.checker.check_model(model, full_check=True)
    return model


def node(op: str, inputs: list[str], output: str = "y", **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [output], **attributes)


@pytest.mark.parametrize(
    ("opset", "nodes"),
    [
        (7, [node("Relu", ["x"])]),
        (11, [node("ReduceSum", ["x"], axes=[2])]),  # its axes became an input
        (13, [node("Softmax", ["x"], axis=1)]),
        (17, [node("ReduceMean", ["x"], axes=[1])]),
        (19, [node("Sigmoid", ["x"])]),
        (20, [node("ReduceMax", ["x", "one"])]),
        (21, [node("Transpose", ["x"], perm=[0, 2, 1, 3])]),
        (22, [node("Conv", ["x", "weight"])]),
        (23, [node("Reshape", ["x", "shape"])]),
    ],
)
def test_opset_converts_from_any_version(opset: int, nodes: list[onnx.NodeProto], tmp_path: Path) -> None:
    constants = {"one": np.array([1]), "shape": np.array([2, 12]), "weight": WEIGHT}
    read = {name for each in nodes for name in each.input}
    path = network(tmp_path / "net.onnx", nodes, opset, **{k: v for k, v in constants.items() if k in read})
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.ClearField("shape")  # as graph editors leave it
    onnx.save(model, path)
    np.testing.assert_allclose(run(lifted(path), x=X)["y"], run(path, x=X)["y"], atol=1e-6)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize(
    ("op", "opset", "scales"),
    [
        ("Upsample", 9, (2, 2)),
        ("Upsample", 9, (1.6, 1.3)),
        ("Resize", 10, (2, 2)),
        ("Resize", 10, (1.6, 1)),
        ("Resize", 10, (0.5, 0.7)),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_opset_keeps_resize_asymmetric(
    op: str, opset: int, scales: tuple[float, float], mode: str, inside: bool, tmp_path: Path
) -> None:
    """The pixels of it were asymmetric, which the converter does not say."""
    nodes, constants = [node(op, ["x", "scales"], mode=mode)], {"scales": np.array((1, 1, *scales), np.float32)}
    if inside:  # as torch writes its constants
        nodes.insert(0, node("Constant", [], "scales", value=numpy_helper.from_array(constants.pop("scales"))))
    path = network(tmp_path / "net.onnx", nodes, opset, **constants)
    bent = X + np.sin(3 * X)
    np.testing.assert_allclose(run(lifted(path), x=bent)["y"], run(path, x=bent)["y"], atol=1e-5)


def test_opset_refuses_changed_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(model: onnx.ModelProto, _: int) -> onnx.ModelProto:
        model = onnx.ModelProto.FromString(model.SerializeToString())
        model.graph.node[0].op_type = "Softplus"
        return model

    monkeypatch.setattr(onnx.version_converter, "convert_version", wrong)
    path = network(tmp_path / "net.onnx", [node("Relu", ["x"])], 17)
    with pytest.raises(BundleError, match="'y' in opset 19 differs from that in the file's opset; export it with"):
        lifted(path)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_opset_expands_float16_gelu(approximate: str, tmp_path: Path) -> None:
    nodes = [node("Relu", ["x"], "between"), node("Gelu", ["between"], approximate=approximate)]
    path = save(tmp_path / "net.onnx", {"x": X.shape}, {"y": X.shape}, nodes, {}, 20, HALF)
    got = run(lifted(path), x=X.astype(np.float16))["y"]
    assert got.dtype == np.float16
    want = [x * 0.5 * (1 + math.erf(x / math.sqrt(2))) for x in np.maximum(X, 0).flat]
    np.testing.assert_allclose(got.ravel(), want, atol=6e-3)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_opset_expands_gelu(approximate: str, tmp_path: Path) -> None:
    nodes = [node("Gelu", ["x"], "between", approximate=approximate), node("Gelu", ["between"])]
    if approximate == "none":
        del nodes[0].attribute[:]
    model = lifted(network(tmp_path / "net.onnx", nodes, 20))

    def gelu(x: float) -> float:
        if approximate == "none":
            return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))
        return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    exact = {"y": [0.5 * g * (1 + math.erf(g / math.sqrt(2))) for g in map(gelu, X.flat)]}
    np.testing.assert_allclose(run(model, x=X)["y"].ravel(), exact["y"], atol=1e-6)


@pytest.mark.parametrize(
    ("opset", "nodes", "what"),
    [
        (21, [node("GroupNormalization", ["x", "two", "two"], num_groups=2)], "got 21 with GroupNormalization"),
        (20, [node("IsNaN", ["x"], "n"), node("StringConcat", ["n", "n"])], "got 20 with StringConcat"),
        (23, [node("RMSNormalization", ["x", "four"])], "got 23 with RMSNormalization"),
        (21, [node("QuantizeLinear", ["x", "scale", "zero"], "q", block_size=2, axis=3)], "got 21 with QuantizeLinear"),
    ],
)
def test_opset_refuses_later_operators(opset: int, nodes: list[onnx.NodeProto], what: str, tmp_path: Path) -> None:
    constants = {
        "two": np.ones(2, np.float32), "four": np.ones(4, np.float32), "scale": np.ones((1, 2, 3, 2), np.float32),
        "zero": np.zeros((1, 2, 3, 2), np.int8),
    }  # fmt: skip
    if nodes[0].op_type == "QuantizeLinear":
        nodes = [*nodes, node("Cast", ["q"], to=1)]
    path = network(tmp_path / "net.onnx", nodes, opset, **constants)
    with pytest.raises(BundleError) as error:
        lifted(path)
    assert str(error.value).startswith(f"{path}: wanted ")
    assert what in str(error.value)
    assert "\n" not in str(error.value)


def test_opset_drops_unused_attributes(tmp_path: Path) -> None:
    nodes = [
        node("QuantizeLinear", ["x", "scale", "zero"], "q", block_size=0, output_dtype=0),
        node("DequantizeLinear", ["q", "scale", "zero"], block_size=0),
    ]
    path = network(tmp_path / "net.onnx", nodes, 21, scale=np.float32(0.05), zero=np.int8(3))
    np.testing.assert_array_equal(run(lifted(path), x=X)["y"], run(path, x=X)["y"])


def test_opset_inlines_functions(tmp_path: Path) -> None:
    path = network(tmp_path / "net.onnx", [node("Relu", ["x"])], 17)
    model = onnx.load(path)
    body = [helper.make_node("Mul", ["a", "a"], ["b"])]
    model.functions.append(helper.make_function("mine", "Square", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    model.opset_import.append(helper.make_opsetid("mine", 1))
    model.graph.node[0].op_type, model.graph.node[0].domain = "Square", "mine"
    onnx.save(model, path)
    np.testing.assert_allclose(run(lifted(path), x=X)["y"], X * X)


def test_opset_keeps_metadata(tmp_path: Path) -> None:
    path = network(tmp_path / "net.onnx", [node("Relu", ["x"])], 17)
    model = onnx.load(path)
    helper.set_model_props(model, {"names": "{0: 'nut'}"})
    onnx.save(model, path)
    assert {entry.key: entry.value for entry in lifted(path).metadata_props} == {"names": "{0: 'nut'}"}


def test_load_reads_external_weights(tmp_path: Path) -> None:
    path = network(tmp_path / "net.onnx", [node("Conv", ["x", "weight"])], 19, weight=WEIGHT)
    want = run(path, x=X)["y"]
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="net.data", size_threshold=0)
    assert (tmp_path / "net.data").stat().st_size == WEIGHT.nbytes
    np.testing.assert_allclose(run(lifted(path), x=X)["y"], want)
    (tmp_path / "net.data").unlink()
    with pytest.raises(BundleError, match=r"net\.onnx: wanted an ONNX model, got .*net\.data") as error:
        read_model(path)
    assert "\n" not in str(error.value)


def test_opset_refuses_a_model_without_opset(tmp_path: Path) -> None:
    path = network(tmp_path / "net.onnx", [node("Relu", ["x"])], 19)
    model = onnx.load(path)
    del model.opset_import[:]
    with pytest.raises(BundleError, match="wanted opset 19 or less, got none"):
        to_supported_opset(path, model)


@pytest.mark.parametrize("op", ["EfficientNMS_TRT", "BatchedNMSDynamic_TRT"])
def test_opset_refuses_nms_plugins(op: str, tmp_path: Path) -> None:
    """It is in ONNX's own domain and unknown there."""
    path = network(tmp_path / "net.onnx", [node(op, ["x"])], 17)
    with pytest.raises(BundleError, match=f"got {op}; export it without: super-gradients'"):
        to_supported_opset(path, read_model(path))
