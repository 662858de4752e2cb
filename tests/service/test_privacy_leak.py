"""Pictures that leave the loop of the service on a simulated line with faults; redact_leak.py measures more."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

import nanoseg
from nanoseg.bundle import EMBEDDED_BUNDLE, EMBEDDED_FOLDER
from nanoseg.errors import EngineError
from nanoseg.service.config import RedactConfig, ServiceConfig, SourceConfig
from nanoseg.service.privacy import open_privacy
from nanoseg.sinks.redact_pixels import FILL_GREY
from nanoseg.sources.open import LINE_FPS
from nanoseg.sources.simulator.line import LABELS, TEST_SEED, SimulatedLine
from redact_leak import LIMIT, MISSED, fault_of
from tests.service.test_loop import Played

FRAMES = 300
REDACTED = ["hex bolt", "gear", "wing nut"]


@pytest.mark.slow
def test_service_lets_no_redacted_object_out():
    line, number = SimulatedLine(TEST_SEED + 900), 1
    ids = [LABELS.index(name) for name in REDACTED]
    leaks, faults, shown = [], [], []

    def look(result):
        frame, index = result.frame, result.frame.index
        source, truth = line.sample(index)
        mask = truth.masks[np.isin(truth.class_id, ids)].any(0) & (source.image != FILL_GREY).any(2)
        leaks.append(float((frame.image == source.image).all(2)[mask].mean()) if mask.any() else 0.0)
        faults.append(fault_of(number, index))
        shown.append(float((frame.image == source.image).all(2).mean()))

    with nanoseg.load(EMBEDDED_FOLDER / EMBEDDED_BUNDLE, "onnxruntime") as segmenter:

        def find(frame):
            fault = fault_of(number, frame.index)
            if fault == "error":
                raise EngineError("decoder: injected")
            if fault == "skipped":
                return None, ("skipped",)
            found = segmenter(frame)
            if fault == "nothing":
                found = replace(found, seen=found.seen.take(slice(0)))
            return found, ()

        frames = [replace(line.frame(index), captured_ns=int(index * 1e9 / LINE_FPS)) for index in range(FRAMES)]
        played = Played(
            [frame for frame in frames if fault_of(number, frame.index) != MISSED], None, failed=lambda _: True
        )
        config = ServiceConfig([SourceConfig("belt", "0")], redact=RedactConfig(REDACTED))
        played.loop.use(segmenter, None, open_privacy(config, segmenter))
        played.loop._by_deadline = find
        played.loop.subscribers = [SimpleNamespace(put=look)]
        played.loop.run()
    assert {"nothing", ""} <= set(faults)
    assert not {"error", "skipped"} & set(faults)  # no picture leaves at all
    assert max(leaks) <= LIMIT
    assert max(leak for leak, fault in zip(leaks, faults, strict=True) if fault) == 0
    assert np.median(shown) > 0.2  # of the picture: not all is covered
