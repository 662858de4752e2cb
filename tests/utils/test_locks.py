"""Locks: a second process is refused, or told whom it waits for."""

import os
import subprocess
import sys
import threading

import pytest

from nanoseg.sinks.images import ImageFolder
from nanoseg.utils.leftovers import BusyError, exclusive_folder
from nanoseg.utils.locks import HeldError, locked, try_lock
from tests.helpers.paths import ROOT


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_try_lock_names_the_holder(tmp_path):
    descriptor = try_lock(tmp_path / "a")
    with pytest.raises(HeldError) as held:
        try_lock(tmp_path / "a")
    assert held.value.process in (os.getpid(), None)
    os.close(descriptor)
    os.close(try_lock(tmp_path / "a"))


def test_locked(tmp_path):
    path = tmp_path / "new" / ".lock"
    with locked(path), pytest.raises(BlockingIOError), locked(path, wait=False):
        pass
    with locked(path, wait=False):
        pass


def test_locked_says_whom_it_waits_for(tmp_path, caplog):
    path, waited = tmp_path / ".lock", []

    class Told:
        def filter(self, record):
            waited.append(record.getMessage())
            told.set()
            return True

    told = threading.Event()
    caplog.handler.addFilter(Told())

    def second():
        with locked(path):
            waited.append("got it")

    with locked(path):
        other = threading.Thread(target=second)
        other.start()
        assert told.wait(60)
    other.join()
    assert waited[0].startswith(f"{path}: waiting for another process")
    assert waited[1:] == ["got it"]


def test_a_bundle_is_made_in_the_output_folder_of_a_run(tmp_path):
    """In another process, so that one that waits does so in vain."""
    code = (
        "import sys; from pathlib import Path; from nanoseg.utils.leftovers import exclusive_folder\n"
        "path = Path(sys.argv[1])\n"
        "with exclusive_folder(path, path.with_name('mine.previous')): pass"
    )
    with ImageFolder(tmp_path):
        subprocess.run([sys.executable, "-c", code, tmp_path / "mine"], cwd=ROOT, check=True, timeout=60)
        assert names(tmp_path) == []


def test_only_the_same_path_is_exclusive(tmp_path):
    descriptor = try_lock(tmp_path / ".mine.lock")  # as of another that looks for others in this moment
    with pytest.raises(BusyError), exclusive_folder(tmp_path / "mine", tmp_path / "mine.previous"):
        pass
    with exclusive_folder(tmp_path / "other", tmp_path / "other.previous"):
        pass
    os.close(descriptor)
    with exclusive_folder(tmp_path / "mine", tmp_path / "mine.previous"):
        assert ".mine.lock" not in names(tmp_path)
    assert names(tmp_path) == []
