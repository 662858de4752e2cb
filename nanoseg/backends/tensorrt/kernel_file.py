"""Kernels that TensorRT for RTX compiled on this machine, kept in a file beside the engine for the next time.

It is the runtime cache of docs.nvidia.com/deeplearning/tensorrt-rtx, "Working with Runtime Cache", with the engine's
checksum and one of its own. Without it every start compiles the kernels of all shapes anew.
"""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from nanoseg.errors import one_line
from nanoseg.utils.files import write_atomic

_MAGIC = b"nanoseg kernels 1"


class KernelFile:
    """The file of one engine; it need not exist, nor its folder be writable."""

    def __init__(self, path: Path, engine_sha256: str) -> None:
        self._path, self._engine = path, engine_sha256.encode()
        self._kept = b""  # the content of the file, as far as known

    def load(self, cache: Any) -> None:
        """Fill an IRuntimeCache from the file. One that is broken is ignored, and the logger "nanoseg" says so."""
        try:
            parts = self._path.read_bytes().split(b"\n", 3)
            if len(parts) < 4:
                raise ValueError("it is too short")
            magic, engine, checksum, content = parts
            if magic != _MAGIC or checksum != _sha256(content):
                raise ValueError("it was altered")
            if engine != self._engine:  # the engine was built anew: save() replaces it
                return
            if not cache.deserialize(content):
                raise ValueError("TensorRT for RTX does not read it")
            self._kept = content
        except FileNotFoundError:
            pass
        except Exception as error:  # pybind raises what it likes
            logging.getLogger("nanoseg").warning("%s: %s; kernels are compiled anew", self._path.name, one_line(error))
            with suppress(Exception):
                cache.reset()

    def save(self, cache: Any) -> None:
        """Write what an IRuntimeCache holds, unless the file does; where that is not possible nothing is lost."""
        with suppress(Exception):  # pybind raises what it likes, and a folder may be read-only
            content = bytes(cache.serialize())
            if content and content != self._kept:
                write_atomic(self._path, b"\n".join((_MAGIC, self._engine, _sha256(content), content)))
                self._kept = content


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
