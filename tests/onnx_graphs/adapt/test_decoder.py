"""Mask decoders of other exporters: number of prompts and masks, and what is pruned."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.adapt.decoder import load_decoder
from nanoseg.onnx_graphs.deploy.segment import segment_graph
from nanoseg.onnx_graphs.model.simplify import unsupported_operators
from tests.helpers.onnx_run import run
from tests.helpers.tiny_networks import GRID, PLAIN_GEOMETRY, decoder, sam_decoder

SIDE = 4 * GRID


def graph_inputs(model: onnx.ModelProto) -> dict[str, list[int | str]]:
    return {v.name: [d.dim_value or d.dim_param for d in v.type.tensor_type.shape.dim] for v in model.graph.input}


def prompt(points: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "image_embeddings": rng.normal(0, 1, (1, 256, GRID, GRID)).astype(np.float32),
        "point_coords": rng.uniform(0, 64, (1, points, 2)).astype(np.float32),
        "point_labels": np.array([[2, 3, 1, 0, -1][:points]], np.float32),
    }


@pytest.mark.parametrize("opset", [16, 17, 18, 20])
def test_decoder_of_segment_anything(opset: int, tmp_path: Path) -> None:
    """orig_im_size and the large masks go, no mask prompt is the plain answer, OneHot is folded away."""
    path = decoder_of(tmp_path / "sam.onnx", opset)
    loaded = load_decoder(path)
    assert loaded.dims == {"g": 4, "N": 1, "k": 4, "m": 16}
    assert unsupported_operators(loaded.model) == []
    assert "Resize" not in {node.op_type for node in loaded.model.graph.node}
    graph = segment_graph(loaded, all_masks=True)
    assert graph_inputs(graph) == {
        "image_embeddings": [1, 256, GRID, GRID], "point_coords": [1, "points", 2], "point_labels": [1, "points"],
        "geometry": [8],
    }  # fmt: skip
    for points in (1, 2, 5):
        feeds = prompt(points)
        none = {"mask_input": np.zeros((1, 1, SIDE, SIDE), np.float32), "has_mask_input": np.zeros(1, np.float32)}
        want = run(path, **feeds, **none, orig_im_size=np.array([30, 40], np.float32))
        got = run(graph, **feeds, geometry=PLAIN_GEOMETRY)
        assert want["masks"].shape == (1, 4, 30, 40)
        for name in ("low_res_masks", "iou_predictions"):
            np.testing.assert_allclose(got[name], want[name], atol=1e-5)


def decoder_of(path: Path, opset: int) -> Path:
    """Those that reduced over axes in an attribute are of opset 17 and before."""
    sam_decoder(path, opset=min(opset, 17))
    if opset > 17:
        onnx.save(onnx.version_converter.convert_version(onnx.load(path), opset), path)
    return path


def test_decoder_of_nanosam(tmp_path: Path) -> None:
    """Its decoder gives the IoU first and has no mask to upscale."""
    path = tmp_path / "nanosam.onnx"
    model = onnx.load(sam_decoder(path, opset=16))
    iou, masks = (next(o for o in model.graph.output if o.name == n) for n in ("iou_predictions", "low_res_masks"))
    trimmed = onnx.utils.Extractor(model).extract_model(
        ["image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input"],
        ["iou_predictions", "low_res_masks"],
    )
    onnx.save(trimmed, path)
    assert [output.name for output in trimmed.graph.output] == [iou.name, masks.name]
    assert load_decoder(path).dims == {"g": 4, "N": 1, "k": 4, "m": 16}


def test_decoder_with_mask_prompts(tmp_path: Path) -> None:
    path = sam_decoder(tmp_path / "sam.onnx")
    loaded = load_decoder(path, mask_prompts=True)
    graph = segment_graph(loaded, all_masks=True)
    assert graph_inputs(graph)["mask_input"] == [1, 1, SIDE, SIDE]
    assert graph_inputs(graph)["has_mask_input"] == [1]
    feeds = prompt() | {
        "mask_input": np.random.default_rng(2).normal(0, 3, (1, 1, SIDE, SIDE)).astype(np.float32),
        "has_mask_input": np.ones(1, np.float32),
    }
    want = run(path, **feeds, orig_im_size=np.array([8, 8], np.float32))
    got = run(graph, **feeds, geometry=PLAIN_GEOMETRY)
    np.testing.assert_allclose(got["low_res_masks"], want["low_res_masks"], atol=1e-5)
    without = run(graph, **feeds | {"has_mask_input": np.zeros(1, np.float32)}, geometry=PLAIN_GEOMETRY)
    assert np.abs(without["low_res_masks"] - got["low_res_masks"]).max() > 1e-3


def test_decoder_of_one_mask(tmp_path: Path) -> None:
    path = sam_decoder(tmp_path / "single.onnx", single=True)
    loaded = load_decoder(path)
    assert loaded.dims["k"] == 1
    feeds = prompt()
    got = run(segment_graph(loaded), **feeds, geometry=PLAIN_GEOMETRY)
    none = {"mask_input": np.zeros((1, 1, SIDE, SIDE), np.float32), "has_mask_input": np.zeros(1, np.float32)}
    want = run(path, **feeds, **none, orig_im_size=np.array([8, 8], np.float32))
    np.testing.assert_allclose(got["low_res_masks"], want["low_res_masks"], atol=1e-5)
    np.testing.assert_allclose(got["iou_predictions"], want["iou_predictions"], atol=1e-6)


def fix_points(model: onnx.ModelProto) -> None:
    for value in model.graph.input:
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param == "P":
                side.dim_value = 2


def look_up_labels(model: onnx.ModelProto) -> None:
    """Labels as rows of a table, 3 the first, which has none for -2."""
    model.graph.node[0].input[0] = "kinds"
    steps = {
        "label": ("Cast", ["point_labels"]), "row": ("Sub", ["three", "label"]), "kinds": ("Gather", ["rows", "row"]),
    }  # fmt: skip
    for output, (op, inputs) in reversed(steps.items()):
        attributes = {"to": onnx.TensorProto.INT64} if op == "Cast" else {}
        model.graph.node.insert(0, onnx.helper.make_node(op, inputs, [output], **attributes))
    for name, value in {"three": np.int64(3), "rows": np.float32([1, 2, 3, 4])}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))


@pytest.mark.parametrize(
    ("make", "edit", "n"),
    [
        (lambda path: decoder(path), None, None),  # absent points, at the origin, count nothing in it
        (lambda path: decoder(path, prompts=1), None, 1),
        (lambda path: sam_decoder(path, prompts="N"), None, 1),  # any number, but absent points count
        (lambda path: decoder(path), fix_points, 1),  # always two points: an absent one cannot be tried
        (lambda path: decoder(path), look_up_labels, 1),  # an absent point breaks it
    ],
)
@pytest.mark.parametrize("masks", [False, True])
def test_decoder_number_of_prompts(
    make: Callable[[Path], Path], edit: Callable[[onnx.ModelProto], None] | None, n: int | None, masks: bool,
    tmp_path: Path,
) -> None:  # fmt: skip
    path = make(tmp_path / "decoder.onnx")
    if edit is not None:
        model = onnx.load(path)
        edit(model)
        onnx.save(model, path)
    if masks and "mask_input" not in graph_inputs(onnx.load(path)):
        with pytest.raises(BundleError, match=r"wants the inputs .*mask_input, has_mask_input, got image_embeddings"):
            load_decoder(path, mask_prompts=True)
        return
    loaded = load_decoder(path, masks)
    assert loaded.dims.get("N") == n
    graph = segment_graph(loaded)
    assert graph_inputs(graph)["point_coords"][0] == (n or "prompts")
    if n == 1:
        feeds = prompt(2) | {"point_labels": np.zeros((1, 2), np.float32)}
        if masks:
            feeds |= {"mask_input": np.ones((1, 1, SIDE, SIDE), np.float32), "has_mask_input": np.ones(1, np.float32)}
        assert run(graph, **feeds, geometry=PLAIN_GEOMETRY)["low_res_masks"].shape == (1, 1, SIDE, SIDE)


@pytest.mark.parametrize(
    ("prompts", "edit", "message"),
    [
        (3, None, "'point_coords' wants one prompt or any number, got 3"),
        ("N", "three", "'low_res_masks' wants 4 masks a prompt, or 1, got 3"),
        ("N", "labels", "'point_labels' wants float32 (N, P), got int64 (any, any)"),
        ("N", "image", "wants the inputs image_embeddings, point_coords, point_labels, got image_embeddings, point"),
    ],
)
def test_decoder_refuses(prompts: int | str, edit: str | None, message: str, tmp_path: Path) -> None:
    path = decoder(tmp_path / "decoder.onnx", prompts=prompts)
    model = onnx.load(path)
    if edit == "three":
        model.graph.node.append(onnx.helper.make_node("Slice", ["iou_predictions", "s", "e", "s2"], ["i"]))
        model.graph.node.append(onnx.helper.make_node("Slice", ["low_res_masks", "s", "e", "s2"], ["l"]))
        for name, value in {"s": 0, "e": 3, "s2": 1}.items():
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([value]), name))
        names = {
            "iou_predictions": "inner_iou",
            "low_res_masks": "inner_masks",
            "i": "iou_predictions",
            "l": "low_res_masks",
        }
        for node in model.graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        for output in model.graph.output:
            output.type.tensor_type.shape.dim[1].dim_value = 3
    elif edit == "labels":
        model.graph.input[2].type.tensor_type.elem_type = onnx.TensorProto.INT64
        model.graph.node.insert(0, onnx.helper.make_node("Cast", ["point_labels"], ["cast"], to=1))
        model.graph.node[1].input[0] = "cast"
    elif edit == "image":
        model.graph.input.append(onnx.helper.make_tensor_value_info("image_size", 1, [1]))
        model.graph.node.insert(0, onnx.helper.make_node("Mul", ["point_labels", "image_size"], ["more"]))
        model.graph.node[1].input[0] = "more"
    onnx.save(model, path)
    with pytest.raises(BundleError) as error:
        load_decoder(path)
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("weight", [3e38, np.inf, np.nan])
def test_decoder_that_overflows_loads_without_noise(weight: float, tmp_path: Path) -> None:
    """Its outputs are refused when its graph is validated; NumPy's warnings, here errors, would say nothing more."""
    path = decoder(tmp_path / "m.onnx")
    model = onnx.load(path)
    (to_pixels,) = (each for each in model.graph.initializer if each.name == "to_pixels")
    values = np.full(tuple(to_pixels.dims), weight, np.float32)
    to_pixels.CopyFrom(onnx.numpy_helper.from_array(values, "to_pixels"))
    onnx.save(model, path)
    assert load_decoder(path).dims["g"] == GRID
