"""Fit the constants of `nanoseg estimate` on published latencies, and check them with leave-one-family-out.

    python benchmarks/fit_estimate.py               # the errors of each family by constants fitted without it
    python benchmarks/fit_estimate.py --points      # of each published latency
    python benchmarks/fit_estimate.py --update      # writes nanoseg/benchmark/estimate.json and docs/benchmark.md

Four constants are fitted (nanoseg/benchmark/layer_time.py) by least squares of log(estimated / published), where each
family weighs the same. Networks are layers read off their float32 files (published_networks.py): in FP16 every tensor
has half of the bytes, in INT8 those of convolutions have a quarter and others half. Nothing here was measured by us.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from common import write
from nanoseg.benchmark.families import FILE, Family, Fit
from nanoseg.benchmark.layer import Layer
from nanoseg.benchmark.layer_time import Constants, LayerTime
from published_latency import FIT_BOARDS, PUBLISHED, Published

LAYERS = Path(__file__).with_name("published_layers.json")
PAGE = Path(__file__).parents[1] / "docs" / "benchmark.md"
BEGIN, END = "<!-- estimate: benchmarks/fit_estimate.py writes this -->\n", "<!-- end of estimate -->\n"
DECODER_FAMILIES, DECODER_BOARD = ("nanosam", "mobilesam"), "agx-orin"
START = (0.7, 0.5, 0.5, 10.0)  # bandwidth, INT8 and float shares, kiloclocks a kernel
LOWEST, HIGHEST = (0.2, 0.1, 0.1, 0.3), (1.0, 1.0, 1.0, 60.0)


def main() -> int:
    """Parse the flags, fit, print the errors and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", action="store_true", help="print each published latency")
    parser.add_argument("--update", action="store_true", help=f"write {FILE.name} and the page's section")
    options = parser.parse_args()
    networks = read_networks()
    without = {family: fitted(networks, [each for each in PUBLISHED if each.family != family]) for family in families()}
    found = summary(fitted(networks, PUBLISHED), errors(networks, without))
    print(section(networks, without, found) if options.points else families_table(found))
    if options.update:
        write(asdict(found), FILE)
        PAGE.write_text(inserted(PAGE.read_text(encoding="utf-8"), section(networks, without, found)), encoding="utf-8")
    return 0


def families() -> list[str]:
    """Return the families, in the order of their figures."""
    return list(dict.fromkeys(each.family for each in PUBLISHED))


def read_networks() -> dict[str, list[Any]]:
    """Return the rows of published_layers.json by network."""
    return dict(json.loads(LAYERS.read_text(encoding="utf-8")))


def in_precision(rows: Sequence[Sequence[Any]], precision: str) -> list[Layer]:
    """Return the layers of a float32 file's rows in another precision."""
    layers = []
    for operators, macs, tensor_cores, read, written, weights in rows:
        own = "fp16" if precision == "int8" and not operators.startswith("Conv") else precision
        part = {"fp32": 1, "fp16": 2, "int8": 4}[own]
        sizes = (each // part for each in (read, written, weights))
        layers.append(Layer(operators, own if macs else "", macs, bool(tensor_cores), *sizes))
    return layers


def estimate_ms(networks: Mapping[str, list[Any]], point: Published, constants: Constants) -> float:
    """Estimate what a published latency should be."""
    board = FIT_BOARDS[point.board]
    layers = [layer for name, precision in point.networks for layer in in_precision(networks[name], precision)]
    return sum(LayerTime.of(layer, board, constants).ms for layer in layers)


def fitted(networks: Mapping[str, list[Any]], points: Sequence[Published]) -> Constants:
    """Return the constants that fit some published latencies best."""
    counts = Counter(each.family for each in points)
    weights = np.array([counts[each.family] for each in points]) ** -0.5
    unit = Constants(1.0, 1.0, 1.0, 1.0)
    tables = []
    for point in points:
        board = FIT_BOARDS[point.board]
        layers = [layer for name, precision in point.networks for layer in in_precision(networks[name], precision)]
        times = [LayerTime.of(layer, board, unit) for layer in layers]
        is_int8 = np.array([layer.precision == "int8" for layer in layers])
        memory, arithmetic = (np.array([getattr(t, kind) for t in times]) for kind in ("memory_ms", "arithmetic_ms"))
        tables.append(
            (memory, arithmetic * is_int8, arithmetic * ~is_int8, len(times) * unit.kernel_ms(board), point.ms)
        )

    def residuals(logs: np.ndarray) -> np.ndarray:
        bandwidth, int8, floats, kernel = np.exp(logs)
        ms = [
            np.hypot(memory / bandwidth, fast / int8 + other / floats).sum() + kernel * launches
            for memory, fast, other, launches, _ in tables
        ]
        return weights * np.log(np.array(ms) / [table[-1] for table in tables])

    best = least_squares(residuals, np.log(START), bounds=(np.log(LOWEST), np.log(HIGHEST)))
    return Constants(*(round(float(each), 4) for each in np.exp(best.x)))


def errors(networks: Mapping[str, list[Any]], without: Mapping[str, Constants]) -> dict[str, list[float]]:
    """Return estimated / published - 1 of each family, by the constants fitted without it."""
    return {
        family: [estimate_ms(networks, each, constants) / each.ms - 1 for each in PUBLISHED if each.family == family]
        for family, constants in without.items()
    }


def summary(constants: Constants, found: Mapping[str, Sequence[float]]) -> Fit:
    """Return what the package needs."""
    by_family = {
        family: Family(len(each), round(float(np.abs(each).mean()), 4), round(float(np.abs(each).max()), 4))
        for family, each in found.items()
    }
    mean = round(float(np.mean([each.mean_error for each in by_family.values()])), 4)
    boards = [board for board in FIT_BOARDS if any(board == each.board for each in PUBLISHED)]
    return Fit(constants, by_family, mean, boards)


def families_table(found: Fit) -> str:
    """Return the errors by family as Markdown."""
    rows = [
        f"| {name} | {each.points} | {each.mean_error:.0%} | {each.worst_error:.0%} |"
        for name, each in found.families.items()
    ]
    head = ["| family left out | published figures | mean error | worst error |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *rows, f"| **mean of the families** | {len(PUBLISHED)} | **{found.mean_error:.0%}** | |"])


def section(networks: Mapping[str, list[Any]], without: Mapping[str, Constants], found: Fit) -> str:
    """Return the tables of the page's section."""
    fit = found.constants
    lines = [
        families_table(found),
        "",
        f"Fitted on all of them: {fit.bandwidth_share:.0%} of the bandwidth, {fit.int8_share:.0%} of the INT8 rate, "
        f"{fit.float_share:.0%} of the float rates, {fit.kernel_kiloclocks:.1f} thousand clocks a kernel.",
        "",
        "| published figure | board | published ms | estimated ms, its family left out | difference |",
        "| --- | --- | --- | --- | --- |",
    ]
    for each in PUBLISHED:
        ms = estimate_ms(networks, each, without[each.family])
        board = FIT_BOARDS[each.board].name
        lines.append(f"| {each.title} | {board} | {each.ms:g} | {ms:.2f} | {ms / each.ms - 1:+.0%} |")
    for family in DECODER_FAMILIES:  # not fitted to: the difference of two figures that are
        encoder, whole = (each for each in PUBLISHED if (each.family, each.board) == (family, DECODER_BOARD))
        ms = estimate_ms(networks, whole, without[family]) - estimate_ms(networks, encoder, without[family])
        wanted = whole.ms - encoder.ms
        title = f"sam-decoder FP32, by {family}'s whole less its encoder"
        board = FIT_BOARDS[DECODER_BOARD].name
        lines.append(f"| {title} | {board} | {wanted:.3g} | {ms:.2f} | {ms / wanted - 1:+.0%} |")
    return "\n".join(lines)


def inserted(page: str, text: str) -> str:
    """Return a page with the section's tables between BEGIN and END."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{text}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    sys.exit(main())
