"""What a soak counts of its process, and what it reports of its recoveries."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nanoseg.utils.memory import resident_mb
from soak_recovery import Recovery

MAX_RECOVERY_S, MAX_GROWTH_MB = 5.0, 10.0
COUNTS = ("descriptors", "threads", "processes")  # that are at the end as at the start
_BOUNDS_S = (0.25, 0.5, 1.0, 2.0, 3.0, 4.0, MAX_RECOVERY_S)
_BAR = 50  # characters


def process_figures(others: Iterable[int] = ()) -> dict[str, float]:
    """Return what this process holds, and its capture processes.

    Args:
        others: children that are no capture processes.
    """
    children = [resident_mb(pid) for pid in _children() if pid not in others]
    return {
        "descriptors": len(os.listdir("/proc/self/fd")) - 1,  # that of the listing
        "threads": len(os.listdir("/proc/self/task")),
        "processes": len(children),
        "resident_mb": round(resident_mb(), 1),
        "resident_mb_a_process": round(sum(children) / len(children), 1) if children else 0.0,
    }


def _children() -> list[int]:
    """Return the children of this process, those that ended and were not waited for included."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
        if parent == os.getpid():
            found.append(int(path.parent.name))
    return found


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest of the values that at least so many percent do not exceed."""
    return sorted(values)[max(0, math.ceil(percent / 100 * len(values)) - 1)]


def recovery_figures(recoveries: Sequence[Recovery]) -> dict[str, Any]:
    """Return count, hangs, and p50, p99 and the longest of some recoveries in seconds."""
    seconds = [each.seconds for each in recoveries if each.seconds is not None]
    figures: dict[str, Any] = {
        "faults": len(recoveries),
        "hangs": len(recoveries) - len(seconds),
        "reconnected": sum(each.reconnected for each in recoveries),
    }
    if seconds:
        figures |= {f"p{percent}_s": round(percentile(seconds, percent), 3) for percent in (50, 99)}
        figures["max_s"] = round(max(seconds), 3)
    return figures


def report(recoveries: Sequence[Recovery], sessions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a soak has found.

    Args:
        recoveries: of all faults.
        sessions: what was counted at the start and at the end of each; without an end: it crashed.
    """
    kinds = sorted({each.kind for each in recoveries})
    found = {
        **recovery_figures(recoveries),
        "crashes": sum("end" not in session for session in sessions),
        "kinds": {kind: recovery_figures([each for each in recoveries if each.kind == kind]) for kind in kinds},
        "histogram_s": histogram([each.seconds for each in recoveries if each.seconds is not None]),
        "sessions": list(sessions),
    }
    return {**found, "broken": broken(found)}


def histogram(seconds: Sequence[float]) -> dict[str, int]:
    """Return the number of recoveries up to each bound."""
    counts, below = {}, -math.inf
    for bound in (*_BOUNDS_S, math.inf):
        name = f"<= {bound:g}" if math.isfinite(bound) else f"> {below:g}"
        counts[name] = sum(below < each <= bound for each in seconds)
        below = bound
    return counts


def broken(found: Mapping[str, Any]) -> list[str]:
    """Return the promises that were not kept."""
    lines = [f"{found[name]} {name}" for name in ("hangs", "crashes") if found[name]]
    if found.get("p99_s", 0.0) > MAX_RECOVERY_S:
        lines.append(f"p99 of the recovery is {found['p99_s']:.2f} s, wanted at most {MAX_RECOVERY_S:g} s")
    for session in found["sessions"]:
        if "end" not in session:
            continue
        lines += session["left"]
        if session["stopped"]:
            continue
        start, end = session["start"], session["end"]
        lines += [f"{name} from {start[name]} to {end[name]}" for name in COUNTS if start[name] != end[name]]
        lines += [
            f"{name} from {start[name]} to {end[name]}, wanted at most {MAX_GROWTH_MB:g} MB more"
            for name in ("resident_mb", "resident_mb_a_process")
            if end[name] - start[name] > MAX_GROWTH_MB
        ]
    return lines


def lines(found: Mapping[str, Any]) -> list[str]:
    """Return a report as text."""
    text = [f"{'kind':12}{'faults':>7}{'opened again':>14}{'p50 s':>8}{'p99 s':>8}{'max s':>8}{'hangs':>7}"]
    for kind, figures in [*found["kinds"].items(), ("all", found)]:
        times = "".join(f"{figures.get(name, math.nan):8.2f}" for name in ("p50_s", "p99_s", "max_s"))
        text.append(f"{kind:12}{figures['faults']:7}{figures['reconnected']:14}{times}{figures['hangs']:7}")
    text.append("seconds from the source's return to the first frame of it:")
    most = max(1, *found["histogram_s"].values())
    for bound, count in found["histogram_s"].items():
        text.append(f"{bound:>8} {count:6} {'#' * math.ceil(_BAR * count / most)}")
    for session in found["sessions"]:
        end = session.get("end", {})
        for name, value in session["start"].items():
            text.append(f"{name:22} {value:8g} at the start, {end.get(name, math.nan):g} at the end")
    text += [f"BROKEN: {each}" for each in found["broken"]] or ["every promise is kept"]
    return text
