"""YOLO-NAS-Pose to ONNX: the contract, its metadata, and its reduced forms."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from nanoseg.bundle.keypoints import KEYPOINT_SETS, keypoint_set_from_json
from nanoseg.errors import UsageError
from nanoseg.models.export import yolo_nas as export_module
from nanoseg.models.export.yolo_nas import export_yolo_nas
from nanoseg.models.yolo_nas_pose import YoloNasPose
from nanoseg.onnx_graphs.adapt.detector import load_detector
from nanoseg.onnx_graphs.deploy.compose import precision_of
from nanoseg.onnx_graphs.deploy.detect import detect_graph
from nanoseg.onnx_graphs.deploy.detector_metadata import padding_of
from nanoseg.onnx_graphs.fp16.to_fp16 import to_fp16
from nanoseg.onnx_graphs.int8.calibrate import Calibrator
from nanoseg.onnx_graphs.int8.quantize import quantize
from nanoseg.onnx_graphs.int8.sensitivity import measure_sensitivity
from nanoseg.onnx_graphs.model.contract import SourceNetwork
from nanoseg.onnx_graphs.model.nodes import box_decode_nodes, node_key
from nanoseg.onnx_graphs.model.pictures import example_pictures
from tests.helpers import yolo_nas_files as files
from tests.onnx_graphs.deploy.test_tensorrt_types import refusals

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
SIDE, ANCHORS = 64, 64 + 16 + 4
JOINTS = 4


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pose")
    torch.save(files.super_gradients_pose(files.pose_network(JOINTS).state_dict(), None), folder / "ckpt_best.pth")
    return export_yolo_nas(folder / "ckpt_best.pth", folder / "pose.onnx", size_px=SIDE)


@pytest.fixture(scope="module")
def detector(exported: Path) -> SourceNetwork:
    return load_detector(exported)


@pytest.fixture(scope="module")
def ranges(detector: SourceNetwork) -> Mapping[str, float]:
    calibrator = Calibrator(detector.model)
    for image in example_pictures(SIDE):
        calibrator.add(image[None])
    return calibrator.ranges()


def test_export_pose_fulfils_its_contract(exported: Path, detector: SourceNetwork) -> None:
    """It takes RGB; the network was trained on BGR."""
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    shapes = {value.name: value.shape for value in (*session.get_inputs(), *session.get_outputs())}
    assert shapes == {
        "images": [1, 3, SIDE, SIDE],
        "boxes": [1, ANCHORS, 4],
        "scores": [1, ANCHORS, 1],
        "keypoints": [1, ANCHORS, JOINTS, 3],
    }
    assert dict(detector.dims) == {"S": SIDE, "A": ANCHORS, "C": 1, "J": JOINTS}
    images = torch.rand(1, 3, SIDE, SIDE)
    found = session.run(["boxes", "scores", "keypoints"], {"images": images.numpy()})
    with torch.no_grad():
        wanted = files.pose_network(JOINTS)(images.flip(1))
    for own, other, atol in zip(found, wanted, (1e-2, 1e-4, 1e-2), strict=True):
        np.testing.assert_allclose(own, other.numpy(), atol=atol, rtol=0)


def test_export_pose_describes_itself(detector: SourceNetwork) -> None:
    about = detector.metadata
    keypoints = keypoint_set_from_json(about["keypoints"], "pose.onnx")
    assert (keypoints.names, keypoints.sigmas) == (["0", "1", "2", "3"], [])
    assert keypoints.skeleton == [(0, 1), (0, 2), (1, 3)]  # the checkpoint's
    assert {key: about[key] for key in ("architecture", "labels", "pixels_told", "rescale_px")} == {
        "architecture": "yolo_nas_pose_slim",
        "labels": '["object"]',
        "pixels_told": "yes",
        "rescale_px": str(SIDE),
    }
    assert str(padding_of(detector)) == "bottom-right 127"


@pytest.mark.parametrize("form", ["fp16", "int8"])
def test_export_pose_keeps_its_decode_float32(
    form: str, detector: SourceNetwork, ranges: Mapping[str, float], data: Path
) -> None:
    decode = box_decode_nodes(detector.model.graph.node)
    wanted = {node_key(node) for node in detector.model.graph.node} & decode
    model = quantize(detector.model, ranges, fp16_scales=True) if form == "int8" else detector.model
    reduced = to_fp16(model, box_decode_nodes(model.graph.node))
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in onnx.shape_inference.infer_shapes(reduced).graph.value_info
    }
    kept = [node for node in reduced.graph.node if node_key(node) in wanted and node.output[0] in types]
    assert len(kept) > 10
    assert not {node.op_type for node in kept if types[node.output[0]] == onnx.TensorProto.FLOAT16}
    graph = detect_graph(SourceNetwork(detector.path, reduced, detector.dims), 20)
    assert precision_of(graph) == form
    operators = json.loads((data / "tensorrt-operators" / "10.1.json").read_text())["operators"]
    assert refusals(graph, operators) == []


@pytest.mark.slow
def test_export_pose_sensitivity_counts_keypoints(detector: SourceNetwork, ranges: Mapping[str, float]) -> None:
    """The layers that only keypoints depend on have errors, too."""
    images = [image[None] for image in example_pictures(SIDE)]
    errors = {each.layer.name: each.error for each in measure_sensitivity(detector.model, ranges, images)}
    assert errors["heads.head1.pose_pred"] > 0
    assert errors["heads.head3.pose_convs.2.seq.conv"] > 0


@pytest.mark.slow
def test_export_pose_engine_builds(detector: SourceNetwork, ranges: Mapping[str, float]) -> None:
    api = pytest.importorskip("tensorrt_rtx")
    from nanoseg.backends.tensorrt.build.engine import build_engine
    from nanoseg.engines.recipe import read_recipe

    model = quantize(detector.model, ranges, fp16_scales=True)
    reduced = to_fp16(model, box_decode_nodes(model.graph.node))
    graph = detect_graph(SourceNetwork(detector.path, reduced, detector.dims), 20)
    built = build_engine(api, graph.SerializeToString(), read_recipe("detect"), name="detect", load=False)
    assert len(built.plan) > 10_000


# number of keypoints, option, the set that is taken, the class, whether a note tells that it was assumed
SETS = {
    "COCO's by number": (17, None, "coco", "person", True),
    "CrowdPose's by number": (14, None, "crowdpose", "person", True),
    "AnimalPose's by number": (20, None, "animalpose", "animal", True),
    "given": (17, "coco", "coco", "person", False),
}


@pytest.mark.parametrize("case", SETS)
def test_export_pose_names_keypoints(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count, option, name, label, assumed = SETS[case]
    torch.save({"net": YoloNasPose("slim", count).state_dict()}, tmp_path / "pose.pth")
    about: dict[str, str] = {}
    notes: list[str] = []
    monkeypatch.setattr(export_module, "export_onnx", lambda *_, metadata, **__: about.update(metadata))
    export_yolo_nas(tmp_path / "pose.pth", tmp_path / "x.onnx", keypoints=option, print_note=notes.append)
    assert keypoint_set_from_json(about["keypoints"], "") == KEYPOINT_SETS[name]
    assert json.loads(about["labels"]) == [label]
    assert any("does not name its" in note for note in notes) == assumed
    assert any("assuming BGR in 0..1" in note for note in notes)
    assert about["rescale_px"] == "640"


def test_export_pose_takes_a_file_of_keypoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(files.super_gradients_pose(files.pose_network(JOINTS).state_dict(), None), tmp_path / "pose.pth")
    (tmp_path / "bolt.toml").write_text(
        'names = ["tip", "neck", "left", "right"]\nsigmas = [0.05, 0.05, 0.1, 0.1]\nskeleton = [[0, 1], [2, 3]]\n'
    )
    about: dict[str, str] = {}
    monkeypatch.setattr(export_module, "export_onnx", lambda *_, metadata, **__: about.update(metadata))
    given = {"keypoints": str(tmp_path / "bolt.toml"), "labels": "bolt"}
    export_yolo_nas(tmp_path / "pose.pth", tmp_path / "x.onnx", **given)
    found = keypoint_set_from_json(about["keypoints"], "")
    assert (found.names[1], found.sigmas[2], found.skeleton) == ("neck", 0.1, [(0, 1), (2, 3)])
    assert json.loads(about["labels"]) == ["bolt"]


REFUSED = {
    "keypoints of another count": ({"keypoints": "coco"}, "--keypoints: wanted 4 names, one a keypoint of .*, got 17"),
    "no such keypoints": ({"keypoints": "cooc"}, "--keypoints: wanted coco, crowdpose, animalpose or a TOML file, got"),
    "labels of another count": ({"labels": "a,b"}, "--labels: wanted 1 names"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_export_pose_refuses_options(case: str, exported: Path, tmp_path: Path) -> None:
    options, message = REFUSED[case]
    with pytest.raises(UsageError, match=message):
        export_yolo_nas(exported.with_name("ckpt_best.pth"), tmp_path / "x.onnx", **options)
    assert list(tmp_path.iterdir()) == []


def test_export_detector_refuses_keypoints(tmp_path: Path) -> None:
    torch.save({"net": files.state()}, tmp_path / "detector.pth")
    with pytest.raises(UsageError, match="--keypoints: wanted a checkpoint of YOLO-NAS-Pose, got a detector"):
        export_yolo_nas(tmp_path / "detector.pth", tmp_path / "x.onnx", keypoints="coco")
