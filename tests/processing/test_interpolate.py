"""Interpolation against torch's own, to the bit."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs nanoseg[export]")
if not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
    pytest.skip("torch rounds otherwise on this processor", allow_module_level=True)

from nanoseg.processing.geometry import Geometry  # noqa: E402
from nanoseg.processing.interpolate import torch_axis, torch_interpolate  # noqa: E402
from nanoseg.processing.masks import Masks  # noqa: E402

# From, to: larger, smaller, equal on a side, odd, of one row, and the small ones that torch computes otherwise.
SIZES = [
    ((256, 256), (1024, 1024)),
    ((154, 256), (97, 161)),
    ((617, 1024), (480, 799)),
    ((378, 1024), (480, 1300)),
    ((64, 100), (301, 100)),
    ((1, 256), (7, 1800)),
    ((256, 256), (64, 64)),
    ((256, 256), (65, 64)),
    ((5, 7), (33, 50)),
    ((3, 1), (1, 9)),
]


def torchs(values: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    tensor = torch.from_numpy(values)[None, None]
    return torch.nn.functional.interpolate(tensor, size_hw, mode="bilinear", align_corners=False)[0, 0].numpy()


@pytest.mark.parametrize(("size", "to"), SIZES)
def test_torch_interpolate_equals_torch(size: tuple[int, int], to: tuple[int, int]) -> None:
    values = np.random.default_rng(0).normal(0, 5, size).astype(np.float32)
    want = torchs(values, to)
    axes = [torch_axis(cells, pixels, 0, pixels) for cells, pixels in zip(size, to, strict=True)]
    np.testing.assert_array_equal(torch_interpolate(values, *axes, to), want)
    part = [slice(pixels // 3, pixels // 3 + pixels // 2) for pixels in to]
    axes = [torch_axis(cells, pixels, cut.start, cut.stop) for cells, pixels, cut in zip(size, to, part, strict=True)]
    np.testing.assert_array_equal(torch_interpolate(values, *axes, to), want[part[0], part[1]])


FRAMES = [(480, 640), (97, 161), (161, 97), (300, 300), (40, 900), (60, 64), (1024, 1024)]


@pytest.mark.parametrize("frame_hw", FRAMES)
@pytest.mark.parametrize("resize", ["pil", "nanosam"])
def test_masks_equal_torchs_to_the_pixel(resize: str, frame_hw: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 5, (2, 256, 256)).astype(np.float32)
    logits[1] = torchs(rng.normal(-1, 3, (20, 20)).astype(np.float32), (256, 256))  # smooth, as a decoder's are
    geometry = Geometry.of(frame_hw, 640, 636, 1024, resize)
    height, width = frame_hw
    wanted = []
    for one in logits:
        if resize == "pil":  # segment_anything's Sam.postprocess_masks
            square = torchs(one, (1024, 1024))[: geometry.encoder_hw[0], : geometry.encoder_hw[1]]
            wanted.append(torchs(np.ascontiguousarray(square), frame_hw) > 0)
        else:  # NanoSAM's upscale_mask
            rows, columns = (256, int(256 * width / height)) if height >= width else (int(256 * height / width), 256)
            wanted.append(torchs(np.ascontiguousarray(one[:rows, :columns]), frame_hw) > 0)
    masks = Masks(logits, np.ones(2, np.float32), geometry)
    np.testing.assert_array_equal(masks.full(), wanted)
