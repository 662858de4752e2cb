"""Networks filled without torch: their outputs are those of the published implementations for the same weights."""

import json

import numpy as np
import onnx
import pytest

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.model.run import Session
from nanoseg.onnx_graphs.skeletons.fill import FOLDER, SKELETONS, fill_skeleton, skeleton_path
from nanoseg.onnx_graphs.skeletons.fuse import fuse_yolo_nas
from nanoseg.onnx_graphs.skeletons.recipe import apply_recipe
from tests.data.fill_weights import fill, normal_f32, uniform_f32

ORIGIN = "weights.pt sha256 12"


@pytest.fixture(scope="module")
def weights(data):
    def read(net):
        return fill(json.loads((data / f"manifest_{net}.json").read_text(encoding="utf-8")))

    return read


def test_skeletons_are_small():
    files = {path.name for path in FOLDER.glob("*.xz")}
    assert files == {skeleton_path(name).name for name in SKELETONS}
    assert sum(skeleton_path(name).stat().st_size for name in SKELETONS) < 100_000


def sampled(golden, name, value):
    return value.reshape(-1)[:: int(golden[f"{name}.stride"])], golden[f"{name}.sample"]


def test_fill_mobile_sam_encoder_equals_its_golden(weights, data, tmp_path):
    path = fill_skeleton("mobile_sam_tiny_vit", weights("mobile_sam_vit_t"), tmp_path / "e.onnx", origin=ORIGIN)
    golden = np.load(data / "golden_mobile_sam_tinyvit.npz")
    got = Session(path, "e")(["image_embeddings"], {"image": normal_f32(21, (1, 3, 1024, 1024))})["image_embeddings"]
    np.testing.assert_allclose(*sampled(golden, "image_embeddings", got), atol=5e-5)
    metadata = {each.key: each.value for each in onnx.load(path).metadata_props}
    assert metadata == {"architecture": "mobile_sam_tiny_vit", "weights": ORIGIN}


def test_fill_mask_decoder_equals_its_golden(weights, data, tmp_path):
    path = fill_skeleton("sam_mask_decoder", weights("mobile_sam_vit_t"), tmp_path / "d.onnx", origin=ORIGIN)
    golden = np.load(data / "golden_sam_mask_decoder.npz")
    session, image = Session(path, "d"), normal_f32(31, (1, 256, 64, 64))
    for case in ("box", "point"):
        feeds = {
            "image_embeddings": image,
            "point_coords": golden[f"{case}.point_coords"].astype(np.float32),
            "point_labels": golden[f"{case}.point_labels"].astype(np.float32),
        }
        got = session(list(session.outputs), feeds)
        np.testing.assert_allclose(got["iou_predictions"], golden[f"{case}.iou_predictions"], atol=1e-5)
        np.testing.assert_allclose(*sampled(golden, f"{case}.low_res_masks", got["low_res_masks"]), atol=3e-4)


@pytest.mark.parametrize("size", ["s", *(pytest.param(size, marks=pytest.mark.slow) for size in "ml")])
def test_fill_yolo_nas_has_its_form(size, weights, tmp_path):
    path = fill_skeleton(f"yolo_nas_{size}", weights(f"yolo_nas_{size}"), tmp_path / "n.onnx", origin=ORIGIN)
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert not [constant.name for constant in model.graph.initializer if constant.doc_string]
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.output}
    assert shapes == {"boxes": [1, 8400, 4], "scores": [1, 8400, 80]}


@pytest.fixture(scope="module")
def small(weights):
    return weights("yolo_nas_s")


def test_fill_yolo_nas_of_other_forms_is_the_same(small, tmp_path):
    """Older files lack rbr_reparam; a shortcut of 0 or less is multiplied in the graph."""
    first = fill_skeleton("yolo_nas_s", small, tmp_path / "a.onnx", origin=ORIGIN).read_bytes()
    older = {name: value for name, value in small.items() if ".rbr_reparam." not in name and "num_batches" not in name}
    assert fill_skeleton("yolo_nas_s", older, tmp_path / "b.onnx", origin=ORIGIN).read_bytes() == first


def test_fuse_yolo_nas_keeps_single_convolutions(small):
    fused = fuse_yolo_nas(small)
    again = fuse_yolo_nas({**fused.weights})
    assert not fused.factors
    assert all(np.array_equal(again.weights[name], value) for name, value in fused.weights.items())


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [-0.7, 0.0])
def test_fill_yolo_nas_with_a_shortcut_that_cannot_be_folded(alpha, small, tmp_path):
    """The same network, its sign or gain moved elsewhere, has the same outputs as torch's where torch is there."""
    torch = pytest.importorskip("torch")
    from nanoseg.models.yolo_nas import YoloNas

    changed = {**small, "backbone.stage2.blocks.bottlenecks.1.alpha": np.array([alpha], np.float32)}
    path = fill_skeleton("yolo_nas_s", changed, tmp_path / "n.onnx", origin=ORIGIN)
    onnx.checker.check_model(onnx.load(path))
    images = uniform_f32(3, (1, 3, 640, 640))
    got = Session(path, "n")(["boxes", "scores"], {"images": images})
    network = YoloNas("s").eval()
    network.load_state_dict({name: torch.from_numpy(value) for name, value in changed.items()})
    with torch.no_grad():
        boxes, scores = network(torch.from_numpy(images))
    np.testing.assert_allclose(got["boxes"], boxes, atol=2e-2)
    np.testing.assert_allclose(got["scores"], scores, atol=1e-4)


WRONG = {
    "another size": (lambda w: {n: v for n, v in w.items() if ".bottlenecks.4." not in n}, "missing"),
    "a weight more": (lambda w: {**w, "other.weight": np.ones(3, np.float32)}, r"1 unexpected \(other\.weight\)"),
    "one weight less": (
        lambda w: {n: v for n, v in w.items() if n != "neck.neck1.upsample.bias"}, "neck1.upsample.bias"),
    "a BatchNorm less": (
        lambda w: {n: v for n, v in w.items() if n != "neck.neck1.conv.bn.running_var"}, "neck1.conv.bn.running_var"),
    "other classes": (
        lambda w: {**w, "heads.head1.cls_pred.bias": np.ones(3, np.float32)}, "cls_pred.bias of another shape"),
    "NaN": (
        lambda w: {**w, "heads.head1.cls_pred.bias": np.full(80, np.nan, np.float32)}, "cls_pred.bias holds NaN"),
    "integers": (
        lambda w: {**w, "heads.head1.cls_pred.bias": np.ones(80, np.int64)}, "cls_pred.bias of no floating-point type"),
    "NaN as a shortcut's gain": (
        lambda w: {**w, "backbone.stage2.blocks.bottlenecks.1.alpha": np.array([np.nan], np.float32)},
        r"bottlenecks\.1\.alpha holds NaN"),
    "nothing": (lambda _: {}, "missing"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_fill_refuses_other_weights(case, small, tmp_path):
    change, message = WRONG[case]
    with pytest.raises(BundleError, match=message) as raised:
        fill_skeleton("yolo_nas_s", change(small), tmp_path / "n.onnx", origin=ORIGIN)
    assert str(raised.value).startswith(ORIGIN)
    assert not list(tmp_path.iterdir())


def test_apply_recipe_joins_and_transposes():
    weights = {"a": np.arange(6.0).reshape(2, 3), "b": np.full((1, 3), 9.0)}
    got = apply_recipe('{"of":["a","b"],"do":[["transpose",1,0],["scale",0.5]]}', weights, (3, 3))
    assert got.tolist() == [[0, 1.5, 4.5], [0.5, 2, 4.5], [1, 2.5, 4.5]]
