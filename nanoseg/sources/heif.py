"""HEIC and AVIF pictures, read with Pillow and pillow-heif where these are installed."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np

from nanoseg.errors import DependencyError, SourceError, needs, one_line
from nanoseg.sources.source import check_pixels


def decode_heif(path: object, data: bytes, kind: str, max_pixels: int) -> tuple[np.ndarray, int]:
    """Decode the main picture of a HEIC or AVIF file, turned by its orientation.

    Args:
        path: the file, for messages.
        data: its content.
        kind: "HEIC" or "AVIF".
        max_pixels: the largest picture that is decoded.

    Returns:
        (H, W, 3) uint8, BGR, and the number of pictures in the file.

    Raises:
        SourceError: it is damaged or too large.
        DependencyError: the library is not installed.
    """
    opener = _opener(kind)
    try:
        picture = opener(io.BytesIO(data))
    except Exception as error:  # the libraries raise what they like: SyntaxError, ValueError, RuntimeError ...
        raise SourceError(f"{path}: the {kind} file cannot be opened: {one_line(error)}; it is damaged") from error
    with picture:
        check_pixels(path, picture.size, max_pixels)
        try:
            from PIL import ImageOps

            frames = int(getattr(picture, "n_frames", 1))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's, about EXIF that is cut short
                rgb = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
        except Exception as error:
            raise SourceError(f"{path}: the {kind} file is damaged: {one_line(error)}; copy it again") from error
    return np.ascontiguousarray(rgb[..., ::-1]), frames


def _opener(kind: str) -> Any:
    """Return the class that opens a file; not `Image.open`, which has limits and warnings of its own."""
    if kind == "HEIC":
        with needs("pillow-heif", "heic"):
            import pillow_heif
        return pillow_heif.HeifImageFile
    with needs("Pillow", "heic"):
        from PIL import features
    if not features.check("avif"):
        raise DependencyError('this Pillow cannot read AVIF: pip install --upgrade "nanoseg[heic]"')
    from PIL.AvifImagePlugin import AvifImageFile

    return AvifImageFile
