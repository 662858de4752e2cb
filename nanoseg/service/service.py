"""The service: its parts put together, started, changed while they run, and ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from nanoseg.bundle import find_bundle
from nanoseg.bundle.manifest import read_manifest
from nanoseg.errors import NanosegError, UsageError, one_line, os_reason
from nanoseg.service.board_watch import BoardWatch
from nanoseg.service.config import ServiceConfig, camera_urls, check_http, check_labels, load_config
from nanoseg.service.http.app import Application, View
from nanoseg.service.http.prompts import PromptAnswers
from nanoseg.service.http.server import Server, listen
from nanoseg.service.http.token import TokenCheck, read_token
from nanoseg.service.logs import ERROR, NOTICE, Log
from nanoseg.service.loop import Hooks, ServiceLoop
from nanoseg.service.metrics import Metrics
from nanoseg.service.model import apply_model, reported_classes
from nanoseg.service.mqtt.topics import Layout
from nanoseg.service.outputs import Outputs
from nanoseg.service.privacy import open_privacy
from nanoseg.service.recent import Recent
from nanoseg.service.regions import Region
from nanoseg.service.reports import Reports
from nanoseg.service.result import FrameResult
from nanoseg.service.running_bundle import RunningBundle
from nanoseg.service.state_folder import StateFolder
from nanoseg.service.swap.swapper import Swapper
from nanoseg.service.systemd import Notifier, Watchdog
from nanoseg.service.tracking import ServiceTracking
from nanoseg.sources.camera_url import CameraUrl
from nanoseg.sources.cameras import Cameras
from nanoseg.sources.source import MAX_PIXELS
from nanoseg.utils.terminal import plural

if TYPE_CHECKING:
    from nanoseg.segmenter import Segmenter

HOT_DEADLINE_MS = 100.0  # of a board that heat slows, without a deadline of its own
_ALIVE_S = 15.0  # without a turn of the loop, after which it counts as hung


class Service:
    """Everything that `nanoseg serve` runs."""

    def __init__(self, path: Path, config: ServiceConfig, log: Log) -> None:
        """Take a checked configuration and its file, which is read again on `reload`."""
        self._path, self._config, self._log = path, config, log
        self._state = StateFolder()
        self._notifier = Notifier()
        self._watchdog = Watchdog(self._notifier)
        self._turn_s = time.monotonic()
        self._starts = 1
        self._reload = self._stopped = False
        self._token = TokenCheck(None)
        self._recent = Recent()
        self._metrics = Metrics(lambda: self._reports.gauges(self._starts, self._log.trouble, self._layout().classes))
        self._prompting = ThreadPoolExecutor(1, "nanoseg-prompts")
        self._board = BoardWatch(lambda line: self._log.tell("board", line))
        self._bundle = RunningBundle(lambda: self._config, self._state, log)
        self._loop: ServiceLoop | None = None

    def stop(self) -> None:
        """End `run`. From a signal's handler, too, so that no lock is taken.

        Raises:
            KeyboardInterrupt: the engines are being loaded, which nothing else ends.
        """
        self._stopped = True
        if self._loop is None:
            raise KeyboardInterrupt
        self._loop.stop()

    def reload(self) -> None:
        """Read the configuration again before the next frame. From a signal's handler, too."""
        self._reload = True

    def run(self) -> None:
        """Serve until `stop`.

        Raises:
            NanosegError: a part cannot be started, or the engine fails for good.
        """
        with ExitStack() as stack:
            stack.callback(self._prompting.shutdown, wait=False, cancel_futures=True)
            self._token = TokenCheck(read_token(self._config.http.token_file))
            listener = listen(self._config.http)
            stack.callback(listener.close)
            server = Server(listener, self._config.http.max_streams, lambda line: self._log.tell("http", line))
            server.start()
            stack.callback(server.close)
            cameras = stack.enter_context(
                Cameras(
                    camera_urls(self._config),
                    max_pixels=MAX_PIXELS,
                    on_message=lambda name, line: self._log.tell("camera", line, source=name),
                    start_s=None,
                )
            )
            segmenter = self._bundle.open()
            loop = self._build(cameras, segmenter)
            stack.callback(lambda: loop.segmenter.close())
            stack.callback(self._swapper.close)
            self._outputs = outputs = Outputs(self._config, self._log, self._layout)
            self._bundle.on_swap = outputs.describe
            stack.callback(outputs.close)
            loop.subscribers.append(outputs)
            self._reports = Reports(loop, outputs, self._swapper, self._recent, self._board, self._bundle)
            limit = self._config.http.max_prompts
            prompts = PromptAnswers(self._segmenter, self._prompting, limit, lambda: self._config.redact)
            application = Application(self._view(), outputs.pictures, outputs.events, prompts)
            self._reports.readers = application.readers
            self._turn_s = time.monotonic()
            server.use(
                application.asgi,
                on_start=outputs.bind,
                on_close=application.close,
                tasks=lambda: [outputs.run_mqtt(), self._board.run()],
            )
            stack.callback(server.close)
            stack.callback(lambda: self._swapper.end(told=self._stopped))
            stack.callback(self._notifier.stopping)
            self._start_counting()
            host, port = listener.getsockname()[:2]
            self._log.event(f"http://{host}:{port} serves {self._bundle.running} on {segmenter.device}", NOTICE)
            self._notifier.ready(f"{plural(len(self._config.source), 'camera')}, {self._bundle.running}")
            stack.callback(self._watchdog.close)
            if not self._stopped:  # an interrupt may be lost in a library
                loop.run()

    def finished(self, result: FrameResult) -> None:
        """Count a frame that was segmented."""
        self._metrics.finished(result)
        self._recent.add(result)

    def not_finished(self, source: str, outcome: str) -> None:
        """Count a frame without a result."""
        self._metrics.not_finished(source, outcome)

    def _build(self, cameras: Cameras, segmenter: Segmenter) -> ServiceLoop:
        self._swapper = Swapper(self._bundle)
        self._loop = ServiceLoop(
            segmenter,
            cameras,
            [Region(region) for region in self._config.region],
            [],
            self,
            Hooks(
                alive=self._alive,
                between=self._between,
                told=lambda name, line: self._log.tell("engine", line, source=name),
                segmented=self._swapper.offer,
                failed=self._failed,
            ),
            deadline_ms=self._deadline_ms(),
            privacy=open_privacy(self._bundle.config, segmenter),
            tracking=ServiceTracking(lambda: self._bundle.config.model),
        )
        return self._loop

    def _alive(self) -> None:
        self._turn_s = time.monotonic()
        self._watchdog.alive()

    def _between(self) -> None:
        """Exchange what is to be exchanged. In the loop's thread, between two frames."""
        assert self._loop is not None
        if self._reload:
            self._reload = False
            self._notifier.reloading()
            self._read_again(self._loop)
            self._notifier.ready()
        if (segmenter := self._swapper.take(self._loop.segmenter)) is not None:
            self._use(self._loop, segmenter)
        self._outputs.watch(self._loop.cameras.status)
        if (deadline_ms := self._deadline_ms()) != self._loop.deadline_ms:
            self._loop.use(self._loop.segmenter, deadline_ms, self._loop.privacy)

    def _use(self, loop: ServiceLoop, segmenter: Segmenter) -> None:
        """Run a segmenter, which has been fitted, from the next frame on."""
        loop.use(segmenter, self._deadline_ms(), open_privacy(self._bundle.config, segmenter))

    def _deadline_ms(self) -> float | None:
        """Return the deadline of frames: where heat slows the board there is one in any case."""
        return self._bundle.config.model.deadline_ms or (HOT_DEADLINE_MS if self._board.state.throttled else None)

    def _failed(self, error: NanosegError) -> bool:
        assert self._loop is not None
        if (before := self._swapper.revert(str(error))) is not None:
            self._use(self._loop, before)
        return before is not None

    def _read_again(self, loop: ServiceLoop) -> None:
        """Take a changed configuration; what did not change goes on, and an invalid one changes nothing."""
        before = self._config
        try:
            config, bound = load_config(self._path), before.http
            wanted_http, http = config.http, replace(bound, token_file=config.http.token_file)
            check_http(http)  # the address that is listened on is not changed
            token = self._token.renewed(read_token(http.token_file))
            is_other = config.model.bundle not in (before.model.bundle, self._bundle.running)
            if is_other:  # its other files are verified in the trial's thread: that takes a while
                check_labels(config, read_manifest(find_bundle(config.model.bundle)).labels)
            fitting = self._bundle.config_after(config)
            check_labels(fitting, loop.segmenter.bundle.labels)
            urls = camera_urls(config)
        except NanosegError as error:
            self._log.event(f"reload: nothing is changed: {error}", ERROR)
            return
        if config.redact != before.redact:
            self._outputs.pictures.forget(set())  # before anybody could take them for covered ones
        self._bundle.renamed(before, config)
        self._config, self._token = replace(config, http=http), token
        self._exchange_cameras(loop, urls, before)  # one that has ended is tried again
        config = self._config
        going_on = [region for region in loop.regions if region.config in config.region]
        new = [region for region in config.region if region not in [each.config for each in going_on]]
        loop.regions = [*going_on, *map(Region, new)]
        apply_model(fitting.model, loop.segmenter)
        self._use(loop, loop.segmenter)
        try:
            self._outputs.update(self._config)
        except UsageError as error:
            self._log.event(f"reload: {error}; MQTT goes on as before", ERROR)
        if config.model.bundle != before.model.bundle:
            self._swapper.call_off(before.model.bundle)
        if is_other:
            self._start_swap(config, before)
        for key in bound.__struct_fields__:
            if getattr(wanted_http, key) != getattr(http, key):
                self._log.event(f"reload: http.{key} is changed by a restart only", NOTICE)
        if (config.model.backend, config.model.engines) != (before.model.backend, before.model.engines):
            self._log.event("reload: model.backend and model.engines are changed by a restart only", NOTICE)
        self._log.event("reload: done", NOTICE)

    def _exchange_cameras(self, loop: ServiceLoop, urls: Sequence[CameraUrl], before: ServiceConfig) -> None:
        try:
            loop.cameras.update(urls)
        except (NanosegError, OSError) as error:
            self._log.event(f"reload: the cameras are those of before: {one_line(error)}", ERROR)
            self._config = replace(self._config, source=before.source, region=before.region)
            try:
                loop.cameras.update(camera_urls(before))
            except (NanosegError, OSError) as again:
                self._log.event(f"reload: no camera is read until another one: {one_line(again)}", ERROR)

    def _start_swap(self, config: ServiceConfig, before: ServiceConfig) -> None:
        try:
            self._swapper.start(config.model.bundle)
        except UsageError as error:
            self._log.event(f"reload: {error}; another reload tries it again", ERROR)
            self._bundle.renamed(config, before)
            self._config = replace(self._config, model=before.model)
        else:  # an end of the service meanwhile is no reason to run it untried
            self._bundle.keep(self._bundle.running, "", watched=False)

    def _start_counting(self) -> None:
        try:
            self._starts = self._state.started()
        except OSError as error:
            self._log.tell("state", f"nothing is kept for the next start: {os_reason(error)}")

    def _segmenter(self) -> Segmenter:
        assert self._loop is not None
        return self._loop.segmenter

    def _view(self) -> View:
        return View(
            http=self._config.http,
            sources=lambda: [source.name for source in self._config.source],
            state=lambda: self._reports.state(redacted=self._config.redact is not None),
            trouble=self._trouble,
            metrics=self._metrics.text,
            token=lambda: self._token,
            hosts={"localhost", "127.0.0.1", "::1", self._config.http.host.strip("[]").lower()},
            told=lambda line, same: self._log.tell("http", line, same=same),
            low_memory=lambda: self._board.low_memory,
            swaps=self._swapper,
        )

    def _trouble(self) -> str:
        silent_s = time.monotonic() - self._turn_s
        return f"no frame was finished for {silent_s:.0f} s: the engine hangs" if silent_s > _ALIVE_S else ""

    def _layout(self) -> Layout:
        config = self._bundle.config
        return Layout(
            tuple(source.name for source in config.source),
            tuple((region.source, region.name) for region in config.region),
            reported_classes(config.model, self._segmenter().bundle.labels),
            self._bundle.running,
        )
