"""Where a bundle lies and the one before it: made sure of first, then changed by renames that are undone on failure."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from nanoseg.bundle.manifest import MANIFEST
from nanoseg.errors import UsageError
from nanoseg.utils.output_path import writing_out


def previous(out: Path) -> Path:
    """Where the bundle before this one lies."""
    return out.with_name(f"{out.name}.previous")


def check_place(out: Path) -> None:
    """Raise UsageError where a bundle cannot be put at `out`, an absolute path: something else is there, or no room."""
    with writing_out(out):
        if not _free(out):
            raise UsageError(f"{out}: wanted a bundle to replace, or nothing, got something else; choose another --out")
        if not _free(previous(out)):
            raise UsageError(
                f"{previous(out)}: the bundle that was replaced last is kept there, got something else; move it away"
            )
        made = [folder for folder in (out.parent, *out.parent.parents) if not folder.exists()]
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            os.rmdir(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        finally:
            for folder in made:
                _remove_empty(folder)


def put(folder: Path, out: Path) -> None:
    """Rename `folder` to `out`; what was there becomes the previous one, and the one before that is deleted.

    Raises OSError, with all as it was.
    """
    if not os.path.lexists(out):
        os.rename(folder, out)
        return
    before = previous(out)
    # No TemporaryDirectory: it would delete what cannot be put back.
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    older = [(before, aside / before.name)] if os.path.lexists(before) else []
    try:
        _rename_all(*older, (out, before), (folder, out))
    except BaseException:
        _remove_empty(aside)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def swap(out: Path) -> None:
    """Let `out` and the previous bundle change places; raises OSError, with both where they were."""
    before = previous(out)
    if not os.path.lexists(out):
        os.rename(before, out)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    held = aside / out.name
    try:
        _rename_all((out, held), (before, out), (held, before))
    finally:
        _remove_empty(aside)


def _rename_all(*moves: tuple[Path, Path]) -> None:
    """All of these renames, or none of them."""
    begun = []
    try:
        for source, target in moves:
            begun.append((source, target))
            os.rename(source, target)
    except BaseException:
        # Whether the last one happened is seen from what is there, as Ctrl-C may come right after it.
        for source, target in reversed(begun):
            if os.path.lexists(target) and not os.path.lexists(source):
                os.rename(target, source)
        raise


def _free(path: Path) -> bool:
    return not os.path.lexists(path) or (path / MANIFEST).is_file()


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # not there, or it holds what could not be put back: better there than nowhere
        os.rmdir(folder)
