"""sd_notify over a real datagram socket, and a watchdog that only the loop's own turns feed."""

import itertools
import os
import socket
import subprocess
import sys
import time

import pytest

from nanoseg.service import systemd
from nanoseg.service.systemd import Notifier, Watchdog


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, address):
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0"))
        self._socket.setblocking(False)

    def messages(self):
        found = []
        try:
            while True:
                found.append(self._socket.recv(4096).decode())
        except BlockingIOError:
            return found

    def close(self):
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    address = str(tmp_path / "notify") if request.param == "path" else f"@{tmp_path}"
    opened = Manager(address)
    yield opened
    opened.close()


def test_notifier_messages(manager):
    notifier = Notifier({"NOTIFY_SOCKET": manager.address})
    before_us = time.monotonic_ns() // 1000
    assert notifier.ready("2 cameras\n  on an engine")
    assert notifier.ready("nut: lost\r\nSTOPPING=1")
    assert notifier.reloading()
    assert notifier.ready()
    assert notifier.watchdog()
    assert notifier.stopping("closing")
    messages = manager.messages()
    reloading, usec = messages.pop(2).split("\nMONOTONIC_USEC=")
    assert messages == [
        "READY=1\nSTATUS=2 cameras on an engine",
        "READY=1\nSTATUS=nut: lost STOPPING=1",  # no second line of the protocol, whatever it quotes
        "READY=1",
        "WATCHDOG=1",
        "STOPPING=1\nSTATUS=closing",
    ]
    assert reloading == "RELOADING=1"
    assert before_us <= int(usec) <= time.monotonic_ns() // 1000


@pytest.mark.parametrize("address", [None, "", "vsock:2:1", "relative", "/no/such/socket", "/a\0b", "/" + "x" * 200])
def test_notifier_without_a_manager_sends_nothing(address):
    notifier = Notifier({} if address is None else {"NOTIFY_SOCKET": address})
    assert not notifier.ready("up")


def test_notifier_does_not_wait_for_a_full_queue_nor_miss_the_manager_that_is_back(tmp_path):
    path = str(tmp_path / "notify")
    manager = Manager(path)
    notifier = Notifier({"NOTIFY_SOCKET": path})
    sent = 0
    while notifier.ready("busy"):
        sent += 1
    assert sent == len(manager.messages()) > 0
    manager.close()
    assert not notifier.watchdog()
    os.unlink(path)
    again = Manager(path)
    assert notifier.watchdog()
    assert again.messages() == ["WATCHDOG=1"]
    again.close()


class Turns:
    """A loop's turns on a clock of their own."""

    def __init__(self, manager, monkeypatch, **variables):
        self.now_s = 1000.0
        monkeypatch.setattr(systemd.time, "monotonic", lambda: self.now_s)
        environment = {"NOTIFY_SOCKET": manager.address, **variables}
        self.manager = manager
        self.watchdog = Watchdog(Notifier(environment), environment)

    def run(self, seconds, turn_s):
        """Take turns, each of which ends with a frame or waits for one; return when the watchdog was fed."""
        fed, end_s = [], self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += turn_s
            self.watchdog.alive()
            fed += [self.now_s] * len(self.manager.messages())
        return fed


@pytest.mark.parametrize("turn_s", [0.01, 0.5, 4.0])  # frames; a camera that is away; a slow engine
def test_watchdog_is_fed_by_frames_and_by_idle_turns(manager, monkeypatch, turn_s):
    turns = Turns(manager, monkeypatch, WATCHDOG_USEC="10000000", WATCHDOG_PID=str(os.getpid()))
    fed = turns.run(100, turn_s)
    gaps = [later - earlier for earlier, later in itertools.pairwise(fed)]
    assert max(gaps) < 10
    assert min(gaps) >= 5 - 1e-6


@pytest.mark.parametrize("ending", ["time.sleep(60)", "watchdog.close(); time.sleep(1)"])
def test_watchdog_without_a_manager_ends_a_process_that_hangs(ending):
    text = "import time; from nanoseg.service.systemd import Notifier, Watchdog; watchdog = Watchdog(Notifier());"
    text += f"[(watchdog.alive(), time.sleep(0.05)) for _ in range(16)]; print('alive', flush=True); {ending}"
    environment = {**os.environ, "WATCHDOG_USEC": "400000"}
    environment.pop("NOTIFY_SOCKET", None)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, env=environment, check=False)
    hangs = "close" not in ending
    assert (done.stdout, done.returncode, "most recent call first" in done.stderr) == ("alive\n", int(hangs), hangs)


def test_watchdog_is_silent_while_the_engine_hangs(manager, monkeypatch):
    turns = Turns(manager, monkeypatch, WATCHDOG_USEC="10000000")
    assert turns.run(20, 0.1)
    turns.now_s += 3600  # within the segmenter
    assert manager.messages() == []
    turns.watchdog.alive()
    assert manager.messages() == ["WATCHDOG=1"]


@pytest.mark.parametrize(
    "variables",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "9000000", "WATCHDOG_PID": "1"}],
    ids=str,
)
def test_watchdog_of_another_process_or_none_is_not_fed(manager, monkeypatch, variables):
    assert Turns(manager, monkeypatch, **variables).run(60, 1) == []


def test_watchdog_tries_again_on_the_next_turn_what_could_not_be_sent(tmp_path, monkeypatch):
    path = str(tmp_path / "notify")
    first = Manager(path)
    turns = Turns(first, monkeypatch, WATCHDOG_USEC="10000000")
    first.close()
    os.unlink(path)
    turns.watchdog.alive()
    turns.manager = Manager(path)
    assert turns.run(1, 1) == [turns.now_s]
    turns.manager.close()
