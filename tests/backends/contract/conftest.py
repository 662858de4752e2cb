"""Bundles, and what runs them."""

import numpy as np
import pytest

from tests.backends.contract.backends import ALL, backend


def skip_without_makers():
    """What makes bundles is not on every machine with a GPU."""
    pytest.importorskip("onnx", reason="needs nanoseg[bundle]")
    pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")


def make(folder, decoder, **more):
    from nanoseg.bundle.make import BundleOptions, make_bundle
    from tests.helpers import tiny_networks as tiny

    (folder / "labels.txt").write_text("bolt\nnut\ngear\n")
    networks = {
        "detector": tiny.some_detector(folder / "detector.onnx"),
        "encoder": tiny.encoder(folder / "encoder.onnx"),
    }
    described = {"labels": folder / "labels.txt", "rescale_px": 60}
    recipe = BundleOptions(**{**networks, **described, "decoder": decoder, "name": "tiny", **more})
    return make_bundle(recipe, folder / "bundle").path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A bundle whose detector finds up to 20 objects of any picture, and whose decoder takes any number of prompts."""
    skip_without_makers()
    from tests.helpers.tiny_networks import decoder

    folder = tmp_path_factory.mktemp("tiny")
    return make(folder, decoder(folder / "decoder.onnx"))


@pytest.fixture(scope="session")
def of_sam(tmp_path_factory):
    """A bundle with segment-anything's own export: one prompt a call, four masks, and masks as prompts."""
    skip_without_makers()
    from tests.helpers.tiny_networks import sam_decoder

    folder = tmp_path_factory.mktemp("sam")
    decoder = sam_decoder(folder / "decoder.onnx")
    return make(folder, decoder, mask_decoder=decoder, all_masks=True)


@pytest.fixture(scope="session")
def engines(tmp_path_factory):
    """The store of all of them: one folder for all files of tests, so that a real GPU builds each engine once."""
    folder = tmp_path_factory.getbasetemp() / "engines"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(params=ALL)
def run(request, tiny, engines, monkeypatch):
    """The tiny bundle on each backend."""
    with backend(request.param, tiny, engines / "tiny", monkeypatch) as run:
        yield run


@pytest.fixture(scope="session")
def across(tmp_path_factory):
    """The tiny bundle with NMS across classes."""
    skip_without_makers()
    from tests.helpers.tiny_networks import decoder

    folder = tmp_path_factory.mktemp("across")
    return make(folder, decoder(folder / "decoder.onnx"), nms="across-classes")


@pytest.fixture(params=ALL)
def run_across(request, across, engines, monkeypatch):
    with backend(request.param, across, engines / "across", monkeypatch) as run:
        yield run


@pytest.fixture(params=ALL)
def run_sam(request, of_sam, engines, monkeypatch):
    with backend(request.param, of_sam, engines / "sam", monkeypatch) as run:
        yield run


@pytest.fixture(params=ALL)
def run_parts(request, engines, monkeypatch):
    """The embedded bundle."""
    with backend(request.param, "parts", engines / "parts", monkeypatch) as run:
        yield run


def same(found, other, atol=1e-4):
    """Two Detections say the same."""
    assert found.class_name.tolist() == other.class_name.tolist()
    for name in ("xyxy", "confidence", "mask_confidence"):
        np.testing.assert_allclose(getattr(found, name), getattr(other, name), atol=atol, err_msg=name)
    np.testing.assert_allclose(found.masks.logits, other.masks.logits, atol=atol)


@pytest.fixture(scope="session")
def poses(tmp_path_factory):
    """A bundle whose detector finds three keypoints of up to 20 persons, and whose frames are padded as poses' are."""
    skip_without_makers()
    from tests.helpers.tiny_networks import decoder, some_pose_detector

    folder = tmp_path_factory.mktemp("poses")
    detector = some_pose_detector(folder / "pose.onnx")
    return make(folder, decoder(folder / "decoder.onnx"), detector=detector, labels=None, rescale_px=None)


@pytest.fixture(params=ALL)
def run_poses(request, poses, engines, monkeypatch):
    with backend(request.param, poses, engines / "poses", monkeypatch) as run:
        yield run
