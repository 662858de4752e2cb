"""`nanoseg serve`: the service with its signals."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

from nanoseg.bundle import open_bundle
from nanoseg.errors import NanosegError, one_line, os_reason, with_notes
from nanoseg.service.config import check_labels, load_config, sample_config, sample_path
from nanoseg.service.http.token import read_token
from nanoseg.service.library_messages import library_messages
from nanoseg.service.logs import ERROR, Log
from nanoseg.service.service import Service
from nanoseg.utils.terminal import plural, print_line


def serve(path: Path | None, *, check: bool, sample: bool, log_json: bool) -> int:
    """Run the service until a signal ends it; returns the exit code, 128 and the signal's number.

    Args:
        path: the configuration; None: the sample.
        check: only check it, with its bundle and its token.
        sample: only print the sample.
        log_json: write the log as JSON lines.

    Raises:
        NanosegError: a part cannot be started, or the engine fails for good.
    """
    if sample:
        for line in sample_config().splitlines():
            print_line(line)
        return 0
    path = sample_path() if path is None else path
    if check:
        config = load_config(path)
        bundle = open_bundle(config.model.bundle)
        check_labels(config, bundle.labels)
        read_token(config.http.token_file)
        cameras, regions = plural(len(config.source), "camera"), plural(len(config.region), "region")
        print_line(f"{path}: {cameras}, {regions}, bundle {bundle.name}: no fault found")
        return 0
    with closing(Log(as_json=log_json)) as log, library_messages(log):
        try:
            service = Service(path, load_config(path), log)
            with _signals(service) as received:
                try:
                    service.run()
                except KeyboardInterrupt:  # a signal while the engines were loaded
                    if not received:
                        raise
                except OSError as error:  # of the machine, not of the configuration: another start may be better
                    raise NanosegError(os_reason(error) if error.filename is None else one_line(error)) from error
        except NanosegError as error:
            if not log.is_structured:
                raise
            log.event(f"error: {with_notes(str(error), error)}", ERROR)
            return error.exit_code
    return 128 + received[0] if received else 0


@contextmanager
def _signals(service: Service) -> Iterator[list[int]]:
    """End the service by SIGTERM and SIGINT and reload it by SIGHUP; yields the numbers of those that ended it."""
    received: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        received.append(number)
        service.stop()

    handlers = {
        signal.SIGTERM: end,
        signal.SIGINT: end,
        signal.SIGHUP: lambda *_: service.reload(),
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
