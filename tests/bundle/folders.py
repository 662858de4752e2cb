"""What lies in a bundle's folder, and beside it."""

from pathlib import Path

from nanoseg.utils.hashing import sha256_of_file


def content(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of_file(path) for path in folder.iterdir()}


def siblings(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
