"""Pixels as cameras and GStreamer give them, to BGR."""

from __future__ import annotations

import numpy as np

from nanoseg.errors import SourceError, needs

with needs("OpenCV", "opencv"):
    import cv2

_CHANNELS_2 = {"YUY2": cv2.COLOR_YUV2BGR_YUY2, "UYVY": cv2.COLOR_YUV2BGR_UYVY, "YVYU": cv2.COLOR_YUV2BGR_YVYU}
_PLANAR = {"NV12": cv2.COLOR_YUV2BGR_NV12, "NV21": cv2.COLOR_YUV2BGR_NV21, "I420": cv2.COLOR_YUV2BGR_I420}


class ToBgr:
    """Convert pictures to BGR in a buffer that is used again.

    YUV is converted by BT.601's matrix of limited range, as OpenCV does: a camera's NV12 of BT.709 is a few levels off.
    """

    def __init__(self, size_wh: tuple[int, int] | None = None, form: str | None = None) -> None:
        """Expect pictures of a source.

        Args:
            size_wh: width and height, where the source tells, which decides whether a picture of one channel has planes
                of colour below it.
            form: GStreamer's or V4L2's name of the format, where it is known: YUY2, UYVY, YVYU, NV12, NV21, I420.
        """
        self._size_wh, self._form = size_wh, form
        self._buffer: np.ndarray | None = None

    def convert(self, pixels: np.ndarray) -> np.ndarray:
        """Return a picture as (H, W, 3) uint8 BGR, valid until the next call.

        Args:
            pixels: (H, W, 3) BGR, (H, W, 4) BGRx, (H, W, 2) YUY2, (H, W) or (H, W, 1) grey, or (3 H / 2, W) NV12 or
                I420, uint8.

        Raises:
            SourceError: it is none of these.
        """
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or 0 in pixels.shape:
            raise SourceError(f"wanted pictures of uint8, got {pixels.dtype} {pixels.shape}")
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        height, width = pixels.shape[:2]
        if channels == 3:
            return np.ascontiguousarray(pixels)
        if channels == 4:
            return self._converted(pixels, cv2.COLOR_BGRA2BGR, (height, width))
        if channels == 2:
            return self._converted(pixels, _CHANNELS_2[self._form or "YUY2"], (height, width))
        if channels == 1 and (self._form in _PLANAR or self._has_planes(height, width)):
            if height % 3 or width % 2:
                raise SourceError(f"wanted {self._form or 'NV12'} of an even size, got {width}x{height} bytes")
            code = _PLANAR.get(self._form or "NV12", cv2.COLOR_YUV2BGR_NV12)
            return self._converted(pixels.reshape(height, width), code, (height * 2 // 3, width))
        if channels == 1:
            return self._converted(pixels.reshape(height, width), cv2.COLOR_GRAY2BGR, (height, width))
        raise SourceError(f"wanted pictures of 1 to 4 channels, got {channels}")

    def _has_planes(self, height: int, width: int) -> bool:
        return self._size_wh is not None and width == self._size_wh[0] and height == self._size_wh[1] * 3 // 2

    def _converted(self, pixels: np.ndarray, code: int, size_hw: tuple[int, int]) -> np.ndarray:
        if self._buffer is None or self._buffer.shape[:2] != size_hw:
            self._buffer = np.empty((*size_hw, 3), np.uint8)
        cv2.cvtColor(pixels, code, dst=self._buffer)
        return self._buffer
