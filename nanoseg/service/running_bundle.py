"""The bundle that the service runs: chosen at the start, exchanged, and kept for the next start."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from nanoseg.bundle import open_bundle
from nanoseg.errors import NanosegError, os_reason
from nanoseg.service.config import ServiceConfig, SwapConfig, check_labels
from nanoseg.service.logs import ERROR, NOTICE, Log
from nanoseg.service.model import apply_model, load_model
from nanoseg.service.privacy import open_privacy
from nanoseg.service.state_folder import StateFolder
from nanoseg.service.swap.bundle_memory import estimate_mb

if TYPE_CHECKING:
    from nanoseg.segmenter import Segmenter


class RunningBundle:
    """The bundle of the service, as its start and a swap see it."""

    def __init__(self, config: Callable[[], ServiceConfig], state: StateFolder, log: Log) -> None:
        """Choose the bundle: the one that was swapped in, unless it failed or the configuration names another now.

        Args:
            config: returns the configuration of the moment.
            state: what was kept of the last run.
            log: takes events.
        """
        self._config, self._state, self._log = config, state, log
        self.running, self.before, self._failed = state.start(config().model.bundle)
        self.on_swap: Callable[[], None] = lambda: None  # called in the loop's thread once another bundle runs

    def open(self) -> Segmenter:
        """Open the bundle that is to run; where one that was swapped in fails, the configured one.

        Raises:
            NanosegError: the configured one fails.
        """
        configured = self._config().model.bundle
        if self._failed:
            reason = "the service has ended without having been told to, soon after it was swapped in"
            self._log.event(f"bundle {self._failed} is put back: {reason}; {self.running} runs", ERROR)
        try:
            return self.load(self.running)
        except NanosegError as error:
            if self.running == configured:
                raise
            self._log.event(f"bundle {self.running}, swapped in before, fails: {error}; {configured} runs", ERROR)
            self.running = configured
            return self.load(configured)

    def limits(self) -> SwapConfig:
        """Return what a new bundle has to hold."""
        return self._config().swap

    def estimate_mb(self, bundle: str) -> float:
        """Return the memory that a bundle takes at least, in MB.

        Raises:
            BundleError: it is damaged.
            UsageError: it does not have the classes that are configured.
            EngineError: the engine store cannot be read.
        """
        opened, config = open_bundle(bundle), self._config()
        check_labels(config, opened.labels)
        return estimate_mb(opened, config.model.backend, config.model.engines)

    def load(self, bundle: str) -> Segmenter:
        """Open a bundle as it is configured, and warm it; raises NanosegError."""
        return load_model(self._config(), bundle)

    def fit(self, segmenter: Segmenter) -> None:
        """Set thresholds and classes of a segmenter, which no frame is in, as they are configured now; never waits.

        Raises:
            UsageError: its bundle does not have the classes that are configured.
        """
        config = self._config()
        check_labels(config, segmenter.bundle.labels)
        apply_model(config.model, segmenter)

    def fit_for_trial(self, segmenter: Segmenter) -> None:
        """Set a segmenter as `fit` and `[redact]` do.

        Raises:
            UsageError: its bundle does not have the classes that are configured.
        """
        self.fit(segmenter)
        open_privacy(self._config(), segmenter)

    def keep(self, running: str, before: str, *, watched: bool) -> None:
        """Keep for the next start what runs and what ran before, and whether the former has yet to prove itself."""
        try:
            self._state.swapped(self._config().model.bundle, running, before, watched=watched)
        except OSError as error:
            self._log.tell("state", f"the swap cannot be kept for the next start: {os_reason(error)}")

    def told(self, line: str) -> None:
        """Log a line about a swap."""
        self._log.event(line, NOTICE)

    def swapped(self, bundle: str) -> None:
        """Take the name of the bundle that runs from now on. In the loop's thread; never waits."""
        self.running = bundle
        self.on_swap()
