"""Networks that converters changed: nodes out of order, and quantization of every kind."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from nanoseg.backends.tensorrt.build.engine import build_engine
from nanoseg.engines.recipe import read_recipe
from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.adapt.detector import load_detector
from nanoseg.onnx_graphs.adapt.detector_spec import read_detector_spec
from nanoseg.onnx_graphs.deploy.detect import detect_graph
from nanoseg.onnx_graphs.model.load import read_model
from nanoseg.onnx_graphs.model.sort import sort_nodes
from tests.helpers.onnx_run import run_unfused
from tests.helpers.tiny_detectors import quantized_detector
from tests.helpers.tiny_networks import decoder, some_detector

X = onnx.TensorProto


def images() -> np.ndarray:
    return np.random.default_rng(0).random((1, 3, 64, 64), np.float32)


def reverse(path: Path) -> None:
    model = onnx.load(path)
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)


@pytest.mark.parametrize("make", [some_detector, lambda path: quantized_detector(path, 19), decoder])
def test_load_sorts_nodes(make: Callable[[Path], Path], tmp_path: Path) -> None:
    """The sorted network is the one before, node by node, as any order that fits computes the same."""
    path = make(tmp_path / "net.onnx")
    want = read_model(path)
    reverse(path)
    got = read_model(path)
    onnx.checker.check_model(got, full_check=True)
    assert sorted(str(node) for node in got.graph.node) == sorted(str(node) for node in want.graph.node)


def test_load_keeps_an_order_that_fits(tmp_path: Path) -> None:
    path = quantized_detector(tmp_path / "net.onnx", 19)
    assert list(read_model(path).graph.node) == list(onnx.load(path).graph.node)


def test_load_sorts_subgraphs(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Neg", ["b"], ["c"]), helper.make_node("Abs", ["y0"], ["b"])],
        "then", [], [helper.make_tensor_value_info("c", X.FLOAT, (2,))],
    )  # fmt: skip
    nodes = [
        helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner),
        helper.make_node("Relu", ["x"], ["y0"]),  # which the branches read
    ]
    x, y = (helper.make_tensor_value_info(name, X.FLOAT, (2,)) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(np.array(True), "yes")])
    path = tmp_path / "if.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    got = run_unfused(read_model(path), x=np.array([-1, 2], np.float32))
    np.testing.assert_array_equal(got["y"], [0, -2])


def test_load_refuses_a_cycle(tmp_path: Path) -> None:
    path = some_detector(tmp_path / "net.onnx")
    model = onnx.load(path)
    model.graph.node[0].input[0] = "zero"
    assert sort_nodes(model.graph) in {name for node in model.graph.node for name in node.output}
    onnx.save(model, path)
    with pytest.raises(BundleError, match=r"net.onnx: wanted an ONNX model, got a cycle: '\w+' depends on itself"):
        read_model(path)


def test_load_float16_of_the_known_case(made_case: Callable[[str], Path]) -> None:
    folder = made_case("models/02-fp16-unsorted")
    detector = load_detector(folder / "d.onnx", read_detector_spec(folder / "form.toml"))
    assert detector.dims["C"] == 3


def weights_of(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {weight.name: weight for weight in model.graph.initializer}


def with_quantized_biases(path: Path, scalar: bool = False) -> onnx.ModelProto:
    """The detector with INT32 biases behind DequantizeLinear, as onnxruntime writes them; or one scale for all."""
    model = onnx.load(quantized_detector(path, 17))
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "Conv" and len(node.input) < 3:
            channels = _channels(model, node)
            name = f"{node.output[0]}.bias"
            scale = np.float32(1e-3) if scalar else np.linspace(1e-3, 2e-3, channels, dtype=np.float32)
            model.graph.initializer.extend([
                numpy_helper.from_array(np.arange(channels, dtype=np.int32) * 7 - 20, f"{name}.q"),
                numpy_helper.from_array(scale, f"{name}.s"),
                numpy_helper.from_array(np.zeros(np.shape(scale), np.int32), f"{name}.z"),
            ])  # fmt: skip
            inputs = [f"{name}.q", f"{name}.s", f"{name}.z"]
            nodes.append(helper.make_node("DequantizeLinear", inputs, [name], **({} if scalar else {"axis": 0})))
            node.input.append(name)
        nodes.append(node)
    assert len(nodes) > len(model.graph.node)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    onnx.save(model, path)
    return model


def _channels(model: onnx.ModelProto, node: onnx.NodeProto) -> int:
    dq = next(other for other in model.graph.node if node.input[1] in other.output)
    return int(weights_of(model)[dq.input[0]].dims[0])


@pytest.mark.parametrize("scalar", [False, True])
def test_quantized_biases_are_folded(scalar: bool, tmp_path: Path) -> None:
    """The same numbers, and TensorRT builds it."""
    path = tmp_path / "d.onnx"
    with_quantized_biases(path, scalar)
    detector = load_detector(path)
    weights = weights_of(detector.model)
    constants = [weights[node.input[0]] for node in detector.model.graph.node if node.input[0] in weights]
    dequantized = {tensor.data_type for tensor in constants if tensor.data_type in (X.INT8, X.INT32)}
    assert dequantized == {X.INT8}
    want, got = run_unfused(path, images=images()), run_unfused(detector.model, images=images())
    np.testing.assert_allclose(got["scores"], want["scores"], atol=1e-6)
    trt = pytest.importorskip("tensorrt_rtx")
    assert build_engine(trt, detect_graph(detector, 48).SerializeToString(), read_recipe("detect"), name="d").plan


def test_quantized_by_onnxruntime_is_built(made_case: Callable[[str], Path]) -> None:
    folder = made_case("models/04-int8-bias-int32")
    detector = load_detector(folder / "d.onnx", read_detector_spec(folder / "form.toml"))
    trt = pytest.importorskip("tensorrt_rtx")
    assert build_engine(trt, detect_graph(detector, 48).SerializeToString(), read_recipe("detect"), name="d").plan


def with_zero_points(dtype: int, value: int, opset: int = 19) -> Callable[[Path], None]:
    """Every zero point of activations of this type and value."""

    def edit(path: Path) -> None:
        model = onnx.load(quantized_detector(path, opset))
        for node in model.graph.node:
            if node.op_type == "QuantizeLinear" or (node.op_type, node.input[0] in weights_of(model)) == (
                "DequantizeLinear", False,
            ):  # fmt: skip
                zero = f"{node.output[0]}.zero"
                model.graph.initializer.append(helper.make_tensor(zero, dtype, (), [value]))
                node.input[:] = [*node.input[:2], zero]
        onnx.save(model, path)

    return edit


def with_weight_zero_point(path: Path) -> None:
    model = onnx.load(quantized_detector(path, 17))
    dq = next(n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in weights_of(model))
    shape = numpy_helper.to_array(weights_of(model)[dq.input[1]]).shape
    model.graph.initializer.append(numpy_helper.from_array(np.full(shape, 4, np.int8), "weights.zero"))
    dq.input[:] = [*dq.input[:2], "weights.zero"]
    onnx.save(model, path)


def with_operator(op: str, domain: str = "") -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        model = onnx.load(some_detector(path))
        model.graph.node.append(helper.make_node(op, ["scores"], [f"{op}.out"], domain=domain))
        model.graph.node.append(helper.make_node("Identity", [f"{op}.out"], ["more"]))
        model.graph.output[1].name = "more"
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        onnx.save(model, path)

    return edit


REFUSED = {
    "asymmetric int8": (with_zero_points(X.INT8, 5), "with zero points of 0, got 5 at"),
    "asymmetric uint8": (with_zero_points(X.UINT8, 128), "got UINT8 at"),
    "symmetric uint8": (with_zero_points(X.UINT8, 0), "got UINT8 at"),
    "int16": (with_zero_points(X.INT16, 0, 21), "got INT16 at"),
    "uint16": (with_zero_points(X.UINT16, 32768, 21), "got UINT16 at"),
    "int4": (with_zero_points(X.INT4, 0, 21), "got INT4 at"),
    "float8": (with_zero_points(X.FLOAT8E4M3FN, 0), "got FLOAT8E4M3FN at"),
    "asymmetric weights": (with_weight_zero_point, "with zero points of 0, got 4 at"),
    "operators of onnxruntime": (with_operator("QLinearAdd", "com.microsoft"), "got the operators QLinearAdd"),
    "4-bit weights": (with_operator("MatMulNBits", "com.microsoft"), "got the operators MatMulNBits"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_quantization_refused(kind: str, tmp_path: Path) -> None:
    edit, message = REFUSED[kind]
    path = tmp_path / "net.onnx"
    edit(path)
    with pytest.raises(BundleError) as error:
        load_detector(path)
    assert str(error.value).startswith(f"{path}: wanted floats, or INT8 by Q/DQ nodes")
    assert message in str(error.value)
    assert "QInt8 for activations and weights" in str(error.value)


@pytest.mark.parametrize("kind", ["dynamic", "operators"])
def test_quantization_by_onnxruntime_refused(kind: str, tmp_path: Path) -> None:
    """quantize_dynamic, and quantize_static in its older format."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    source, path = quantized_float(tmp_path / "float.onnx"), tmp_path / "net.onnx"
    if kind == "dynamic":
        quantization.quantize_dynamic(str(source), str(path), weight_type=quantization.QuantType.QUInt8)
        message = "got dynamic quantization, ConvInteger, DynamicQuantizeLinear"
    else:
        reader = Reader([{"images": images()}])
        quantization.quantize_static(str(source), str(path), reader, quant_format=quantization.QuantFormat.QOperator)
        message = "got the operators QLinear"
    with pytest.raises(BundleError, match=message):
        load_detector(path)


class Reader(list):  # type: ignore[type-arg]
    def get_next(self) -> dict[str, np.ndarray] | None:
        return self.pop() if self else None


def quantized_float(path: Path) -> Path:
    """The float network of the quantized one."""
    from nanoseg.onnx_graphs.deploy.float32 import float32_graph

    quantized = quantized_detector(path, 19)
    path.write_bytes(float32_graph(quantized))
    return path
