"""Metrics: what the loop does and what is read on demand, in Prometheus's format."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("prometheus_client")
from prometheus_client.parser import text_string_to_metric_families

from nanoseg.service.board import BoardState
from nanoseg.service.metrics import Gauges, Metrics
from nanoseg.sources.camera_status import CameraStatus
from tests.helpers.paths import ROOT
from tests.service.results import a_result

GAUGES = Gauges(
    cameras={
        "belt": CameraStatus(
            "live", fps=24.9, frames=100, dropped={"newer": 7, "damaged": 1}, reconnects=2, lost_s=3.5
        ),
        "yard": CameraStatus("lost", reason="no route"),
    },
    board=BoardState({"cpu-thermal": 51.5}, {"VDD_IN": 7.5}),
    dropped={("records", "slow"): 3},
    readers={"stream": 2, "events": 1},
    mqtt_connected=True,
    starts=5,
    info={"version": "0", "bundle": "parts", "backend": "onnxruntime", "device": "CPU"},
    trouble={"camera": 4},
    swaps={"refused": 1},
)


@pytest.fixture
def values():
    """Return a function that reads the metrics of some results as {(name, labels): value}."""

    def read(*results, failed=0):
        metrics = Metrics(lambda: GAUGES)
        for result in results:
            metrics.finished(result)
        for _ in range(failed):
            metrics.not_finished("belt", "failed")
        families = text_string_to_metric_families(metrics.text().decode())
        return {
            (sample.name, *(f"{key}={value}" for key, value in sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
        }

    return read


def test_metrics_of_frames(values):
    event = {"event": "enter", "region": "out", "class_name": "bolt", "count": 1}
    found = values(
        a_result(0, boxes=[(1, 1, 20, 20), (20, 20, 40, 40)], regions={"out": {"bolt": 2}}, events=[event]),
        a_result(1, boxes=[], regions={"out": {}}),
        failed=2,
    )
    assert found["nanoseg_frames_total", "outcome=segmented", "source=belt"] == 2
    assert found["nanoseg_frames_total", "outcome=failed", "source=belt"] == 2
    assert found["nanoseg_objects", "class=bolt", "source=belt"] == 0  # of the latest frame
    assert found["nanoseg_objects_found_total", "class=bolt", "source=belt"] == 2
    assert found["nanoseg_region_objects", "class=bolt", "region=out", "source=belt"] == 0
    assert found["nanoseg_region_events_total", "class=bolt", "event=enter", "region=out", "source=belt"] == 1
    assert found["nanoseg_stage_seconds_count", "stage=total"] == 2
    assert found["nanoseg_stage_seconds_sum", "stage=total"] == pytest.approx(0.02)


def test_metrics_of_a_camera_that_is_away_count_no_objects(values):
    found = values(a_result(source="yard", regions={"out": {"bolt": 1}}))
    assert found["nanoseg_objects", "class=bolt", "source=yard"] == 0
    assert found["nanoseg_region_objects", "class=bolt", "region=out", "source=yard"] == 0
    assert found["nanoseg_objects_found_total", "class=bolt", "source=yard"] == 1


def test_metrics_read_on_demand(values):
    found = values()
    assert found["nanoseg_camera_state", "source=belt", "state=live"] == 1
    assert found["nanoseg_camera_state", "source=yard", "state=live"] == 0
    assert found["nanoseg_camera_reconnects_total", "source=belt"] == 2
    assert found["nanoseg_camera_dropped_frames_total", "reason=newer", "source=belt"] == 7
    assert found["nanoseg_output_dropped_total", "output=records", "reason=slow"] == 3
    assert found["nanoseg_readers", "kind=stream"] == 2
    assert found["nanoseg_mqtt_connected",] == 1
    assert found["nanoseg_starts_total",] == 5
    assert found["nanoseg_temperature_celsius", "zone=cpu-thermal"] == 51.5
    assert found["nanoseg_power_watts", "rail=VDD_IN"] == 7.5
    assert found["nanoseg_trouble_total", "kind=camera"] == 4
    assert found["nanoseg_bundle_swaps_total", "outcome=refused"] == 1


def test_grafana_dashboard_names_metrics_that_exist(values):
    """Each query, with labels that its metric has; each panel has one."""
    event = {"event": "enter", "region": "out", "class_name": "bolt", "count": 1}
    found = values(a_result(regions={"out": {"bolt": 1}}, events=[event]), failed=1)
    labels = {}
    for name, *pairs in found:
        labels.setdefault(name, set()).update(pair.partition("=")[0] for pair in pairs)
    dashboard = json.loads(Path(ROOT, "docker", "grafana-dashboard.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len(panels) >= 10
    for panel in panels:
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            names = re.findall(r"\b(?:nanoseg|process)_[a-z_]+", target["expr"])
            assert names, target["expr"]
            for name in names:
                assert name in labels, f"{panel['title']}: {name}"
            allowed = set().union(*(labels[name] for name in names)) | {"job", "instance"}
            grouped = re.findall(r"by \(([^)]*)\)", target["expr"])
            used = {label.strip() for group in grouped for label in group.split(",")}
            used |= set(re.findall(r"([a-z_]+)\s*=~?\s*\"", target["expr"]))
            used |= set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
            assert used <= allowed, f"{panel['title']}: {used - allowed}"
