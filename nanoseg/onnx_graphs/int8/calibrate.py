"""Calibrate a network: run it on images to find the range of each tensor that becomes INT8."""

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
# Of all values of a tensor in all images. The few beyond are clipped, and the others get finer steps.
PERCENTILE = 99.99


class Calibrator:
    """Collector of the ranges of a network's convolution inputs; images are seen once and not kept."""

    def __init__(self, model: onnx.ModelProto, method: str = "percentile", percentile: float = PERCENTILE) -> None:
        """Prepare a network for calibration.

        Args:
            model: a float32 network with one input, an image.
            method: how a range is chosen: a percentile of |x|, its maximum, or the least KL divergence (entropy).
            percentile: the percentile of that method.

        Raises:
            UsageError: another method or percentile.
            BundleError: the network cannot be quantized or does not run.
            DependencyError: onnxruntime is not installed.
        """
        if method not in METHODS:
            raise UsageError(f"method: wanted {', '.join(METHODS)}, got {method}")
        if not 0 < percentile <= 100:
            raise UsageError(f"percentile: wanted more than 0 and up to 100, got {percentile}")
        self.method, self.percentile, self.count = method, percentile, 0
        if len(model.graph.input) != 1:
            names = ", ".join(value.name for value in model.graph.input) or "none"
            raise BundleError(f"{model.graph.name or 'network'}: wanted one input, an image, got {names}")
        self._name, self._input = model.graph.name or "network", model.graph.input[0].name
        self._shape = shape_of(model.graph.input[0])
        self._histograms = {name: Histogram() for name in tensors_to_calibrate(model)}
        self._tensors = [name for name in self._histograms if name != self._input]
        self._session = _open_up_to(model, self._tensors, self._name) if self._tensors else None

    def add(self, images: np.ndarray) -> None:
        """Add one image.

        Args:
            images: the network's input, float32 and preprocessed.

        Raises:
            UsageError: another shape or type.
            BundleError: a tensor is not finite.
        """
        fits = len(images.shape) == len(self._shape) and all(
            want in (None, got) for want, got in zip(self._shape, images.shape, strict=True)
        )
        if not fits or images.dtype != np.float32:
            got = f"{images.dtype} {format_shape(images.shape)}"
            raise UsageError(f"{self._name}: '{self._input}' wants float32 {format_shape(self._shape)}, got {got}")
        self._add_values(self._input, images)
        if self._session is not None:
            for name, values in self._session(self._tensors, {self._input: images}).items():
                self._add_values(name, values)
        self.count += 1

    def ranges(self) -> dict[str, float]:
        """Return the largest value that INT8 represents, by tensor; 0 for one that was always 0.

        Raises:
            UsageError: no image was added.
        """
        if not self.count:
            raise UsageError(f"{self._name}: wanted images to calibrate with, got none")
        return {
            # The input's maximum is white: clipping it would change every bright colour.
            name: histogram.peak if name == self._input else self._range(histogram)
            for name, histogram in self._histograms.items()
        }

    @property
    def origin(self) -> dict[str, Any]:
        """The origin of the ranges, for a quantized network's metadata."""
        cut = {"percentile": self.percentile} if self.method == "percentile" else {}
        return {"method": self.method, **cut, "pictures": self.count}

    def _add_values(self, name: str, values: np.ndarray) -> None:
        if name in self._histograms:
            try:
                self._histograms[name].add(values)
            except ValueError as error:
                where = f"{self._name}: '{name}' holds {error} for image {self.count + 1}"
                raise BundleError(f"{where}; it cannot be quantized") from error

    def _range(self, histogram: Histogram) -> float:
        if self.method == "percentile":
            return percentile_range(histogram, self.percentile)
        if self.method == "entropy":
            return entropy_range(histogram)
        return histogram.peak


def _open_up_to(model: onnx.ModelProto, wanted: list[str], name: str) -> Session:
    """Return a session of the network up to its last convolution, with these tensors as outputs."""
    part = onnx.ModelProto()
    part.CopyFrom(model)
    prune(part, wanted)
    return Session(part, name)
