"""The two convolution blocks of YOLO-NAS, and how each is folded into one convolution.

QARepVGG is the S4 block of "Make RepVGG Greater Again: A Quantization-aware Approach" (arXiv 2212.01593).
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# The published networks' values: torch's defaults (1e-5, 0.1) would move boxes by up to 0.16 px.
BN_EPS = 1e-3
BN_MOMENTUM = 0.03

Form = Literal["branches", "merged", "single"]


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Return a BatchNorm with the epsilon and momentum of the published YOLO-NAS."""
    return nn.BatchNorm2d(channels, eps=BN_EPS, momentum=BN_MOMENTUM)


class ConvBnRelu(nn.Module):
    """Convolution without bias, padded to keep the size at stride 1, BatchNorm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
        self.bn: nn.Module = batch_norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))

    def fuse(self) -> nn.Conv2d:
        """Fold BatchNorm into the convolution and return that; a second call changes nothing."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv = _like(self.conv, *_folded(self.conv.weight, None, self.bn))
            self.bn = nn.Identity()
        return self.conv


class _ConvBn(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn = batch_norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(self.conv(x))
        return y


class QARepVGG(nn.Module):
    """Sum of 3x3 + BatchNorm, 1x1 with bias and (where `identity`) the input, then BatchNorm and ReLU.

    `form` is "branches" as trained; "merged" with the branches folded into `rbr_reparam` and a BatchNorm after it, as
    super-gradients' partial_fusion writes it; or "single" with that BatchNorm folded too. `rbr_reparam` is part of the
    published state_dict in every form, but unused in the first.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, identity: bool = False) -> None:
        super().__init__()
        self.identity = identity
        self.branch_3x3 = _ConvBn(in_channels, out_channels, stride)
        self.branch_1x1 = nn.Conv2d(in_channels, out_channels, 1, stride)
        self.post_bn = batch_norm(out_channels)
        self.rbr_reparam = nn.Conv2d(in_channels, out_channels, 3, stride, 1).requires_grad_(False)
        self.form: Form = "branches"

    @property
    def unused_keys(self) -> tuple[str, ...]:
        """Keys of the state_dict that do not affect the block's output; a checkpoint may lack them."""
        return ("rbr_reparam.weight", "rbr_reparam.bias") if self.form == "branches" else ()

    def forward(self, x: Tensor) -> Tensor:
        if self.form == "single":
            return F.relu(self.rbr_reparam(x))
        if self.form == "merged":
            return F.relu(self.post_bn(self.rbr_reparam(x)))
        branches = self.branch_3x3(x) + self.branch_1x1(x)
        return F.relu(self.post_bn(branches + x if self.identity else branches))

    def set_form(self, form: Form) -> None:
        """Delete the modules that a later form does not have, without folding; weights are to be loaded next."""
        if self.form == "branches" and form != "branches":
            del self.branch_3x3, self.branch_1x1
        if self.form != "single" and form == "single":
            del self.post_bn
        self.form = form

    def fuse(self) -> nn.Conv2d:
        """Fold branches and BatchNorms into `rbr_reparam` and return that; a second call changes nothing."""
        if self.form != "single":
            self.rbr_reparam = _like(self.rbr_reparam, *_folded(*self._merged(), self.post_bn))
            self.set_form("single")
        return self.rbr_reparam

    @torch.no_grad()
    def _merged(self) -> tuple[Tensor, Tensor | None]:
        """Return weight (O, I, 3, 3) and bias (O,), float64, of the sum of the branches."""
        if self.form == "merged":
            bias = self.rbr_reparam.bias
            return self.rbr_reparam.weight.double(), None if bias is None else bias.double()
        weight, bias = _folded(self.branch_3x3.conv.weight, None, self.branch_3x3.bn)
        weight += F.pad(self.branch_1x1.weight.double(), (1, 1, 1, 1))
        if self.identity:
            weight[:, :, 1, 1] += torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
        if self.branch_1x1.bias is not None:
            bias += self.branch_1x1.bias.double()
        return weight, bias


@torch.no_grad()
def _folded(weight: Tensor, bias: Tensor | None, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return weight (O, I, k, k) and bias (O,), float64, of a convolution with `norm` folded into it."""
    if norm.running_mean is None or norm.running_var is None:
        raise TypeError("a BatchNorm without running statistics cannot be folded")
    gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    mean = norm.running_mean.double() if bias is None else norm.running_mean.double() - bias
    return weight.double() * gain[:, None, None, None], norm.bias.double() - mean * gain


def _like(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """Return a frozen copy of `conv` with another weight and bias."""
    copied = copy.deepcopy(conv)
    copied.weight = nn.Parameter(weight.to(conv.weight.dtype), requires_grad=False)
    copied.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
    return copied
