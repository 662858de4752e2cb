"""A mosquitto broker on loopback for a test, which is skipped where none is installed, and a client that listens."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

from tests.helpers.waiting import WAIT_S, wait_for

_PROGRAM = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Mosquitto:
    """A broker's process, which can be stopped, frozen and started again on the same port."""

    def __init__(self, folder: Path, *settings: str) -> None:
        """Write its configuration; by default anyone may do anything."""
        if _PROGRAM is None:
            pytest.skip("needs mosquitto, which is not installed: .ci/system-packages.sh")
        self.port = free_port()
        self._file = folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", "user root", *(settings or ["allow_anonymous true"])]
        self._file.write_text("".join(f"{line}\n" for line in lines))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen([_PROGRAM, "-c", self._file], stderr=subprocess.DEVNULL)
        wait_for(self._listens, "mosquitto to listen")

    def stop(self) -> None:
        """End it: what it holds is gone."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it do nothing; its system still accepts connections and takes bytes."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def _listens(self) -> bool:
        assert self._process.poll() is None, "mosquitto ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Listener:
    """A client that keeps all that it receives, and connects again by itself."""

    def __init__(self, port: int, *filters: str) -> None:
        """Subscribe to filters, and wait until the broker confirmed it."""
        self.messages: list[mqtt.MQTTMessage] = []
        self._filters, self._subscribed = filters, threading.Event()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(0.1, 0.2)
        self._client.on_connect = lambda client, *_: client.subscribe([(each, 1) for each in self._filters])
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = lambda client, data, message: self.messages.append(message)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(WAIT_S)

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        """Publish a message, and wait until the broker has it."""
        self._client.publish(topic, payload, 1, retain).wait_for_publish(WAIT_S)

    def of(self, topic: str) -> list[bytes]:
        """Return what was received of a topic."""
        return [message.payload for message in list(self.messages) if message.topic == topic]

    def last(self, topic: str) -> bytes | None:
        """Return the last message of a topic."""
        return (self.of(topic) or [None])[-1]

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def listening(port: int, *filters: str) -> Iterator[Listener]:
    """Run a listener."""
    listener = Listener(port, *filters)
    try:
        yield listener
    finally:
        listener.close()


def retained(port: int) -> dict[str, bytes]:
    """Return what a broker holds."""
    with listening(port, "#") as listener:
        listener.publish("end", b"")
        wait_for(lambda: listener.of("end"), "a broker's retained messages")
        return {message.topic: message.payload for message in listener.messages if message.retain}


@contextmanager
def running(publisher) -> Iterator[threading.Thread]:
    """Run a publisher in a loop of its own thread, as the service does; at the end it is cancelled."""
    loop, started = asyncio.new_event_loop(), threading.Event()

    async def run() -> None:
        started.set()
        await publisher.run()

    task = loop.create_task(run())

    def work() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        finally:
            loop.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert started.wait(WAIT_S)
    try:
        yield thread
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(task.cancel)
        thread.join(WAIT_S)
        assert not thread.is_alive(), "the publisher did not end"
