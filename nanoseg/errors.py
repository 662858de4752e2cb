"""What can go wrong, and the exit code that tells it to a shell.

    NanosegError
    ├── UsageError         2  a flag, a value or a configuration file
    ├── SourceError        3  an image, video, folder, camera or stream
    ├── BundleError        4  a model bundle or one of the networks in it
    ├── EngineError        5  an engine, a backend or the device it runs on
    └── DependencyError    6  an optional library that is not installed

Every message is one line: where, what was wanted, what came, what to do.
"""

from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 130  # no error, but what a shell gives for Ctrl-C: 128 + SIGINT


class NanosegError(Exception):
    """Base of every error that nanoseg raises on purpose."""

    exit_code = 1


class UsageError(NanosegError):
    """A flag, a value or a configuration file is not what was wanted."""

    exit_code = 2


class SourceError(NanosegError):
    """Frames cannot be read from where they were asked for."""

    exit_code = 3


class BundleError(NanosegError):
    """A model bundle, or a network in it, is missing, altered or does not fit."""

    exit_code = 4


class EngineError(NanosegError):
    """A network cannot be loaded or run here."""

    exit_code = 5


class DependencyError(NanosegError):
    """An optional library is missing; the message is the pip line that mends it."""

    exit_code = 6


@contextmanager
def needs(library: str, extra: str) -> Iterator[None]:
    """Around the import of an optional library: raises DependencyError with the extra that brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise DependencyError(f'{library} is not installed: pip install "nanoseg[{extra}]"') from error
    except ImportError as error:  # installed, but something of the system is missing: OpenCV wants libGL, say
        raise DependencyError(
            f"{library} cannot be loaded: {one_line(error)}; install what it misses, or again: "
            f'pip install "nanoseg[{extra}]"'
        ) from error


def one_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """Return the first line of a library's error message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
