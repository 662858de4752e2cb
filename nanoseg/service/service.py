"""The service: its parts put together, started, changed while they run, and ended."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import nanoseg
from nanoseg.errors import NanosegError, UsageError, os_reason
from nanoseg.processing.classes import class_ids
from nanoseg.service.board import BoardState, read_board
from nanoseg.service.config import ModelConfig, ServiceConfig, camera_urls, check_labels, is_loopback, load_config
from nanoseg.service.http.app import Application, View
from nanoseg.service.http.prompts import PromptAnswers
from nanoseg.service.http.server import Server, listen
from nanoseg.service.http.token import TokenCheck, read_token
from nanoseg.service.logs import ERROR, NOTICE, Log
from nanoseg.service.loop import Hooks, ServiceLoop
from nanoseg.service.metrics import Gauges, Metrics
from nanoseg.service.mqtt import MqttPublisher
from nanoseg.service.mqtt_topics import Layout
from nanoseg.service.pictures import Pictures, encode_jpeg
from nanoseg.service.recent import Recent
from nanoseg.service.records import RecordsWriter
from nanoseg.service.regions import Region
from nanoseg.service.result import FrameResult
from nanoseg.service.state_document import board_document, regions_document, source_document
from nanoseg.service.state_folder import StateFolder
from nanoseg.service.swap import Swapper
from nanoseg.service.systemd import Notifier, Watchdog
from nanoseg.sources.cameras import Cameras
from nanoseg.sources.source import MAX_PIXELS
from nanoseg.utils.memory import resident_mb

if TYPE_CHECKING:
    from nanoseg.segmenter import Segmenter

_BOARD_S = 2.0  # between two readings of the sensors
_LOW_MEMORY_MB = 200.0
_ALIVE_S = 15.0  # without a turn of the loop, after which it counts as hung
_WARM_FRAMES = 2
_WARM_HW = (720, 1280)


class Service:
    """Everything that `nanoseg serve` runs."""

    def __init__(self, path: Path, config: ServiceConfig, log: Log) -> None:
        """Take a checked configuration and its file, which is read again on `reload`."""
        self._path, self._config, self._log = path, config, log
        self._state = StateFolder()
        self._notifier = Notifier()
        self._watchdog = Watchdog(self._notifier)
        self._started_s = self._turn_s = time.monotonic()
        self._starts = 1
        self._reload = threading.Event()
        self._stop = threading.Event()
        self._ready = False
        self._token = TokenCheck(None)
        self._recent = Recent()
        self._metrics = Metrics(self._gauges)
        self._executor = ThreadPoolExecutor(2, "nanoseg-pictures")
        self._prompting = ThreadPoolExecutor(1, "nanoseg-prompts")
        self._board, self._board_s = BoardState(), -_BOARD_S
        self._running = self._state.bundle(config.model.bundle)
        self._records: RecordsWriter | None = None
        self._mqtt: MqttPublisher | None = None
        self._states: dict[str, tuple[str, float]] = {}  # of the cameras, and since when
        self._asyncio: asyncio.AbstractEventLoop | None = None
        self._loop: ServiceLoop | None = None

    def stop(self) -> None:
        """End `run`. From a signal's handler, too."""
        self._stop.set()
        if self._loop is not None:
            self._loop.stop()

    def reload(self) -> None:
        """Read the configuration again before the next frame. From a signal's handler, too."""
        self._reload.set()

    def run(self) -> None:
        """Serve until `stop`.

        Raises:
            NanosegError: a part cannot be started, or the engine fails for good.
        """
        with ExitStack() as stack:
            stack.callback(self._executor.shutdown, wait=False, cancel_futures=True)
            stack.callback(self._prompting.shutdown, wait=False, cancel_futures=True)
            self._read_token()
            listener = listen(self._config.http)
            stack.callback(listener.close)
            cameras = stack.enter_context(
                Cameras(
                    camera_urls(self._config),
                    max_pixels=MAX_PIXELS,
                    on_message=lambda line: self._log.tell("camera", line),
                    start_s=None,
                )
            )
            segmenter = self._open()
            loop = self._build(cameras, segmenter)
            stack.callback(lambda: loop.segmenter.close())
            stack.callback(self._swapper.close)
            self._open_records()
            stack.callback(self._close_records)
            self._open_mqtt()
            self._pictures = Pictures(self._draw, self._executor)
            prompts = PromptAnswers(self._segmenter, self._prompting, self._config.http.max_prompts)
            self._application = Application(self._view(), self._pictures, prompts)
            server = Server(
                self._application.asgi,
                listener,
                self._config.http.max_streams,
                on_start=self._enter_asyncio,
                tasks=lambda: [self._run_mqtt()],
            )
            loop.subscribers[:] = [self]
            server.start()
            stack.callback(server.close)
            stack.callback(lambda: self._notifier.stopping())
            self._start_counting()
            host, port = listener.getsockname()[:2]
            self._log.event(f"http://{host}:{port} serves {self._running} on {segmenter.device}", NOTICE)
            self._ready = True
            self._notifier.ready(f"{len(self._config.source)} cameras, {self._running}")
            if self._stop.is_set():
                return
            loop.run()

    def put(self, result: FrameResult) -> None:
        """Pass a result on to all outputs; never waits. In the loop's thread."""
        self._pictures.put(result)
        if self._records is not None:
            self._records.put(result)
        if self._mqtt is not None and self._config.mqtt is not None:
            self._mqtt.put(result.record(masks=self._config.mqtt.masks))
        if self._application.queues and self._asyncio is not None:
            try:
                self._asyncio.call_soon_threadsafe(self._put_events, result)
            except RuntimeError:  # it is closed
                return

    def finished(self, result: FrameResult) -> None:
        """Count a frame that was segmented."""
        self._metrics.finished(result)
        self._recent.add(result)

    def not_finished(self, source: str, outcome: str) -> None:
        """Count a frame without a result."""
        self._metrics.not_finished(source, outcome)

    def _open(self) -> Segmenter:
        """Open the bundle that is to run: the one that was swapped in, or where that fails the configured one."""
        configured = self._config.model.bundle
        try:
            return self._load(self._running)
        except NanosegError as error:
            if self._running == configured:
                raise
            self._log.event(f"bundle {self._running}, swapped in before, fails: {error}; {configured} runs", ERROR)
            self._running = configured
            return self._load(configured)

    def _load(self, bundle: str) -> Segmenter:
        """Open a bundle as the configuration says, check its classes, and warm it."""
        model = self._config.model
        segmenter = nanoseg.load(bundle, model.backend, engines=model.engines)
        try:
            check_labels(self._config, segmenter.bundle.labels)
            _apply(model, segmenter)
            for _ in range(_WARM_FRAMES):
                segmenter(np.zeros((*_WARM_HW, 3), np.uint8))
                self._notifier.extend_timeout(60)
        except BaseException:
            segmenter.close()
            raise
        return segmenter

    def _build(self, cameras: Cameras, segmenter: Segmenter) -> ServiceLoop:
        self._swapper = Swapper(
            lambda: self._config.swap, self._load, lambda line: self._log.event(line, NOTICE), self._swapped
        )
        self._swapper.started(self._running)
        self._loop = ServiceLoop(
            segmenter,
            cameras,
            [Region(region) for region in self._config.region],
            [],
            self,
            Hooks(
                alive=self._alive,
                between=self._between,
                told=lambda line: self._log.tell("engine", line),
                segmented=self._swapper.offer,
                failed=self._failed,
            ),
            deadline_ms=self._config.model.deadline_ms,
        )
        return self._loop

    def _alive(self) -> None:
        self._turn_s = time.monotonic()
        self._watchdog.alive()

    def _between(self) -> None:
        """Exchange what is to be exchanged. In the loop's thread, between two frames."""
        assert self._loop is not None
        if self._reload.is_set():
            self._reload.clear()
            self._notifier.reloading()
            self._read_again(self._loop)
            self._notifier.ready()
        if (segmenter := self._swapper.take(self._loop.segmenter)) is not None:
            self._loop.use(segmenter, self._config.model.deadline_ms)
        if time.monotonic() - self._board_s > _BOARD_S:
            self._watch_board()

    def _failed(self, error: NanosegError) -> bool:
        assert self._loop is not None
        before = self._swapper.revert(self._loop.segmenter, str(error))
        if before is not None:
            self._loop.use(before, self._config.model.deadline_ms)
        return before is not None

    def _swapped(self, bundle: str) -> None:
        self._running = bundle
        try:
            self._state.swapped(self._config.model.bundle, bundle)
        except OSError as error:
            self._log.tell("state", f"the swap cannot be kept for the next start: {os_reason(error)}")
        if self._mqtt is not None:
            self._mqtt.describe(self._layout())

    def _watch_board(self) -> None:
        before, self._board, self._board_s = self._board, read_board(), time.monotonic()
        if self._board.throttled:
            self._log.tell("board", "heat holds the clocks down; cool it, or lower the power mode")
        if self._board.throttle_events > before.throttle_events and before.temperatures_c:
            self._log.tell("board", "over-current or under-voltage throttled the board; look at its power supply")
        available_mb = self._board.available_mb
        if available_mb is not None and available_mb < _LOW_MEMORY_MB:
            self._log.tell("board", f"less than {_LOW_MEMORY_MB:g} MB of memory are left")

    def _read_again(self, loop: ServiceLoop) -> None:
        """Take a changed configuration; what did not change goes on, and an invalid one changes nothing."""
        before = self._config
        try:
            config = load_config(self._path)
            check_labels(config, loop.segmenter.bundle.labels)
            token = TokenCheck(read_token(config.http.token_file))
        except UsageError as error:
            self._log.event(f"reload: nothing is changed: {error}", ERROR)
            return
        self._config, self._token = config, token
        if config.source != before.source:
            loop.cameras.update(camera_urls(config))
            self._pictures.forget({source.name for source in config.source})
        regions = {region.config: region for region in loop.regions}
        loop.regions = [regions.get(region) or Region(region) for region in config.region]
        _apply(config.model, loop.segmenter)
        loop.use(loop.segmenter, config.model.deadline_ms)
        if config.records != before.records:
            self._close_records()
            self._open_records()
        self._change_mqtt(before)
        for key in ("host", "port", "stream_fps", "max_streams", "max_body_mb", "max_prompts"):
            if getattr(config.http, key) != getattr(before.http, key):
                self._log.event(f"reload: http.{key} is changed by a restart only", NOTICE)
        model = config.model
        if (model.backend, model.engines) != (before.model.backend, before.model.engines):
            self._log.event("reload: model.backend and model.engines are changed by a restart only", NOTICE)
        if model.bundle not in (before.model.bundle, self._running):
            self._swapper.start(model.bundle)
        self._log.event("reload: done", NOTICE)

    def _open_records(self) -> None:
        if self._config.records is not None:
            self._records = RecordsWriter(self._config.records, lambda line: self._log.tell("records", line))

    def _close_records(self) -> None:
        records, self._records = self._records, None
        if records is not None:
            records.close()

    def _read_token(self) -> None:
        self._token = TokenCheck(read_token(self._config.http.token_file))
        if not self._token.wanted and not is_loopback(self._config.http.host):
            raise UsageError(f"http.host: {self._config.http.host} wants a token (http.token_file)")

    def _start_counting(self) -> None:
        try:
            self._starts = self._state.started()
        except OSError as error:
            self._log.tell("state", f"nothing is kept for the next start: {os_reason(error)}")

    def _segmenter(self) -> Segmenter:
        assert self._loop is not None
        return self._loop.segmenter

    def _draw(self, result: FrameResult) -> np.ndarray:
        from nanoseg.sinks.annotate import Annotator

        return Annotator()(result.frame, result.found)

    def _view(self) -> View:
        return View(
            http=self._config.http,
            sources=lambda: [source.name for source in self._config.source],
            state=self._document,
            trouble=self._trouble,
            not_ready=lambda: "" if self._ready else "the engines are being loaded",
            metrics=self._metrics.text,
            token=lambda: self._token,
            hosts=self._hosts,
            told=lambda line: self._log.tell("http", line),
            swaps=self._swapper,
        )

    def _trouble(self) -> str:
        silent_s = time.monotonic() - self._turn_s
        return f"no frame was finished for {silent_s:.0f} s: the engine hangs" if silent_s > _ALIVE_S else ""

    def _hosts(self) -> frozenset[str]:
        return frozenset({"localhost", "127.0.0.1", "::1", self._config.http.host.strip("[]").lower()})

    def _enter_asyncio(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio = loop
        self._pictures.bind(loop)

    def _put_events(self, result: FrameResult) -> None:
        for queue in self._application.queues:
            queue.put(result)

    async def _run_mqtt(self) -> None:
        """Publish over MQTT as long as the service runs, by the publisher of the moment."""
        self._mqtt_changed = asyncio.Event()
        while True:
            self._mqtt_changed.clear()
            publisher = self._mqtt
            if publisher is None:
                await self._mqtt_changed.wait()
                continue
            running = asyncio.ensure_future(publisher.run())
            changed = asyncio.ensure_future(self._mqtt_changed.wait())
            try:
                await asyncio.wait((running, changed), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (running, changed):
                    task.cancel()
                await asyncio.gather(running, changed, return_exceptions=True)

    def _open_mqtt(self) -> None:
        """Make the publisher that the configuration wants; raises UsageError for its files."""
        self._mqtt = None
        if self._config.mqtt is not None:
            self._mqtt = MqttPublisher(
                self._config.mqtt, self._layout(), lambda line: self._log.tell("mqtt", line), self._snapshot
            )

    def _change_mqtt(self, before: ServiceConfig) -> None:
        if self._config.mqtt != before.mqtt:
            self._open_mqtt()
            if self._asyncio is not None:
                self._asyncio.call_soon_threadsafe(self._mqtt_changed.set)
        elif self._mqtt is not None:
            self._mqtt.describe(self._layout())

    def _layout(self) -> Layout:
        config = self._config
        return Layout(
            tuple(source.name for source in config.source),
            tuple((region.source, region.name) for region in config.region),
            _reported(config.model, self._segmenter().bundle.labels),
            self._running,
        )

    def _snapshot(self, source: str) -> bytes | None:
        result = self._pictures.latest(source)
        return None if result is None else encode_jpeg(self._draw(result))

    def _document(self) -> Mapping[str, Any]:
        segmenter, recent = self._segmenter(), self._recent.read()
        assert self._loop is not None
        return {
            "version": nanoseg.__version__,
            "bundle": self._running,
            "labels": list(segmenter.bundle.labels),
            "backend": segmenter.backend,
            "device": segmenter.device,
            "uptime_s": round(time.monotonic() - self._started_s, 1),
            "fps": recent["fps"],
            "redacted": self._config.redact is not None,
            "sources": [
                source_document(name, status, self._pictures.latest(name), recent, self._since_s(name, status.state))
                for name, status in self._loop.cameras.status().items()
            ],
            "regions": regions_document(self._loop.regions),
            "stages_ms": recent["stages_ms"],
            "age_ms": recent["age_ms"],
            **board_document(self._board),
            "memory_mb": round(resident_mb(), 1),
            "swap": self._swapper.state.document(),
        }

    def _since_s(self, name: str, state: str) -> float:
        now_s = time.monotonic()
        if self._states.get(name, ("", 0.0))[0] != state:
            self._states[name] = state, now_s
        return now_s - self._states[name][1]

    def _gauges(self) -> Gauges:
        segmenter = self._segmenter()
        assert self._loop is not None
        application = self._application
        dropped = {("events", "slow"): application.events_dropped + sum(queue.dropped for queue in application.queues)}
        if self._records is not None:
            dropped |= {("records", reason): number for reason, number in self._records.dropped.items()}
        counts = None if self._mqtt is None else self._mqtt.counts
        if counts is not None:
            dropped |= {(f"mqtt_{kind}", reason): number for (kind, reason), number in counts.dropped.items()}
        return Gauges(
            cameras=self._loop.cameras.status(),
            board=self._board,
            dropped=dropped,
            readers=dict(application.readers),
            mqtt_connected=None if counts is None else counts.connected,
            starts=self._starts,
            info={
                "version": nanoseg.__version__,
                "bundle": self._running,
                "backend": segmenter.backend,
                "device": segmenter.device,
            },
            trouble=dict(self._log.trouble),
            swaps=dict(self._swapper.outcomes),
        )


def _apply(model: ModelConfig, segmenter: Segmenter) -> None:
    """Set the thresholds and classes of a segmenter that no frame is in."""
    bundle = segmenter.bundle
    segmenter.confidence = bundle.confidence if model.confidence is None else model.confidence
    segmenter.iou = bundle.iou if model.iou is None else model.iou
    segmenter.max_objects = model.max_objects
    segmenter.class_ids = class_ids(model.classes, bundle.labels)


def _reported(model: ModelConfig, labels: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the classes that may be found."""
    ids = class_ids(model.classes, labels)
    return tuple(labels) if ids is None else tuple(labels[index] for index in ids)
