"""Try bad and good bundles on a service's loop: every bad one has to be refused, every good one to take over.

nice -n 10 python benchmarks/swap_gate.py --json swap.json
python benchmarks/swap_gate.py --bad 5 --good 5 --frames 12

The bundles are copies of the demo's with seeded faults: other classes, a broken decoder, slowness, NaN, too large; four
variants of each. Good ones have another name, other thresholds, or noise in their weights. The loop is the service's
own, on a simulated camera of a fixed period: the frames of it that the loop does not get to are counted, those at the
swap itself apart. It ends with exit code 1 where a verdict is not the one that is wanted, or where more frames are
missed at a swap than one more than between any two frames of the trial before it.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

from common import write
from nanoseg.bundle import EMBEDDED_FOLDER
from nanoseg.errors import NanosegError, UsageError
from nanoseg.service.config import ModelConfig, ServiceConfig, SourceConfig, SwapConfig
from nanoseg.service.logs import Log
from nanoseg.service.loop import Hooks, ServiceLoop
from nanoseg.service.result import FrameResult
from nanoseg.service.running_bundle import RunningBundle
from nanoseg.service.state_folder import StateFolder
from nanoseg.service.swap.state import BUSY, SwapState
from nanoseg.service.swap.swapper import Swapper
from nanoseg.sources.simulator.line import SimulatedLine
from nanoseg.types import Frame
from nanoseg.utils.files import check_writable
from swap_bundles import Copy, bad_copies, good_copies

MEMORY_MB = 400.0  # the bound of the gate here: the demo's bundle takes up to 235 MB
PICTURES = 120  # of the simulated line, over and over
BEFORE = 5  # frames that the loop finishes after each verdict


@dataclass
class Outcome:
    """What became of one bundle."""

    kind: str
    change: str
    verdict: str
    reason: str
    figures: dict[str, Any]
    as_wanted: bool
    missed_at_swap: int | None = None  # frames of the camera between the last of one bundle and the first of the next
    missed_usually: float | None = None  # the median between two results of the trial
    missed_most: int | None = None  # the most between two results of the trial


class Camera:
    """A camera of a fixed period, of which the newest frame is read."""

    def __init__(self, pictures: Sequence[Frame], period_s: float) -> None:
        """Start with the first picture now."""
        self._pictures, self._period_s, self._started_s = pictures, period_s, time.monotonic()
        self._last = -1

    def read(self, timeout_s: float) -> Frame | None:
        """Return the newest frame that was not read before, or None where there is none in this time."""
        end_s = time.monotonic() + timeout_s
        while (index := int((time.monotonic() - self._started_s) / self._period_s)) == self._last:
            if time.monotonic() > end_s:
                return None
            time.sleep(min(self._period_s, 0.005))
        self._last = index
        return Frame(self._pictures[index % len(self._pictures)].image, index, time.time_ns(), "line")


class Gate:
    """A service's loop and its swapper, without what the service shows."""

    def __init__(self, period_s: float, limits: SwapConfig) -> None:
        """Open the demo's bundle."""
        line = SimulatedLine(seed=1)
        camera = Camera([line.frame(3 * index) for index in range(PICTURES)], period_s)
        config = ServiceConfig([SourceConfig("line", "parts://")], ModelConfig(backend="onnxruntime"), swap=limits)
        self._bundle = RunningBundle(lambda: config, StateFolder(), Log())
        self._bundle.told = lambda line: None  # type: ignore[method-assign]  # the outcomes are printed
        self.results: list[tuple[int, str]] = []  # index of a frame, and the bundle that has finished it
        self._skipped_s = 0.0
        self.swapper = Swapper(self._bundle, self._clock)
        self.loop = ServiceLoop(
            self._bundle.open(),
            camera,  # type: ignore[arg-type]
            [],
            [SimpleNamespace(put=self._put)],
            SimpleNamespace(finished=lambda _: None, not_finished=lambda *_: None),
            Hooks(lambda: None, self._between, print, self.swapper.offer, lambda error: self._revert(str(error))),
        )

    def try_bundle(self, bundle: str) -> SwapState:
        """Return what became of the swap of one bundle, once it has proved itself or has not."""
        self.results.clear()
        self.swapper.start(bundle)
        self._run(lambda: self.swapper.state.state not in ("loading", "shadow", "ready"))
        finished = len(self.results)
        self._run(lambda: len(self.results) >= finished + BEFORE)
        self._skipped_s += self._bundle.limits().watch_s
        self._run(lambda: self.swapper.state.state not in BUSY)
        return self.swapper.state

    def close(self) -> None:
        """Close all bundles."""
        self.swapper.end(told=True)
        self.swapper.close()
        self.loop.segmenter.close()

    def _run(self, until: Callable[[], bool]) -> None:
        while not until():
            self.loop.turn()

    def _clock(self) -> float:
        return time.monotonic() + self._skipped_s

    def _between(self) -> None:
        if (segmenter := self.swapper.take(self.loop.segmenter)) is not None:
            self.loop.use(segmenter, None, None)

    def _revert(self, reason: str) -> bool:
        before = self.swapper.revert(reason)
        if before is not None:
            self.loop.use(before, None, None)
        return before is not None

    def _put(self, result: FrameResult) -> None:
        self.results.append((result.frame.index, self._bundle.running))


def outcome(copy: Copy, state: SwapState, results: Sequence[tuple[int, str]]) -> Outcome:
    """Return what became of a copy, with the frames that were missed."""
    wanted = "refused" if copy.reason else "swapped"
    as_wanted = state.state == wanted and re.search(copy.reason, state.reason) is not None and bool(state.figures)
    found = Outcome(copy.kind, copy.change, state.state, state.reason, dict(state.figures), as_wanted)
    steps = [(after[0] - before[0] - 1, before[1] != after[1]) for before, after in pairwise(results)]
    at_swap = [missed for missed, is_swap in steps if is_swap]
    if at_swap:
        trial = [missed for missed, _ in steps[: [is_swap for _, is_swap in steps].index(True)]]
        found.missed_at_swap = max(at_swap)
        found.missed_usually, found.missed_most = median(trial), max(trial)
        found.as_wanted &= found.missed_at_swap <= found.missed_most + 1
    return found


def measure(bad: Sequence[Copy], good: Sequence[Copy], limits: SwapConfig, period_s: float, seed: int) -> list[Outcome]:
    """Try all copies on one loop, and print a line about each."""
    outcomes = []
    gate = Gate(period_s, limits)
    try:
        for number, copy in enumerate([*bad, *good]):
            with tempfile.TemporaryDirectory() as folder:
                path = copy.write(EMBEDDED_FOLDER / "parts", Path(folder) / f"{copy.kind} {number}", seed + number)
                state = gate.try_bundle(str(path))
            outcomes.append(outcome(copy, state, gate.results))
            print(_line(outcomes[-1]), flush=True)
    finally:
        gate.close()
    return outcomes


def _line(found: Outcome) -> str:
    figures = ", ".join(f"{name} {value}" for name, value in found.figures.items())
    line = f"{found.kind}, {found.change}: {found.verdict}{': ' * bool(found.reason)}{found.reason} ({figures})"
    if found.missed_at_swap is not None:
        usual = f"{found.missed_usually:g} usually, {found.missed_most} at most"
        line += f"; frames missed at the swap: {found.missed_at_swap}, before it: {usual}"
    return line if found.as_wanted else f"NOT AS WANTED: {line}"


def main() -> int:
    """Parse the flags and run; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bad", type=int, default=20, metavar="N", help="bad bundles, spread over the kinds (20)")
    parser.add_argument("--good", type=int, default=20, metavar="N", help="good bundles (20)")
    parser.add_argument("--frames", type=int, default=30, metavar="N", help="frames of a trial (30)")
    parser.add_argument("--fps", type=float, default=10.0, help="of the camera (10)")
    parser.add_argument("--seed", type=int, default=1, help="of the faults (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcomes there too")
    options = parser.parse_args()
    try:
        if not (0 <= options.bad <= 20 and 0 <= options.good <= 20 and options.frames > 0 and options.fps > 0):
            raise UsageError("wanted --bad and --good from 0 to 20, --frames from 1 and --fps above 0")
        if options.json:
            check_writable(options.json, "--json")
        limits = SwapConfig(frames=options.frames, memory_mb=MEMORY_MB)
        bad, good = spread(bad_copies(), options.bad), spread(good_copies(), options.good)
        outcomes = measure(bad, good, limits, 1 / options.fps, options.seed)
        if options.json:
            write({"outcomes": [asdict(each) for each in outcomes]}, options.json)
    except NanosegError as error:
        print(f"swap_gate: {error}", file=sys.stderr)
        return error.exit_code
    wrong = [each for each in outcomes if not each.as_wanted]
    print(f"{len(outcomes) - len(wrong)} of {len(outcomes)} as wanted")
    return 1 if wrong else 0


def spread(copies: Sequence[Copy], number: int) -> list[Copy]:
    """Return so many of a table, spread over its kinds."""
    return [copies[index * len(copies) // number] for index in range(number)]


if __name__ == "__main__":
    sys.exit(main())
