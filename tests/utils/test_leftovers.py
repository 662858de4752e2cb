"""Temporary folders of killed processes, and replacements that were cut off."""

import os
import subprocess
import sys
import time

import pytest

from nanoseg.utils.leftovers import BusyError, exclusive_folder, sweep, temporary_folder
from tests.helpers.paths import ROOT

# Replaces a folder, or swaps it with its backup, and kills itself at one of the steps.
REPLACE = """
import os, sys
from pathlib import Path
from nanoseg.utils import exchange as exchanging, folders, leftovers

path, verb, at, can_exchange = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4] == "True"
steps = 0

def killing(real):
    def step(*arguments):
        global steps
        if steps == at:
            os.kill(os.getpid(), 9)
        steps += 1
        result = real(*arguments)
        if steps == at:
            os.kill(os.getpid(), 9)
        steps += 1
        return result
    return step

backup = path.with_name(path.name + ".previous")
with leftovers.exclusive_folder(path, backup) as folder:
    new = folder / path.name
    os.mkdir(new)
    (new / "version").write_text("new")
    os.rename = killing(os.rename)
    folders.exchange = killing(exchanging.exchange) if can_exchange else lambda one, other: False
    if verb == "replace":
        folders.replace_folder(new, path, backup)
    else:
        folders.swap_folders(path, backup)
"""


def replace(path, verb, at, can_exchange=True):
    command = [sys.executable, "-c", REPLACE, str(path), verb, str(at), str(can_exchange)]
    return subprocess.run(command, cwd=ROOT, timeout=60).returncode


def version(folder):
    return (folder / "version").read_text() if (folder / "version").exists() else None


@pytest.fixture
def nuts(tmp_path):
    """A folder and its backup."""
    path = tmp_path / "a" / "nuts"
    for name, text in ((path, "old"), (path.with_name("nuts.previous"), "older")):
        name.mkdir(parents=True)
        (name / "version").write_text(text)
    return path


@pytest.mark.parametrize("at", range(6))
def test_leftovers_killed_while_replacing(at, nuts):
    """There is a whole folder at any moment, and afterwards the replaced one is the backup; nothing is left beside."""
    backup = nuts.with_name("nuts.previous")
    assert replace(nuts, "replace", at) == -9
    assert version(nuts) in ("old", "new")
    assert sweep(nuts, backup)
    assert sorted(path.name for path in nuts.parent.iterdir()) == ["nuts", "nuts.previous"]
    assert (version(nuts), version(backup)) in (("old", "older"), ("new", "old"))


@pytest.mark.parametrize("at", range(6))
def test_leftovers_killed_while_replacing_without_exchange(at, nuts):
    backup = nuts.with_name("nuts.previous")
    assert replace(nuts, "replace", at, can_exchange=False) == -9
    assert sweep(nuts, backup)
    assert sorted(path.name for path in nuts.parent.iterdir()) == ["nuts", "nuts.previous"]
    assert (version(nuts), version(backup)) in (("old", "older"), ("new", "old"))


@pytest.mark.parametrize(("at", "can_exchange"), [(0, True), (1, True), *((at, False) for at in range(6))])
def test_leftovers_killed_while_swapping(at, can_exchange, nuts):
    backup = nuts.with_name("nuts.previous")
    assert replace(nuts, "swap", at, can_exchange) == -9
    if can_exchange:
        assert version(nuts) in ("old", "older")
    assert sweep(nuts, backup)
    assert sorted(path.name for path in nuts.parent.iterdir()) == ["nuts", "nuts.previous"]
    assert {version(nuts), version(backup)} == {"old", "older"}


def test_leftovers_killed_while_the_first_is_put(tmp_path):
    path = tmp_path / "nuts"
    assert replace(path, "replace", 0) == -9
    assert sweep(path, tmp_path / "nuts.previous")
    assert list(tmp_path.iterdir()) == []
    assert replace(path, "replace", 9) == 0
    assert version(path) == "new"


def test_leftovers_of_the_living_stay(nuts):
    backup = nuts.with_name("nuts.previous")
    with exclusive_folder(nuts, backup) as folder:
        (folder / "nuts").mkdir()
        assert not sweep(nuts, backup)
        with pytest.raises(BusyError), exclusive_folder(nuts, backup):
            pass
        with exclusive_folder(nuts.with_name("bolts"), nuts.with_name("bolts.previous")):
            pass
        assert (folder / "nuts").is_dir()
    assert not folder.exists()
    assert sweep(nuts, backup)


def test_leftovers_of_another_process(nuts):
    """It is told while the other lives, and sweeps what it left when it was killed."""
    code = (
        "import sys, time; from pathlib import Path; from nanoseg.utils.leftovers import exclusive_folder\n"
        "path = Path(sys.argv[1])\n"
        "with exclusive_folder(path, path.with_name('nuts.previous')): print('ready', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(nuts)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    backup = nuts.with_name("nuts.previous")
    try:
        assert other.stdout.readline() == "ready\n"
        with pytest.raises(BusyError), exclusive_folder(nuts, backup):
            pass
    finally:
        other.kill()
        other.communicate()
    assert len(list(nuts.parent.iterdir())) == 3
    with exclusive_folder(nuts, backup):
        pass
    assert sorted(path.name for path in nuts.parent.iterdir()) == ["nuts", "nuts.previous"]


@pytest.mark.parametrize(
    ("name", "inside", "swept"),
    [
        (".nuts.abcd_123", "nuts", True),  # of an earlier version, without a lock
        (".nuts.abcd_123", None, True),
        (".nuts.settings", "my.toml", False),
        (".nuts.backup", "nuts", False),
        (".nuts.abcdefghi", "nuts", False),
        (".bolts.abcd_123", "bolts", False),
        (".nuts.abcd_123", "bolts", False),
        ("nuts.abcd_123", "nuts", False),
    ],
)
def test_leftovers_other_folders_stay(name, inside, swept, nuts):
    """A folder is deleted only if both its name and its content are those of a temporary folder."""
    folder = nuts.with_name(name)
    folder.mkdir()
    if inside:
        (folder / inside).mkdir()
    assert sweep(nuts, nuts.with_name("nuts.previous"))
    assert folder.exists() is not swept
    assert version(nuts) == "old"


def test_leftovers_are_never_a_link(nuts, tmp_path):
    target = tmp_path / "elsewhere"
    (target / "nuts").mkdir(parents=True)
    nuts.with_name(".nuts.abcd_123").symlink_to(target)
    assert sweep(nuts, nuts.with_name("nuts.previous"))
    assert (target / "nuts").is_dir()


def test_leftovers_temporary_folder_is_deleted(tmp_path):
    path = tmp_path / "a" / ("x" * 250)
    with temporary_folder(path) as folder:
        assert folder.parent == path.parent
        (folder / "half").write_text("half")
    assert list(path.parent.iterdir()) == []


@pytest.mark.slow
def test_leftovers_killed_at_random(nuts):
    """Whatever the moment, there is a whole folder, and the next one leaves nothing else."""
    backup = nuts.with_name("nuts.previous")
    command = [sys.executable, "-c", REPLACE, str(nuts), "replace", "99", "True"]
    started = time.monotonic()
    subprocess.run(command, cwd=ROOT, check=True)
    whole = time.monotonic() - started
    for index in range(40):
        process = subprocess.Popen(command, cwd=ROOT)
        try:
            process.wait(whole * (0.5 + index / 60))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert version(nuts) in ("old", "new")
    assert sweep(nuts, backup)
    assert sorted(os.listdir(nuts.parent)) == ["nuts", "nuts.previous"]
