"""Networks that end in ONNX's NonMaxSuppression: the message names the tensors to cut at, and cutting there works."""

import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.adapt.detector import load_detector
from nanoseg.onnx_graphs.adapt.detector_spec import read_detector_spec
from nanoseg.onnx_graphs.model.load import read_model
from nanoseg.onnx_graphs.model.opset import to_supported_opset

PX, ANCHORS, CLASSES = 32, 16, 3
FLOAT = TensorProto.FLOAT


def node(op, inputs, output, **attributes):
    return helper.make_node(op, inputs.split(), output.split(), name=output, **attributes)


def save(path, tail, weights=(), dtype=FLOAT):
    """Write a network: a patch of 8 x 8 px is an anchor; the tail makes `out` of boxes (1, 16, 4) and scores."""
    rng = np.random.default_rng(0)
    arrays = {
        "w": rng.normal(0, 1, (4 + CLASSES, 3, 8, 8)).astype(np.float32), "table": np.array([1, 4 + CLASSES, -1]),
        "zero": np.array([0]), "four": np.array([4]), "all": np.array([99]), "two": np.array([2]),
        "one": np.array([1]), "most": np.array([9]), "iou": np.float32([0.5]), **dict(weights),
    }  # fmt: skip
    nodes = [
        node("Conv", "images w", "cells", strides=[8, 8]),
        node("Reshape", "cells table", "columns"),
        node("Transpose", "columns", "rows", perm=[0, 2, 1]),
        node("Slice", "rows zero four two", "boxes"),
        node("Slice", "rows four all two", "logits"),
        node("Sigmoid", "logits", "scores"),
        *tail,
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", dtype, [1, 3, PX, PX])],
        [helper.make_tensor_value_info("out", TensorProto.INT64, ["n", 3])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


TAILS = {
    "the operator at once": (
        [
            node("Transpose", "scores", "by_class", perm=[0, 2, 1]),
            node("NonMaxSuppression", "boxes by_class most iou", "out"),
        ],
        'boxes = "boxes" (1, 16, 4), scores = "scores" (1, 16, 3) or "logits" (1, 16, 3)',
    ),
    # torchvision moves each class's boxes apart, and takes the best class alone.
    "torchvision": (
        [
            node("ReduceMax", "scores", "best", axes=[2], keepdims=0),
            node("Unsqueeze", "best one", "by_class"),
            node("ArgMax", "scores", "class", axis=2),
            node("Cast", "class", "class_float", to=FLOAT),
            node("Mul", "class_float iou", "offsets"),
            node("Add", "boxes offsets", "moved"),
            node("NonMaxSuppression", "moved by_class most iou", "out"),
        ],
        'boxes = "moved" (1, 16, 4) or "boxes" (1, 16, 4), scores = "scores" (1, 16, 3) or "logits" (1, 16, 3)',
    ),
    # tf2onnx drops and adds axes, and says that boxes are centres.
    "tensorflow": (
        [
            node("Squeeze", "boxes zero", "boxes/squeezed"),
            node("Unsqueeze", "boxes/squeezed zero", "boxes/again"),
            node("Transpose", "scores", "by_class", perm=[0, 2, 1]),
            node("NonMaxSuppression", "boxes/again by_class most iou", "out", center_point_box=1),
        ],
        'boxes = "boxes/again" (1, 16, 4) or "boxes" (1, 16, 4), scores = "scores" (1, 16, 3) or "logits" (1, 16, 3), '
        'and box_form = "cxcywh"',
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TAILS)
def test_message_names_the_tensors_before_nms(name, tmp_path):
    tail, wanted = TAILS[name]
    path = save(tmp_path / "net.onnx", tail)
    with pytest.raises(BundleError, match=r"got NonMaxSuppression; export it without: ") as caught:
        load_detector(path)
    assert str(caught.value).endswith(f"under [outputs] of --detector-spec: {wanted}")
    boxes, scores = re.findall(r'(?:boxes|scores) = "([^"]*)"', wanted)
    spec = tmp_path / "spec.toml"
    spec.write_text(f'[outputs]\nboxes = "{boxes}"\nscores = "{scores}"\n')
    detector = load_detector(path, read_detector_spec(spec))
    assert (detector.dims["A"], detector.dims["C"]) == (ANCHORS, CLASSES)


def test_message_where_nothing_before_nms_fits(tmp_path):
    tail = [
        node("Gather", "boxes most_of", "some", axis=1),
        node("Gather", "columns most_of", "by_class", axis=1),
        node("Reshape", "some flat", "flat_boxes"),
        node("NonMaxSuppression", "flat_boxes by_class most iou", "out"),
    ]
    path = save(tmp_path / "net.onnx", tail, {"most_of": np.array([0]), "flat": np.array([1, 1, 4])})
    # The boxes are there, but what their scores are computed from is another shape.
    with pytest.raises(BundleError, match="no tensors before it have the shapes of boxes"):
        load_detector(path)


@pytest.mark.parametrize("where", ["weight", "cast", "constant"])
def test_bfloat16_inside_is_told(where, tmp_path):
    path = save(tmp_path / "net.onnx", [node("Identity", "scores", "out")])
    model = onnx.load(path)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("out", FLOAT, [1, ANCHORS, CLASSES]))
    cast = node("Cast", "scores", "half", to=TensorProto.BFLOAT16)
    back = node("Cast", "half", "whole", to=FLOAT)
    if where == "weight":
        model.graph.initializer.append(helper.make_tensor("half", TensorProto.BFLOAT16, [1], [1.0]))
        del cast
    elif where == "constant":
        cast = node("Constant", "", "half", value=helper.make_tensor("c", TensorProto.BFLOAT16, [1], [1.0]))
    nodes = [back, node("Mul", "scores whole", "mixed"), node("Identity", "mixed", "out")]
    del model.graph.node[-1]
    model.graph.node.extend(nodes if where == "weight" else [cast, *nodes])
    onnx.save(model, path)
    with pytest.raises(BundleError, match=r"net\.onnx: wanted numbers in float32 or float16, got 'half' in bfloat16"):
        to_supported_opset(path, read_model(path))
