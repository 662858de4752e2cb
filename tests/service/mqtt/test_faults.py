"""nanoseg/service/mqtt.py where the broker is away, slow, silent, or does not want us."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading

import pytest

from nanoseg.service.mqtt.outbox import MAX_EVENTS, MAX_RECORDS
from tests.helpers.mosquitto import Mosquitto, listening, retained, running
from tests.helpers.paths import ROOT
from tests.helpers.waiting import wait_for
from tests.service.mqtt.records import accounted, publisher, record

pytestmark = pytest.mark.usefixtures("soon")

BOLTS = "nanoseg/belt/outfeed/bolt"


class Camera:
    """A thread that puts records for as long as the block runs."""

    def __init__(self, one, padding=0, events=()):
        self.frames, self.most_queued, self._ended = 0, 0, threading.Event()
        self._thread = threading.Thread(target=self._run, args=(one, padding, events), daemon=True)

    def _run(self, one, padding, events):
        while not self._ended.wait(0.001):
            one.put(record(self.frames, bolts=self.frames % 5, padding=padding, events=events))
            self.frames += 1
            self.most_queued = max(self.most_queued, one.counts.queued)

    def after(self, frames):
        """Wait for so many frames more."""
        end = self.frames + frames
        wait_for(lambda: self.frames >= end, "frames")

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()


def test_mqtt_records_flow_again_after_the_broker_was_away(broker):
    lines = []
    one = publisher(broker.port, lines)
    with listening(broker.port, "nanoseg/#") as listener, running(one):
        with Camera(one, events=["enter"]) as camera:
            wait_for(lambda: listener.of("nanoseg/belt/record"), "records")
            broker.stop()
            wait_for(lambda: not one.counts.connected, "the loss")
            camera.after(3 * MAX_RECORDS)
            dropped = one.counts.dropped["record", "away"]
            assert dropped >= 2 * MAX_RECORDS
            before = camera.frames
            broker.start()
            wait_for(lambda: json.loads(listener.last("nanoseg/belt/record"))["frame"] > before + 50, "records")
        one.put(record(9999, bolts=4))
        wait_for(lambda: not one.counts.queued, "an empty queue")
        wait_for(lambda: listener.last(BOLTS) == b"4", "a count")
        held = retained(broker.port)
        assert {topic: held[topic] for topic in ("nanoseg/status", "nanoseg/belt/status", BOLTS)} == {
            "nanoseg/status": b"online",
            "nanoseg/belt/status": b"online",
            BOLTS: b"4",
        }
        assert one.counts.reconnects >= 1
        assert camera.most_queued <= MAX_RECORDS
    assert accounted(one.counts) == camera.frames + 1
    assert accounted(one.counts, "event") == camera.frames
    name = f"mqtt://127.0.0.1:{broker.port}"
    assert lines[0].startswith(f"{name}: lost: ")
    assert lines[0].endswith("; trying again until it is there")
    assert lines[1].startswith(f"{name}: back after ")
    assert len(lines) == 2


def test_mqtt_queues_are_bounded_before_there_is_a_broker(tmp_path):
    broker = Mosquitto(tmp_path)
    lines = []
    one = publisher(broker.port, lines)
    for frame in range(MAX_EVENTS + 100):
        one.put(record(frame, events=["enter"]))
    assert one.counts.queued == MAX_RECORDS
    assert one.counts.dropped == {("record", "away"): MAX_EVENTS + 100 - MAX_RECORDS, ("event", "away"): 100}
    with running(one):
        wait_for(lambda: lines, "a line")
        broker.start()
        try:
            wait_for(lambda: one.counts.published.get("record") == MAX_RECORDS, "records")
            wait_for(lambda: one.counts.published.get("event") == MAX_EVENTS, "events")
        finally:
            broker.stop()
    name = f"mqtt://127.0.0.1:{broker.port}"
    assert lines[0] == f"{name}: cannot be opened yet: Connection refused; trying again until it is there"


def test_mqtt_frozen_broker_costs_records_and_no_memory(broker, monkeypatch):
    monkeypatch.setattr("nanoseg.service.mqtt.connection.ANSWER_S", 0.3)
    lines = []
    one = publisher(broker.port, lines)
    with listening(broker.port, "nanoseg/status") as listener:
        with running(one), Camera(one, padding=100_000) as camera:
            wait_for(lambda: one.counts.published.get("record"), "records")
            broker.freeze()
            wait_for(lambda: ("record", "away") in one.counts.dropped, "a full queue")
            camera.after(2 * MAX_RECORDS)
            assert camera.most_queued <= MAX_RECORDS
            broker.thaw()
            connected = one.counts.reconnects
            wait_for(lambda: one.counts.connected and one.counts.reconnects > connected, "the broker")
            flowing = one.counts.published["record"]
            wait_for(lambda: one.counts.published["record"] > flowing + 50, "records")
        wait_for(lambda: listener.last("nanoseg/status") == b"offline", "offline")
    assert accounted(one.counts) == camera.frames
    assert lines[0] == f"mqtt://127.0.0.1:{broker.port}: lost: no answer; trying again until it is there"


def test_mqtt_ends_while_the_broker_hangs(broker, monkeypatch):
    # What waits for an answer waits for ever: only what the end itself allows ends it.
    monkeypatch.setattr("nanoseg.service.mqtt.connection.ANSWER_S", 1e6)
    one = publisher(broker.port)
    with listening(broker.port, "nanoseg/status") as listener:
        with running(one) as thread, Camera(one, padding=100_000):
            wait_for(lambda: listener.last("nanoseg/status") == b"online", "online")
            broker.freeze()
            wait_for(lambda: ("record", "slow") in one.counts.dropped, "a full connection")
        assert not thread.is_alive()
        broker.thaw()
        # No word could be sent, so the broker tells it by the will.
        wait_for(lambda: listener.last("nanoseg/status") == b"offline", "offline")


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", None])
def test_mqtt_server_that_is_no_broker_is_told_once(greeting, monkeypatch):
    """One that says nothing, one that says something else, and (None) one that hangs up."""
    monkeypatch.setattr("nanoseg.service.mqtt.connection.ANSWER_S", 0.1)
    connections, lines = [], []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connections.append(connection)
                if greeting is None:
                    connection.close()
                elif greeting:
                    connection.send(greeting)

        threading.Thread(target=serve, daemon=True).start()
        one = publisher(server.getsockname()[1], lines)
        with running(one):
            wait_for(lambda: len(connections) > 8, "attempts")
            one.put(record(0))
        server.shutdown(socket.SHUT_RDWR)
    for connection in connections:
        connection.close()
    assert len(lines) == 1
    assert "cannot be opened yet: " in lines[0]
    assert (accounted(one.counts), one.counts.connected) == (1, False)


def test_mqtt_ends_while_a_server_does_not_answer(monkeypatch):
    monkeypatch.setattr("nanoseg.service.mqtt.connection.ANSWER_S", 1e6)
    monkeypatch.setattr("nanoseg.service.mqtt.connection.CONNECT_S", 1e6)
    for scheme in ("mqtt", "mqtts"):
        with socket.create_server(("127.0.0.1", 0)) as server:
            one = publisher(server.getsockname()[1], scheme=scheme)
            with running(one) as thread:
                connection, _ = server.accept()
                if scheme == "mqtt":  # the first only looks whether somebody is there
                    connection.close()
                    connection, _ = server.accept()
                    wait_for(lambda: connection.recv(1, socket.MSG_PEEK), "a greeting")  # noqa: B023
            assert not thread.is_alive()
            connection.close()


def test_mqtt_will_is_seen_when_the_process_is_killed(broker):
    code = (
        "import asyncio, sys\n"
        "from tests.service.mqtt.records import publisher\n"
        "asyncio.run(publisher(int(sys.argv[1])).run())\n"
    )
    with listening(broker.port, "nanoseg/status") as listener:
        process = subprocess.Popen([sys.executable, "-c", code, str(broker.port)], cwd=ROOT)
        try:
            wait_for(lambda: listener.of("nanoseg/status") == [b"online"], "online")
            process.send_signal(signal.SIGKILL)
            wait_for(lambda: listener.of("nanoseg/status") == [b"online", b"offline"], "the will")
        finally:
            process.kill()
            process.wait()
    assert retained(broker.port)["nanoseg/status"] == b"offline"


@pytest.fixture
def guarded(tmp_path):
    """A broker that wants the user `camera`, whose password is `r@gh/t`."""
    passwords = tmp_path / "passwords"
    program = shutil.which("mosquitto_passwd")
    if program is None:
        pytest.skip("needs mosquitto_passwd, which is not installed: .ci/system-packages.sh")
    subprocess.run([program, "-c", "-b", passwords, "camera", "r@gh/t"], check=True)
    broker = Mosquitto(tmp_path, "allow_anonymous false", f"password_file {passwords}")
    broker.start()
    yield broker
    broker.stop()


def test_mqtt_wrong_password_is_told_once_and_a_right_one_taken_later(guarded, tmp_path):
    file = tmp_path / "password"
    file.write_text("wrong-secret\n")
    lines = []
    one = publisher(guarded.port, lines, login="camera@", password_file=str(file))
    guarded.stop()
    with running(one):
        wait_for(lambda: len(lines) == 1, "a line")
        guarded.start()
        wait_for(lambda: len(lines) == 2, "a line")
        one.put(record(0))
        file.unlink()  # as an editor does
        file.write_text("r@gh/t\n")
        wait_for(lambda: one.counts.published.get("record"), "a record")
        wait_for(lambda: len(lines) == 3, "a line")
    name = f"mqtt://127.0.0.1:{guarded.port}"
    refused = "the broker refuses this user or password; see url and password_file of [mqtt]"
    assert lines[0] == f"{name}: cannot be opened yet: Connection refused; trying again until it is there"
    assert lines[1] == f"{name}: {refused}; trying again every few minutes"
    assert lines[2].startswith(f"{name}: open after ")


@pytest.mark.parametrize("login", ["camera:r@gh/t@", "camera:r%40gh%2ft@"])
def test_mqtt_password_of_the_url_is_used(guarded, login):
    one = publisher(guarded.port, login=login)
    with running(one):
        wait_for(lambda: one.counts.connected, "the connection")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A CA, and a certificate of it for 127.0.0.1."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("needs openssl, which is not installed")
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "extensions").write_text("subjectAltName=IP:127.0.0.1\n")
    key = ["-newkey", "rsa:2048", "-nodes"]
    sign = ["x509", "-req", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
    for words in (
        ["req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test CA", "-days", "2"],
        ["req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=127.0.0.1"],
        [*sign, "-in", "server.csr", "-extfile", "extensions", "-out", "server.pem"],
    ):
        subprocess.run([program, *words], cwd=folder, check=True, capture_output=True)
    return folder


def test_mqtt_tls_trusts_the_ca_that_is_given_and_no_other(certificates, tmp_path):
    files = {"cafile": "ca.pem", "certfile": "server.pem", "keyfile": "server.key"}
    settings = [f"{key} {certificates / name}" for key, name in files.items()]
    broker = Mosquitto(tmp_path, "allow_anonymous true", *settings)
    broker.start()
    try:
        lines = []
        with running(publisher(broker.port, lines, scheme="mqtts")):
            wait_for(lambda: lines, "a line")
        one = publisher(broker.port, lines, scheme="mqtts", ca_file=str(certificates / "ca.pem"))
        with running(one):
            one.put(record(0, padding=1_000_000))
            wait_for(lambda: one.counts.published.get("record"), "a record")
    finally:
        broker.stop()
    name = f"mqtts://127.0.0.1:{broker.port}"
    assert len(lines) == 1
    assert lines[0].startswith(f"{name}: cannot be opened yet: its certificate is not trusted: ")
    assert "ca_file of [mqtt]" in lines[0]
