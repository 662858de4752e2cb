"""Break cameras at random, a thousand times, and measure whether and how soon each comes back.

Half of the cameras are real RTSP streams of a GStreamer server on loopback, read through the proxy of the fault
injector; the others have the faults of the capture process. Promised: no hang, no crash, 99 of 100 recoveries within
5 s of the source's return, descriptors and threads as at the start, memory within 10 MB. The exit code is 1 where a
promise is broken. An interrupted run goes on where it was, with the same --log.

python benchmarks/soak.py --faults 40
python benchmarks/soak.py --faults 1000 --log soak.json
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from burnt_clock import read_clock
from nanoseg.sources.camera import Camera
from nanoseg.sources.camera_url import parse_camera_url
from nanoseg.sources.fault_schedule import Fault, FaultSchedule
from nanoseg.sources.faults import read_schedule
from nanoseg.utils.files import write_atomic
from nanoseg.utils.terminal import print_error, progress_bar
from rtsp_server import missing, rtsp_server

EVERY_S, FOR_S = 12.0, 2.5
HANG_S = 60.0  # without a frame from after a fault
WITHIN_S = 5.0
MEMORY_MB = 10.0
WARM_S = 20.0
PAGE = os.sysconf("SC_PAGE_SIZE")
BINS_S = (0.1, 0.25, 0.5, 1, 2, 3, 4, 5, 10, 60)


@dataclass
class Recovery:
    """One fault and the return of its camera."""

    camera: str
    kind: str
    number: int
    lasted_s: float
    seconds: float  # from the fault's end to a frame from after it; HANG_S: none came


class Watched:
    """A camera with its faults, and those whose end it has not outlived yet."""

    def __init__(self, text: str, clock: bool) -> None:
        """Watch a camera; `clock` says whether its pictures tell their own time."""
        url = parse_camera_url(text)
        assert url is not None
        self.messages: list[str] = []
        self.camera = Camera(url, max_pixels=10**7, on_message=self.messages.append)
        self.schedule: FaultSchedule = read_schedule(url)
        self.clock, self.next = clock, 1
        self.started_ns = time.monotonic_ns()
        self.frames = 0

    def start(self) -> None:
        """Open it."""
        self.started_ns = time.monotonic_ns()
        self.camera.start()

    def poll(self) -> list[Recovery]:
        """Read the newest frame, and return the faults that are over by it, or that no frame has followed in time."""
        now_s = (time.monotonic_ns() - self.started_ns) / 1e9
        fault, found = self.schedule.fault(self.next), []
        frame = self.camera.read(0)
        if frame is not None:
            self.frames += 1
            if now_s >= fault.end_s and self._is_from_after(frame.image, fault, now_s):
                found.append(self._recovery(fault, now_s - fault.end_s))
        elif now_s > fault.end_s + HANG_S:
            found.append(self._recovery(fault, HANG_S))
        return found

    def _is_from_after(self, image: np.ndarray, fault: Fault, now_s: float) -> bool:
        if not self.clock:
            return True
        shown_ms = read_clock(image)
        return shown_ms is not None and shown_ms / 1e3 > time.time() - (now_s - fault.end_s)

    def _recovery(self, fault: Fault, seconds: float) -> Recovery:
        self.next += 1
        return Recovery(self.camera.name, fault.kind, fault.number, fault.end_s - fault.start_s, seconds)


def resources() -> dict[str, float]:
    """Return the descriptors and threads of this process, and its memory and that of its capture processes in MB."""
    gc.collect()
    own_mb = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e6
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    for task in Path("/proc/self/task").iterdir():  # those of other threads
        children += (task / "children").read_text().split()
    capture_mb = []
    for child in set(children):
        try:
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"capture.process" in command:
                capture_mb.append(int(Path(f"/proc/{child}/statm").read_text().split()[1]) * PAGE / 1e6)
        except OSError:
            continue
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "memory_mb": round(own_mb, 1),
        "capture_processes": len(capture_mb),
        "capture_memory_mb": round(sum(capture_mb), 1),
    }


def soak(options: argparse.Namespace, log: Path | None, done: list[Recovery]) -> dict[str, Any]:
    """Run until `options.faults` faults are done; return the resources at the start and the end."""
    part = len(done)  # a run that goes on has other faults than those that are done
    with ExitStack() as stack:
        watched = []
        if options.rtsp:
            server = stack.enter_context(rtsp_server(size_wh=(320, 240), fps=15))
            for index in range(options.rtsp):
                codec = "h265" if index % 3 == 2 else "h264"
                address = quote(server.url(codec), safe=":/?")
                watched.append(Watched(faulty(address, f"rtsp{index}", options.seed * 1000 + part + index), True))
        for index in range(options.injected):
            address = quote(f"parts://?seed={index + 1}&size=160x120&objects=2", safe=":/?")
            watched.append(Watched(faulty(address, f"injected{index}", options.seed * 2000 + part + index), False))
        for each in watched:
            each.start()
            stack.callback(each.camera.close)
        started_s = time.monotonic()
        start: dict[str, float] | None = None
        with progress_bar("faults", options.faults, unit="faults") as advance:
            for _ in done:
                advance()
            while len(done) < options.faults:
                for each in watched:
                    for recovery in each.poll():
                        done.append(recovery)
                        advance()
                        if recovery.seconds > WITHIN_S:
                            print_error(f"{recovery}; {each.messages[-3:]}")
                        if log is not None and len(done) % 20 == 0:
                            save(log, done)
                if start is None and time.monotonic() - started_s > WARM_S:
                    start = settled(watched)
                time.sleep(0.01)
        return {"start": start or settled(watched), "end": settled(watched)}


def settled(watched: Sequence[Watched]) -> dict[str, float]:
    """Return the resources at a moment when all cameras are live, and no fault is under way."""
    end_s = time.monotonic() + 120
    while time.monotonic() < end_s:
        for each in watched:
            each.camera.read(0)
        times = [(time.monotonic_ns() - each.started_ns) / 1e9 for each in watched]
        quiet = all(each.schedule.at(now_s) is None for each, now_s in zip(watched, times, strict=True))
        if quiet and all(each.camera.status().state == "live" for each in watched):
            break
        time.sleep(0.005)
    return resources()


def faulty(address: str, name: str, seed: int) -> str:
    """Return the address of a source with faults."""
    return f"faults://?source={address}&name={name}&seed={seed}&every={EVERY_S:g}s&for={FOR_S:g}s&frozen=2"


def report(done: Sequence[Recovery], used: dict[str, Any]) -> dict[str, Any]:
    """Return the figures, and which promises were kept."""
    by_kind = defaultdict(list)
    for recovery in done:
        by_kind[recovery.kind].append(recovery.seconds)
    every = [recovery.seconds for recovery in done]
    start, end = used["start"], used["end"]
    p99 = float(np.percentile(every, 99))
    counts = np.histogram(every, [0, *BINS_S])[0].tolist()
    return {
        "faults": len(done),
        "hangs": sum(seconds >= HANG_S for seconds in every),
        "crashes": 0,  # this line is reached
        "recovery_s": {"p50": round(float(np.median(every)), 3), "p99": round(p99, 3), "max": round(max(every), 3)},
        "histogram": dict(zip([f"up to {bound:g} s" for bound in BINS_S], counts, strict=True)),
        "kinds": {
            kind: {"faults": len(values), "p50": round(float(np.median(values)), 3), "max": round(max(values), 3)}
            for kind, values in sorted(by_kind.items())
        },
        **used,
        "kept": {
            "no hang": max(every) < HANG_S,
            f"p99 within {WITHIN_S:g} s": p99 <= WITHIN_S,
            "descriptors": end["descriptors"] <= start["descriptors"],
            "threads": end["threads"] <= start["threads"],
            f"memory within {MEMORY_MB:g} MB": end["memory_mb"] - start["memory_mb"] <= MEMORY_MB,
        },
    }


def print_report(found: dict[str, Any]) -> None:
    """Print the figures."""
    seconds = found["recovery_s"]
    print(f"{found['faults']} faults, {found['hangs']} hangs, {found['crashes']} crashes")
    print(f"recovery p50 {seconds['p50']} s, p99 {seconds['p99']} s, longest {seconds['max']} s")
    most = max(found["histogram"].values())
    for name, count in found["histogram"].items():
        print(f"  {name:>12}  {count:5}  {'#' * round(50 * count / most)}")
    for kind, values in found["kinds"].items():
        print(f"  {kind:12} {values['faults']:5} faults, p50 {values['p50']:7.3f} s, longest {values['max']:7.3f} s")
    for moment in ("start", "end"):
        print(f"  {moment:5} {', '.join(f'{name} {value:g}' for name, value in found[moment].items())}")
    for promise, kept in found["kept"].items():
        print(f"  {'kept  ' if kept else 'BROKEN'} {promise}")


def save(path: Path, done: Sequence[Recovery]) -> None:
    """Write what is done, for a run that goes on."""
    write_atomic(path, json.dumps([asdict(recovery) for recovery in done]).encode())


def main() -> int:
    """Run the soak and print its figures; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=1000, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--rtsp", type=int, default=5, help="RTSP cameras (default: %(default)s)")
    parser.add_argument("--injected", type=int, default=5, help="simulated cameras (default: %(default)s)")
    parser.add_argument("--log", type=Path, help="file of the recoveries, by which a run goes on")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    if options.rtsp and (reason := missing()):
        print_error(f"{reason}; --rtsp 0 does without")
        return 2
    done: list[Recovery] = []
    if options.log is not None and options.log.exists():
        done = [Recovery(**each) for each in json.loads(options.log.read_text())]
    used = soak(options, options.log, done)
    if options.log is not None:
        save(options.log, done)
    found = report(done, used)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print_report(found)
    return 0 if all(found["kept"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
