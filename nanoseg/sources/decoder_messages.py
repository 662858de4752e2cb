"""What OpenCV's image libraries print while they decode: caught, so that it can be told in our words.

libjpeg and libpng print to the `stderr` of C, from where no Python code can take it, and OpenCV to the one of C++.
The variable `stderr` of glibc may be assigned, so it names a file in memory while an image is decoded. The descriptor 2
stays as it is: what Python and other processes print meanwhile is not touched.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from nanoseg.errors import needs

with needs("OpenCV", "opencv"):
    import cv2

_OURS = re.compile(
    r"libpng (warning|error): |Corrupt JPEG data|Premature end of JPEG|Inconsistent progression|Invalid SOS param"
    r"|Warning: unknown JFIF|Unknown Adobe color|Invalid component|Application transferred"
)


@dataclass
class DecoderMessages:
    """The lines that decoders printed."""

    lines: list[str] = field(default_factory=list)


@contextmanager
def catch_decoder_messages() -> Iterator[DecoderMessages]:
    """Catch what libjpeg and libpng print in the `with` block, and silence OpenCV; one thread at a time.

    Where the C library is not glibc, libjpeg and libpng print as they do.
    """
    messages = DecoderMessages()
    with _STATE.lock:
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        _STATE.catch()
        try:
            yield messages
        finally:
            text = _STATE.release()
            cv2.utils.logging.setLogLevel(level)
    for line in filter(None, text.splitlines()):
        if _OURS.match(line):
            messages.lines.append(line)
        else:  # of another library, in another thread
            os.write(2, f"{line}\n".encode(errors="surrogateescape"))


class _Stderr:
    """The `stderr` of C and the file in memory that takes its place."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._variable: ctypes.c_void_p | None = None  # None: not glibc
        self._file: int | None = None  # a FILE of C, which is kept open
        self._descriptor = -1
        self._before: int | None = None
        if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
            self._libc = ctypes.CDLL(None)
            self._variable = ctypes.c_void_p.in_dll(self._libc, "stderr")

    def catch(self) -> None:
        if self._variable is None:
            return
        if self._file is None:
            self._open()
        self._before, self._variable.value = self._variable.value, self._file

    def release(self) -> str:
        if self._variable is None or self._before is None:
            return ""
        self._variable.value, self._before = self._before, None
        written = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        if not written:
            return ""
        text = os.pread(self._descriptor, min(written, 1 << 16), 0).decode(errors="surrogateescape")
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        return text

    def _open(self) -> None:
        self._descriptor = os.memfd_create("decoder-messages")
        fdopen, setvbuf = self._libc.fdopen, self._libc.setvbuf
        fdopen.restype, fdopen.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_char_p)
        setvbuf.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t)
        self._file = fdopen(self._descriptor, b"w")
        setvbuf(self._file, None, 2, 0)  # 2: _IONBF, nothing is held back

    def after_fork(self) -> None:
        """A child has its own file, and its `stderr` even where the parent was decoding in another thread."""
        if self._variable is not None and self._before is not None:
            self._variable.value = self._before
        self.lock, self._file, self._before = threading.Lock(), None, None


_STATE = _Stderr()
os.register_at_fork(after_in_child=_STATE.after_fork)
