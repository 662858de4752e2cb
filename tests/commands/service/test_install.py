"""`nanoseg service install` and `uninstall`: files, their modes, and the calls of systemctl."""

import grp
import os
import sys
from pathlib import Path

import pytest

from nanoseg.commands.service import install, readable
from nanoseg.commands.service import reload as reload_module
from nanoseg.service.unit import NAME, unit_text


def words(machine, verb="install", *more):
    return "service", verb, "--unit-dir", machine.units, "--config", machine.config, *more


def mode(path):
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("umask", [0o022, 0o077, 0])
def test_install_writes_what_is_missing(call, machine, umask):
    before = os.umask(umask)
    try:
        code, out, err = call(*words(machine))
    finally:
        os.umask(before)
    unit = machine.units / NAME
    assert code == 0
    assert unit.read_text() == unit_text(str(machine.executable), str(machine.config), str(machine.token), ["video"])
    assert (mode(unit), mode(machine.config), mode(machine.token)) == (0o644, 0o640, 0o600)
    assert machine.owners == {str(machine.config): (-1, grp.getgrnam("video").gr_gid)}
    assert len(machine.token.read_text().strip()) == 43  # 32 bytes in base64
    assert machine.systemctl.calls() == ["daemon-reload", f"enable {NAME}", f"restart --no-block {NAME}"]
    assert err == "nanoseg: note: no group render on this machine, so the service gets none\n"
    assert f"{unit}: written\n" in out
    assert machine.token.read_text().strip() not in out
    assert "\nnext:\n" in out


def test_install_again_keeps_what_is_the_users(call, machine):
    call(*words(machine))
    token = machine.token.read_text()
    machine.config.write_text("mine")
    (machine.units / NAME).write_text("of an older version")
    machine.systemctl.calls()
    code, out, _ = call(*words(machine, "install", "--no-start"))
    assert code == 0
    assert (machine.config.read_text(), machine.token.read_text()) == ("mine", token)
    assert "ExecStart=" in (machine.units / NAME).read_text()
    assert [line.rsplit(": ", 1)[1] for line in out.splitlines()[:3]] == ["kept", "kept", "replaced"]
    assert machine.systemctl.calls() == ["daemon-reload", f"enable {NAME}"]
    assert call(*words(machine))[1].splitlines()[2] == f"{machine.units / NAME}: unchanged"


def test_install_dry_run_does_nothing_and_needs_no_root(call, machine, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    code, out, _ = call(*words(machine, "install", "--dry-run"))
    assert code == 0
    assert out.splitlines()[2:6] == [
        f"{machine.units / NAME}: would be written",
        "would call systemctl daemon-reload",
        f"would call systemctl enable {NAME}",
        f"would call systemctl restart --no-block {NAME}",
    ]
    assert not machine.units.exists()
    assert not machine.config.parent.exists()
    assert machine.systemctl.calls() == []


@pytest.mark.parametrize("verb", ["install", "reload", "uninstall"])
def test_service_wants_root(call, machine, monkeypatch, verb):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    code, out, err = call("service", verb)
    assert (code, out) == (2, "")
    assert (
        err
        == f"nanoseg: error: nanoseg service {verb}: wanted root, as units are the system's: sudo {sys.argv[0]} ...\n"
    )
    assert machine.systemctl.calls() == []


def test_install_stops_where_systemctl_fails(call, machine):
    machine.systemctl.fails("enable", "Failed to enable unit: Unit nanoseg.service is masked.")
    code, out, err = call(*words(machine))
    assert code == 2
    assert err.endswith(
        "error: systemctl enable: ended with 1: Failed to enable unit: Unit nanoseg.service is masked.\n"
    )
    assert "next:" not in out


def test_install_without_systemd(call, machine, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    code, _, err = call(*words(machine))
    assert code == 2
    assert err.endswith("error: systemctl daemon-reload: No such file or directory\n")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/root/venv/bin/nanoseg", "/root/venv/bin/nanoseg: lies in /root, which the unit does not see"),
        ("/home/me/.venv/bin/nanoseg", "/home/me/.venv/bin/nanoseg: lies in /home, which the unit does not see"),
        ("/usr/bin/env", ""),
    ],
)
def test_unreadable_where_the_unit_does_not_look(path, says):
    assert readable.unreadable(Path(path)) == says


def test_unreadable_behind_links_and_closed_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(readable, "HIDDEN", (str(tmp_path / "home"),))
    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path("/tmp") and folder.is_relative_to("/tmp"):
            folder.chmod(0o755)
    program = tmp_path / "opt/nanoseg"
    program.parent.mkdir()
    program.touch(mode=0o755)
    assert readable.unreadable(program) == ""
    program.parent.chmod(0o700)
    assert readable.unreadable(program) == f"{program}: {program.parent} is closed to other users"
    (tmp_path / "home").mkdir()
    link = tmp_path / "python"
    link.symlink_to(tmp_path / "home")
    assert readable.unreadable(link) == f"{link}: lies in {tmp_path / 'home'}, which the unit does not see"


def test_install_refuses_a_program_that_the_unit_cannot_read(call, machine, monkeypatch):
    monkeypatch.setattr(readable, "unreadable", lambda path: f"{path}: lies in /root, which the unit does not see")
    code, out, err = call(*words(machine))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "/opt/nanoseg" in err
    monkeypatch.setattr(readable, "unreadable", lambda path: "")
    monkeypatch.setattr(install, "unreadable", lambda path: f"{path}: is closed to other users")
    assert call(*words(machine))[2].endswith("wanted a configuration elsewhere, as /etc/nanoseg/nanoseg.toml\n")
    assert not machine.units.exists()


def test_install_refuses_a_configuration_that_the_unit_could_not_read(call, machine, monkeypatch):
    monkeypatch.setattr(install, "_exists", lambda group: group == "render")
    code, _, err = call(*words(machine))
    assert code == 2
    assert err.endswith("so the service could not read it: sudo groupadd --system video\n")
    assert not machine.config.exists()
    machine.config.parent.mkdir()
    machine.config.touch(mode=0o640)
    assert call(*words(machine))[0] == 2
    machine.config.chmod(0o644)  # the user's own choice
    assert call(*words(machine))[0] == 0


def test_install_refuses_names_that_a_unit_would_change(call, machine):
    code, _, err = call("service", "install", "--config", "/etc/100%/nanoseg.toml")
    assert code == 2
    assert "got '%' in it" in err


@pytest.mark.parametrize("purge", [False, True])
def test_uninstall(call, machine, purge):
    call(*words(machine))
    own = machine.config.parent / "labels.txt"
    own.write_text("mine")
    machine.systemctl.calls()
    code, out, err = call(*words(machine, "uninstall", *["--purge"] * purge))
    assert (code, err) == (0, "")
    assert not (machine.units / NAME).exists()
    assert (machine.config.exists(), machine.token.exists()) == (not purge, not purge)
    assert own.exists()
    cleaned = [f"clean --what=state --what=cache {NAME}"] * purge
    assert machine.systemctl.calls() == [f"disable --now {NAME}", *cleaned, "daemon-reload", f"reset-failed {NAME}"]
    assert f"{machine.config}: {'removed' if purge else 'kept'}\n" in out
    machine.systemctl.fails("reset-failed", "Unit nanoseg.service not loaded.")
    assert call(*words(machine, "uninstall"))[0] == 0  # again
    assert machine.systemctl.calls() == ["daemon-reload", f"reset-failed {NAME}"]


def test_reload_checks_relative_paths_as_the_unit_reads_them(call, machine, monkeypatch, tmp_path):
    call(*words(machine))
    state = tmp_path / "state"
    (state / "nanoseg").mkdir(parents=True)
    (state / "nanoseg/__init__.py").write_text("raise SystemExit(99)")  # what a service that was taken over may write
    (state / "mine").write_text("a1B2" * 10)
    monkeypatch.setattr(reload_module, "STATE", str(state))
    text = '[[source]]\nname = "a"\nurl = "parts://"\n[http]\nhost = "0.0.0.0"\ntoken_file = "mine"\n'
    machine.config.write_text(text)
    assert call("service", "reload", "--config", machine.config)[::2] == (0, "")
    (state / "mine").unlink()
    (tmp_path / "mine").write_text("a1B2" * 10)
    monkeypatch.chdir(tmp_path)
    assert call("service", "reload", "--config", machine.config)[0] == 2


def test_reload(call, machine):
    call(*words(machine))
    machine.systemctl.calls()
    reload = "service", "reload", "--config", machine.config
    machine.config.write_text('[[source]]\nname = "a"\nurl = "parts://"\n[http]\nhost = "0.0.0.0"\n')  # by the token
    assert call(*reload)[0] == 0
    assert machine.systemctl.calls() == [f"reload {NAME}"]
    machine.systemctl.fails("reload", "nanoseg.service is not active, cannot reload.")
    assert call(*reload)[2].endswith(": nanoseg.service is not active, cannot reload.\n")
    machine.systemctl.calls()
    machine.config.write_text("[http]\nport = 99999\n")
    code, _, err = call(*reload)
    assert (code, machine.systemctl.calls()) == (2, [])
    assert str(machine.config) in err
