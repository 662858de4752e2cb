"""What TensorRT measured is kept for the next build, and never why one fails."""

import pytest

from tests.backends.tensorrt.build.one_graph import CANNOT, build, refused
from tests.fakes.tensorrt_builder import Script


@pytest.mark.parametrize(
    ("stored", "kept"),
    [(None, b"+"), (b"measured", b"measured+"), (b"damaged", b"+"), (b"another device", b"+"), (b"", b"+")],
)
def test_timing_cache_round_trip(stored, kept, tmp_path):
    path = tmp_path / "timing.cache"
    if stored is not None:
        path.write_bytes(stored)
    build(Script(), timing_cache=path)
    assert path.read_bytes() == kept
    assert list(tmp_path.iterdir()) == [path]


def test_timing_cache_unchanged_by_failed_build(tmp_path):
    (tmp_path / "cache").write_bytes(b"measured")
    refused(Script(plan=None), timing_cache=tmp_path / "cache")
    assert (tmp_path / "cache").read_bytes() == b"measured"


def test_timing_cache_errors_are_not_the_reason(tmp_path):
    (tmp_path / "cache").write_bytes(b"damaged")
    message = refused(Script(plan=None, says=("no kernel",)), timing_cache=tmp_path / "cache")
    assert message == f"{CANNOT} build it: no kernel"


def test_timing_cache_unwritable(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    assert build(Script(), timing_cache=tmp_path / "cache").plan == b"plan"
    assert list(tmp_path.iterdir()) == []
