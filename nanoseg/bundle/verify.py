"""Verification of a bundle's files: size and sha256."""

from __future__ import annotations

from pathlib import Path

from nanoseg.errors import BundleError
from nanoseg.utils.hashing import sha256_of_file


def verify_file(path: Path, size_bytes: int, sha256: str) -> None:
    """Check a file against the size and sha256 that bundle.toml gives.

    Raises:
        BundleError: the file cannot be read, or is another one; names the file.
    """
    try:
        actual_bytes = path.stat().st_size
        digest = sha256_of_file(path) if actual_bytes == size_bytes else ""
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}; fetch the bundle anew") from error
    if actual_bytes != size_bytes:
        raise BundleError(f"{path}: wanted {size_bytes} bytes, got {actual_bytes}; fetch the bundle anew")
    if digest != sha256:
        raise BundleError(f"{path}: wanted sha256 {sha256}, got {digest}; fetch the bundle anew")
