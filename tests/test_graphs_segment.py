"""embed.onnx and segment.onnx against the networks that they were made of."""

from pathlib import Path

import numpy as np
import pytest

from nanoseg.errors import BundleError
from nanoseg.graphs.compose import NOT_IN_TENSORRT
from nanoseg.graphs.core import DECODER, ENCODER, NO_MASK, load_core
from nanoseg.graphs.segment import embed_graph, segment_graph
from tests.tiny_networks import GRID, decoder, encoder, run, varying_sides

# Only the encoder's scale and nothing else of the geometry may have an influence.
GEOMETRY = np.array([7, 7, 7, 7, 0.5, 0.25, 7, 7], np.float32)
SCALE = GEOMETRY[4:6]


def prompts(n: int, points: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(n)
    return {
        "image_embeddings": rng.normal(size=(1, 256, GRID, GRID)).astype(np.float32),
        "point_coords": rng.uniform(0, 100, (n, points, 2)).astype(np.float32),
        "point_labels": rng.integers(0, 4, (n, points)).astype(np.float32),
    }


def in_encoder_px(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**feeds, "point_coords": feeds["point_coords"] * SCALE}


def test_embed_is_the_encoder(tmp_path: Path) -> None:
    core = load_core(encoder(tmp_path / "encoder.onnx"), ENCODER)
    image = np.random.default_rng(1).normal(size=(1, 3, 64, 64)).astype(np.float32)
    graph = embed_graph(core)
    assert np.array_equal(run(graph, image=image)["image_embeddings"], run(core.path, image=image)["image_embeddings"])
    assert varying_sides(graph) == {}


@pytest.mark.parametrize("tail", [True, False])
@pytest.mark.parametrize(("n", "points"), [(1, 1), (1, 2), (9, 2), (8, 5)])
def test_the_best_mask(n: int, points: int, tail: bool, tmp_path: Path) -> None:
    core = load_core(decoder(tmp_path / "decoder.onnx", tail=tail), DECODER)
    feeds = prompts(n, points)
    plain = run(core.path, **in_encoder_px(feeds))
    got = run(segment_graph(core), **feeds, geometry=GEOMETRY)
    best = plain["iou_predictions"].argmax(1)
    rows = np.arange(n)
    assert np.array_equal(got["iou_predictions"], plain["iou_predictions"][rows, best][:, None])
    assert np.allclose(got["low_res_masks"], plain["low_res_masks"][rows, best][:, None], atol=1e-4)
    assert n == 1 or len(set(best)) > 1  # the case tells the masks apart


def test_the_choice_comes_before_the_masks_where_it_can(tmp_path: Path) -> None:
    early = segment_graph(load_core(decoder(tmp_path / "a.onnx"), DECODER)).graph.node
    late = segment_graph(load_core(decoder(tmp_path / "b.onnx", tail=False), DECODER)).graph.node
    ends = [next(node.op_type for node in nodes if node.output[0] == "low_res_masks") for nodes in (early, late)]
    assert ends == ["Reshape", "GatherND"]


def test_all_masks(tmp_path: Path) -> None:
    core = load_core(decoder(tmp_path / "decoder.onnx"), DECODER)
    feeds = prompts(4)
    got, want = run(segment_graph(core, True), **feeds, geometry=GEOMETRY), run(core.path, **in_encoder_px(feeds))
    for name, value in want.items():
        assert np.array_equal(got[name], value)


def test_a_decoder_made_elsewhere(tmp_path: Path) -> None:
    """One prompt a call, an older opset, and SAM's inputs for a mask that is not there."""
    path = decoder(tmp_path / "decoder.onnx", prompts=1, mask_input=True, opset=16)
    core = load_core(path, DECODER, NO_MASK)
    graph = segment_graph(core)
    assert [value.name for value in graph.graph.input] == [
        "image_embeddings", "point_coords", "point_labels", "geometry",
    ]  # fmt: skip
    assert graph.graph.input[1].type.tensor_type.shape.dim[0].dim_value == 1
    feeds, absent = prompts(1), {"mask_input": np.zeros((1, 1, 16, 16), np.float32)}
    plain = run(path, **in_encoder_px(feeds), **absent, has_mask_input=np.zeros(1, np.float32))
    got = run(graph, **feeds, geometry=GEOMETRY)
    best = int(plain["iou_predictions"].argmax())
    assert np.allclose(got["low_res_masks"][0, 0], plain["low_res_masks"][0, best], atol=1e-4)


def test_is_what_tensorrt_parses(tmp_path: Path) -> None:
    graph = segment_graph(load_core(decoder(tmp_path / "decoder.onnx"), DECODER))
    assert not {node.op_type for node in graph.graph.node} & NOT_IN_TENSORRT
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", 19)]
    sides = varying_sides(graph)
    assert sides["point_coords"] == ["prompts", "points", ""]
    assert "image_embeddings" not in sides


def test_masks_of_another_size(tmp_path: Path) -> None:
    import onnx

    path = decoder(tmp_path / "decoder.onnx")
    model = onnx.load(path)
    for side in model.graph.output[0].type.tensor_type.shape.dim[2:]:
        side.dim_value = 17
    onnx.save(model, path)
    with pytest.raises(BundleError, match=r"decoder.onnx: 'low_res_masks' wants sides of 16, four times g, got 17"):
        segment_graph(load_core(path, DECODER))
