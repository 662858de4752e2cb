"""What waits to be published, from any thread: bounded, with what is dropped counted."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nanoseg.service.frame_record import FrameRecord, WaitingRecords
from nanoseg.service.mqtt.home_assistant import OFFLINE, ONLINE
from nanoseg.service.mqtt.retained import Retained
from nanoseg.service.mqtt.topics import Topics
from nanoseg.utils.names import encode_json

MAX_RECORDS = 100  # then the oldest is dropped: a few seconds of frames
MAX_EVENTS = 1000  # they are rare and small, and wait for a broker that is away for long


@dataclass(frozen=True)
class MqttCounts:
    """What was published so far and what was not; for metrics."""

    connected: bool
    reconnects: int  # connections after the first
    queued: int  # records
    published: Mapping[str, int]  # by kind: record, event, retained, snapshot
    # By kind (record, event) and reason: `slow` and `away`, the queue was full while the broker was connected or not;
    # `lost`, the connection broke; `unknown`, of no source that was described; `closed`, the service ended.
    dropped: Mapping[tuple[str, str], int]


@dataclass(frozen=True)
class Message:
    """One message to publish."""

    kind: str
    topic: str
    content: bytes | FrameRecord
    qos: int = 0
    retain: bool = False
    event: Mapping[str, Any] | None = None

    @property
    def payload(self) -> bytes:
        """What is published; a record with masks takes a while."""
        return self.content if isinstance(self.content, bytes) else self.content.json()


class Outbox:
    """Records, events and retained messages that wait.

    Each method returns at once, and may be called from any thread.
    """

    def __init__(self, topics: Topics, configurations: Mapping[str, bytes]) -> None:
        """Begin with what is published about.

        Args:
            topics: of the layout.
            configurations: Home Assistant's, by their topics.
        """
        self._lock = threading.Lock()
        self._records = WaitingRecords(MAX_RECORDS)
        self._events: deque[tuple[str, Mapping[str, Any]]] = deque()
        self._retained = Retained()
        self._published: Counter[str] = Counter()
        self._dropped: Counter[tuple[str, str]] = Counter()
        self._connected = self._closed = False
        self._connections = 0
        self._configurations: Mapping[str, bytes] = {}
        self._topics = topics
        self.describe(topics, configurations)

    @property
    def topics(self) -> Topics:
        """The topics of the layout."""
        return self._topics

    def describe(self, topics: Topics, configurations: Mapping[str, bytes]) -> None:
        """Replace what is published about: what the broker holds of another layout is removed from it."""
        with self._lock:
            for topic in [*self._topics.retained() - topics.retained()]:
                if topic in self._retained:
                    self._retained.remove(topic)
            for topic in self._configurations.keys() - configurations.keys():
                self._retained.remove(topic)
            self._topics, self._configurations = topics, configurations
            self._regions: dict[str, Mapping[str, Mapping[str, int]]] = {}  # of the last record of each source
            self._retained.want(topics.status, ONLINE)
            self._retained.want(topics.held, encode_json(topics.layout))
            for source in topics.sources:
                if topics.source_status(source) not in self._retained:
                    self._retained.want(topics.source_status(source), OFFLINE)
            for topic, payload in configurations.items():
                self._retained.want(topic, payload)

    def put(self, record: FrameRecord) -> None:
        """Queue a frame's record, its events and the counts that changed."""
        source = record.source
        with self._lock:
            if self._closed or source not in self._topics.sources:
                self._dropped["record", "closed" if self._closed else "unknown"] += 1
                return
            self._dropped["record", self._full] += self._records.append(record)
            for event in record.events:
                self._append_event(self._topics.event(source), _event(record, event))
            self._count(source, record.regions)

    def source_lost(self, source: str) -> None:
        """Let a source be offline until its next record."""
        with self._lock:
            if source in self._topics.sources:
                self._regions.pop(source, None)
                self._retained.want(self._topics.source_status(source), OFFLINE)

    def found(self, topics: Iterable[str]) -> None:
        """Take note of retained messages of ours that the broker holds; those that are not wanted are removed."""
        with self._lock:
            known = self._topics.retained()
            for topic in topics:
                if topic not in self._retained and topic not in known:
                    self._retained.remove(topic)

    def publish_again(self, topics: list[str] | None = None) -> None:
        """Publish retained messages of these topics again, None: of all."""
        with self._lock:
            self._retained.publish_again(topics)

    def publish_configurations_again(self) -> None:
        """Publish Home Assistant's configurations again."""
        with self._lock:
            self._retained.publish_again(self._configurations)

    def take(self) -> Message | None:
        """Return the next message but for events: retained ones first, then records; None: there is none."""
        with self._lock:
            if (retained := self._retained.take()) is not None:
                topic, payload = retained  # a removal is confirmed by the broker, as nothing tells of one that is lost
                return Message("retained", topic, payload, qos=0 if payload else 1, retain=True)
            while len(self._records):
                record = self._records.popleft()
                if record.source in self._topics.sources:
                    return Message("record", self._topics.record(record.source), record)
                self._dropped["record", "unknown"] += 1  # its source was removed since
            return None

    def take_event(self) -> Message | None:
        """Return the next event; None: there is none."""
        with self._lock:
            if not self._events:
                return None
            topic, event = self._events.popleft()
        return Message("event", topic, encode_json(event), qos=1, event=event)

    def sent(self, message: Message) -> None:
        """Count a message that was published."""
        with self._lock:
            self._published[message.kind] += 1
            if message.kind == "retained" and not message.content:
                self._retained.removed(message.topic)

    def failed(self, message: Message) -> None:
        """Take back a message that was not published as the connection broke: events are tried again."""
        with self._lock:
            if message.event is not None and len(self._events) < MAX_EVENTS:
                self._events.appendleft((message.topic, message.event))
            elif message.kind != "retained":  # of these all are published again
                self._dropped[message.kind, "lost"] += 1

    def connected(self, connected: bool) -> None:
        """Take note that the broker is there, or not."""
        with self._lock:
            self._connected = connected
            self._connections += connected
            if connected:
                self._retained.publish_again()

    def close(self) -> None:
        """Count what waits as dropped, and whatever comes yet."""
        with self._lock:
            self._closed, self._connected = True, False
            for kind, items in (("record", self._records), ("event", self._events)):
                self._dropped[kind, "closed"] += len(items)
                items.clear()

    @property
    def counts(self) -> MqttCounts:
        """What was published so far, and what was not."""
        with self._lock:
            return MqttCounts(
                self._connected,
                max(self._connections - 1, 0),
                len(self._records),
                dict(self._published),
                {key: count for key, count in self._dropped.items() if count},
            )

    @property
    def _full(self) -> str:
        return "slow" if self._connected else "away"

    def _append_event(self, topic: str, event: Mapping[str, Any]) -> None:
        if len(self._events) == MAX_EVENTS:
            self._events.popleft()
            self._dropped["event", self._full] += 1
        self._events.append((topic, event))

    def _count(self, source: str, regions: Mapping[str, Mapping[str, int]]) -> None:
        topics, before = self._topics.counts[source], self._regions.get(source)
        if before is None:
            changed = set(topics)
            self._retained.want(self._topics.source_status(source), ONLINE)
        else:
            changed = {(region, name) for region, name, _ in _counted(before) ^ _counted(regions)} & topics.keys()
        self._regions[source] = regions
        for region, name in changed:
            self._retained.want(topics[region, name], b"%d" % regions.get(region, {}).get(name, 0))


def _counted(regions: Mapping[str, Mapping[str, int]]) -> set[tuple[str, str, int]]:
    """Return region, class and number of what was counted, far less than there is to count."""
    return {(region, name, count) for region, counts in regions.items() for name, count in counts.items()}


def _event(record: FrameRecord, event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an event with what says when and where it was."""
    return {"source": record.source, "frame": record.index, "captured_ns": record.captured_ns, **event}
