"""Soak of the edge service: readers of streams, two of which read nothing, and requests that come in all the time.

    python benchmarks/service_soak.py --minutes 30 --json soak.json

Measures the loop's rate without readers and requests, with readers, and with both, in turns; the longest time between
two frames; and how far memory grows after the first tenth of the time.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPException
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from nanoseg.utils.memory import resident_mb
from service_process import ServiceProcess

CONFIG = """
[[source]]
name = "belt"
url = "{source}"
[http]
port = 0
"""
PHASES = ("alone", "readers", "requests")
READERS, SILENT = 8, 2


class Frames:
    """When results of the loop arrive at a reader of events."""

    def __init__(self, url: str) -> None:
        """Start to read."""
        self.times_s: list[float] = []
        self._stream = urllib.request.urlopen(f"{url}/events", timeout=120)
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def close(self) -> None:
        """Wait until the service has ended the stream."""
        self._reading.join(10)

    def _read(self) -> None:
        with suppress(OSError, ValueError, HTTPException), self._stream:
            for line in self._stream:
                if line.startswith(b"event: record"):
                    self.times_s.append(time.monotonic())


@contextmanager
def readers(url: str) -> Iterator[None]:
    """Read the stream several times, and open it twice without reading."""
    parts, ending = urlsplit(url), threading.Event()
    address = (parts.hostname or "", parts.port or 0)
    request = b"GET /stream.mjpg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

    def read(connection: socket.socket) -> None:
        with suppress(OSError):
            while not ending.is_set() and connection.recv(1 << 16):
                pass

    def keep_silent() -> None:
        """Open a stream again whenever the service has left it."""
        while not ending.is_set():
            with suppress(OSError), socket.create_connection(address) as connection:
                connection.sendall(request)
                for _ in range(40):
                    if ending.wait(0.5):
                        return

    with ExitStack() as stack:
        threads = [threading.Thread(target=keep_silent) for _ in range(SILENT)]
        for _ in range(READERS):
            connection = stack.enter_context(socket.create_connection(address))
            connection.sendall(request)
            connection.settimeout(5)
            threads.append(threading.Thread(target=read, args=(connection,)))
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
        stack.callback(ending.set)
        yield


@contextmanager
def requests(url: str, answers: Counter[str]) -> Iterator[None]:
    """Segment points, look at the state and at pictures, all the time; count answers by status."""
    ending = threading.Event()

    def run() -> None:
        number = 0
        while not ending.wait(0.1):
            number += 1
            boundary = uuid.uuid4().hex
            body = "".join(
                f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
                for name, value in (
                    ("source", "belt"),
                    ("prompts", json.dumps({"points": [[[number % 600, 200]]], "labels": [[1]]})),
                )
            )
            form = urllib.request.Request(f"{url}/segment", f"{body}--{boundary}--\r\n".encode())
            form.add_header("Content-Type", f"multipart/form-data; boundary={boundary}")
            for request in (form, f"{url}/state", f"{url}/snapshot.jpg", f"{url}/metrics", f"{url}/none"):
                try:
                    with urllib.request.urlopen(request, timeout=60) as answer:
                        answer.read()
                        answers[str(answer.status)] += 1
                except urllib.error.HTTPError as error:
                    with error:
                        answers[str(error.code)] += 1
                except OSError as error:
                    answers[type(error).__name__] += 1

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(60)


def soak(minutes: float, source: str, on_phase: Any = lambda _: None) -> dict[str, Any]:
    """Run the service; returns the figures."""
    answers: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "nanoseg.toml")
        config.write_text(CONFIG.format(source=source))
        service = ServiceProcess(config)
        try:
            frames, started_s = Frames(service.url), time.monotonic()
            end_s, turn_s = started_s + minutes * 60, max(5.0, minutes)
            rates: dict[str, list[float]] = {phase: [] for phase in PHASES}
            memory: list[tuple[float, float]] = []
            time.sleep(min(5.0, turn_s))
            while time.monotonic() < end_s:
                for phase in PHASES:
                    with ExitStack() as stack:
                        if phase != "alone":
                            stack.enter_context(readers(service.url))
                        if phase == "requests":
                            stack.enter_context(requests(service.url, answers))
                        time.sleep(1.0)
                        count, begun_s = len(frames.times_s), time.monotonic()
                        # Most of the time with all of it, as the soak is for that.
                        time.sleep(turn_s * (3 if phase == "requests" else 1))
                        rates[phase].append((len(frames.times_s) - count) / (time.monotonic() - begun_s))
                        memory.append((time.monotonic() - started_s, resident_mb(service.process.pid)))
                    on_phase((phase, rates[phase][-1], memory[-1][1]))
            with urllib.request.urlopen(f"{service.url}/metrics", timeout=60) as answer:
                metrics = answer.read().decode()
        finally:
            ending_s = time.monotonic()
            service.end()
            stop_s = time.monotonic() - ending_s
        frames.close()
    times_s = frames.times_s
    settled = [mb for at_s, mb in memory if at_s > minutes * 6] or [memory[-1][1]]
    fps = {phase: round(median(values), 2) for phase, values in rates.items()}
    return {
        "minutes": minutes,
        "frames": len(times_s),
        "fps": fps,
        "requests_over_readers": round(fps["requests"] / fps["readers"], 3),
        "requests_over_alone": round(fps["requests"] / fps["alone"], 3),
        "longest_gap_s": round(max(b - a for a, b in pairwise(times_s)), 3),
        "memory_mb": {"first": round(memory[0][1], 1), "settled": [round(min(settled), 1), round(max(settled), 1)]},
        "answers": dict(answers),
        "dropped": re.findall(r"nanoseg_output_dropped_total\{(.*)\} (\S+)", metrics),
        "stop_s": round(stop_s, 2),
        "log_lines": len(service.lines),
    }


def main() -> None:
    """Run the soak, and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--source", default="parts://?seed=1")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    figures = soak(
        options.minutes,
        options.source,
        lambda done: print(f"{done[0]:9} {done[1]:6.2f} frames/s  {done[2]:7.1f} MB", file=sys.stderr),
    )
    text = json.dumps(figures, indent=2)
    print(text)
    if options.json is not None:
        options.json.write_text(f"{text}\n")


if __name__ == "__main__":
    main()
