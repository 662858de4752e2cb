"""sha256 of files, and the type of a digest in a configuration file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import msgspec

from nanoseg.utils.regular_file import open_regular

Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


def sha256_of_file(path: Path) -> str:
    """Return the hexadecimal sha256 of a file of any size; raises OSError."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
