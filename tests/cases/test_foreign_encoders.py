"""Image encoders of other exporters: names, layout, pixels and types."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.adapt.detector_spec import EncoderSpec
from nanoseg.onnx_graphs.adapt.encoder import load_encoder
from nanoseg.onnx_graphs.deploy.segment import embed_graph
from nanoseg.processing.geometry import SAM_MEAN, SAM_STD
from tests.helpers.onnx_run import run
from tests.helpers.tiny_networks import BYTE, FLOAT, HALF

PX, GRID = 64, 4
DOUBLE = onnx.TensorProto.DOUBLE


def foreign(
    path: Path, name: str = "input_image", output: str = "image_embeddings", layout: str = "nchw", dtype: int = FLOAT,
    inside: float = 0, more: bool = False, side: int | str = PX,
) -> Path:  # fmt: skip
    """A convolution, its pixels normalised by itself where `inside`: what their largest level is."""
    weight = np.random.default_rng(0).normal(0, 0.03, (256, 3, 16, 16))
    kind = FLOAT if dtype == BYTE else dtype
    of = helper.tensor_dtype_to_np_dtype(kind)
    constants = {"w": weight.astype(of), "zero": np.array([0]), "mean": None, "std": None}
    for key, value in (("mean", SAM_MEAN), ("std", SAM_STD)):
        constants[key] = (np.reshape(value, (1, 3, 1, 1)) * (inside or 255) / 255).astype(of)
    nodes, x = [helper.make_node("Cast", [name], ["float"], to=kind)], "float"

    def add(op: str, *inputs: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op, inputs, [f"t{len(nodes)}"], **attributes))
        return f"t{len(nodes) - 1}"

    if layout == "hwc":
        x = add("Unsqueeze", x, "zero")
    if layout != "nchw":
        x = add("Transpose", x, perm=[0, 3, 1, 2])
    if inside:
        x = add("Div", add("Sub", x, "mean"), "std")
    nodes.append(helper.make_node("Conv", [x, "w"], [output], strides=[16, 16]))
    shape = {"nchw": (1, 3, side, side), "nhwc": (1, side, side, 3), "hwc": (side, side, 3)}[layout]
    dims = (1, 256, GRID, GRID) if side == PX else ("a", "b", "c", "d")
    outputs = [helper.make_tensor_value_info(output, kind, dims)]
    if more:
        nodes.append(helper.make_node("ReduceMean", [output], ["interm"], axes=[1]))
        outputs.insert(0, helper.make_tensor_value_info("interm", kind, (1, 1, GRID, GRID)))
    graph = helper.make_graph(
        nodes, "e", [helper.make_tensor_value_info(name, dtype, shape)], outputs,
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


LEVELS = {"pixels": "0..255"}
TAKEN = {
    "samexporter": ({}, {}),
    "other names": ({"name": "pixel_values", "output": "last_hidden_state"}, {}),
    "more outputs": ({"name": "x", "more": True}, {}),
    "named": ({"name": "x", "output": "y"}, {"input": "x", "output": "y"}),
    "samexporter with preprocessing": ({"layout": "hwc", "inside": 255}, {"layout": "hwc", **LEVELS}),
    "open sides": ({"layout": "hwc", "inside": 255, "side": "h"}, {"layout": "hwc", "size_px": PX, **LEVELS}),
    "bytes": ({"layout": "nhwc", "inside": 255, "dtype": BYTE}, {"layout": "nhwc", **LEVELS}),
    "0 to 1": ({"inside": 1}, {"pixels": "0..1"}),
    "float16": ({"dtype": HALF}, {}),
    "float16 by our names": ({"dtype": HALF, "name": "image"}, {}),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_encoder_of_another_exporter(kind: str, tmp_path: Path) -> None:
    """Whatever it takes, the bundle's graph gives what nanoseg's own form of it gives for the same image."""
    options, spec = TAKEN[kind]
    levels = np.random.default_rng(1).integers(0, 256, (1, 3, PX, PX))
    mean, std = (np.reshape(each, (1, 3, 1, 1)) for each in (SAM_MEAN, SAM_STD))
    normalised = ((levels - mean) / std).astype(np.float32)
    normalised[..., 48:] = 0  # padding
    want = run(foreign(tmp_path / "own.onnx", "image"), image=normalised)["image_embeddings"]
    got = load_encoder(foreign(tmp_path / "e.onnx", **options), EncoderSpec(**spec))
    assert got.dims == {"E": PX, "g": GRID}
    graph = embed_graph(got)
    native = helper.tensor_dtype_to_np_dtype(graph.graph.input[0].type.tensor_type.elem_type)
    embedding = run(graph, image=normalised.astype(native))["image_embeddings"]
    atol = 0.1 if options.get("dtype") in (HALF, BYTE) else 1e-3  # bytes: padding is the mean, rounded
    np.testing.assert_allclose(embedding, want, atol=atol)


@pytest.mark.parametrize(
    ("options", "spec", "message"),
    [
        ({"layout": "hwc", "inside": 255}, {}, r"one input, an image \(1, 3, E, E\), got input_image \(64, 64, 3\)"),
        ({"layout": "nhwc"}, {}, r"got input_image \(1, 64, 64, 3\); give input, output, layout and pixels under"),
        ({"dtype": BYTE}, {}, r'is uint8: its normalisation is inside; write pixels = "0..255"'),
        ({"side": "s"}, {}, "wants a square of one size, got .*; give its side, size_px"),
        ({"dtype": DOUBLE, "name": "image"}, {}, r"'image' wants float32 \(1, 3, E, E\), got double"),
        ({}, {"input": "y"}, r"wanted the input y of \[encoder\], got input_image"),
    ],
)  # fmt: skip
def test_encoder_refused(options: dict, spec: dict, message: str, tmp_path: Path) -> None:
    path = foreign(tmp_path / "e.onnx", **options)
    with pytest.raises(BundleError, match=message) as error:
        load_encoder(path, EncoderSpec(**spec))
    assert str(error.value).startswith(f"{path}: ")


def test_encoder_of_the_known_case(made_case: Callable[[str], Path]) -> None:
    encoder = load_encoder(made_case("models/14-encoder-input-image") / "e.onnx")
    assert encoder.dims == {"E": 256, "g": 16}
