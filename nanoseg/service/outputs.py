"""Where results go: pictures and events for HTTP, records to a file, MQTT. None of them makes the loop wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from nanoseg.service.config import ServiceConfig
from nanoseg.service.http.streams import Events
from nanoseg.service.logs import Log
from nanoseg.service.mqtt.config import MqttConfig
from nanoseg.service.mqtt.outbox import MqttCounts
from nanoseg.service.mqtt.publisher import MqttPublisher
from nanoseg.service.mqtt.topics import Layout
from nanoseg.service.pictures import Pictures
from nanoseg.service.records import RecordsWriter
from nanoseg.service.result import FrameResult
from nanoseg.sources.camera_status import CameraStatus

if TYPE_CHECKING:
    from nanoseg.sinks.annotate import Annotator

LOOK_S = 1.0  # between two looks at the cameras


class Outputs:
    """All outputs of a service, which may be exchanged while it runs."""

    def __init__(self, config: ServiceConfig, log: Log, layout: Callable[[], Layout]) -> None:
        """Start.

        Args:
            config: of the service.
            log: takes trouble.
            layout: returns what MQTT publishes about.

        Raises:
            UsageError: a file for MQTT cannot be read.
        """
        self._log, self._layout = log, layout
        self._executor = ThreadPoolExecutor(2, "nanoseg-pictures")
        self.pictures, self.events = Pictures(draw, self._executor), Events()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._mqtt_changed = asyncio.Event()
        self._looked_s = -LOOK_S
        self._mqtt_config, self._mqtt = config.mqtt, self._open_mqtt(config.mqtt)
        self._records = RecordsWriter(config.records, lambda line: self._log.tell("records", line))

    @property
    def mqtt(self) -> MqttCounts | None:
        """What was published over MQTT; None: no broker is configured."""
        return None if self._mqtt is None else self._mqtt.counts

    def put(self, result: FrameResult) -> None:
        """Pass a result on; never waits. In the loop's thread."""
        self.pictures.put(result)
        self.events.put(result)
        self._records.put(result.record())
        if self._mqtt is not None and self._mqtt_config is not None:
            self._mqtt.put(result.record(masks=self._mqtt_config.masks))

    def dropped(self) -> dict[tuple[str, str], int]:
        """Return what outputs had no room for, by output and reason."""
        dropped = {("events", "slow"): self.events.dropped}
        dropped |= {("records", reason): number for reason, number in dict(self._records.dropped).items()}
        if self._mqtt is not None:
            dropped |= {
                (f"mqtt_{kind}", reason): number for (kind, reason), number in self._mqtt.counts.dropped.items()
            }
        return dropped

    def written(self) -> dict[str, int]:
        """Return how much outputs have written."""
        published = {} if self._mqtt is None else self._mqtt.counts.published
        return {"records": self._records.written} | {f"mqtt_{kind}": number for kind, number in published.items()}

    def update(self, config: ServiceConfig) -> None:
        """Take another configuration: outputs that it does not change go on. In the loop's thread.

        Raises:
            UsageError: a file for MQTT cannot be read; MQTT goes on as before, and all else is as it is configured.
        """
        self.pictures.forget({source.name for source in config.source})
        self._records.change(config.records)
        if config.mqtt == self._mqtt_config:
            self.describe()
            return
        self._mqtt = self._open_mqtt(config.mqtt)
        self._mqtt_config = config.mqtt
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._mqtt_changed.set)

    def watch(self, cameras: Callable[[], Mapping[str, CameraStatus]]) -> None:
        """Tell MQTT of cameras that are lost; looks once in LOOK_S. In the loop's thread."""
        now_s = time.monotonic()
        if self._mqtt is None or now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        for name, status in cameras().items():
            if status.state != "live":  # each time: a record of a frame that waited may have come since
                self._mqtt.source_lost(name)

    def describe(self) -> None:
        """Tell MQTT that the sources, regions or classes have changed."""
        if self._mqtt is not None:
            self._mqtt.describe(self._layout())

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the asyncio loop of HTTP and MQTT."""
        self._loop = loop
        self.pictures.bind(loop)
        self.events.bind(loop)

    async def run_mqtt(self) -> None:
        """Publish by the publisher of the moment until this is cancelled."""
        while True:
            self._mqtt_changed.clear()
            changed = asyncio.ensure_future(self._mqtt_changed.wait())
            tasks = [changed] if self._mqtt is None else [changed, asyncio.ensure_future(self._mqtt.run())]
            try:
                await asyncio.wait([changed])
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """Write what waits, and close the files."""
        self._records.close()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _open_mqtt(self, config: MqttConfig | None) -> MqttPublisher | None:
        if config is None:
            return None
        return MqttPublisher(config, self._layout(), lambda line: self._log.tell("mqtt", line), self._snapshot)

    def _snapshot(self, source: str) -> bytes | None:
        """Return the JPEG that readers of streams get, too. In a thread of its own, as it waits for it."""
        result, loop = self.pictures.latest(source), self._loop
        if result is None or loop is None:
            return None
        return asyncio.run_coroutine_threadsafe(self.pictures.jpeg(result, overlay=True), loop).result()


def draw(result: FrameResult) -> np.ndarray:
    """Return the picture of a result with its objects drawn in, (H, W, 3) uint8 BGR."""
    return _annotator()(result.frame, result.found)


@cache
def _annotator() -> Annotator:
    from nanoseg.sinks.annotate import Annotator  # loads supervision, which is wanted with the first reader

    return Annotator()
