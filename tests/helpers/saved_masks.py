"""Saved masks of a small image, as `nanoseg segment --out` writes them."""

import numpy as np

from nanoseg.sinks.saved_masks import SavedMasks, image_sha256
from tests.data.fill_weights import image_u8
from tests.fakes.engines import DECODER, GRID

SIDE = 4 * GRID
HEIGHT, WIDTH = 48, 64
IMAGE = image_u8(1, HEIGHT, WIDTH)


def saved_masks(count=1, size_hw=(HEIGHT, WIDTH), side=SIDE, image=IMAGE, bundle="fake", decoder=DECODER):
    points = np.tile(np.float32([[[1, 2, 1], [0, 0, -1]]]), (count, 1, 1))
    ones = np.ones(count, np.float32)
    logits, origin = np.ones((count, side, side), np.float32), (image_sha256(image), bundle, decoder)
    return SavedMasks(logits, ones, ones, np.arange(count), points, np.array(size_hw), *origin)
