"""What the service counts, for Prometheus; names and units follow its conventions."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from nanoseg.errors import needs
from nanoseg.service.board import BoardState
from nanoseg.service.result import FrameResult
from nanoseg.sources.camera_status import CameraStatus

with needs("prometheus-client", "serve"):
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STATES = ("connecting", "live", "lost", "ended", "closed")
_STAGE_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)
_AGE_S = (0.01, 0.02, 0.033, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0)


@dataclass(frozen=True)
class Gauges:
    """What is read when the metrics are asked for."""

    cameras: Mapping[str, CameraStatus]
    board: BoardState
    dropped: Mapping[tuple[str, str], int] = field(default_factory=dict)  # by output and reason
    readers: Mapping[str, int] = field(default_factory=dict)  # of streams and events
    mqtt_connected: bool | None = None  # None: not configured
    starts: int = 1  # of the service on this machine
    info: Mapping[str, str] = field(default_factory=dict)  # version, bundle, backend, device
    trouble: Mapping[str, int] = field(default_factory=dict)  # lines of trouble by kind, told or not
    swaps: Mapping[str, int] = field(default_factory=dict)  # of bundles, by outcome


class Metrics:
    """Counters and histograms that the loop fills, and gauges that are read on demand."""

    def __init__(self, gauges: Callable[[], Gauges]) -> None:
        """Register all metrics; `gauges` is called for each reading."""
        self._gauges, self.registry = gauges, CollectorRegistry()
        registry = self.registry
        self._frames = Counter(
            "nanoseg_frames", "Frames taken from a camera, by outcome.", ["source", "outcome"], registry=registry
        )
        self._shed = Counter(
            "nanoseg_shed", "Frames by work left out for the deadline.", ["source", "reason"], registry=registry
        )
        self._stage = Histogram(
            "nanoseg_stage_seconds", "Time of a stage of the pipeline.", ["stage"], registry=registry, buckets=_STAGE_S
        )
        self._age = Histogram(
            "nanoseg_frame_age_seconds",
            "From the capture of a frame to its masks.",
            ["source"],
            registry=registry,
            buckets=_AGE_S,
        )
        self._objects = Gauge("nanoseg_objects", "Objects in the latest frame.", ["source", "class"], registry=registry)
        self._found = Counter(
            "nanoseg_objects_found", "Objects found, over all frames.", ["source", "class"], registry=registry
        )
        self._region = Gauge(
            "nanoseg_region_objects", "Objects in a region.", ["source", "region", "class"], registry=registry
        )
        self._events = Counter(
            "nanoseg_region_events",
            "Enter, leave and dwell events of a region.",
            ["source", "region", "class", "event"],
            registry=registry,
        )
        self._seen: dict[tuple[str, ...], dict[tuple[str, ...], Gauge]] = {}  # of a gauge and its owner, by labels
        ProcessCollector(registry=registry)
        registry.register(self)

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        live = {name for name, status in self._gauges().cameras.items() if status.state == "live"}
        for (_, source, *_), children in list(self._seen.items()):
            if source not in live:  # what it showed last is not there any more for all that is known
                for gauge in list(children.values()):
                    gauge.set(0)
        return generate_latest(self.registry)

    def finished(self, result: FrameResult) -> None:
        """Count a frame that was segmented."""
        source, found = result.source, result.objects
        self._frames.labels(source, "segmented").inc()
        for reason in found.shed:
            self._shed.labels(source, reason).inc()
        for stage, spent_ms in found.latency_ms.items():
            self._stage.labels(stage).observe(spent_ms / 1e3)
        if found.age_ms is not None:
            self._age.labels(source).observe(found.age_ms / 1e3)
        counts = Counts(found.class_name.tolist())
        for name, number in counts.items():
            self._found.labels(source, name).inc(number)
        self._set(self._objects, (source,), {(name,): number for name, number in counts.items()})
        for region, numbers in result.regions.items():
            self._set(self._region, (source, region), {(name,): number for name, number in numbers.items()})
        for event in result.events:
            self._events.labels(source, event["region"], event["class_name"], event["event"]).inc()

    def not_finished(self, source: str, outcome: str) -> None:
        """Count a frame without a result: `failed` or `skipped`."""
        self._frames.labels(source, outcome).inc()

    def collect(self) -> Iterator[Metric]:
        """Yield what is read on demand; called by the registry."""
        now = self._gauges()
        yield _family("gauge", "nanoseg_info", "What runs.", tuple(now.info), {tuple(now.info.values()): 1})
        yield _family("counter", "nanoseg_starts", "Starts of the service on this machine.", (), {(): now.starts})
        cameras = now.cameras.items()
        yield _family(
            "gauge",
            "nanoseg_camera_state",
            "1 for the state that a camera is in.",
            ("source", "state"),
            {(name, state): int(status.state == state) for name, status in cameras for state in STATES},
        )
        yield _family(
            "counter",
            "nanoseg_camera_reconnects",
            "Times that a camera was opened again.",
            ("source",),
            {(name,): status.reconnects for name, status in cameras},
        )
        yield _family(
            "counter",
            "nanoseg_camera_lost_seconds",
            "Seconds without frames.",
            ("source",),
            {(name,): round(status.lost_s, 3) for name, status in cameras},
        )
        yield _family(
            "gauge",
            "nanoseg_camera_fps",
            "Frames a second that a camera gives.",
            ("source",),
            {(name,): round(status.fps, 2) for name, status in cameras if status.fps is not None},
        )
        yield _family(
            "counter",
            "nanoseg_camera_dropped_frames",
            "Frames that no pipeline saw, by reason.",
            ("source", "reason"),
            {(name, reason): number for name, status in cameras for reason, number in status.dropped.items()},
        )
        yield _family(
            "counter",
            "nanoseg_output_dropped",
            "Records and pictures that an output had no room for.",
            ("output", "reason"),
            {(output, reason): number for (output, reason), number in now.dropped.items()},
        )
        yield _family("gauge", "nanoseg_readers", "Readers of streams and events.", ("kind",), _by_one(now.readers))
        if now.mqtt_connected is not None:
            yield _family(
                "gauge", "nanoseg_mqtt_connected", "Whether the broker is there.", (), {(): int(now.mqtt_connected)}
            )
        yield _family(
            "gauge",
            "nanoseg_temperature_celsius",
            "Temperature of a thermal zone.",
            ("zone",),
            _by_one(now.board.temperatures_c),
        )
        yield _family("gauge", "nanoseg_power_watts", "Power of a rail.", ("rail",), _by_one(now.board.power_w))
        yield _family(
            "gauge",
            "nanoseg_throttled",
            "Whether heat holds the clocks down.",
            (),
            {(): int(bool(now.board.throttled))},
        )
        yield _family(
            "counter", "nanoseg_trouble", "Trouble by kind, told in the log or not.", ("kind",), _by_one(now.trouble)
        )
        yield _family(
            "counter", "nanoseg_bundle_swaps", "Swaps of the bundle, by outcome.", ("outcome",), _by_one(now.swaps)
        )

    def _set(self, gauge: Gauge, owner: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> None:
        """Set the gauges of an owner, and to 0 those that it does not have any more."""
        children = self._seen.setdefault((gauge._name, *owner), {})
        for labels, value in values.items():
            children.setdefault(labels, gauge.labels(*owner, *labels)).set(value)
        for labels in children.keys() - values.keys():
            children[labels].set(0)


def _by_one(values: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    return {(name,): value for name, value in values.items()}


def _family(
    kind: str, name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]
) -> Metric:
    family: Metric
    if kind == "counter":
        family = counter = CounterMetricFamily(name, text, labels=labels)
        for key, value in values.items():
            counter.add_metric(key, value)
    else:
        family = gauge = GaugeMetricFamily(name, text, labels=labels)
        for key, value in values.items():
            gauge.add_metric(key, value)
    return family
