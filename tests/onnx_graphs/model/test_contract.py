"""Model contracts: what load_network refuses, and how it completes a network."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.model.contract import DECODER, DETECTOR, ENCODER, MASK_DECODER, load_network
from tests.helpers.tiny_networks import decoder, encoder, some_detector


def change(path: Path, edit: Callable[[onnx.ModelProto], object]) -> Path:
    model = onnx.load(path)
    edit(model)
    onnx.save(model, path)
    return path


def rename_input(model: onnx.ModelProto) -> None:
    old, model.graph.input[0].name = model.graph.input[0].name, "input.1"
    for node in model.graph.node:
        node.input[:] = ["input.1" if name == old else name for name in node.input]


def make_height_dynamic(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"


def make_wide(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 32


def make_double(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    model.graph.node.insert(0, onnx.helper.make_node("Cast", ["images"], ["single"], to=1))
    model.graph.node[1].input[0] = "single"


def make_batch_two(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2


def drop_output(model: onnx.ModelProto) -> None:
    del model.graph.output[1:]


def forget_outputs_shape(model: onnx.ModelProto) -> None:
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
        for _ in range(3):
            output.type.tensor_type.shape.dim.add()


def add_later_operator(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 23
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(onnx.helper.make_node("RMSNormalization", ["before", "nothing"], ["scores"]))


def make_foreign(model: onnx.ModelProto) -> None:
    model.opset_import.add(domain="com.microsoft", version=1)
    model.graph.node[-1].domain = "com.microsoft"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (rename_input, "wants the inputs images, got input.1; export it with those names"),
        (drop_output, "wants the outputs boxes, scores, got boxes;"),
        (make_double, "'images' wants float32 (1, 3, S, S), got double (1, 3, 64, 64)"),
        (make_height_dynamic, "'images' wants float32 (1, 3, S, S), got float32 (1, 3, any, 64)"),
        (make_wide, "'images' wants float32 (1, 3, S, S), got float32 (1, 3, 64, 32)"),
        (make_batch_two, "'images' wants float32 (1, 3, S, S), got float32 (2, 3, 64, 64)"),
        (add_later_operator, "wanted opset 19 or less, got 23 with RMSNormalization; export it with opset 19"),
        (make_foreign, "wanted operators of ONNX alone, got some of com.microsoft"),
    ],
)
def test_contract_refuses_a_detector(edit: Callable[[onnx.ModelProto], object], message: str, tmp_path: Path) -> None:
    path = change(some_detector(tmp_path / "detector.onnx"), edit)
    with pytest.raises(BundleError) as error:
        load_network(path, DETECTOR)
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"", "wanted an ONNX model"), (b"not a network", "wanted an ONNX model")],
)
def test_contract_refuses_other_files(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "detector.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BundleError, match=f"{path}: {message}"):
        load_network(path, DETECTOR)


def test_contract_refuses_a_truncated_file(tmp_path: Path) -> None:
    path = encoder(tmp_path / "encoder.onnx")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(BundleError, match=r"encoder\.onnx: wanted an ONNX model"):
        load_network(path, ENCODER)


def test_contract_names_the_dims_that_must_agree(tmp_path: Path) -> None:
    def edit(model: onnx.ModelProto) -> None:
        model.graph.output[1].type.tensor_type.shape.dim[1].dim_value = 21

    path = change(some_detector(tmp_path / "detector.onnx"), edit)
    with pytest.raises(BundleError, match=r"'scores' wants float32 \(1, A, C\) with A = 20, got float32 \(1, 21, 3\)"):
        load_network(path, DETECTOR)


def test_contract_infers_output_shapes(tmp_path: Path) -> None:
    loaded = load_network(change(some_detector(tmp_path / "detector.onnx"), forget_outputs_shape), DETECTOR)
    assert loaded.dims == {"S": 64, "A": 20, "C": 3}


@pytest.mark.parametrize("opset", [16, 17, 18, 19])
def test_contract_converts_older_opsets(opset: int, tmp_path: Path) -> None:
    loaded = load_network(decoder(tmp_path / "decoder.onnx", opset=opset), DECODER)
    assert [(entry.domain, entry.version) for entry in loaded.model.opset_import] == [("", 19)]
    assert loaded.dims == {"g": 4, "k": 4, "m": 16}


def test_contract_ignores_initializers_among_inputs(tmp_path: Path) -> None:
    def edit(model: onnx.ModelProto) -> None:
        model.ir_version = 3
        model.graph.input.append(onnx.helper.make_tensor_value_info("weight", 1, (256, 3, 16, 16)))

    loaded = load_network(change(encoder(tmp_path / "encoder.onnx"), edit), ENCODER)
    assert [value.name for value in loaded.model.graph.input] == ["image"]


def test_contract_merges_doubled_opset_imports(tmp_path: Path) -> None:
    path = change(
        encoder(tmp_path / "encoder.onnx"), lambda model: model.opset_import.add(domain="ai.onnx", version=19)
    )
    loaded = load_network(path, ENCODER)
    assert [(entry.domain, entry.version) for entry in loaded.model.opset_import] == [("", 19)]
    assert dict(loaded.dims) == {"E": 64, "g": 4}
    assert np.prod([d.dim_value for d in loaded.model.graph.output[0].type.tensor_type.shape.dim]) == 256 * 16


def test_contract_prunes_further_outputs(tmp_path: Path) -> None:
    def edit(model: onnx.ModelProto) -> None:
        model.graph.input.append(onnx.helper.make_tensor_value_info("orig_size", 1, (1,)))
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32([2]), "twice"))
        model.graph.node.append(onnx.helper.make_node("Mul", ["orig_size", "twice"], ["factor"]))
        model.graph.node.append(onnx.helper.make_node("Mul", ["boxes", "factor"], ["large"]))
        model.graph.output.insert(0, onnx.helper.make_tensor_value_info("large", 1, (1, 20, 4)))

    plain = load_network(some_detector(tmp_path / "plain.onnx"), DETECTOR).model.graph
    loaded = load_network(change(some_detector(tmp_path / "detector.onnx"), edit), DETECTOR)
    graph = loaded.model.graph
    assert [value.name for value in graph.input] == ["images"]
    assert [value.name for value in graph.output] == ["boxes", "scores"]
    assert [node.op_type for node in graph.node] == [node.op_type for node in plain.node]
    assert {weight.name for weight in graph.initializer} == {weight.name for weight in plain.initializer}


def test_contract_keeps_unread_inputs(tmp_path: Path) -> None:
    path = decoder(tmp_path / "decoder.onnx", mask_input=True)
    model = onnx.load(path)
    dropped = [node for node in model.graph.node if node.output[0] in ("brightest", "mask", "iou_predictions")]
    for node in dropped:
        model.graph.node.remove(node)
    model.graph.node[-1].output[0] = "iou_predictions"
    onnx.save(model, path)
    loaded = load_network(path, MASK_DECODER)
    assert [value.name for value in loaded.model.graph.input][-2:] == ["mask_input", "has_mask_input"]


@pytest.mark.parametrize("make", [some_detector, encoder])
def test_contract_fixes_a_dynamic_batch(make: Callable[[Path], Path], tmp_path: Path) -> None:
    def edit(model: onnx.ModelProto) -> None:
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_param = "batch"

    plain = make(tmp_path / "plain.onnx")
    contract = DETECTOR if make is some_detector else ENCODER
    open_batch = load_network(change(make(tmp_path / "batch.onnx"), edit), contract)
    assert open_batch.dims == load_network(plain, contract).dims
    for value in (*open_batch.model.graph.input, *open_batch.model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_value == 1


def test_contract_refuses_an_output_without_producer(tmp_path: Path) -> None:
    def edit(model: onnx.ModelProto) -> None:
        model.graph.node[-1].output[0] = "other"
        model.graph.output[1].name = "scores"

    path = change(some_detector(tmp_path / "detector.onnx"), edit)
    with pytest.raises(BundleError) as error:
        load_network(path, DETECTOR)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
