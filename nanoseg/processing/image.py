"""What is a picture: an array of the host, or something on a GPU."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from nanoseg.errors import UsageError
from nanoseg.types import Frame


class OnGpu(Protocol):
    """What lies on a GPU: a tensor of torch, an array of cupy, a frame of a camera there."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...


Image = np.ndarray | Frame | OnGpu  # (H, W, 3) uint8, BGR


def pixels_of(image: Image, device_frames: bool) -> Any:
    """The pixels of an image: a C-contiguous array, or with `device_frames` something on the GPU, where it lies.

    Raises UsageError for what is no (H, W, 3) uint8.
    """
    pixels: Any = image.image if isinstance(image, Frame) else image
    wanted = "image: wanted (H, W, 3) uint8, BGR"
    if device_frames and (told := getattr(pixels, "__cuda_array_interface__", None)):
        shape, kind = tuple(told["shape"]), np.dtype(told["typestr"])
        if kind != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise UsageError(f"{wanted}, got {shape} {kind}")
        return pixels
    if not isinstance(pixels, np.ndarray):
        raise UsageError(f"{wanted}, got {type(pixels).__name__}; read the file with cv2.imread first")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        hint = ""
        if pixels.dtype == np.uint8 and pixels.ndim == 2:
            hint = "; cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) makes one of it"
        elif pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 4:
            hint = "; cv2.cvtColor(image, cv2.COLOR_BGRA2BGR) makes one of it"
        raise UsageError(f"{wanted}, got {pixels.shape} {pixels.dtype}{hint}")
    return np.ascontiguousarray(pixels)
