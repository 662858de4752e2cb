"""Reference frames: in every new bundle, verified with it, added to old ones; broken ones are told."""

import json
import shutil

import cv2
import msgspec
import numpy as np
import pytest

from nanoseg.bundle import open_bundle
from nanoseg.bundle.reference import (
    MAX_BYTES,
    MAX_FRAMES,
    MAX_OBJECTS,
    Reference,
    make_reference,
    read_reference,
    reference_objects,
)
from nanoseg.errors import BundleError
from nanoseg.processing import rle
from nanoseg.sources.simulator.demo_lines import DemoLines
from tests.fakes.segmenter import detections


@pytest.fixture(scope="module")
def parts():
    return open_bundle("parts")


def test_reference_of_the_embedded_bundle(parts):
    reference = read_reference(parts.reference)
    assert parts.reference.stat().st_size <= MAX_BYTES
    assert reference.confidence == parts.confidence
    stable = [each for frame in reference.frames for each in frame.objects if each.stable]
    assert len(stable) >= 10
    for frame in reference.frames:
        width, height = frame.size_wh
        assert frame.image().shape == (height, width, 3)
        for each in frame.objects:
            mask = rle.decode({"size": (height, width), "counts": each.mask})
            assert mask.shape == (height, width)
            assert each.class_id < len(parts.labels)


def test_reference_is_small_however_many_and_large_the_images_are(parts):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (1200, 2000, 3), np.uint8) for _ in range(6)]
    line = DemoLines()
    data = make_reference(parts, [*(line.frame(index).image for index in range(2)), *noise])
    assert len(data) <= MAX_BYTES
    reference = msgspec.json.decode(data, type=Reference)
    assert 1 <= len(reference.frames) <= MAX_FRAMES
    assert all(max(frame.size_wh) <= 640 and len(frame.objects) <= MAX_OBJECTS for frame in reference.frames)
    assert any(frame.objects for frame in reference.frames)


@pytest.mark.parametrize(
    ("boxes", "class_ids", "confidence", "stable"),
    [
        ([[20, 20, 120, 120]], [1], [0.9], True),
        ([[21, 20, 121, 120]], [1], [0.85], True),
        ([[20, 20, 120, 120]], [2], [0.9], False),
        ([[20, 20, 120, 120]], [1], [0.7], False),
        ([[30, 20, 130, 120]], [1], [0.9], False),
        ([], [], [], False),
    ],
)
def test_reference_stable_is_what_noise_does_not_change(boxes, class_ids, confidence, stable):
    found = detections((240, 320), [[20, 20, 120, 120]], [1], [0.9])
    objects = reference_objects(found, detections((240, 320), boxes, class_ids, confidence))
    assert [(each.class_id, each.xyxy, each.stable) for each in objects] == [(1, (20, 20, 120, 120), stable)]


@pytest.fixture
def copy(parts, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(parts.path, folder)
    return folder


def test_reference_is_verified_with_the_bundle(copy):
    path = copy / "reference.json"
    path.write_bytes(path.read_bytes().replace(b'"stable":true', b'"stable":null', 1))
    with pytest.raises(BundleError, match=r"reference\.json: wanted sha256"):
        open_bundle(copy)


def test_reference_of_an_old_bundle_is_added(call, copy):
    manifest = (copy / "bundle.toml").read_text()
    old = manifest[: manifest.index("\n[reference]")]
    (copy / "bundle.toml").write_text(old)
    (copy / "reference.json").unlink()
    assert open_bundle(copy).reference is None
    code, out, err = call("bundle", "reference", "--bundle", copy)
    assert (code, err) == (0, "")
    assert out.startswith(f"{copy / 'reference.json'}: 2 frames with ")
    assert open_bundle(copy).reference == copy / "reference.json"
    assert (copy / "bundle.toml").read_text().startswith(old)


def test_reference_without_a_stable_object_is_told(call, copy, tmp_path):
    images = tmp_path / "grey"
    images.mkdir()
    cv2.imwrite(str(images / "grey.png"), np.full((64, 64, 3), 128, np.uint8))
    code, out, err = call("bundle", "reference", "--bundle", copy, "--images", images)
    assert code == 0
    assert "1 frame with 0 objects, 0 of them stable" in out
    assert "nanoseg bench cannot check engines by these: no object is stable; give other --images" in err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value.update(format=2), "format: wanted 1, got 2"),
        (lambda value: value["frames"][0].update(jpeg="AAAA"), "a picture of it is no JPEG of 480x360"),
        (lambda value: value["frames"][0].update(jpeg="?"), "a picture of it cannot be decoded"),
        (lambda value: value["frames"][0].update(size_wh=[480, 361]), "no JPEG of 480x361"),
        (lambda value: value["frames"][0]["objects"][0].pop("mask"), "mask"),
        (lambda value: value["frames"][0]["objects"][0].update(class_id=10**19), "class_id"),
    ],
)
def test_reference_broken_is_told(parts, tmp_path, change, message):
    value = json.loads(parts.reference.read_text())
    change(value)
    path = tmp_path / "reference.json"
    path.write_text(json.dumps(value))
    with pytest.raises(BundleError, match=message):
        read_reference(path).frames[0].image()
