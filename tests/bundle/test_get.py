"""The COCO bundle at its real size, from files of the published layouts with formula weights."""

import errno
import json

import numpy as np
import pytest

import nanoseg
from nanoseg.bundle import get as get_module
from nanoseg.bundle.get import CocoNetworks, find_coco, make_coco
from nanoseg.bundle.labels import COCO
from nanoseg.errors import BundleError, UsageError
from tests.data.fill_weights import fill, image_u8

pytest.importorskip("onnxruntime")


@pytest.fixture
def files(data, tmp_path):
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.numpy")

    def weights(net):
        return fill(json.loads((data / f"manifest_{net}.json").read_text(encoding="utf-8")))

    made = {"yolo-nas-s": tmp_path / "yolo-nas-s.safetensors", "mobile-sam": tmp_path / "mobile_sam.pt"}
    safetensors.save_file(weights("yolo_nas_s"), made["yolo-nas-s"])
    torch.save(
        {name: torch.from_numpy(value) for name, value in weights("mobile_sam_vit_t").items()}, made["mobile-sam"]
    )
    return made


@pytest.mark.slow
def test_make_coco_runs_a_picture(files, tmp_path):
    steps, out = [], tmp_path / "coco"
    assert find_coco(out, None, None) is None
    bundle = make_coco(CocoNetworks(), files, "Deci YOLO-NAS; Apache-2.0", out, steps.append)
    assert bundle.labels == COCO
    assert (bundle.detector_px, bundle.rescale_px, bundle.encoder_px) == (640, 636, 1024)
    assert {graph.precision for name, graph in bundle.graphs.items() if name != "prepare"} == {"fp32"}
    assert bundle.graphs["segment_boxes"].built.file == "segment_boxes_low_rank.onnx"
    assert bundle.networks["detector"].weights.startswith("yolo-nas-s.safetensors sha256 ")
    assert find_coco(out, "s", "mobile-sam") == bundle
    assert find_coco(out, "m", None) is find_coco(out, None, "nanosam") is None
    with nanoseg.load(out, confidence=0.0, max_objects=2) as segmenter:
        found = segmenter(np.ascontiguousarray(image_u8(5, 480, 640)))
        assert found.xyxy.shape == (2, 4)
        assert found.mask.shape == (2, 480, 640)
    assert "filling YOLO-NAS S with yolo-nas-s.safetensors" in steps


def test_make_coco_on_a_full_disk(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "hidden" / "detector.onnx"))

    monkeypatch.setattr(get_module, "fill_skeleton", full)
    monkeypatch.setattr(get_module, "read_weights", lambda _: {})
    path = tmp_path / "weights.pt"
    path.write_bytes(b"")
    with pytest.raises(UsageError, match=r"coco: cannot be written: No space left on device; choose another --out$"):
        make_coco(CocoNetworks(), {"yolo-nas-s": path, "mobile-sam": path}, "", tmp_path / "coco")
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_make_coco_refuses_the_weights_of_another_size(data, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    manifest = json.loads((data / "manifest_yolo_nas_s.json").read_text(encoding="utf-8"))
    path = tmp_path / "yolo-nas-m.safetensors"
    safetensors.save_file({name: np.zeros(each["shape"], np.float32) for name, each in manifest.items()}, path)
    with pytest.raises(BundleError, match=r"yolo-nas-m\.safetensors sha256 .*: not the weights of a YOLO-NAS M"):
        make_coco(CocoNetworks("m"), {"yolo-nas-m": path, "mobile-sam": path}, "", tmp_path / "coco")
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
