"""Fold a state_dict's BatchNorms and branches into its convolutions, as the exporter does in torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

Weights = Mapping[str, np.ndarray]
BN_EPS = 1e-5  # torch's default
YOLO_NAS_BN_EPS = 1e-3
COUNTER = ".num_batches_tracked"


@dataclass(frozen=True)
class Fused:
    """Weights of a fused network."""

    weights: dict[str, np.ndarray]
    factors: dict[str, float] = field(default_factory=dict)  # of a shortcut that could not be folded, by its block


def fuse_conv_norms(weights: Weights, eps: float = BN_EPS) -> Fused:
    """Fold each BatchNorm `X.bn` into the convolution `X.c` before it."""
    result = {name: value for name, value in weights.items() if not name.endswith(COUNTER)}
    for name in weights:
        if (
            name.endswith(".bn.running_mean")
            and f"{(path := name.removesuffix('.bn.running_mean'))}.c.weight" in result
        ):
            kernel, bias = _folded(result, f"{path}.bn", result.pop(f"{path}.c.weight"), None, eps)
            result |= {f"{path}.c.weight": _float32(kernel), f"{path}.c.bias": _float32(bias)}
    return Fused(result)


def fuse_yolo_nas(weights: Weights) -> Fused:
    """Fold a YOLO-NAS in any of super-gradients' forms: branches, merged, or single convolutions.

    Raises:
        KeyError: A weight that the others need is missing.
    """
    result = {name: value for name, value in weights.items() if not name.endswith(COUNTER)}
    for path in _owners(weights, ".post_bn.weight"):
        _fuse_repvgg(result, path)
    for path in _owners(result, ".bn.weight"):
        kernel, bias = _folded(result, f"{path}.bn", result[f"{path}.conv.weight"], None, YOLO_NAS_BN_EPS)
        result |= {f"{path}.conv.weight": _float32(kernel), f"{path}.conv.bias": _float32(bias)}
    factors: dict[str, float] = {}
    for path in _owners(weights, ".bottlenecks.0.alpha"):
        factors |= _fuse_shortcuts(result, path)
    return Fused(result, factors)


def _owners(weights: Weights, suffix: str) -> list[str]:
    return [name.removesuffix(suffix) for name in weights if name.endswith(suffix)]


def _fuse_repvgg(result: dict[str, np.ndarray], path: str) -> None:
    target = f"{path}.rbr_reparam"
    if f"{path}.branch_3x3.conv.weight" in result:
        kernel, bias = _folded(
            result, f"{path}.branch_3x3.bn", result.pop(f"{path}.branch_3x3.conv.weight"), None, YOLO_NAS_BN_EPS
        )
        kernel[:, :, 1, 1] += result.pop(f"{path}.branch_1x1.weight").astype(np.float64)[:, :, 0, 0]
        if ".bottlenecks." in path:  # those of a bottleneck keep the number of channels, and add their input
            kernel[:, :, 1, 1] += np.eye(len(kernel))
        bias += result.pop(f"{path}.branch_1x1.bias").astype(np.float64)
    else:
        kernel, bias = result[f"{target}.weight"].astype(np.float64), result[f"{target}.bias"].astype(np.float64)
    kernel, bias = _folded(result, f"{path}.post_bn", kernel, bias, YOLO_NAS_BN_EPS)
    result |= {f"{target}.weight": _float32(kernel), f"{target}.bias": _float32(bias)}


def _fuse_shortcuts(result: dict[str, np.ndarray], path: str) -> dict[str, float]:
    """Fold the `alpha` of each bottleneck's shortcut, see CspLayer.fuse; returns those that are not positive."""
    gains, factors = [1.0], {}
    count = sum(re.fullmatch(rf"{re.escape(path)}\.bottlenecks\.\d+\.alpha", name) is not None for name in result)
    for index in range(count):
        block = f"{path}.bottlenecks.{index}"
        alpha = float(result.pop(f"{block}.alpha").reshape(-1)[0])
        first, second = (
            next(name for name in (f"{block}.{part}.rbr_reparam", f"{block}.{part}.conv") if f"{name}.weight" in result)
            for part in ("cv1", "cv2")
        )
        gain = gains[-1]
        if alpha > 0:
            gain /= alpha
        else:
            factors[block] = alpha
        result[f"{first}.weight"] = _float32(result[f"{first}.weight"] / np.float32(gains[-1]))
        for leaf in ("weight", "bias"):
            result[f"{second}.{leaf}"] = _float32(result[f"{second}.{leaf}"] * np.float32(gain))
        gains.append(gain)
    last = result[f"{path}.conv3.conv.weight"].copy()
    hidden = len(result[f"{path}.conv1.conv.weight"])
    read = gains if last.shape[1] == hidden * (2 + count) else gains[-1:]
    for index, gain in enumerate(read):
        last[:, index * hidden : (index + 1) * hidden] /= np.float32(gain)
    result[f"{path}.conv3.conv.weight"] = last
    return factors


def _folded(
    result: dict[str, np.ndarray], norm: str, kernel: np.ndarray, bias: np.ndarray | None, eps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel (O, I, k, k) and bias (O,), float64, with a BatchNorm folded, whose weights leave `result`."""
    weight, shift, mean, variance = (
        result.pop(f"{norm}.{leaf}").astype(np.float64) for leaf in ("weight", "bias", "running_mean", "running_var")
    )
    gain = weight / np.sqrt(variance + eps)
    return kernel.astype(np.float64) * gain[:, None, None, None], shift - (mean if bias is None else mean - bias) * gain


def _float32(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)
