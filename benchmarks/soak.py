"""Break cameras many times, and see that each comes back: RTSP streams through a proxy, and the injector.

python benchmarks/soak.py --faults 40
nohup python benchmarks/soak.py --faults 1000 --seed 1 --checkpoint soak.jsonl --json soak.json > soak.log 2>&1 &

The cameras are read in one process, as `nanoseg run` reads them; half of them are streams of GStreamer's RTSP server.
The faults are drawn by the seed, so that they can be repeated; a soak that was ended goes on from its checkpoint. It
ends with exit code 1 where a camera hangs or the process crashes, where the 99th percentile of the recovery is above
5 s, where descriptors, threads or processes are not as at the start, or memory has grown by more than 10 MB.
"""

from __future__ import annotations

import argparse
import faulthandler
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from burnt_clock import read_clock
from common import write
from nanoseg.errors import NanosegError, UsageError
from nanoseg.sources.camera import Camera
from nanoseg.sources.camera_url import is_rtsp, parse_camera_url
from nanoseg.sources.fault_schedule import FRAME_KINDS, KINDS, STREAM_KINDS
from nanoseg.sources.faults import behind_faults, read_schedule
from nanoseg.types import Frame
from nanoseg.utils.files import check_writable
from nanoseg.utils.terminal import progress_bar
from rtsp_server import RtspServer, missing, rtsp_server
from soak_checkpoint import Checkpoint
from soak_figures import COUNTS, lines, process_figures, report
from soak_recovery import Recoveries, Recovery

SIZE_WH, FPS = (320, 240), 10.0
MAX_PIXELS = 1 << 20
MAX_AGE_S = 5.0  # of a sound frame
WARM_S = 8.0  # with all cameras live, before the first fault
PERIODS_S = (15.0, 16.0, 17.0)  # of faults, so that cameras do not break in step
LENGTHS_S = (1.0, 2.0, 3.0)  # of faults, half of it to one and a half
STREAMS = (("h264", STREAM_KINDS), ("h265", STREAM_KINDS), ("mjpeg", STREAM_KINDS), ("h264", KINDS), ("h265", KINDS))
NOTE_S = 60.0  # from one line of the figures to the next
SETTLE_S = 20.0  # for what is closed in the background
PATIENCE_S = 120.0  # for all cameras to be live


@dataclass
class Subject:
    """One camera of the soak."""

    camera: Camera
    recoveries: Recoveries
    url: str  # to repeat it
    stream: bool
    started_s: float = 0.0

    def read(self) -> list[Recovery]:
        """Read the newest frame, and return the faults that are over."""
        frame, status = self.camera.read(0), self.camera.status()
        if status.state == "ended":
            raise RuntimeError(f"{self.camera.name} has ended: {status.reason}")
        now_s = time.monotonic() - self.started_s
        found = list(self.recoveries.tick(now_s, status.reconnects, status.reason))
        since_s = None if frame is None else self._sound_since(frame)
        if since_s is not None:
            found += self.recoveries.frame(now_s, now_s - (time.time() - since_s), status.reconnects)
        return found

    def _sound_since(self, frame: Frame) -> float | None:
        """Return when the picture was taken, by time.time(); None where it is none of the source's."""
        picture_s: float | None = frame.captured_ns / 1e9
        if self.stream:
            time_ms = read_clock(frame.image)
            picture_s = None if time_ms is None else time_ms / 1e3
        elif frame.size_hw != SIZE_WH[::-1] or not frame.image.any():
            picture_s = None
        age_s = time.time() - frame.captured_ns / 1e9
        return picture_s if -0.05 <= age_s <= MAX_AGE_S else None


class Soak:
    """Cameras that are broken until each has had its faults."""

    def __init__(self, urls: Sequence[str], checkpoint: Checkpoint, others: Sequence[int] = ()) -> None:
        """Describe the cameras, which `run` starts.

        Args:
            urls: each a `faults://` with a count.
            checkpoint: takes what is found.
            others: processes of this one that are no capture processes.
        """
        self._checkpoint, self._others = checkpoint, others
        self._fresh = threading.Event()
        self._advance: Callable[[], None] = lambda: None
        self.subjects = [self._subject(url) for url in urls]

    def _subject(self, text: str) -> Subject:
        url = parse_camera_url(text)
        assert url is not None
        camera = Camera(url, max_pixels=MAX_PIXELS, on_message=say, on_frame=self._fresh.set)
        recoveries = Recoveries(url.name, read_schedule(url))
        return Subject(camera, recoveries, text, is_rtsp(behind_faults(url)))

    def run(self) -> None:
        """Break the cameras; raises KeyboardInterrupt when the process is told to end."""
        before = process_figures(self._others)
        total = sum(len(subject.recoveries) for subject in self.subjects)
        with progress_bar("soak", total, unit="faults") as self._advance, ExitStack() as cameras:
            for subject in self.subjects:
                cameras.callback(subject.camera.close)
                subject.started_s = time.monotonic()
                subject.camera.start()
                say(f"{subject.camera.name}: {subject.url}")
            self._wait_for_all()
            self._read(WARM_S)
            start = self._at_rest()
            self._checkpoint.start(start)
            say(f"at the start: {start}")
            stopped = False
            try:
                self._break()
                self._wait_for_all()
                self._read(WARM_S)
                self._settle(start)
            except KeyboardInterrupt:
                stopped = True
            figures = process_figures(self._others)
        after = self._closed(before)
        left = [
            f"{name} from {before[name]:g} to {after[name]:g} when all cameras are closed"
            for name in COUNTS
            if after[name] > before[name]  # fewer: what others have left before was closed meanwhile
        ]
        self._checkpoint.end(figures, left, stopped)
        if stopped:
            raise KeyboardInterrupt

    def _at_rest(self) -> dict[str, float]:
        """Return the figures once all cameras are live and as much is open as a second before: a slow machine's first
        faults may come before all cameras have started.
        """
        end_s, figures = time.monotonic() + SETTLE_S, process_figures(self._others)
        while time.monotonic() < end_s:
            self._read(1.0)
            before, figures = figures, process_figures(self._others)
            live = all(subject.camera.status().state == "live" for subject in self.subjects)
            if live and all(figures[name] == before[name] for name in COUNTS):
                break
        return figures

    def _settle(self, start: dict[str, float]) -> None:
        """Wait until as much is open as at the start, for as long as what is on its way may take."""
        end_s = time.monotonic() + SETTLE_S
        while time.monotonic() < end_s:
            figures = process_figures(self._others)
            if all(figures[name] == start[name] for name in COUNTS):
                return
            say(f"not at rest yet: {figures}")
            self._read(1.0)

    def _closed(self, before: dict[str, float]) -> dict[str, float]:
        """Return the figures once no more is open than before the cameras: a busy machine ends threads late."""
        end_s = time.monotonic() + SETTLE_S
        while True:
            figures = process_figures(self._others)
            if all(figures[name] <= before[name] for name in COUNTS) or time.monotonic() > end_s:
                return figures
            time.sleep(0.2)

    def _break(self) -> None:
        noted_s = time.monotonic()
        while not all(subject.recoveries.done for subject in self.subjects):
            self._read(0.2)
            if time.monotonic() - noted_s > NOTE_S:
                noted_s = time.monotonic()
                say(f"now: {process_figures(self._others)}")

    def _read(self, seconds: float) -> None:
        """Read all cameras for some time, and take note of the faults that are over."""
        end_s = time.monotonic() + seconds
        while (now_s := time.monotonic()) < end_s:
            self._fresh.wait(max(0.0, min(0.2, end_s - now_s)))
            self._fresh.clear()
            for subject in self.subjects:
                for recovery in subject.read():
                    self._checkpoint.add(recovery)
                    self._advance()
                    say(text_of(recovery))

    def _wait_for_all(self) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not all(subject.camera.status().state == "live" for subject in self.subjects):
            if time.monotonic() > end_s:
                raise RuntimeError(f"not all cameras are live: {[each.camera.status() for each in self.subjects]}")
            self._read(0.2)


def camera_urls(options: argparse.Namespace, checkpoint: Checkpoint, server: RtspServer | None) -> list[str]:
    """Return the cameras of a session, each with the faults that it has not had yet."""
    urls = []
    for index in range(options.cameras):
        number = index // 2
        if server is not None and index % 2 == 0:
            codec, kinds = STREAMS[number % len(STREAMS)]
            name, source = f"{codec}-{number}", server.url(codec)
        else:
            kinds, name = FRAME_KINDS, f"parts-{index}"
            source = f"parts://?seed={index}&size={SIZE_WH[0]}x{SIZE_WH[1]}"
        count = options.faults // options.cameras + (index < options.faults % options.cameras)
        count -= sum(each.camera == name for each in checkpoint.recoveries)
        url = f"faults://?source={quote(source, safe='')}&name={name}&kinds={','.join(kinds)}&count={count}"
        url += f"&seed={options.seed * 10_000 + len(checkpoint.sessions) * 100 + index}"
        url += f"&every={PERIODS_S[number % len(PERIODS_S)]}&for={LENGTHS_S[index % len(LENGTHS_S)]}"
        urls.append(url + ("&frozen=1" if number % 2 else ""))
    return urls


def say(line: str) -> None:
    """Log one line, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def text_of(recovery: Recovery) -> str:
    """Return a recovery as a line."""
    took = "did not come back" if recovery.seconds is None else f"back after {recovery.seconds:.2f} s"
    again = f", opened again: {recovery.reason}" if recovery.reconnected else ""
    return (
        f"{recovery.camera} {recovery.number}: {recovery.kind} from {recovery.start_s:.2f} to "
        f"{recovery.end_s:.2f} s, {took}{again}"
    )


def parse_options() -> argparse.Namespace:
    """Return the options of the command line; raises UsageError."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=1000, help="(default: %(default)s)")
    parser.add_argument("--cameras", type=int, default=10, help="half of them over RTSP (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--no-rtsp", action="store_true", help="without GStreamer: the injector alone")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="go on from there, and keep what is found")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    if min(options.faults, options.cameras) < 1 or options.seed < 0:
        raise UsageError("--faults and --cameras: wanted 1 or more; --seed: 0 or more")
    if options.json:
        check_writable(options.json, "--json")
    if not options.no_rtsp and (reason := missing()):
        raise UsageError(f"{reason}; or give --no-rtsp")
    return options


def soak(options: argparse.Namespace) -> int:
    """Run the soak, print its report, and return the exit code."""
    with ExitStack() as stack:
        if options.checkpoint is None:
            options.checkpoint = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "soak.jsonl"
        wanted = {name: getattr(options, name) for name in ("faults", "cameras", "seed", "no_rtsp")}
        checkpoint = Checkpoint(options.checkpoint, wanted)
        server = None
        if not options.no_rtsp:
            server = stack.enter_context(rtsp_server(size_wh=SIZE_WH, fps=FPS, user="soak", password="loop"))
        if len(checkpoint.recoveries) < options.faults:
            others = () if server is None else (server.pid,)
            Soak(camera_urls(options, checkpoint, server), checkpoint, others).run()
        found = report(checkpoint.recoveries, checkpoint.sessions)
    print("\n".join(lines(found)), flush=True)
    if options.json:
        write(found, options.json)
    return bool(found["broken"])


def main() -> int:
    """Run the command."""
    faulthandler.enable()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        return soak(parse_options())
    except NanosegError as error:
        print(f"soak.py: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
