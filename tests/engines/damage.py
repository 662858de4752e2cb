"""What may have become of an engine's files."""

import errno
import os
from pathlib import Path

NOTHING = "no TensorRT on this machine"


def write(content):
    return lambda path: path.write_bytes(content)


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def directory(path):
    path.unlink()
    path.mkdir()


def forbid(monkeypatch, *paths):
    """Nobody may read these files or list these folders, root neither."""

    def forbidding(function):
        def do(path, *arguments, **options):
            if path in paths:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return function(path, *arguments, **options)

        return do

    for name in ("open", "iterdir", "read_bytes"):
        monkeypatch.setattr(Path, name, forbidding(getattr(Path, name)))
    monkeypatch.setattr(os, "open", forbidding(os.open))
