"""What is slower or faster than at another commit, beyond noise, on the CPU.

    python benchmarks/track.py --against HEAD~5
    python benchmarks/track.py --against v0.1.0 --json benchmarks/results/track/v0.1.0.json
    python benchmarks/track.py --against HEAD --parts masks,suppression --processes 20

The other commit is checked out in a work tree, and this checkout is copied beside it. Each side runs in processes of
its own, which take turns round by round: the embedded bundle from frame to masks with its stages, ten prompts, masks
and run lengths, NMS, preprocessing, the time of `import nanoseg`, and the host's part of a GPU frame on engines that
do nothing (where `make cuda-bindings` has run, and a C compiler is there).

A process's memory lies where it happens to, which alone can make it some percent faster or slower, so --processes
pairs are started, and a pair counts once: the ratio of its medians. The intervals are those of ratio_interval,
adjusted for the number of figures: where nothing has changed, all are right at once with 95 %. The exit code is 1 if
any is slower.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from common import result, write
from environment import ROOT, commit
from nanoseg.benchmark.statistics import MIN_SAMPLES, ratio_interval
from nanoseg.errors import NanosegError, UsageError
from nanoseg.utils.files import check_writable

SIDE = Path(__file__).with_name("track_side.py")
PARTS = ("pipeline", "masks", "suppression", "prepare", "imports", "host")
ONCE = ("host",)  # a pair of processes measures them once, as they take seconds
Samples = dict[str, list[float]]  # by figure: one median a pair of processes


class Side:
    """A process that times parts of one checkout."""

    def __init__(self, root: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(root), "ORT_DISABLE_TELEMETRY": "1"}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process: Any = subprocess.Popen([sys.executable, SIDE, root], cwd=root, env=environment, **pipes)

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(BrokenPipeError):  # it ended before
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def measure(self, part: str) -> dict[str, Any]:
        """Return the milliseconds of one round of a part, or `error`."""
        with suppress(BrokenPipeError):
            self._process.stdin.write(part + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise NanosegError(f"the process that measures {part} ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


def measure_pair(roots: tuple[Path, Path], parts: list[str], rounds: int) -> tuple[list[Samples], dict[str, str]]:
    """Return each side's rounds by figure, of one pair of processes, and the parts that one of them cannot run."""
    samples: list[Samples] = [{}, {}]
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        sides = [stack.enter_context(Side(root)) for root in roots]
        for index in range(rounds):
            for part in parts:
                if part in failed or (part in ONCE and index):
                    continue
                # Who goes first changes: whatever slows the first down hits both.
                for which in (0, 1) if index % 2 else (1, 0):
                    answer = sides[which].measure(part)
                    if "error" in answer:
                        failed.setdefault(part, f"{('there', 'here')[which]}: {answer['error']}")
                        continue
                    for name, value in answer.items():
                        samples[which].setdefault(name, []).append(value)
    return samples, failed


def measure(roots: tuple[Path, Path], parts: list[str], processes: int, rounds: int) -> dict[str, Any]:
    """Return what every pair of processes found, and the comparisons."""
    pairs: tuple[Samples, Samples] = ({}, {})
    failed: dict[str, str] = {}
    for index in range(processes):
        print(f"pair {index + 1} of {processes}", file=sys.stderr, flush=True)
        found, refused = measure_pair(roots, [part for part in parts if part not in failed], rounds)
        failed |= refused
        for which, samples in enumerate(found):
            for name, values in samples.items():
                pairs[which].setdefault(name, []).append(statistics.median(values))
    return {"comparisons": compare(*pairs), "failed": failed, "processes": processes, "rounds": rounds}


def compare(there: Samples, here: Samples) -> dict[str, Any]:
    """Return for each figure both medians, the ratio here / there with its interval, and what that says."""
    names = [name for name in there if len(there[name]) == len(here.get(name, ())) >= MIN_SAMPLES]
    found = {}
    for name in names:
        ratio = ratio_interval(there[name], here[name], paired=True, family=len(names))
        found[name] = {
            "there_ms": round(statistics.median(there[name]), 4),
            "here_ms": round(statistics.median(here[name]), 4),
            "ratio": round(ratio.ratio, 4),
            "low": round(ratio.low, 4),
            "high": round(ratio.high, 4),
            "word": ratio.word,
        }
    return found


@contextmanager
def work_trees(revision: str) -> Iterator[tuple[Path, Path]]:
    """Check a commit out, and copy this checkout beside it: where files lie alone makes some percent of difference.

    Raises UsageError for what is no commit.
    """
    with tempfile.TemporaryDirectory() as scratch:
        there, here = (Path(scratch, name) for name in ("one", "two"))
        command = ["git", "worktree", "add", "--quiet", "--detach", str(there), revision]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UsageError(f"--against: wanted a commit, got {revision}: {done.stderr.strip()}")
        try:
            copy_checkout(here)
            if (bindings := ROOT / ".cuda-bindings").exists():
                for folder in (there, here):
                    (folder / bindings.name).symlink_to(bindings.resolve())
            yield there, here
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(there)], cwd=ROOT, check=False)


def copy_checkout(folder: Path) -> None:
    """Copy the files of this checkout as they are, those included that git does not know or ignore yet."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (source := ROOT / name).is_file() and not source.is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / name)


def lines(figures: dict[str, Any]) -> Iterator[str]:
    """Yield what is printed: a line for each figure, what was left out, and the sum of it."""
    yield f"{'':34} {'there ms':>10} {'here ms':>10}  here / there"
    for name, each in figures["comparisons"].items():
        interval = f"{each['ratio']:.3f} [{each['low']:.3f}, {each['high']:.3f}]"
        word = "" if each["word"] == "equal" else each["word"]
        yield f"{name:34} {each['there_ms']:10.3f} {each['here_ms']:10.3f}  {interval}  {word}".rstrip()
    for part, error in figures["failed"].items():
        yield f"{part}: left out, {error}"
    changed = [f"{name} {each['word']}" for name, each in figures["comparisons"].items() if each["word"] != "equal"]
    yield f"against {figures['against']}: {', '.join(changed) or 'nothing differs beyond noise'}"


def main() -> int:
    """Parse, measure, print; return 1 where something is slower."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", required=True, metavar="COMMIT", help="what this checkout is compared with")
    parser.add_argument("--parts", default=",".join(PARTS), metavar="A,B", help="(default: %(default)s)")
    parser.add_argument("--processes", type=int, default=10, help="pairs of them (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of each pair (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result file there too")
    options = parser.parse_args()
    parts = options.parts.split(",")
    try:
        if unknown := set(parts) - set(PARTS):
            raise UsageError(f"--parts: wanted of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
        if options.processes < MIN_SAMPLES or options.rounds < 1:
            raise UsageError(
                f"--processes: wanted {MIN_SAMPLES} or more, and 1 or more --rounds, "
                f"got {options.processes} and {options.rounds}"
            )
        if options.json:
            check_writable(options.json, "--json")
        with work_trees(options.against) as roots:
            figures = {"against": commit(roots[0]), **measure(roots, parts, options.processes, options.rounds)}
        if options.json:
            write(result(figures), options.json)
    except NanosegError as error:
        print(f"track: {error}", file=sys.stderr)
        return error.exit_code
    print(*lines(figures), sep="\n")
    return int(any(each["word"] == "slower" for each in figures["comparisons"].values()))


if __name__ == "__main__":
    sys.exit(main())
