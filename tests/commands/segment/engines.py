"""A fake segmenter in place of that of `nanoseg.load`, which records its calls."""

import nanoseg
from tests.fakes.engines import GRID, fake_engines, rows, segmenter_of

SIDE = 4 * GRID
HEIGHT, WIDTH = 48, 64


def use(monkeypatch, **engines):
    made = segmenter_of(fake_engines(rows(), **engines))
    monkeypatch.setattr(nanoseg, "load", lambda *_, **__: made)
    monkeypatch.setattr(made, "close", lambda: None)  # one test may call it several times
    return made


def requests(pipeline, name="segment"):
    """The last call's points and labels."""
    call = pipeline.pipeline.engines[name].calls[-1]
    return call["point_coords"].tolist(), call["point_labels"].tolist()
