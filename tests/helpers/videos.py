"""Videos made for tests, with PyAV's encoders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

av = pytest.importorskip("av", reason="needs nanoseg[video]")

LOSSLESS = {"qp": "0"}
INTERLACED = {"flags": "+ildct+ilme"}


def levels(count: int, size_wh: tuple[int, int] = (64, 48), step: int = 10) -> list[np.ndarray]:
    """Return BGR frames of one brightness each: 0, 10, 20 ..."""
    return [np.full((size_wh[1], size_wh[0], 3), step * i % 256, np.uint8) for i in range(count)]


def weave(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return interlaced frames, bottom field first: the odd lines of one frame and the even ones of the next."""
    woven = []
    for first, second in zip(frames[0::2], frames[1::2], strict=True):
        woven.append(first.copy())
        woven[-1][0::2] = second[0::2]
    return woven


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    codec: str = "libx264",
    *,
    container: str | None = None,
    rate: Fraction | int = 25,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    matrix: int | None = None,
    full_range: bool = False,
    aspect: Fraction | None = None,
    setup: Any = None,
    sound_s: float = 0,
) -> Path:
    """Encode BGR frames.

    Args:
        path: the file; its suffix chooses the container, unless `container` does.
        frames: (H, W, 3) uint8.
        codec: FFmpeg's name of an encoder.
        container: FFmpeg's name of a container.
        rate: frames a second.
        pts: time of each frame, in `time_base`; by default one after the other.
        time_base: unit of `pts`.
        pix_fmt: pixel format to encode.
        options: of the encoder.
        container_options: of the container.
        matrix: colour tags, as one H.273 number; pixels are converted by it.
        full_range: whether numbers are of full range, and say so.
        aspect: sample aspect ratio.
        setup: called with the stream before anything is encoded.
        sound_s: seconds of silence beside the frames.
    """
    with av.open(str(path), "w", format=container, options=container_options or {}) as out:
        stream = out.add_stream(codec, rate=rate, options=options or {})
        sound = out.add_stream("aac", rate=8000) if sound_s else None
        if setup is not None:
            setup(stream)
        context = stream.codec_context
        context.thread_count = 1
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            if index == 0:
                context.width, context.height, context.pix_fmt = frame.width, frame.height, pix_fmt
                if time_base is not None:
                    context.time_base = time_base
                if aspect is not None:
                    context.sample_aspect_ratio = aspect
                if matrix is not None:
                    context.colorspace = context.color_primaries = matrix
                    context.color_trc = 14 if matrix == 9 else matrix  # BT.2020 has another number for this
                if matrix is not None or full_range:
                    context.color_range = 2 if full_range else 1
            frame = frame.reformat(
                format=pix_fmt,
                dst_colorspace=matrix or 5,
                src_color_range=2,
                dst_color_range=2 if full_range or pix_fmt.startswith(("yuvj", "gray")) else 1,
                interpolation=4 | 1 << 18,  # bicubic, and rounded accurately
            )
            frame.pts = pts[index] if pts is not None else index
            frame.time_base = time_base or 1 / Fraction(rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if sound is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, int(8000 * sound_s)), np.float32), "fltp", "mono")
            silence.rate = 8000
            out.mux(sound.encode(silence))
            out.mux(sound.encode(None))
    return path
