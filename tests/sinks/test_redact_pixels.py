"""Regions made unrecognisable: what they depend on, and that nothing else changes."""

import numpy as np
import pytest

pytest.importorskip("cv2")
from nanoseg.errors import UsageError
from nanoseg.processing.upsampling import Region
from nanoseg.sinks.redact_pixels import FILL_GREY, LEVEL, MODES, check_mode, hide_regions

HEIGHT, WIDTH = 120, 160
REGIONS = [
    Region(40, 30, 120, 90),
    Region(0, 0, 30, 80),
    Region(130, 100, 160, 120),
    Region(0, 0, 160, 4),
    Region(50, 50, 51, 51),
    Region(50, 50, 53, 51),
    Region(0, 0, WIDTH, HEIGHT),
]


def noise(seed=0, height=HEIGHT, width=WIDTH):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def inside(region):
    return slice(region.top, region.bottom), slice(region.left, region.right)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("region", REGIONS)
def test_hide_regions_changes_the_region_alone(region, mode):
    image = noise()
    hidden = hide_regions(image, [region], mode)
    np.testing.assert_array_equal(image, noise())
    assert not np.shares_memory(hidden, image)
    outside = np.ones((HEIGHT, WIDTH), bool)
    outside[inside(region)] = False
    np.testing.assert_array_equal(hidden[outside], image[outside])
    equal = (hidden[inside(region)] == image[inside(region)]).all(2)
    assert np.count_nonzero(equal) <= 0.001 * equal.size


@pytest.mark.parametrize("mode", MODES)
def test_hide_regions_skips_regions_without_pixels(mode):
    image = noise()
    np.testing.assert_array_equal(hide_regions(image, [Region(9, 9, 9, 20), Region(5, 7, 3, 9)], mode), image)
    np.testing.assert_array_equal(hide_regions(image, [], mode), image)


def test_fill_depends_on_no_pixel():
    hidden = [hide_regions(noise(seed), REGIONS[:4], "fill") for seed in (1, 2)]
    for region in REGIONS[:4]:
        assert (hidden[0][inside(region)] == FILL_GREY).all()
        assert (hidden[1][inside(region)] == FILL_GREY).all()


@pytest.mark.parametrize("mode", ["pixelate", "blur"])
@pytest.mark.parametrize("times", [1, 3])
def test_averages_are_all_that_is_left(mode, times):
    """Whatever the size of a region, the order of the pixels in its 4 x 3 blocks makes no difference."""
    height, width = 60 * times, 80 * times
    block = 20 * times
    image = noise(3, height, width)
    shuffled = image.copy()
    for top in range(0, height, block):
        for left in range(0, width, block):
            cell = shuffled[top : top + block, left : left + block]
            cell[:] = np.random.default_rng(top + left).permutation(cell.reshape(-1, 3)).reshape(cell.shape)
    whole = [Region(0, 0, width, height)]
    hidden = hide_regions(image, whole, mode)
    np.testing.assert_array_equal(hide_regions(shuffled, whole, mode), hidden)
    if mode == "pixelate":
        assert len(np.unique(hidden.reshape(-1, 3), axis=0)) <= 12
        assert (hidden % LEVEL == LEVEL // 2).all()


@pytest.mark.parametrize("mode", ["pixelate", "blur"])
def test_larger_region_hides_the_smaller_one(mode):
    """A part that is found on its own does not show in finer blocks than the object."""
    image = noise()
    large, small = Region(20, 20, 140, 110), Region(40, 40, 60, 60)
    expected = hide_regions(image, [large], mode)
    for regions in ([large, small], [small, large]):
        np.testing.assert_array_equal(hide_regions(image, regions, mode), expected)


def test_check_mode_names_the_modes():
    for mode in MODES:
        check_mode(mode)
    with pytest.raises(UsageError, match="redact: mode: wanted blur, pixelate, fill, got mosaic"):
        check_mode("mosaic")
