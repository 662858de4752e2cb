"""The bundle that the service runs: chosen at the start, exchanged, and kept for the next start."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec.structs import replace

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
        self.running, self.before, self._failed, models = state.start(config().model.bundle)
        # What bundles are asked for that the configuration does not name any more.
        self._models = dict(models)
        self._follows: dict[str, str] = {}  # bundles that no file named: the one that it named when they took over
        self.on_swap: Callable[[], None] = lambda: None  # called in the loop's thread once another bundle runs

    @property
    def config(self) -> ServiceConfig:
        """The configuration with what the running bundle is asked for."""
        return self.config_of(self.running)

    def config_of(self, bundle: str, config: ServiceConfig | None = None) -> ServiceConfig:
        """Return the configuration, or another one, with what a bundle is asked for: another's classes may not be its.

        Args:
            bundle: one that runs, is tried, or ran before.
            config: None for the configuration of the moment.
        """
        config = self._config() if config is None else config
        if config.model.bundle == bundle:
            return config
        return replace(config, model=self._models.get(bundle, config.model))

    def open(self) -> Segmenter:
        """Open the bundle that is to run; where one that ran last fails, the configured one.

        Raises:
            NanosegError: the configured one fails.
        """
        configured = self._config().model.bundle
        if self._failed:
            reason = "the service has ended without having been told to, soon after it was swapped in"
            self._log.event(f"bundle {self._failed} is put back: {reason}; {self.running} runs", ERROR)
        try:
            segmenter = self.load(self.running)
        except NanosegError as error:
            if self.running == configured:
                raise
            again = ", which has just failed, too" if configured == self._failed else ""
            self._log.event(f"bundle {self.running}, which ran last, fails: {error}; {configured} runs{again}", ERROR)
            self.running = configured
            return self.load(configured)
        if self.running != configured:
            advice = f"`nanoseg service swap {configured}` tries it"
            self._log.event(f"bundle {self.running} runs, as it did last; {configured} is configured: {advice}", NOTICE)
        return segmenter

    def limits(self) -> SwapConfig:
        """Return what a new bundle has to hold."""
        return self._config().swap

    def config_after(self, config: ServiceConfig) -> ServiceConfig:
        """Return a new configuration with what the running bundle is asked for then.

        Where it names another bundle, that has to pass its trial first.
        """
        named, before = config.model.bundle, self._config().model.bundle
        if named == self.running or (named != before and self._follows.get(self.running) == named):
            return config
        return self.config_of(self.running, config) if named == before else replace(config, model=self.config.model)

    def renamed(self, before: ServiceConfig, config: ServiceConfig) -> None:
        """Remember what the bundles are asked for that were named or ran, before the configuration names another."""
        named = config.model.bundle
        if named == before.model.bundle:
            return
        self._models |= {bundle: self.config_of(bundle, before).model for bundle in (before.model.bundle, self.running)}
        for bundle in [named, *(bundle for bundle, followed in self._follows.items() if followed == named)]:
            self._models.pop(bundle, None)

    def estimate_mb(self, bundle: str) -> float:
        """Return the memory that a bundle takes at least, in MB.

        Raises:
            BundleError: it is damaged.
            UsageError: it does not have the classes that are configured.
            EngineError: the engine store cannot be read.
        """
        opened, config = open_bundle(bundle), self.config_of(bundle)
        check_labels(config, opened.labels)
        return estimate_mb(opened, config.model.backend, config.model.engines)

    def load(self, bundle: str) -> Segmenter:
        """Open a bundle as it is configured, and warm it; raises NanosegError."""
        return load_model(self.config_of(bundle), bundle)

    def fit(self, bundle: str, segmenter: Segmenter) -> None:
        """Set thresholds and classes of a bundle's segmenter, which no frame is in, as they are now; never waits.

        Raises:
            UsageError: its bundle does not have the classes that are configured.
        """
        config = self.config_of(bundle)
        check_labels(config, segmenter.bundle.labels)
        apply_model(config.model, segmenter)

    def fit_for_trial(self, bundle: str, segmenter: Segmenter) -> None:
        """Set a segmenter as `fit` and `[redact]` do.

        Raises:
            UsageError: its bundle does not have the classes that are configured.
        """
        self.fit(bundle, segmenter)
        open_privacy(self.config_of(bundle), segmenter)

    def keep(self, running: str, before: str, *, watched: bool) -> None:
        """Keep for the next start what runs and what ran before, and whether the former has yet to prove itself."""
        configured = self._config().model.bundle
        models = {bundle: self._models[bundle] for bundle in (running, before) if bundle in self._models}
        try:
            self._state.swapped(configured, running, before, watched=watched, models=models)
        except OSError as error:
            self._log.tell("state", f"the swap cannot be kept for the next start: {os_reason(error)}")

    def told(self, line: str) -> None:
        """Log a line about a swap."""
        self._log.event(line, NOTICE)

    def swapped(self, bundle: str) -> None:
        """Take the name of the bundle that runs from now on. In the loop's thread; never waits."""
        self.running = bundle
        if bundle != (named := self._config().model.bundle) and bundle not in self._models:
            self._follows[bundle] = named
        self.on_swap()
