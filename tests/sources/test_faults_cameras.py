"""Cameras that are broken by each kind of fault three times: all of them come back, and leave nothing behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import pytest

from nanoseg.sources.fault_schedule import FRAME_KINDS, STREAM_KINDS
from soak import FPS, SIZE_WH, Soak
from soak_checkpoint import Checkpoint
from soak_figures import COUNTS, report
from tests.helpers.rtsp_server import rtsp_server

TIMES = 3
# After these the source is opened again, on a slow machine once for two of them; the others pass.
OPENED_AGAIN = {"hang", "error", "gone", "permission", "crash"}
CONNECTED_AGAIN = {"half-open", "reset", "cut", "refuse", "busy", "password"}


def break_cameras(sources: dict[str, str], path: Path, others: Iterable[int] = ()) -> Counter[str]:
    """Break a camera by each kind; return how often each was opened again for it."""
    urls = [
        f"faults://?source={quote(source, safe='')}&kinds={kind}&name={kind}&count={TIMES}&every=6s&for=1s&timeout=1"
        for kind, source in sources.items()
    ]
    checkpoint = Checkpoint(path, {})
    Soak(urls, checkpoint, tuple(others)).run()
    found = report(checkpoint.recoveries, checkpoint.sessions)
    assert {kind: found["kinds"][kind]["faults"] for kind in sources} == dict.fromkeys(sources, TIMES)
    assert (found["hangs"], found["crashes"], checkpoint.sessions[0]["left"]) == (0, 0, [])
    start, end = (checkpoint.sessions[0][when] for when in ("start", "end"))
    assert all(start[name] == end[name] for name in COUNTS), (start, end)
    return Counter(each.kind for each in checkpoint.recoveries if each.reconnected)


@pytest.mark.slow
def test_faults_of_frames_and_reads(tmp_path: Path) -> None:
    sources = {
        kind: f"parts://?seed={number}&size={SIZE_WH[0]}x{SIZE_WH[1]}" for number, kind in enumerate(FRAME_KINDS)
    }
    opened = break_cameras(sources, tmp_path / "soak.jsonl")
    assert all(opened[kind] for kind in OPENED_AGAIN), opened


@pytest.mark.slow
def test_faults_of_a_real_stream(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs nanoseg[video]")
    with rtsp_server(size_wh=SIZE_WH, fps=FPS, user="me", password="a b") as server:
        sources = dict.fromkeys(STREAM_KINDS, server.url("h264"))
        opened = break_cameras(sources, tmp_path / "soak.jsonl", [server.pid])
    assert all(opened[kind] for kind in CONNECTED_AGAIN), opened
