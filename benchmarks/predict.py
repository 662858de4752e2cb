"""Predict the time of a frame on Jetson boards, by stage, from the figures in engine_budget.json. Nothing is measured.

    python benchmarks/predict.py                                      # full-size networks in their default precisions
    python benchmarks/predict.py --device orin-nano-super --boxes 8 --decoder fp16
    python benchmarks/predict.py --budgets benchmarks/engine_budget_df75316.json    # as it was before

A stage takes the bytes of its layer list over 70 % of the board's peak bandwidth, and 4 us a kernel; or its
multiply-adds over the board's dense rate of their precision where that is more (the word says what binds). Layer lists
are TensorRT for RTX's; TensorRT on a Jetson has others. It also fuses INT8 convolutions, which TensorRT for RTX does
not: --detector fp16 takes the float16 form of the detector, which is nearer to that. A call has one frame in flight;
in a stream frames overlap, and what is predicted is the time from one to the next. The host's part is in neither.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import numbers
from nanoseg.benchmark.boards import BOARDS, board
from nanoseg.benchmark.roofline import STAGES, FramePrediction, FrameWork, Work, decoder_work
from nanoseg.errors import NanosegError, UsageError

BUDGETS = Path(__file__).with_name("engine_budget.json")
FULL_SIZE = "full-size"


def main() -> int:
    """Parse the flags, print the predictions and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help=f"{', '.join(BOARDS)} (default: all)")
    parser.add_argument("--boxes", default="1,4,8", metavar="N[,N]", help="objects (default: %(default)s)")
    parser.add_argument("--networks", default=FULL_SIZE, help="full-size or parts, the demo (default: %(default)s)")
    parser.add_argument("--detector", choices=("int8", "fp16"), default="int8", help="(default: %(default)s)")
    parser.add_argument("--decoder", choices=("fp32", "fp16"), default="fp32", help="(default: %(default)s)")
    parser.add_argument("--budgets", type=Path, default=BUDGETS, metavar="FILE", help="(default: %(default)s)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        engines = read_engines(options.budgets, options.networks)
        boxes = numbers(options.boxes, ",", "--boxes", "numbers of objects")
        names = list(BOARDS) if options.device is None else [options.device]
        found = {
            name: {
                count: FramePrediction.of(frame_work(engines, count, options.detector, options.decoder), board(name))
                for count in boxes
            }
            for name in names
        }
    except NanosegError as error:
        print(f"predict: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(report(found)) if options.json else table(found))
    return 0


def read_engines(path: Path, networks: str) -> dict[str, Any]:
    """Return the figures of engines by name; raises UsageError where the file has none of these networks."""
    try:
        budgets = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--budgets: cannot read {path}: {error}") from error
    if networks not in budgets:
        raise UsageError(f"--networks: wanted {', '.join(budgets)}, got {networks}")
    return dict(budgets[networks]["engines"])


def frame_work(engines: Mapping[str, Any], boxes: int, detector: str = "int8", decoder: str = "fp32") -> FrameWork:
    """Return what a frame with some objects needs; raises UsageError where an engine is not in the figures."""
    reduced = {"int8": "", "fp16": " fp16"}[detector], {"fp32": "", "fp16": " fp16"}[decoder]
    stages = {name: work(engines, name) for name in ("prepare", "embed")}
    stages["detect"] = work(engines, "detect" + reduced[0])
    decoders = [
        counted
        for name in ("segment_boxes", "segment")
        if (counted := {int(key.split()[-1]): key for key in engines if key.rsplit(" ", 1)[0] == name + reduced[1]})
    ]
    if not decoders:
        raise UsageError(f"--decoder: the figures have no engine of it in {decoder}")
    stages["segment"] = decoder_work({count: work(engines, key) for count, key in decoders[0].items()}, boxes)
    masks = {count: copy(engines[key]["outputs_mb"]) for count, key in decoders[0].items()}
    return FrameWork(
        stages,
        copy(engines["prepare"]["inputs_mb"]),
        copy(engines["embed"]["outputs_mb"]),
        decoder_work(masks, boxes),
    )


def work(engines: Mapping[str, Any], name: str) -> Work:
    """Return the work of an engine; raises UsageError where it is not in the figures."""
    if name not in engines:
        raise UsageError(f"the figures have no engine {name}, only {', '.join(engines)}")
    return Work(engines[name]["kernels"], engines[name]["traffic_mb"], engines[name]["gmacs"])


def copy(size_mb: float) -> Work:
    """Return the work of a copy: its bytes are read and written."""
    return Work(1, 2 * size_mb)


def report(found: Mapping[str, Mapping[int, FramePrediction]]) -> dict[str, Any]:
    """Return the predictions for JSON."""
    return {
        "kind": "predicted",
        "devices": {
            name: {
                count: asdict(frame)
                | {"stages": {s: asdict(p) | {"ms": p.ms, "binds": p.binds} for s, p in frame.stages.items()}}
                for count, frame in frames.items()
            }
            for name, frames in found.items()
        },
    }


def table(found: Mapping[str, Mapping[int, FramePrediction]]) -> str:
    """Return the predictions as text."""
    lines = ["predicted, ms; nothing here was measured"]
    for name, frames in found.items():
        lines.append(f"\n{BOARDS[name].name}")
        lines.append(
            f"{'objects':>8}" + "".join(f"{stage:>18}" for stage in STAGES) + f"{'copies':>8}{'call':>8}{'stream':>8}"
        )
        for count, frame in frames.items():
            stages = "".join(f"{frame.stages[s].ms:7.2f} {frame.stages[s].binds:10}" for s in STAGES)
            times = "".join(f"{ms:8.2f}" for ms in (frame.copies_ms, frame.call_ms, frame.stream_ms))
            lines.append(f"{count:8}{stages}{times}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
