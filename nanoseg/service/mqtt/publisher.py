"""Records, events and counts over MQTT, with Home Assistant's discovery.

docs/mqtt.md has the topics. A broker that is slow or away costs records, which are counted, and nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from nanoseg.errors import needs, one_line
from nanoseg.service.frame_record import FrameRecord
from nanoseg.service.mqtt.config import MqttConfig
from nanoseg.service.mqtt.connection import abort, close, is_refusal, new_client, reach, reason
from nanoseg.service.mqtt.home_assistant import (
    OFFLINE,
    ONLINE,
    birth_topic,
    configurations,
    configurations_filter,
)
from nanoseg.service.mqtt.outbox import Message, MqttCounts, Outbox
from nanoseg.service.mqtt.tasks import first_to_end, in_daemon_thread
from nanoseg.service.mqtt.topics import Layout, Topics
from nanoseg.sources.outage_messages import OutageMessages

with needs("aiomqtt", "serve"):
    import aiomqtt

# Seconds between attempts to connect: the first, which doubles, and the longest.
WAIT_S = (1.0, 60.0)
REFUSED_WAIT_S = (30.0, 600.0)  # brokers lock out who tries wrong passwords often


class MqttPublisher:
    """Publish what a service finds; `put` from any thread, `run` in an asyncio loop."""

    def __init__(
        self,
        config: MqttConfig,
        layout: Layout,
        on_message: Callable[[str], None],
        snapshot: Callable[[str], bytes | None] | None = None,
    ) -> None:
        """Prepare; nothing is connected yet.

        Args:
            config: `[mqtt]`.
            layout: the sources, regions and classes.
            on_message: called with a line when the broker is lost, is back, or refuses the password; from `run`.
            snapshot: returns the JPEG of a source's latest picture, None where there is none; called from another
                thread, once in `config.snapshot_s` seconds at most, only while the broker is connected.

        Raises:
            UsageError: `password_file` or `ca_file` cannot be read.
        """
        self._config = config
        self._snapshot = snapshot if config.snapshot_s else None
        self._context = config.tls_context()
        self._address = config.broker().address
        digest = hashlib.sha256(f"{socket.gethostname()}\0{config.topic}".encode("utf-8", "surrogateescape"))
        self._identifier = f"nanoseg{digest.hexdigest()[:16]}"  # 23 characters, which every broker takes
        topics = Topics(config.topic, layout)
        self._outbox = Outbox(topics, self._configurations(topics))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self._on_message, self._lines = on_message, 0
        self._outage: OutageMessages | None = None
        self._told_refusal = False
        self._without_picture: set[str] = set()  # sources whose failure was told

    @property
    def counts(self) -> MqttCounts:
        """What was published so far, and what was not; from any thread."""
        return self._outbox.counts

    def describe(self, layout: Layout) -> None:
        """Replace the sources, regions and classes, and remove from the broker what is no more; from any thread."""
        topics = Topics(self._config.topic, layout)
        self._outbox.describe(topics, self._configurations(topics))
        self._wake()

    def put(self, record: FrameRecord) -> None:
        """Queue the record of a frame; returns at once, from any thread.

        Where the queue is full the oldest record is dropped, so that what arrives is what is seen now.
        """
        self._outbox.put(record)
        self._wake()

    def source_lost(self, source: str) -> None:
        """Let a source be unavailable until its next record; from any thread."""
        self._outbox.source_lost(source)
        self._wake()

    async def run(self) -> None:
        """Connect and publish until this is cancelled, again whenever the broker was away; ends within two seconds."""
        self._loop = asyncio.get_running_loop()
        self._outage = OutageMessages(self._address, time.monotonic(), self._tell)
        wait_s = WAIT_S[0]
        try:
            while True:
                started_s = time.monotonic()
                try:
                    await self._session()
                except Exception as error:  # whatever it is: the service goes on, and the line says it
                    refused = is_refusal(error)
                    self._lost(reason(error), refused)
                first_s, longest_s = REFUSED_WAIT_S if refused else WAIT_S
                if time.monotonic() - started_s > longest_s:
                    wait_s = first_s
                wait_s = min(max(wait_s, first_s), longest_s)
                # Many devices lose one broker at the same time, and shall not come back all at once.
                await asyncio.sleep(wait_s * random.uniform(0.5, 1))
                wait_s *= 2
        finally:
            self._outbox.close()

    def _configurations(self, topics: Topics) -> dict[str, bytes]:
        if not self._config.discovery:
            return {}
        return configurations(topics, self._config.discovery_prefix, self._snapshot is not None)

    def _wake(self) -> None:
        if self._loop is not None and not self._changed.is_set():
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._changed.set)

    async def _session(self) -> None:
        """Publish on one connection; ends by an exception only."""
        broker, status = self._config.broker(), self._outbox.topics.status
        await reach(broker, self._context)
        client = new_client(broker, self._context, self._identifier, status)
        try:
            await first_to_end(self._open(client))
            self._live()
            self._outbox.connected(True)
            try:
                await first_to_end(
                    self._send(client, self._outbox.take),
                    # Apart, as each waits until the broker confirmed it.
                    self._send(client, self._outbox.take_event),
                    self._send_snapshots(client),
                    self._receive(client),
                )
            except asyncio.CancelledError:
                await close(client, status)
                raise
        finally:
            self._outbox.connected(False)
            abort(client)

    async def _open(self, client: aiomqtt.Client) -> None:
        """Connect; ask for what Home Assistant says, and for what the broker holds of this service from before."""
        await client.__aenter__()
        prefix, topics = self._config.discovery_prefix, self._outbox.topics
        wanted = (topics.status, topics.held, birth_topic(prefix), configurations_filter(topics, prefix))
        await client.subscribe([(topic, 0) for topic in wanted])

    async def _send(self, client: aiomqtt.Client, take: Callable[[], Message | None]) -> None:
        while True:
            self._changed.clear()
            while (message := take()) is not None:
                await self._publish(client, message)
            await self._changed.wait()

    async def _publish(self, client: aiomqtt.Client, message: Message) -> None:
        """Publish a message, and wait until it is written (QoS 0) or confirmed (QoS 1): no other waits in memory."""
        try:
            payload = message.content
            if not isinstance(payload, bytes):  # in another thread: a record with masks takes many milliseconds
                payload = await asyncio.get_running_loop().run_in_executor(None, payload.json)
            await client.publish(message.topic, payload, qos=message.qos, retain=message.retain)
        except BaseException:
            self._outbox.failed(message)
            raise
        self._outbox.sent(message)
        self._live()

    async def _receive(self, client: aiomqtt.Client) -> None:
        prefix, status = self._config.discovery_prefix, self._outbox.topics.status
        async for message in client.messages:
            topic, payload = message.topic.value, message.payload
            if not isinstance(payload, bytes):
                continue
            if topic == birth_topic(prefix):
                if payload == ONLINE and not message.retain:
                    self._outbox.publish_configurations_again()
            elif topic == status:
                # The will of an earlier connection of this service, which the broker took long to give up.
                if payload == OFFLINE and not message.retain:
                    self._outbox.publish_again([status])
            elif message.retain and payload:
                topics = self._outbox.topics
                self._outbox.found(topics.retained_of(payload) if topic == topics.held else [topic])
            self._changed.set()

    async def _send_snapshots(self, client: aiomqtt.Client) -> None:
        sent: dict[str, bytes] = {}
        while self._snapshot is not None:
            for source in self._outbox.topics.sources:
                picture = await in_daemon_thread(lambda source=source: self._picture(source))  # type: ignore[misc]
                topics = self._outbox.topics
                if picture and picture != sent.get(source) and source in topics.sources:
                    # Not retained: a picture stays nowhere.
                    await self._publish(client, Message("snapshot", topics.snapshot(source), picture))
                    sent[source] = picture
            await asyncio.sleep(self._config.snapshot_s)
        await asyncio.Event().wait()

    def _picture(self, source: str) -> bytes | None:
        assert self._snapshot is not None
        try:
            return self._snapshot(source)
        except Exception as error:  # a picture less, and records go on
            if source not in self._without_picture:
                self._without_picture.add(source)
                self._on_message(f"{self._address}: no pictures of {source}: {one_line(error)}")
            return None

    def _tell(self, line: str) -> None:
        self._lines += 1
        self._on_message(line)

    def _live(self) -> None:
        assert self._outage is not None
        self._outage.live(time.monotonic())
        self._told_refusal = False

    def _lost(self, why: str, refused: bool) -> None:
        """Tell that the broker is lost, once; and that it refuses the password, also where it was away before."""
        assert self._outage is not None
        before = self._lines
        self._outage.lost(time.monotonic(), why)
        if refused and not self._told_refusal and self._lines == before:
            self._tell(f"{self._address}: {why}; trying again every few minutes")
        self._told_refusal = self._told_refusal or refused
