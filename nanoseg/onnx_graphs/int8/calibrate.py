"""Runs a network on pictures, one at a time, to learn how large the tensors get that become INT8."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from nanoseg.errors import BundleError, UsageError
from nanoseg.onnx_graphs.int8.histogram import Histogram
from nanoseg.onnx_graphs.int8.quantize import tensors_to_calibrate
from nanoseg.onnx_graphs.int8.ranges import entropy_range, percentile_range
from nanoseg.onnx_graphs.model.prune import prune
from nanoseg.onnx_graphs.model.run import Session
from nanoseg.onnx_graphs.model.shapes import format_shape, shape_of

METHODS = ("percentile", "minmax", "entropy")
# Of all values of a tensor in all pictures. The few beyond are cut off, and the others get finer steps.
PERCENTILE = 99.99


class Calibrator:
    """Ranges of what a network's convolutions read, from pictures that are seen once and not kept."""

    def __init__(self, model: onnx.ModelProto, method: str = "percentile", percentile: float = PERCENTILE) -> None:
        """`method` is one of METHODS: a percentile of |x|, its largest value, or the least divergence.

        Raises UsageError for another method or percentile, BundleError for a network that cannot be quantized or does
        not run, DependencyError without onnxruntime.
        """
        if method not in METHODS:
            raise UsageError(f"method: wanted {', '.join(METHODS)}, got {method}")
        if not 0 < percentile <= 100:
            raise UsageError(f"percentile: wanted more than 0 and up to 100, got {percentile}")
        self.method, self.percentile, self.pictures = method, percentile, 0
        if len(model.graph.input) != 1:
            names = ", ".join(value.name for value in model.graph.input) or "none"
            raise BundleError(f"{model.graph.name or 'network'}: wanted one input, a picture, got {names}")
        self._name, self._input = model.graph.name or "network", model.graph.input[0].name
        self._shape = shape_of(model.graph.input[0])
        self._histograms = {name: Histogram() for name in tensors_to_calibrate(model)}
        self._wanted = [name for name in self._histograms if name != self._input]
        self._session = _upto(model, self._wanted, self._name) if self._wanted else None

    def add(self, images: np.ndarray) -> None:
        """See one picture, float32 in the shape of the network's input, prepared as for it.

        Raises UsageError for another shape or type, BundleError where a tensor is not finite.
        """
        fits = len(images.shape) == len(self._shape) and all(
            want in (None, got) for want, got in zip(self._shape, images.shape, strict=True)
        )
        if not fits or images.dtype != np.float32:
            told = f"{images.dtype} {format_shape(images.shape)}"
            raise UsageError(f"{self._name}: '{self._input}' wants float32 {format_shape(self._shape)}, got {told}")
        self._count(self._input, images)
        if self._session is not None:
            for name, values in self._session(self._wanted, {self._input: images}).items():
                self._count(name, values)
        self.pictures += 1

    def ranges(self) -> dict[str, float]:
        """The largest value that INT8 is to reach, by tensor; 0 for one that was never active.

        Raises UsageError where no picture was seen.
        """
        if not self.pictures:
            raise UsageError(f"{self._name}: wanted pictures to calibrate with, got none")
        return {
            # A picture's white is as common as its objects make it, and cutting it off changes every colour near it.
            name: histogram.peak if name == self._input else self._range(histogram)
            for name, histogram in self._histograms.items()
        }

    @property
    def origin(self) -> dict[str, Any]:
        """What a quantized network's metadata tells of its ranges."""
        cut = {"percentile": self.percentile} if self.method == "percentile" else {}
        return {"method": self.method, **cut, "pictures": self.pictures}

    def _count(self, name: str, values: np.ndarray) -> None:
        if name in self._histograms:
            try:
                self._histograms[name].add(values)
            except ValueError as error:
                told = f"'{name}' holds {error} for picture {self.pictures + 1}"
                raise BundleError(f"{self._name}: {told}; it cannot be quantized") from error

    def _range(self, histogram: Histogram) -> float:
        if self.method == "percentile":
            return percentile_range(histogram, self.percentile)
        if self.method == "entropy":
            return entropy_range(histogram)
        return histogram.peak


def _upto(model: onnx.ModelProto, wanted: list[str], name: str) -> Session:
    """The network up to its last convolution, giving these tensors."""
    upto = onnx.ModelProto()
    upto.CopyFrom(model)
    prune(upto, wanted)
    return Session(upto, name)
