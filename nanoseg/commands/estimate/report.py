"""What `nanoseg estimate` prints: text and JSON, each figure called an estimate, with its error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nanoseg.benchmark.boards import BOARDS
from nanoseg.benchmark.estimate import Estimate, StageEstimate
from nanoseg.benchmark.families import UNKNOWN, WORST_ERROR
from nanoseg.benchmark.layer import work_of
from nanoseg.benchmark.layer_time import LayerTime
from nanoseg.benchmark.shapes import FRAME_HW

GOALS = (30, 60)  # frames a second
SLOWEST = 5  # layers that are printed
NOTHING_MEASURED = "estimated; nothing here was measured"
NO_FIGURE = "no published figure to check on"


@dataclass(frozen=True)
class Estimates:
    """Estimates of one bundle."""

    bundle: str
    version: str
    devices: Mapping[str, Estimate]
    device: str | None  # the one that was asked for
    listed: Mapping[str, Estimate] | None  # by the layer lists of TensorRT for RTX, where wanted


def ms_range(ms: float, error: float) -> tuple[float, float]:
    """Return between what a time lies whose estimate is off by an error: estimated / true - 1."""
    return ms / (1 + error), ms / (1 - error)


def reaches(estimate: Estimate, goal: int) -> str:
    """Return whether a stream of frames reaches a rate: "yes", "no", or "perhaps" where the error covers both."""
    if estimate.stream_ms is None:
        return "not estimated"
    fastest, slowest = ms_range(estimate.stream_ms, estimate.error)
    if 1000 / slowest >= goal:
        return "yes"
    return "perhaps" if 1000 / fastest >= goal else "no"


def time_text(ms: float | None, error: float, rate: bool = False) -> str:
    """Return a time with its range: `12.6 ms (10.5 to 15.8)`."""
    if ms is None:
        return "not estimated"
    low, high = ms_range(ms, error)
    frames = f", {1000 / ms:.0f} frames/s" if rate and ms else ""
    return f"{ms:.2f} ms ({low:.2f} to {high:.2f}){frames}"


def checked_text(stage: StageEstimate) -> str:
    """Return what the error of a stage is that of."""
    band = stage.band
    if band.is_too_wide:
        return f"not printed: estimates of {band.family} are off by {band.error:.0%}, over {WORST_ERROR:.0%}"
    of = "published figures of any family" if band.family == UNKNOWN else f"{band.family}'s published figures"
    return f"off by {band.error:.0%} from {of}, {band.worst:.0%} at worst"


def lines(found: Estimates, device: str) -> list[str]:
    """Return the estimate of one board as lines of text."""
    estimate = found.devices[device]
    text = [
        f"{BOARDS[device].name}, {found.bundle} {found.version}, {estimate.objects} objects, "
        f"{FRAME_HW[1]}x{FRAME_HW[0]}: {NOTHING_MEASURED}"
    ]
    rows = [("stage", "estimated, alone", "binds", "kernels", "MB", "G multiply-adds", "its error")]
    for name, stage in estimate.stages.items():
        work = work_of(each.layer for each in stage.layers)
        products = ", ".join(f"{count:.2f} {precision}" for precision, count in work.gmacs.items()) or "-"
        time = time_text(stage.ms, stage.band.error)
        binding = "-" if stage.ms is None else stage.binds
        rows.append((name, time, binding, str(work.kernels), f"{work.traffic_mb:.1f}", products, checked_text(stage)))
    text += _columns(rows)
    for mode, ms, means in (
        ("call", estimate.call_ms, "one frame in flight"),
        ("stream", estimate.stream_ms, "frames overlap"),
    ):
        word = "" if ms is None else "estimated "
        text.append(f"  {mode:7} {word}{time_text(ms, estimate.error, rate=True)}: {means}")
    if not estimate.is_checked:
        text.append(f"  {BOARDS[device].name}: {NO_FIGURE}")
    text.append(f"  overlap and copies, and prepare: {NO_FIGURE}; the host's part is not in it")
    text.append(f"  the {SLOWEST} layers that take longest, estimated:")
    text += [
        f"    {name:8}{each.ms:7.3f} ms  {each.layer.traffic_bytes / 1e6:7.2f} MB  {each.layer.macs / 1e9:6.3f} G  "
        f"{each.layer.name}"
        for name, each in slowest(estimate)[:SLOWEST]
    ]
    if found.listed is not None:
        text += _listed_lines(estimate, found.listed[device])
    return text


def slowest(estimate: Estimate) -> list[tuple[str, LayerTime]]:
    """Return the layers with their stages, the slowest first; those of stages that are not estimated are left out."""
    layers = [(name, each) for name, stage in estimate.stages.items() if stage.ms is not None for each in stage.layers]
    return sorted(layers, key=lambda pair: -pair[1].ms)


def comparison_lines(found: Estimates) -> list[str]:
    """Return the table of all boards as lines of text."""
    some = next(iter(found.devices.values()))
    title = f"{found.bundle} {found.version}, {some.objects} objects, {FRAME_HW[1]}x{FRAME_HW[0]}: {NOTHING_MEASURED}"
    return [title, *_columns(comparison(found))]


def comparison(found: Estimates) -> list[tuple[str, ...]]:
    """Return the rows of the table of all boards, its head first."""
    goals = [f"{goal} frames/s" for goal in GOALS]
    rows: list[tuple[str, ...]] = [("estimated", "call", "stream", *goals, "checked")]
    for name, each in found.devices.items():
        rates = [reaches(each, goal) for goal in GOALS]
        checked = f"off by {each.error:.0%}" if each.is_checked else NO_FIGURE
        call, stream = (time_text(ms, each.error, rate=True) for ms in (each.call_ms, each.stream_ms))
        rows.append((BOARDS[name].name, call, stream, *rates, checked))
    return rows


def report(found: Estimates) -> dict[str, Any]:
    """Return the estimates for JSON."""
    return {
        "kind": "estimated",
        "bundle": found.bundle,
        "version": found.version,
        "frame": f"{FRAME_HW[1]}x{FRAME_HW[0]}",
        "devices": {name: _device(each) for name, each in found.devices.items()},
        "layer_lists": None if found.listed is None else {name: _device(each) for name, each in found.listed.items()},
    }


def _device(estimate: Estimate) -> dict[str, Any]:
    return {
        "objects": estimate.objects,
        "call_ms": estimate.call_ms,
        "stream_ms": estimate.stream_ms,
        "error": estimate.error,
        "published_figures_of_board": estimate.is_checked,
        "reaches": {str(goal): reaches(estimate, goal) for goal in GOALS},
        "stages": {name: _stage(stage) for name, stage in estimate.stages.items()},
    }


def _stage(stage: StageEstimate) -> dict[str, Any]:
    work = work_of(each.layer for each in stage.layers)
    found = {
        "ms": stage.ms,
        "architecture": stage.architecture,
        "family": stage.band.family,
        "error": stage.band.error,
        "worst_error": stage.band.worst,
        "kernels": work.kernels,
        "traffic_mb": work.traffic_mb,
        "gmacs": dict(work.gmacs),
    }
    if stage.ms is None:
        return found | {"binds": None, "layers": []}
    return found | {"binds": stage.binds, "layers": [_layer(each) for each in stage.layers]}


def _layer(each: LayerTime) -> dict[str, Any]:
    return {
        "name": each.layer.name,
        "precision": each.layer.precision,
        "macs": each.layer.macs,
        "bytes": each.layer.traffic_bytes,
        "ms": each.ms,
        "memory_ms": each.memory_ms,
        "arithmetic_ms": each.arithmetic_ms,
        "launch_ms": each.launch_ms,
    }


def _listed_lines(estimate: Estimate, listed: Estimate) -> list[str]:
    """Return what the layer lists of TensorRT for RTX say, as ratios to the graphs."""
    text = [
        "  the layer lists of TensorRT for RTX, which fuses no INT8 convolution, as TensorRT does, and knows no Orin:"
    ]
    for name, stage in listed.stages.items():
        work, own = (work_of(each.layer for each in e.stages[name].layers) for e in (listed, estimate))
        if own.kernels:
            time = "not estimated" if stage.ms is None else f"{stage.ms:.2f} ms estimated"
            text.append(
                f"    {name:8} {work.kernels} kernels ({work.kernels / own.kernels:.2f} of the graph's), "
                f"{work.traffic_mb:.1f} MB ({work.traffic_mb / own.traffic_mb:.2f}), {time}"
            )
    return text


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
