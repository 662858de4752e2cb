"""Write the files in benchmarks/results/cpu anew, each by its command, and the tables of figures that are made of them.

    python benchmarks/measure_results.py                       # half an hour on 2 CPUs that do nothing else
    python benchmarks/measure_results.py --only demo,peer-nanosam
    python benchmarks/measure_results.py --resume              # without those that this commit has written
    python benchmarks/measure_results.py --list

Every command takes less than five minutes. One that fails, or lacks a library, leaves its file as it was, and is told
at the end. Files that are marked as carried, of runs that take hours, are not touched. `make results` is --resume.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import results_table
from common import result, write
from environment import ROOT, commit
from nanoseg.errors import NanosegError, UsageError
from result_files import FOLDER

TIMEOUT_S = 900  # of one command, on a busy machine
FULL_SIZE = "runs/peers/full-size"  # which the comparisons make


class Recipe(NamedTuple):
    """How a result file is written."""

    command: str  # as it is typed in a checkout; a script of benchmarks/ gets --json
    reads: str | None = None  # what a verb of nanoseg writes into {out}, or - for its JSON on stdout
    kind: str = "measured"
    typed: str | None = None  # what users type instead
    keeps: tuple[str, ...] = ()  # of what is read; all, if none is named
    drops: tuple[str, ...] = ()  # keys at any depth, as they are long


PEERS = ("nanosam", "segment-anything", "opencv-dnn", "ultralytics", "super-gradients-nms", "masks")
RECIPES = {
    "demo": Recipe("nanoseg demo --out {out}", "report.json", typed="make demo"),
    "accuracy": Recipe("nanoseg info parts --json", "-", keeps=("name", "version", "accuracy")),
    "pipeline": Recipe("python benchmarks/pipeline.py"),
    **{f"peer-{name}": Recipe(f"python benchmarks/peer.py {name}") for name in PEERS},
    "pipeline-full-size": Recipe(
        f"python benchmarks/pipeline.py --bundle {FULL_SIZE} --frame 1280x720 --objects 10 --rounds 20"
    ),
    "decoder": Recipe("python benchmarks/decoder.py"),
    "masks": Recipe("python benchmarks/masks.py"),
    "host-cost": Recipe("python benchmarks/host_cost.py"),
    "line": Recipe("python benchmarks/line.py"),
    "estimate": Recipe(
        "nanoseg estimate --compare-devices --objects 8 --json",
        "-",
        "estimated",
        "nanoseg estimate --compare-devices",
        drops=("layers", "layer_lists"),
    ),
}


def update(name: str, recipe: Recipe) -> None:
    """Write one file; raises NanosegError with the end of what a failed command printed."""
    path = FOLDER / "cpu" / f"{name}.json"
    with tempfile.TemporaryDirectory() as scratch:
        words = shlex.split(recipe.command.format(out=scratch))
        program = [sys.executable, "-m", "nanoseg"] if words[0] == "nanoseg" else [sys.executable]
        flags = [] if recipe.reads else ["--json", str(Path(scratch, "result.json"))]
        done = run([*program, *words[1:], *flags])
        if recipe.reads is None:
            made = json.loads(Path(scratch, "result.json").read_text(encoding="utf-8"))
        else:
            text = done if recipe.reads == "-" else Path(scratch, recipe.reads).read_text(encoding="utf-8")
            made = result(kept(json.loads(text), recipe), recipe.kind, recipe.typed or recipe.command)
    write(made, path)


def run(command: list[str]) -> str:
    """Return what a command prints; raises NanosegError where it fails."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise NanosegError(f"it takes longer than {TIMEOUT_S} s") from None
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it prints no error"]
        raise NanosegError(f"{last[0]} (exit code {done.returncode})")
    return done.stdout


def kept(found: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Return the figures to keep."""
    return {name: without(found[name], recipe.drops) for name in recipe.keeps or found if name not in recipe.drops}


def without(value: Any, names: tuple[str, ...]) -> Any:
    """Return figures without some keys."""
    if not isinstance(value, dict):
        return value
    return {name: without(each, names) for name, each in value.items() if name not in names}


def is_written(name: str, head: str) -> bool:
    """Return whether this commit has written a file already."""
    try:
        made = json.loads((FOLDER / "cpu" / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(made["environment"]["commit"].removesuffix("+changes") == head.removesuffix("+changes"))


def chosen(only: str | None) -> list[str]:
    """Return the names that --only has; raises UsageError for others."""
    names = only.split(",") if only else list(RECIPES)
    if unknown := [name for name in names if name not in RECIPES]:
        raise UsageError(f"--only: wanted of {', '.join(RECIPES)}, got {', '.join(unknown)}")
    return names


def main() -> int:
    """Parse, run the commands, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAME[,NAME]", help="these files (default: all)")
    parser.add_argument("--resume", action="store_true", help="leave out the files that this commit has written")
    parser.add_argument("--list", action="store_true", help="print names and commands")
    options = parser.parse_args()
    try:
        names = chosen(options.only)
    except UsageError as error:
        print(f"measure_results: {error}", file=sys.stderr)
        return error.exit_code
    if options.list:
        for name in names:
            print(f"{name:22} {RECIPES[name].typed or RECIPES[name].command}")
        return 0
    head, failed = commit(ROOT), []
    for name in names:
        if options.resume and is_written(name, head):
            continue
        print(f"{name}: {RECIPES[name].command}", flush=True)
        try:
            update(name, RECIPES[name])
        except (NanosegError, OSError, ValueError) as error:
            failed.append(f"{name}: {error}")
    incomplete = results_table.main()
    for line in failed:
        print(f"measure_results: {line}", file=sys.stderr)
    return 1 if failed else incomplete


if __name__ == "__main__":
    sys.exit(main())
