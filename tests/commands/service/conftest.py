"""A machine with systemd and nanoseg in /opt, all within a temporary folder."""

import os
import sysconfig
from types import SimpleNamespace

import pytest

from nanoseg.commands.service import install, readable
from tests.fakes.systemctl import FakeSystemctl


@pytest.fixture
def machine(tmp_path, monkeypatch):
    programs = tmp_path / "programs"
    programs.mkdir()
    systemctl = FakeSystemctl(programs)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    executable = tmp_path / "opt/bin/nanoseg"
    executable.parent.mkdir(parents=True)
    executable.touch(mode=0o755)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(executable.parent))
    # The tests' own Python and package may lie anywhere.
    monkeypatch.setattr(readable, "unreadable", lambda path: "")
    monkeypatch.setattr(install, "unreadable", lambda path: "")
    monkeypatch.setattr(install, "_exists", lambda group: group == "video")
    owners = {}
    monkeypatch.setattr(os, "chown", lambda path, user, group: owners.update({str(path): (user, group)}))
    return SimpleNamespace(
        systemctl=systemctl,
        executable=executable,
        units=tmp_path / "units",
        config=tmp_path / "etc/nanoseg.toml",
        token=tmp_path / "etc/token",
        owners=owners,
    )
