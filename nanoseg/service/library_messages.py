"""What this package and its libraries log and warn of, as lines of the service's log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from nanoseg.errors import first_line
from nanoseg.service.logs import ERROR, WARNING, Log


@contextmanager
def library_messages(log: Log) -> Iterator[None]:
    """Send what comes by `logging` and by `warnings` to a log, and to no other handler, until the end of the block."""
    root, handler = logging.getLogger(), _Handler(log)
    before, root.handlers[:] = list(root.handlers), [handler]
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = before


class _Handler(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage().strip()
            if record.name == "py.warnings":  # the second line quotes the source
                message = message.partition("\n")[0]
            if record.exc_info and (error := record.exc_info[1]) is not None:
                message += f": {type(error).__name__}: {first_line(error)}"
            self._log.tell(
                "library", message, ERROR if record.levelno >= logging.ERROR else WARNING, logger=record.name
            )
        except Exception:
            self.handleError(record)
