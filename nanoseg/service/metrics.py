"""What the service counts, for Prometheus; names and units follow its conventions."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nanoseg.errors import needs
from nanoseg.service.board import BoardState
from nanoseg.service.config import RegionConfig
from nanoseg.service.mqtt.outbox import MqttCounts
from nanoseg.service.result import FrameResult
from nanoseg.sources.camera_status import CameraStatus

with needs("prometheus-client", "serve"):
    from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
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
    written: Mapping[str, int] = field(default_factory=dict)  # by output
    readers: Mapping[str, int] = field(default_factory=dict)  # of streams and events
    mqtt: MqttCounts | None = None  # None: not configured
    starts: int = 1  # of the service on this machine
    info: Mapping[str, str] = field(default_factory=dict)  # version, bundle, backend, device
    trouble: Mapping[str, int] = field(default_factory=dict)  # lines of trouble by kind, told or not
    swaps: Mapping[str, int] = field(default_factory=dict)  # of bundles, by outcome
    regions: Sequence[RegionConfig] = ()  # that are counted in now
    classes: Sequence[str] = ()  # that may be found


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
        self._found = Counter(
            "nanoseg_objects_found", "Objects found, over all frames.", ["source", "class"], registry=registry
        )
        self._events = Counter(
            "nanoseg_region_events",
            "Enter, leave and dwell events of a region.",
            ["source", "region", "class", "event"],
            registry=registry,
        )
        # Of the latest frame, by camera, or by camera and region: classes that were seen in an earlier one are at 0.
        self._objects: dict[str, dict[str, int]] = {}
        self._region: dict[tuple[str, str], dict[str, int]] = {}
        ProcessCollector(registry=registry)
        registry.register(self)

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        self._start_at_zero(self._gauges())
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
        self._objects[source] = dict.fromkeys(self._objects.get(source, ()), 0) | counts
        for region, numbers in result.regions.items():
            before = self._region.get((source, region), ())
            self._region[source, region] = dict.fromkeys(before, 0) | dict(numbers)
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
        yield from self._counted(now)
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
        yield _family(
            "counter",
            "nanoseg_output_written",
            "Records, and messages over MQTT by kind, that an output has written.",
            ("output",),
            _by_one(now.written),
        )
        yield _family("gauge", "nanoseg_readers", "Readers of streams and events.", ("kind",), _by_one(now.readers))
        if now.mqtt is not None:
            for kind, name, text, value in (
                ("gauge", "connected", "Whether the broker is there.", int(now.mqtt.connected)),
                ("counter", "reconnects", "Connections to the broker after the first.", now.mqtt.reconnects),
                ("gauge", "queued_records", "Records that wait for the broker.", now.mqtt.queued),
            ):
                yield _family(kind, f"nanoseg_mqtt_{name}", text, (), {(): value})
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

    def _counted(self, now: Gauges) -> Iterator[Metric]:
        """Yield the objects of cameras that are live, in regions that are configured: of others nothing is known."""
        live = [name for name, status in now.cameras.items() if status.state == "live"]
        yield _family(
            "gauge",
            "nanoseg_objects",
            "Objects in the latest frame of a camera that is live.",
            ("source", "class"),
            {(name, label): number for name in live for label, number in self._objects.get(name, {}).items()},
        )
        counts = {
            (each.source, each.name): dict.fromkeys(each.classes or (), 0) | self._region[each.source, each.name]
            for each in now.regions
            if each.source in live and (each.source, each.name) in self._region
        }
        yield _family(
            "gauge",
            "nanoseg_region_objects",
            "Objects in a region of a camera that is live.",
            ("source", "region", "class"),
            {(*region, label): number for region, numbers in counts.items() for label, number in numbers.items()},
        )

    def _start_at_zero(self, now: Gauges) -> None:
        """Let counters be there before they count: else `increase` misses the first time, and none is not 0."""
        for source in now.cameras:
            for outcome in ("segmented", "failed", "skipped"):
                self._frames.labels(source, outcome)
        for region in now.regions:
            for label in region.classes or now.classes:
                for event in ("enter", "leave") if region.dwell_s is None else ("enter", "leave", "dwell"):
                    self._events.labels(region.source, region.name, label, event)


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
