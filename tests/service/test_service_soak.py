"""The soak of the service for two minutes: nothing stalls, is lost or grows without end."""

import pytest

pytest.importorskip("starlette")
pytest.importorskip("onnxruntime")

import service_soak


@pytest.mark.slow
def test_service_soak():
    figures = service_soak.soak(2.0, "parts://?seed=1&size=320x240&objects=3")
    assert figures["frames"] > 20
    assert set(figures["answers"]) <= {"200", "404", "503"}
    assert figures["answers"]["200"] > figures["answers"]["404"]
    assert figures["log_lines"] < 20
    low_mb, high_mb = figures["memory_mb"]["settled"]
    assert high_mb - low_mb < 100, figures  # of a service that has just started; the long soak holds it to 10
