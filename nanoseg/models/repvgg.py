"""The two convolution blocks of YOLO-NAS, and how each becomes one convolution.

QARepVGG is the S4 block of "Make RepVGG Greater Again: A Quantization-aware Approach" (arXiv 2212.01593).
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Published with the networks: torch's own defaults (1e-5, 0.1) move boxes by up to 0.16 px.
BN_EPS = 1e-3
BN_MOMENTUM = 0.03

Form = Literal["branches", "merged", "single"]


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """BatchNorm as YOLO-NAS was published with it."""
    return nn.BatchNorm2d(channels, eps=BN_EPS, momentum=BN_MOMENTUM)


class ConvBnRelu(nn.Module):
    """Convolution without bias, BatchNorm, ReLU; the size is kept at stride 1."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
        self.bn: nn.Module = batch_norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))

    def fuse(self) -> nn.Conv2d:
        """Fold BatchNorm into the convolution, which is returned; a second call changes nothing."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv = _like(self.conv, *_normalised(self.conv.weight, None, self.bn))
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
    """3x3 + BatchNorm, 1x1 with bias and (where `identity`) the input are summed, then BatchNorm and ReLU.

    `form` is "branches" as trained, "merged" with the branches folded into `rbr_reparam` and BatchNorm after it
    (what super-gradients' partial_fusion leaves), "single" with that folded in as well. `rbr_reparam` is part of the
    published state_dict in every form; nothing reads it in the first.
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
    def unread(self) -> tuple[str, ...]:
        """Entries of the state_dict that have no part in what the block computes."""
        return ("rbr_reparam.weight", "rbr_reparam.bias") if self.form == "branches" else ()

    def forward(self, x: Tensor) -> Tensor:
        if self.form == "single":
            return F.relu(self.rbr_reparam(x))
        if self.form == "merged":
            return F.relu(self.post_bn(self.rbr_reparam(x)))
        branches = self.branch_3x3(x) + self.branch_1x1(x)
        return F.relu(self.post_bn(branches + x if self.identity else branches))

    def take_form(self, form: Form) -> None:
        """Drop what a later form has not; the weights that stay are to be loaded anew, as nothing is folded."""
        if self.form == "branches" and form != "branches":
            del self.branch_3x3, self.branch_1x1
        if self.form != "single" and form == "single":
            del self.post_bn
        self.form = form

    def fuse(self) -> nn.Conv2d:
        """Fold the branches and both BatchNorms into `rbr_reparam`, which is returned; once is enough."""
        if self.form != "single":
            self.rbr_reparam = _like(self.rbr_reparam, *_normalised(*self._merged(), self.post_bn))
            self.take_form("single")
        return self.rbr_reparam

    @torch.no_grad()
    def _merged(self) -> tuple[Tensor, Tensor | None]:
        """Weight (O, I, 3, 3) and bias (O,), float64, of the branches' sum."""
        if self.form == "merged":
            bias = self.rbr_reparam.bias
            return self.rbr_reparam.weight.double(), None if bias is None else bias.double()
        weight, bias = _normalised(self.branch_3x3.conv.weight, None, self.branch_3x3.bn)
        weight += F.pad(self.branch_1x1.weight.double(), (1, 1, 1, 1))
        if self.identity:
            weight[:, :, 1, 1] += torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
        if self.branch_1x1.bias is not None:
            bias += self.branch_1x1.bias.double()
        return weight, bias


@torch.no_grad()
def _normalised(weight: Tensor, bias: Tensor | None, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight (O, I, k, k) and bias (O,), float64, of a convolution that does what `norm` after the given one does."""
    if norm.running_mean is None or norm.running_var is None:
        raise TypeError("a BatchNorm without running statistics cannot be folded")
    gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    mean = norm.running_mean.double() if bias is None else norm.running_mean.double() - bias
    return weight.double() * gain[:, None, None, None], norm.bias.double() - mean * gain


def _like(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """A frozen convolution of `conv`'s geometry with another weight and bias."""
    made = copy.deepcopy(conv)
    made.weight = nn.Parameter(weight.to(conv.weight.dtype), requires_grad=False)
    made.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
    return made
