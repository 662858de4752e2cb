"""The images that a segmenter takes: arrays of the host, or tensors on a GPU."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from nanoseg.errors import UsageError
from nanoseg.types import Frame


class DeviceImage(Protocol):
    """An image on a GPU: a tensor of torch, an array of cupy, a frame that a camera's driver left there."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...


Pixels = np.ndarray | DeviceImage  # (H, W, 3) uint8, BGR
Image = Pixels | Frame


def to_pixels(image: Image, device_frames: bool) -> Pixels:
    """Return the pixels of an image: a C-contiguous array, or the object itself where it lies on a GPU.

    Args:
        image: A Frame, or (H, W, 3) uint8 BGR pixels.
        device_frames: Whether the pipeline takes images on a GPU.

    Raises:
        UsageError: For anything but (H, W, 3) uint8.
    """
    pixels: Any = image.image if isinstance(image, Frame) else image
    wanted = "image: wanted (H, W, 3) uint8, BGR"
    if device_frames and (interface := getattr(pixels, "__cuda_array_interface__", None)):
        shape, dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
        if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise UsageError(f"{wanted}, got {shape} {dtype}")
        device_image: DeviceImage = pixels
        return device_image
    if not isinstance(pixels, np.ndarray):
        raise UsageError(f"{wanted}, got {type(pixels).__name__}; read the file with cv2.imread first")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        hint = ""
        if pixels.dtype == np.uint8 and pixels.ndim == 2:
            hint = "; convert it with cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)"
        elif pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 4:
            hint = "; convert it with cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)"
        raise UsageError(f"{wanted}, got {pixels.shape} {pixels.dtype}{hint}")
    return np.ascontiguousarray(pixels)


def frame_hw(pixels: Pixels) -> tuple[int, int]:
    """Return the height and width of an image, on the host or on a GPU."""
    shape = pixels.shape if isinstance(pixels, np.ndarray) else pixels.__cuda_array_interface__["shape"]
    return int(shape[0]), int(shape[1])
