"""Replacing folders: by renames that are undone where one of them fails."""

import os

import pytest

from nanoseg.utils import folders
from nanoseg.utils.folders import replace_folder, swap_folders
from nanoseg.utils.leftovers import temporary_folder


def make(folder, version):
    folder.mkdir(parents=True)
    (folder / "version").write_text(version)


def versions(parent):
    return {path.name: (path / "version").read_text() for path in parent.iterdir()}


@pytest.fixture
def put(tmp_path):
    """Make a new folder of a version and put it at a/nuts."""

    def put(version):
        make(tmp_path / "new" / "nuts", version)
        try:
            (tmp_path / "a").mkdir(exist_ok=True)
            replace_folder(tmp_path / "new" / "nuts", tmp_path / "a" / "nuts", tmp_path / "a" / "nuts.previous")
        finally:
            if (tmp_path / "new" / "nuts").exists():
                (tmp_path / "new" / "nuts" / "version").unlink()
                (tmp_path / "new" / "nuts").rmdir()

    return put


def test_folders_replace_keeps_one_backup(put, tmp_path):
    put("1")
    assert versions(tmp_path / "a") == {"nuts": "1"}
    put("2")
    put("3")
    assert versions(tmp_path / "a") == {"nuts": "3", "nuts.previous": "2"}


def test_folders_swap(put, tmp_path):
    put("1")
    path, backup = tmp_path / "a" / "nuts", tmp_path / "a" / "nuts.previous"
    os.rename(path, backup)
    swap_folders(path, backup)
    assert versions(tmp_path / "a") == {"nuts": "1"}
    put("2")
    swap_folders(path, backup)
    assert versions(tmp_path / "a") == {"nuts": "1", "nuts.previous": "2"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("done", [False, True])  # whether the rename that fails has happened all the same
@pytest.mark.parametrize("failing", [1, 2, 3])
@pytest.mark.parametrize("swap", [False, True])
def test_folders_failing_rename_is_undone(put, tmp_path, monkeypatch, swap, failing, done, error):
    put("1")
    put("2")
    rename, calls = os.rename, []

    def fail(source, target):
        calls.append(source)
        if len(calls) != failing or done:
            rename(source, target)
        if len(calls) == failing:
            raise error

    monkeypatch.setattr(os, "rename", fail)
    monkeypatch.setattr(folders, "exchange", lambda one, other: False)  # a file system without it
    path, backup = tmp_path / "a" / "nuts", tmp_path / "a" / "nuts.previous"
    with pytest.raises(type(error)):
        swap_folders(path, backup) if swap else put("3")
    assert versions(tmp_path / "a") == {"nuts": "2", "nuts.previous": "1"}


def test_folders_temporary_folder(tmp_path):
    path = tmp_path / "a" / ("x" * 250)
    with temporary_folder(path) as folder:
        assert folder.parent == path.parent
        (folder / "half").write_text("half")
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("failing", [1, 2])
def test_folders_failing_rename_beside_an_exchange_is_undone(put, tmp_path, monkeypatch, failing, done):
    """The exchange comes first, and is undone where keeping the replaced folder fails."""
    put("1")
    put("2")
    rename, calls = os.rename, []

    def fail(source, target):
        calls.append(source)
        if len(calls) != failing or done:
            rename(source, target)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="No space left"):
        put("3")
    assert versions(tmp_path / "a") == {"nuts": "2", "nuts.previous": "1"}


def test_folders_swap_of_a_folder_that_is_gone(tmp_path):
    make(tmp_path / "a" / "nuts", "1")
    with pytest.raises(FileNotFoundError):
        swap_folders(tmp_path / "a" / "nuts", tmp_path / "a" / "nuts.previous")
    assert versions(tmp_path / "a") == {"nuts": "1"}
