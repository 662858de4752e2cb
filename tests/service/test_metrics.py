"""Metrics: what the loop does and what is read on demand, in Prometheus's format."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("prometheus_client")
from prometheus_client.parser import text_string_to_metric_families

from nanoseg.service.board import BoardState
from nanoseg.service.config import RegionConfig
from nanoseg.service.metrics import Gauges, Metrics
from nanoseg.service.mqtt.outbox import MqttCounts
from nanoseg.sources.camera_status import CameraStatus
from tests.helpers.paths import ROOT
from tests.service.results import a_result

SQUARE = [(0, 0), (1, 0), (1, 1), (0, 1)]
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
    written={"records": 90, "mqtt_record": 80},
    mqtt=MqttCounts(True, 2, 6, {}, {}),
    starts=5,
    info={"version": "0", "bundle": "parts", "backend": "onnxruntime", "device": "CPU"},
    trouble={"camera": 4},
    swaps={"refused": 1},
    regions=[RegionConfig("belt", "out", SQUARE), RegionConfig("yard", "in", SQUARE, classes=["nut"], dwell_s=9.0)],
    classes=("bolt", "gear"),
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


@pytest.mark.parametrize(
    ("source", "region", "shown"),
    [("belt", "out", True), ("belt", "removed", False), ("yard", "in", False), ("removed", "out", False)],
    ids=["live", "region removed", "camera lost", "camera removed"],
)
def test_metrics_have_objects_only_of_what_is_looked_at(values, source, region, shown):
    """An alert on what a camera saw last would never end."""
    found = values(a_result(source=source, regions={region: {"bolt": 1}}))
    of_region = ("nanoseg_region_objects", "class=bolt", f"region={region}", f"source={source}")
    assert found.get(of_region) == (1 if shown else None)
    assert found.get(("nanoseg_objects", "class=bolt", f"source={source}")) == (1 if source == "belt" else None)
    assert found["nanoseg_objects_found_total", "class=bolt", f"source={source}"] == 1


def test_metrics_of_events_are_0_before_there_was_one(values):
    """Else no alert on their absence would fire, and the first would be missed."""
    events = {
        tuple(label.partition("=")[2] for label in labels): value
        for (name, *labels), value in values().items()
        if name == "nanoseg_region_events_total"
    }
    assert events == dict.fromkeys(
        [
            *((name, event, "out", "belt") for name in ("bolt", "gear") for event in ("enter", "leave")),
            *(("nut", event, "in", "yard") for event in ("enter", "leave", "dwell")),
        ],
        0,
    )


def test_metrics_read_on_demand(values):
    found = values()
    assert found["nanoseg_camera_state", "source=belt", "state=live"] == 1
    assert found["nanoseg_camera_state", "source=yard", "state=live"] == 0
    assert found["nanoseg_camera_reconnects_total", "source=belt"] == 2
    assert found["nanoseg_camera_dropped_frames_total", "reason=newer", "source=belt"] == 7
    assert found["nanoseg_output_dropped_total", "output=records", "reason=slow"] == 3
    assert found["nanoseg_readers", "kind=stream"] == 2
    assert found["nanoseg_output_written_total", "output=mqtt_record"] == 80
    assert found["nanoseg_mqtt_connected",] == 1
    assert (found["nanoseg_mqtt_reconnects_total",], found["nanoseg_mqtt_queued_records",]) == (2, 6)
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
