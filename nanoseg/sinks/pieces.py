"""A file of pieces, such as a fragmented mp4: where one cannot be written, the file ends behind the last whole one."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import IO

from nanoseg.utils.files import write_all


class Pieces:
    """What a library writes a growing file to, through Python.

    Libraries that open a file by its name may lose the error of a full disk: FFmpeg does, of the last piece.
    """

    def __init__(self, stream: IO[bytes], name: str) -> None:
        """Write to an unbuffered stream, which is closed with this one; a library tells the format by `name`."""
        self._stream, self.name, self.closed = stream, name, False
        self._seekable = stream.seekable()
        self._first = self._whole = 0  # bytes of the header; with the whole pieces behind it
        self._error: OSError | None = None

    @property
    def has_pieces(self) -> bool:
        """Whether there is a whole piece behind the header."""
        return self._whole > self._first

    def seekable(self) -> bool:
        """Return whether `seek` can be called."""
        return self._seekable

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, and return it."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Return the place that is written next."""
        return self._stream.tell()

    def write(self, data: bytes) -> int:
        """Write all of it; raises OSError, again after the first time."""
        try:
            if self._error is None:
                write_all(self._stream, data)
        except OSError as error:
            self._error = error
        if self._error is not None:
            raise self._error
        return len(data)

    def mark(self) -> None:
        """Note that all that was written so far is whole; raises the OSError of what was not written."""
        if self._error is not None:
            raise self._error
        self._whole = os.fstat(self._stream.fileno()).st_size
        self._first = self._first or self._whole

    def cut(self) -> None:
        """Close the file behind its last whole piece."""
        if not self.closed:
            self.closed = True
            with suppress(OSError):  # of a pipe
                os.truncate(self._stream.fileno(), self._whole)
            with suppress(OSError):
                self._stream.close()

    def close(self) -> None:
        """Close the file, whose writer is done; raises OSError where that was not written."""
        self.mark()
        self.closed = True
        self._stream.close()
