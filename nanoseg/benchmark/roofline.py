"""Predict the time of engines and of a frame from kernels, memory traffic and multiply-adds. Nothing is measured.

A list of kernels takes its bytes over 70 % of the board's peak bandwidth and 4 us a kernel, or its multiply-adds over
the board's rates where that is more. Work side by side shares bandwidth and arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nanoseg.benchmark.boards import Board
from nanoseg.errors import UsageError

BANDWIDTH_SHARE = 0.7  # of the peak, that kernels reach
KERNEL_MS = 0.004  # from the start of a kernel to that of the next, besides its work
STAGES = ("prepare", "detect", "embed", "segment")


@dataclass(frozen=True)
class Work:
    """What one engine, or a copy, does."""

    kernels: int
    traffic_mb: float  # read and written, 1e6 bytes
    gmacs: Mapping[str, float] = field(default_factory=dict)  # multiply-adds, 1e9, by precision: int8, fp16, fp32

    def __add__(self, other: Work) -> Work:
        """Return both, one after the other."""
        precisions = (*self.gmacs, *(each for each in other.gmacs if each not in self.gmacs))
        gmacs = {each: self.gmacs.get(each, 0) + other.gmacs.get(each, 0) for each in precisions}
        return Work(self.kernels + other.kernels, self.traffic_mb + other.traffic_mb, gmacs)


@dataclass(frozen=True)
class Prediction:
    """A predicted time in milliseconds, by what bounds it."""

    memory_ms: float
    launches_ms: float
    arithmetic_ms: float

    @classmethod
    def of(cls, work: Work, board: Board) -> Prediction:
        """Predict the time of a list of kernels; raises UsageError for a precision that the board has no rate of."""
        if unknown := [each for each in work.gmacs if each not in board.tera_ops]:
            raise UsageError(f"gmacs: wanted {', '.join(board.tera_ops)}, got {unknown[0]}")
        return cls(
            work.traffic_mb / (BANDWIDTH_SHARE * board.memory_gb_s),  # MB / (GB/s) = ms
            work.kernels * KERNEL_MS,
            sum(2 * count / board.tera_ops[precision] for precision, count in work.gmacs.items()),
        )

    @property
    def ms(self) -> float:
        """The whole time."""
        return max(self.memory_ms + self.launches_ms, self.arithmetic_ms)

    @property
    def binds(self) -> str:
        """What most of the time is: "arithmetic", "memory" or "launches"."""
        if self.arithmetic_ms > self.memory_ms + self.launches_ms:
            return "arithmetic"
        return "memory" if self.memory_ms >= self.launches_ms else "launches"


@dataclass(frozen=True)
class FrameWork:
    """What a frame needs on the GPU. Copies read and write; each counts as a kernel."""

    stages: Mapping[str, Work]  # by STAGES
    upload: Work  # the frame
    handover: Work  # the embedding to the decoder's input
    download: Work  # the masks


@dataclass(frozen=True)
class FramePrediction:
    """Predicted times of a frame on a board, without the host's part."""

    stages: Mapping[str, Prediction]  # by STAGES, each alone
    side_by_side_ms: float  # of detect and embed
    copies_ms: float
    call_ms: float  # one frame in flight: its latency
    stream_ms: float  # frames overlap: from one to the next

    @classmethod
    def of(cls, frame: FrameWork, board: Board) -> FramePrediction:
        """Predict a frame's times."""
        stages = {name: Prediction.of(frame.stages[name], board) for name in STAGES}
        upload, handover, download = (
            Prediction.of(copy, board) for copy in (frame.upload, frame.handover, frame.download)
        )
        side_by_side = _shared_ms([[stages["detect"]], [stages["embed"]]])
        copies_ms = upload.ms + handover.ms + download.ms
        streams = [
            [upload, stages["prepare"], stages["detect"]],
            [stages["embed"]],
            [handover, stages["segment"], download],
        ]
        call_ms = copies_ms + stages["prepare"].ms + side_by_side + stages["segment"].ms
        return cls(stages, side_by_side, copies_ms, call_ms, _shared_ms(streams))


def decoder_work(counted: Mapping[int, Work], boxes: int) -> Work:
    """Return the work of the masks of some boxes, from engines for some numbers of them.

    Between two of these it is linear. More boxes than the largest take several calls.

    Args:
        counted: by number of boxes, 1 among them.
        boxes: how many, 0 or more.
    """
    if not boxes:
        return Work(0, 0)
    largest = max(counted)
    if boxes > largest:
        return counted[largest] + decoder_work(counted, boxes - largest)
    if boxes in counted:
        return counted[boxes]
    below, above = max(each for each in counted if each < boxes), min(each for each in counted if each > boxes)
    less, more, share = counted[below], counted[above], (boxes - below) / (above - below)

    def between(one: float, other: float) -> float:
        return one + share * (other - one)

    gmacs = {each: between(less.gmacs.get(each, 0), count) for each, count in more.gmacs.items()}
    return Work(max(less.kernels, more.kernels), between(less.traffic_mb, more.traffic_mb), gmacs)


def _shared_ms(streams: Sequence[Sequence[Prediction]]) -> float:
    """Return the time of streams side by side: of all their bytes, all their arithmetic, or the longest stream."""
    parts = [part for stream in streams for part in stream]
    return max(
        sum(part.memory_ms for part in parts),
        sum(part.arithmetic_ms for part in parts),
        *(sum(part.ms for part in stream) for stream in streams),
    )
