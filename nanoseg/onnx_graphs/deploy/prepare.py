"""Compose prepare.onnx: from a frame of any size to the networks' inputs and the geometry, all on the device.

Resizing equals cv2.INTER_LINEAR: linear, half-pixel centres, rounded half up to integer levels. Sizes are computed in
integers, because TensorRT takes shapes from nothing else.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.model.builder import GraphBuilder, Value, build_model, tensor_info
from nanoseg.processing.geometry import CENTRED, SAM_MEAN, SAM_STD, Padding

_ONE, _TWO = np.array([1], np.int64), np.array([2], np.int64)


class _Size(NamedTuple):
    """Names of (1,) int64 tensors."""

    height: str
    width: str


def prepare_graph(
    detector_px: int,
    rescale_px: int,
    encoder_px: int,
    images: type[np.generic] = np.float32,
    image: type[np.generic] = np.float32,
    padding: Padding = CENTRED,
) -> onnx.ModelProto:
    """Compose the graph that prepares a frame for detector and encoder.

    Input: `frame` uint8 (1, H, W, 3) BGR, H and W dynamic.

    Outputs: `images` (1, 3, S, S), RGB in 0..1, letterboxed; `image` (1, 3, E, E), normalised, zero below and to the
    right; `geometry` float32 (8,): detector x_scale, y_scale, left_px, top_px, encoder x_scale, y_scale, frame w_px,
    h_px.

    Args:
        detector_px: S, the side of the detector's input.
        rescale_px: length of the frame's longer side in it.
        encoder_px: E, the side of the encoder's input.
        images: type of `images`, float32 or float16.
        image: type of `image`, float32 or float16.
        padding: what is around the frame in `images`.

    Raises:
        BundleError: `rescale_px` is not in 1..S.
    """
    if not 1 <= rescale_px <= detector_px:
        raise BundleError(f"rescale_px: wanted 1 to {detector_px}, the side of the detector's input, got {rescale_px}")
    g = GraphBuilder()
    levels = g.add("Cast", "frame", to=TensorProto.FLOAT)
    shape = g.add("Shape", levels)  # of the frame itself TensorRT takes nothing but a Cast: it is uint8
    frame = _Size(*(g.add("Gather", shape, np.array([axis], np.int64)) for axis in (1, 2)))
    longest = g.add("Max", frame.height, frame.width)
    pixels = g.add("Transpose", levels, perm=[0, 3, 1, 2])

    size = _Size(*(_scaled(g, side, rescale_px, longest, half_to_even=True) for side in frame))
    shares = _cast(g, g.add("Div", _resize(g, pixels, size), np.float32(255)), images)
    value, offset = images(np.float32(padding.value) / np.float32(255)), None
    if padding.centred:
        top, left = (g.add("Div", g.add("Sub", np.array([detector_px], np.int64), side), _TWO) for side in size)
        offset = (top, left)
    _pad(g, shares, size, detector_px, value, offset, "images")

    encoder = _Size(*(_scaled(g, side, encoder_px, longest, half_to_even=False) for side in frame))
    centred = g.add("Sub", _resize(g, pixels, encoder), np.array(SAM_MEAN, np.float32).reshape(1, 3, 1, 1))
    normal = _cast(g, g.add("Div", centred, np.array(SAM_STD, np.float32).reshape(1, 3, 1, 1)), image)
    _pad(g, normal, encoder, encoder_px, image(0), None, "image")

    scale = _ratio(g, np.array([rescale_px], np.float32), longest)
    width, height = _float(g, frame.width), _float(g, frame.height)
    offsets: list[Value] = [np.zeros(2, np.float32)] if offset is None else [_float(g, px) for px in reversed(offset)]
    scales = (_ratio(g, encoder.width, frame.width), _ratio(g, encoder.height, frame.height))
    g.add("Concat", scale, scale, *offsets, *scales, width, height, name="geometry", axis=0)
    return build_model(
        "prepare",
        [tensor_info("frame", np.uint8, (1, "height", "width", 3))],
        [
            tensor_info("images", images, (1, 3, detector_px, detector_px)),
            tensor_info("image", image, (1, 3, encoder_px, encoder_px)),
            tensor_info("geometry", np.float32, (8,)),
        ],
        g.nodes,
        g.constants,
    )


def _scaled(g: GraphBuilder, side: str, target_px: int, longest: str, half_to_even: bool) -> str:
    """Return round(side * target / longest), at least 1, computed in integers.

    super-gradients rounds half to even, segment-anything half up. They compute in float64, which misses an exact half
    in a few cases: of common frame widths only 2304 has such heights (864 and 1632, with 636).
    """
    twice = g.add("Mul", longest, _TWO)
    numerator = g.add("Add", g.add("Mul", side, np.array([2 * target_px], np.int64)), longest)
    rounded = g.add("Div", numerator, twice)
    if half_to_even:
        remainder = g.add("Sub", numerator, g.add("Mul", rounded, twice))
        was_half = g.add("Sub", _ONE, g.add("Min", remainder, _ONE))
        odd = g.add("Sub", rounded, g.add("Mul", g.add("Div", rounded, _TWO), _TWO))
        rounded = g.add("Sub", rounded, g.add("Mul", odd, was_half))
    return g.add("Max", rounded, _ONE)


def _resize(g: GraphBuilder, pixels: str, size: _Size) -> str:
    """Resize (1, 3, H, W) BGR levels to (1, 3, height, width) RGB, rounded to integers again."""
    sizes = g.add("Concat", np.array([1, 3], np.int64), size.height, size.width, axis=0)
    resized = g.add("Resize", pixels, "", "", sizes, mode="linear", coordinate_transformation_mode="half_pixel")
    # Not Round: that rounds half to even, OpenCV half up.
    levels = g.add("Floor", g.add("Add", resized, np.float32(0.5)))
    return g.add("Gather", levels, np.array([2, 1, 0], np.int64), axis=1)


def _pad(
    g: GraphBuilder,
    pixels: str,
    size: _Size,
    side_px: int,
    value: np.generic,
    before: tuple[str, str] | None,
    name: str,
) -> None:
    """Pad to the output `name` (1, 3, side, side); `before` has the padding above and to the left, None for none."""
    side, zeros = np.array([side_px], np.int64), np.zeros(2, np.int64)
    rest: list[str] = [g.add("Sub", side, length) for length in size]
    start: list[Value] = [zeros, zeros]
    if before is not None:
        rest = [g.add("Sub", length, first) for length, first in zip(rest, before, strict=True)]
        start = [zeros, *before]
    pads = g.add("Concat", *start, zeros, *rest, axis=0)
    padded = g.add("Pad", pixels, pads, value)
    # The sum is always `side`, but only this makes the shape static for shape inference and so for an engine.
    g.add("Reshape", padded, np.array([1, 3, side_px, side_px], np.int64), name=name)


def _cast(g: GraphBuilder, value: str, dtype: type[np.generic]) -> str:
    """Return a float32 tensor in another type: before it is padded, as half the bytes are moved then."""
    return value if dtype is np.float32 else g.add("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _float(g: GraphBuilder, value: str) -> str:
    return g.add("Cast", value, to=TensorProto.FLOAT)


def _ratio(g: GraphBuilder, numerator: Value, denominator: str) -> str:
    over = _float(g, numerator) if isinstance(numerator, str) else numerator
    return g.add("Div", over, _float(g, denominator))
