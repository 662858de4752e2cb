"""One kernel of a network, as estimates of time see it: its multiply-adds and the bytes that it moves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nanoseg.benchmark.roofline import Work


@dataclass(frozen=True)
class Layer:
    """One kernel."""

    name: str  # the operators in it, the one that computes first
    precision: str  # of its products: int8, fp16 or fp32; "" without any
    macs: int  # multiply-adds
    tensor_cores: bool  # False for depthwise convolutions, which no tensor core computes
    read_bytes: int
    written_bytes: int
    weight_bytes: int

    @property
    def traffic_bytes(self) -> int:
        """All bytes that it moves."""
        return self.read_bytes + self.written_bytes + self.weight_bytes


def work_of(layers: Iterable[Layer]) -> Work:
    """Return the sum of some layers."""
    kernels, traffic, gmacs = 0, 0, dict[str, float]()
    for layer in layers:
        kernels += 1
        traffic += layer.traffic_bytes
        if layer.macs:
            gmacs[layer.precision] = gmacs.get(layer.precision, 0.0) + layer.macs / 1e9
    return Work(kernels, traffic / 1e6, gmacs)
