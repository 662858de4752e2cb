"""Every photograph of the reference folder through the whole pipeline at full size, with formula weights.

The weights are not trained, so boxes are anywhere: the test holds that shapes, ranges and records fit together.
"""

import json

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")
torch = pytest.importorskip("torch", reason="needs nanoseg[export]")
pytest.importorskip("onnxscript", reason="needs nanoseg[export]")

import nanoseg  # noqa: E402
from nanoseg.cli import run_command  # noqa: E402
from nanoseg.sinks.records import read_record, record  # noqa: E402
from nanoseg.types import Frame  # noqa: E402
from tests.data.fill_weights import fill  # noqa: E402

NETS = {
    "yolo_nas_s": ["--labels", "coco", "--detector"],
    "nanosam_resnet18_encoder": ["--encoder"],
    "sam_prompt_encoder_mask_decoder": ["--decoder"],
}
OBJECTS = 3


@pytest.fixture(scope="module")
def photographs(shared):
    paths = sorted((shared / "coco-mini").rglob("*.jpg"))
    if not paths:
        pytest.skip("needs the photographs of ../shared/coco-mini")
    return paths


@pytest.fixture(scope="module")
def segmenter(photographs, data, tmp_path_factory):
    """Three checkpoints, made into a bundle by the one command that users have."""
    folder = tmp_path_factory.mktemp("full_size")
    files = []
    for net, flags in NETS.items():
        manifest = json.loads((data / f"manifest_{net}.json").read_text())
        weights = {name: torch.from_numpy(np.asarray(value)) for name, value in fill(manifest).items()}
        torch.save(weights, folder / f"{net}.pt")
        files += [*flags, str(folder / f"{net}.pt")]
    assert run_command(["bundle", "make", *files, "--out", str(folder / "bundle")]) == 0
    # Random scores pass any threshold or none: nothing is left out but what is most confident stays.
    with nanoseg.load(folder / "bundle", "onnxruntime", confidence=0.0, max_objects=OBJECTS) as pipeline:
        yield pipeline


@pytest.mark.slow
def test_load_every_photograph(segmenter, photographs):
    assert (segmenter.bundle.detector_px, segmenter.bundle.rescale_px, segmenter.bundle.encoder_px) == (640, 636, 1024)
    found_some = 0
    for index, path in enumerate(photographs):
        frame = Frame(cv2.imread(str(path)), index=index, captured_ns=index, name=path.name)
        found = segmenter(frame)
        check(frame, found)
        found_some += len(found) > 0
    # A box of formula weights may have no area inside the picture; three of three seldom.
    assert found_some > 0.9 * len(photographs)


def check(frame, found):
    (height, width), count = frame.size_hw, len(found)
    assert count <= OBJECTS
    assert found.xyxy.shape == (count, 4)
    assert found.confidence.shape == found.mask_confidence.shape == found.class_id.shape == (count,)
    assert found.masks.logits.shape[0] == count
    assert not count or found.masks.logits.shape[1:] == (256, 256)
    assert np.isfinite(found.masks.logits).all()
    assert ((found.confidence > 0) & (found.confidence <= 1)).all()
    assert (np.diff(found.confidence) <= 0).all()
    assert ((found.class_id >= 0) & (found.class_id < 80)).all()
    left, top, right, bottom = found.xyxy.T
    assert (left >= 0).all()
    assert (left < right).all()
    assert (right <= width).all()
    assert (top >= 0).all()
    assert (top < bottom).all()
    assert (bottom <= height).all()
    masks = found.mask
    assert masks.shape == (count, height, width)

    back = read_record(json.dumps(record(frame, found)))
    assert (back.frame, back.captured_ns, back.name) == (frame.index, frame.captured_ns, frame.name)
    assert len(back.objects) == count
    for i, one in enumerate(back.objects):
        np.testing.assert_array_equal(one.mask.decode(), masks[i])
        np.testing.assert_array_equal(np.array(one.xyxy, np.float32), found.xyxy[i])
        assert np.float32(one.confidence) == found.confidence[i]
        for polygon in found.masks.polygons(i):
            assert polygon.min() >= 0
            assert (polygon.max(0) <= (width, height)).all()
