"""Estimate the time of a bundle's frames on a board that is not there, by layer. Nothing is measured.

from nanoseg.benchmark.estimate import estimate_bundle

estimate = estimate_bundle(open_bundle("parts"), "orin-nano-super", objects=8)
estimate.stage_ms()          # {"prepare": ..., "detect": ..., "embed": ..., "segment": ...}, None where not estimated
estimate.call_ms, estimate.stream_ms
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanoseg.benchmark.boards import Board, board
from nanoseg.benchmark.families import Band, Fit, band_of, read_fit
from nanoseg.benchmark.layer import Layer
from nanoseg.benchmark.layer_time import LayerTime, binds
from nanoseg.benchmark.roofline import STAGES
from nanoseg.benchmark.shapes import FRAME_HW, decoder_calls
from nanoseg.errors import UsageError

if TYPE_CHECKING:
    from nanoseg.bundle import Bundle

NETWORKS = {"detect": "detector", "embed": "encoder", "segment": "decoder"}  # of bundle.toml, by stage
PREPARE = "prepare"  # in place of an architecture: it has no network


@dataclass(frozen=True)
class StageWork:
    """What one stage does: the same on all boards."""

    name: str
    architecture: str
    layers: Sequence[Layer]


@dataclass(frozen=True)
class BundleWork:
    """What a frame with some objects does on a GPU."""

    objects: int
    stages: Mapping[str, StageWork]  # by STAGES
    copies: Mapping[str, Layer]  # upload of the frame, handover of the embedding, download of the masks


@dataclass(frozen=True)
class StageEstimate:
    """The estimated time of one stage, alone."""

    name: str
    architecture: str
    layers: Sequence[LayerTime]
    band: Band

    @property
    def ms(self) -> float | None:
        """Its time; None where estimates of its family are too wrong to be told."""
        return None if self.band.is_too_wide else sum(each.ms for each in self.layers)

    @property
    def busy_ms(self) -> float:
        """The time that it needs of memory and arithmetic."""
        return sum(each.busy_ms for each in self.layers)

    @property
    def binds(self) -> str:
        """What most of its time is: "arithmetic", "memory" or "launches"."""
        return binds(self.layers)


@dataclass(frozen=True)
class Estimate:
    """Estimated times of a bundle's frames on a board; the host's part is in none of them."""

    device: str
    objects: int
    stages: Mapping[str, StageEstimate]  # by STAGES
    call_ms: float | None  # one frame in flight: its latency
    stream_ms: float | None  # frames overlap: from one to the next
    error: float  # of the frame: the stages' errors, weighted by their times
    is_checked: bool  # whether any latency is published of this board

    def stage_ms(self) -> dict[str, float | None]:
        """Return the times of the stages by name."""
        return {name: stage.ms for name, stage in self.stages.items()}


def estimate_bundle(bundle: Bundle, device: str, objects: int) -> Estimate:
    """Estimate the time of a 1280x720 frame with some objects of 8 % of it each.

    Args:
        bundle: the bundle, opened.
        device: a key of BOARDS.
        objects: how many are found, 0 or more.

    Raises:
        UsageError: there is no such board.
        BundleError: a graph cannot be read.
        DependencyError: onnx, or onnxruntime to find shapes, is not installed.
    """
    board(device)
    return estimate_work(bundle_work(bundle, objects), device)


def bundle_work(bundle: Bundle, objects: int) -> BundleWork:
    """Read off a bundle's graphs what a frame with some objects does; errors are those of `estimate_bundle`."""
    if objects < 0:
        raise UsageError(f"objects: wanted 0 or more, got {objects}")
    from nanoseg.onnx_graphs.cost.layers import GraphCost, read_graph

    costs = {name: read_graph(bundle.graphs[name].built.path, {}) for name in ("detect", "embed")}
    costs[PREPARE] = read_graph(bundle.graphs[PREPARE].built.path, {"frame": (1, *FRAME_HW, 3)})
    calls, read = list[GraphCost](), dict[tuple[tuple[int, ...], ...], GraphCost]()
    for name, shapes in decoder_calls(bundle, objects):  # all but the last have the same shapes
        key = tuple(shapes.values())
        if key not in read:
            read[key] = read_graph(bundle.graphs[name].built.path, shapes)
        calls.append(read[key])
    costs["segment"] = GraphCost([layer for call in calls for layer in call.layers], sum(c.output_bytes for c in calls))
    architectures = {stage: bundle.networks[network].architecture for stage, network in NETWORKS.items()}
    stages = {name: StageWork(name, architectures.get(name, PREPARE), costs[name].layers) for name in STAGES}
    copies = {
        "upload": _copy(FRAME_HW[0] * FRAME_HW[1] * 3),
        "handover": _copy(costs["embed"].output_bytes),
        "download": _copy(costs["segment"].output_bytes),
    }
    return BundleWork(objects, stages, copies)


def estimate_work(work: BundleWork, device: str) -> Estimate:
    """Estimate the times of what a frame does on a board; raises UsageError where there is no such board."""
    fit, on = read_fit(), board(device)
    stages = {name: _stage(stage, on, fit) for name, stage in work.stages.items()}
    copies = {name: LayerTime.of(copy, on, fit.constants) for name, copy in work.copies.items()}
    times = {name: sum(each.ms for each in stage.layers) for name, stage in stages.items()}
    whole = sum(times.values())
    is_told = all(stage.ms is not None for stage in stages.values())
    side_by_side = max(times["detect"], times["embed"], stages["detect"].busy_ms + stages["embed"].busy_ms)
    call_ms = times[PREPARE] + side_by_side + times["segment"] + sum(copy.ms for copy in copies.values())
    stream_ms = max(
        copies["upload"].ms + times[PREPARE] + times["detect"],
        times["embed"],
        copies["handover"].ms + times["segment"] + copies["download"].ms,
        sum(stage.busy_ms for stage in stages.values()) + sum(copy.busy_ms for copy in copies.values()),
    )
    return Estimate(
        device,
        work.objects,
        stages,
        call_ms if is_told else None,
        stream_ms if is_told else None,
        sum(times[name] * stage.band.error for name, stage in stages.items()) / whole,
        device in fit.boards,
    )


def _stage(work: StageWork, on: Board, fit: Fit) -> StageEstimate:
    times = [LayerTime.of(layer, on, fit.constants) for layer in work.layers]
    return StageEstimate(work.name, work.architecture, times, band_of(work.architecture, fit))


def _copy(nbytes: int) -> Layer:
    return Layer("copy", "", 0, True, nbytes, nbytes, 0)
