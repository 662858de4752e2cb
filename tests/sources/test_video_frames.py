"""Conversion of decoded frames."""

from __future__ import annotations

import gc

import pytest

av = pytest.importorskip("av", reason="needs nanoseg[video]")


def test_converter_keeps_no_frame_until_the_garbage_collector_runs() -> None:
    from nanoseg.sources.video_frames import Converter

    converter = Converter()
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(10):
            converter.to_bgr(av.VideoFrame(64, 48, "yuv420p"))
        gc.collect()
        assert not [each for each in gc.garbage if isinstance(each, av.VideoFrame)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
