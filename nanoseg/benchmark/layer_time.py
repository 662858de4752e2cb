"""Estimate the time of one layer on a board: a roofline with four constants, fitted on published latencies.

A layer takes its bytes over a share of the board's bandwidth, and its multiply-adds over a share of the board's rate
in their precision, as the root of the sum of their squares, because neither hides the other wholly; and the
overhead of a kernel, a number of clocks of the GPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from nanoseg.benchmark.boards import Board
from nanoseg.benchmark.layer import Layer


@dataclass(frozen=True)
class Constants:
    """What published latencies say of all boards."""

    bandwidth_share: float  # of the peak
    int8_share: float  # of the tensor cores' peak in INT8
    float_share: float  # of their peak in float16 and TF32, and of the CUDA cores'
    kernel_kiloclocks: float  # from a kernel to the next besides its work: microseconds at 1 GHz

    def rate(self, layer: Layer, board: Board) -> float:
        """Return the multiply-adds that a layer reaches, 1e9 a millisecond."""
        if not layer.tensor_cores:
            return board.cuda_tflops * self.float_share / 2
        share = self.int8_share if layer.precision == "int8" else self.float_share
        return board.tera_ops[layer.precision] * share / 2

    def kernel_ms(self, board: Board) -> float:
        """Return a kernel's overhead."""
        return self.kernel_kiloclocks / board.gpu_mhz


@dataclass(frozen=True)
class LayerTime:
    """An estimated time in milliseconds, by what bounds it."""

    layer: Layer
    memory_ms: float
    arithmetic_ms: float
    launch_ms: float

    @classmethod
    def of(cls, layer: Layer, board: Board, constants: Constants) -> LayerTime:
        """Estimate the time of a layer."""
        return cls(
            layer,
            layer.traffic_bytes / 1e6 / (constants.bandwidth_share * board.memory_gb_s),  # MB / (GB/s) = ms
            layer.macs / 1e9 / constants.rate(layer, board) if layer.macs else 0.0,
            constants.kernel_ms(board),
        )

    @property
    def busy_ms(self) -> float:
        """The time that it needs of memory and arithmetic, which no other work can have."""
        return math.hypot(self.memory_ms, self.arithmetic_ms)

    @property
    def ms(self) -> float:
        """The whole time."""
        return self.busy_ms + self.launch_ms


def binds(times: Iterable[LayerTime]) -> str:
    """Return what most of the time of some layers is: "arithmetic", "memory" or "launches"."""
    sums = {"memory": 0.0, "arithmetic": 0.0, "launches": 0.0}
    for each in times:
        sums["memory" if each.memory_ms >= each.arithmetic_ms else "arithmetic"] += each.busy_ms
        sums["launches"] += each.launch_ms
    return max(sums, key=lambda name: sums[name])
