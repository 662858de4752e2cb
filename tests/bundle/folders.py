"""Make a bundle, and see what lies in its folder and beside it."""

from pathlib import Path

from nanoseg.utils.hashing import sha256_of_file
from tests.helpers.verbs import verb

make = verb("bundle", "make")


def content(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of_file(path) for path in folder.iterdir()}


def siblings(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
