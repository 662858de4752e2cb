"""The exceptions of nanoseg, with the exit code of each.

    NanosegError
    ├── UsageError         2  a flag, a value or a configuration file
    ├── SourceError        3  an image, video, folder, camera or stream
    ├── BundleError        4  a model bundle or one of the networks in it
    ├── EngineError        5  an engine, a backend or the device it runs on
    └── DependencyError    6  an optional library that is not installed

Every message is one line: where, what was wanted, what was found, what to do.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from nanoseg.utils.signals import uninterrupted
from nanoseg.utils.text import printable, shorten

INTERRUPTED = 130  # the exit code after Ctrl-C, as a shell has it: 128 + SIGINT
MAX_MESSAGE = 1500  # characters: what a message quotes may be megabytes


class NanosegError(Exception):
    """Base class of every error that nanoseg raises on purpose.

    Its message is one line whatever it quotes: control characters are escaped, passwords of URLs and the middle of long
    messages are left out.
    """

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(shorten(printable(message), MAX_MESSAGE))


class UsageError(NanosegError):
    """A flag, a value or a configuration file is invalid."""

    exit_code = 2


class SourceError(NanosegError):
    """Frames cannot be read from a source."""

    exit_code = 3


class BundleError(NanosegError):
    """A model bundle, or a network in it, is missing, altered or does not fit."""

    exit_code = 4


class EngineError(NanosegError):
    """A network cannot be loaded or run on this device."""

    exit_code = 5


class DependencyError(NanosegError):
    """An optional library is missing; the message is the pip command that installs it."""

    exit_code = 6


@contextmanager
def needs(library: str, extra: str) -> Iterator[None]:
    """Wrap the import of an optional library: a failure becomes a DependencyError that names nanoseg's extra.

    A signal that ends the command waits: a compiled module that it interrupts fails as one that cannot be loaded.

    Args:
        library: its name, for the message.
        extra: the extra of nanoseg that installs it.
    """
    try:
        with uninterrupted():
            yield
    except ModuleNotFoundError as error:
        raise DependencyError(f'{library} is not installed: pip install "nanoseg[{extra}]"') from error
    except NanosegError:
        raise
    # Installed, but it does not load: OpenCV without libGL raises ImportError, torchvision beside another torch
    # RuntimeError, a library cut short OSError, one built for another NumPy ValueError or AttributeError.
    except Exception as error:
        raise DependencyError(
            f"{library} cannot be loaded: {one_line(error)}; install what it misses, or again: "
            f'pip install "nanoseg[{extra}]"'
        ) from error


def add_note(error: BaseException, note: str) -> None:
    """Append to what is printed of an error, as PEP 678 does, also before Python 3.11."""
    error.__dict__.setdefault("__notes__", []).append(note)


def with_notes(message: str, error: BaseException) -> str:
    """Return a message with the notes of its error: `MESSAGE; NOTE`."""
    return "; ".join([message, *(" ".join(note.split()) for note in getattr(error, "__notes__", ()))])


def one_line(error: BaseException) -> str:
    """Return an error's message on one line, or the name of its class where it has no message."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class; ONNX's messages go on for pages."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def os_reason(error: OSError) -> str:
    """Return the system's reason without error number and path: `Permission denied`."""
    return error.strerror or one_line(error)
