"""The pipeline on a made-up GPU: frames of many sizes, and of sizes that the engine was not built for."""

import shutil
from collections import Counter

import numpy as np
import pytest

import nanoseg
from nanoseg.backends.tensorrt.pipeline.host_preprocess import HostPreprocess
from nanoseg.errors import EngineError
from nanoseg.processing.geometry import SAM_STD
from tests.backends.contract.backends import backend
from tests.backends.contract.conftest import same
from tests.backends.tensorrt.pipeline.frames import DESKTOP, IMAGE, on_gpu
from tests.data.fill_weights import image_u8


def test_frame_sizes_free_the_least_recently_used(on):
    sizes = [image_u8(i, 120 + 10 * i, 160) for i in range(7)]
    with on(DESKTOP) as run, run.load(confidence=0.2) as segmenter:
        for image in sizes:
            segmenter(image)
        alive = run.cuda.alive
        wanted = [segmenter(image) for image in sizes]
        assert run.cuda.alive == alive
        made = Counter(run.cuda.allocations)
        for image, found in zip(sizes[-4:], wanted[-4:], strict=True):
            same(segmenter(image), found)
        assert run.cuda.allocations == made
        same(segmenter(sizes[0]), wanted[0])
        assert run.cuda.allocations["exec"] == made["exec"] + 1


@pytest.mark.parametrize(
    ("size", "what_to_do"),
    [
        ((100, 160), r"lower min of .*dimensions.height.* in prepare.toml .see engines/README.md. and run"),
        ((120, 150), r"for an engine that takes this one lower min"),
        ((100, 2000), r"for an engine that takes this one lower min"),
        ((1081, 160), r"nanoseg build --bundle BUNDLE --max-frame 1920x1081 makes an engine"),
        ((120, 1921), r"nanoseg build --bundle BUNDLE --max-frame 1921x1080 makes an engine"),
    ],
)
def test_frame_sizes_refuse_device_frames_outside_the_profile(on, size, what_to_do):
    height, width = size
    got = rf"built for frames of 160x120 to 1920x1080, got {width}x{height} on the GPU; an array of the host may"
    image = image_u8(7, *size)
    with on(DESKTOP) as run, run.load(confidence=0.2) as segmenter:
        found = segmenter(IMAGE)
        with nanoseg.load(run.bundle, "onnxruntime", confidence=0.2) as cpu:  # which prepares all frames so
            wanted = cpu(image)
        same(segmenter(image), wanted)
        same(next(segmenter.stream([image]))[1], wanted)
        np.testing.assert_array_equal(segmenter.detect(image).xyxy, wanted.xyxy)
        there, free = on_gpu(run, image)
        made = Counter(run.cuda.allocations)
        for call in (segmenter, segmenter.embed, segmenter.detect):
            with pytest.raises(EngineError, match=rf"^prepare.engine: {got} have any size; .*{what_to_do}"):
                call(there)
        same(segmenter(IMAGE), found)
        assert run.cuda.allocations == made  # no frame's place went for one that was refused
        free()


def test_frame_sizes_outside_the_profile_share_a_buffer(on):
    images = [image_u8(i, 90 + i, 130 + 10 * i) for i in range(7)]  # 90x130 to 96x190
    with on(DESKTOP) as run, run.load(confidence=0.2, max_objects=4) as segmenter:
        wanted = [segmenter(image) for image in images]
        assert len(segmenter(IMAGE)) > 3
        list(segmenter.stream([*images, IMAGE, IMAGE]))
        made = Counter(run.cuda.allocations)
        for image, found in zip(images, wanted, strict=True):
            run.cuda.calls.clear()
            same(segmenter(image), found)
            assert run.cuda.calls["cuMemcpyHtoDAsync"] == 3 + 1  # what prepare would have made, and prompts
            assert run.cuda.calls["cuGraphLaunch"] == 3  # detect, embed, segment
            segmenter(IMAGE)
        for (_, found), other in zip(segmenter.stream(images), wanted, strict=True):
            same(found, other)
        del found  # which keeps the pinned memory that it is a view of
        assert run.cuda.allocations == made


def test_host_preprocess_equals_the_engine(engines, monkeypatch):
    """In the networks' own precisions; resized pixels may be a level apart."""
    image = image_u8(3, 480, 640)
    with backend(DESKTOP, "parts", engines / "parts", monkeypatch) as run, run.load() as segmenter:
        pipeline, made = segmenter.pipeline, []
        slot, resources = pipeline._slots[0], pipeline._resources
        on_host = HostPreprocess(resources, slot._intermediate, pipeline._preprocessor())
        for buffer in (slot._frame_buffer(image), on_host):
            buffer.upload(image)
            buffer.preprocess()
            resources.detect.synchronize()
            tensors = [slot._intermediate.device_array(name) for name in ("images", "image", "geometry")]
            made.append([run.cuda.array(each.address, each.shape, each.dtype).copy() for each in tensors])
        on_host.close()
        for one, other in zip(*made, strict=True):
            assert one.dtype == other.dtype
        (images, image, geometry), (host_images, host_image, host_geometry) = made
        assert image.dtype == np.float16
        np.testing.assert_allclose(images, host_images, atol=1.01 / 255)
        np.testing.assert_allclose(image, host_image, atol=1.01 / min(SAM_STD), rtol=1e-3)
        np.testing.assert_array_equal(geometry, host_geometry)


def test_frames_are_preprocessed_on_the_host_where_prepare_has_no_engine(on, tmp_path, caplog):
    """As where TensorRT refuses to build it. Frames on the GPU want it, and say so."""
    with on(DESKTOP) as run:
        shutil.copytree(run.engines, tmp_path / "engines")
        for engine in (tmp_path / "engines").rglob("prepare.engine"):
            engine.unlink()
        with (
            nanoseg.load(run.bundle, "tensorrt", engines=tmp_path / "engines", confidence=0.2) as segmenter,
            nanoseg.load(run.bundle, "onnxruntime", confidence=0.2) as cpu,
        ):
            assert "tiny: the host preprocesses frames instead, which is slower: " in caplog.text
            wanted = cpu(IMAGE)
            same(segmenter(IMAGE), wanted)
            same(next(segmenter.stream([IMAGE]))[1], wanted)
            there, free = on_gpu(run, IMAGE)
            with pytest.raises(EngineError, match="prepare: a frame on the GPU wants its engine"):
                segmenter(there)
            free()
