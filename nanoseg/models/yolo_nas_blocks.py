"""What YOLO-NAS is built of, named as in its published weights."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nanoseg.models.repvgg import ConvBnRelu, QARepVGG

PRIOR_SCORE = 0.01  # of every class at the start: without it the few objects drown in the background's loss


@dataclass(frozen=True)
class Csp:
    """One row of a variant's table: a cross-stage layer and the width of what it puts out."""

    channels: int
    bottlenecks: int
    hidden: int
    concat: bool = False  # also hand every bottleneck's input to the last convolution

    def scaled(self, factor: float) -> Csp:
        """The same row with every channel count multiplied."""
        return replace(self, channels=round(self.channels * factor), hidden=round(self.hidden * factor))


class Bottleneck(nn.Module):
    """Two 3x3 blocks beside a shortcut that a learnable `alpha` weighs; `alpha` is None once folded away."""

    def __init__(self, channels: int, repvgg: bool) -> None:
        super().__init__()
        self.cv1, self.cv2 = _block3x3(channels, repvgg), _block3x3(channels, repvgg)
        self.alpha: nn.Parameter | None = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.cv2(self.cv1(x))
        return y + (x if self.alpha is None else self.alpha * x)


class CspLayer(nn.Module):
    """Half of the channels go through bottlenecks, half go around them; a 1x1 convolution joins both."""

    def __init__(self, in_channels: int, row: Csp, repvgg: bool = True) -> None:
        super().__init__()
        self.concat, self.hidden = row.concat, row.hidden
        slices = 2 + row.bottlenecks * row.concat
        self.conv1 = ConvBnRelu(in_channels, row.hidden)
        self.conv2 = ConvBnRelu(in_channels, row.hidden)
        self.conv3 = ConvBnRelu(row.hidden * slices, row.channels)
        self.bottlenecks = nn.Sequential(*(Bottleneck(row.hidden, repvgg) for _ in range(row.bottlenecks)))

    def forward(self, x: Tensor) -> Tensor:
        pipeline = [self.conv1(x)]
        for bottleneck in self.bottlenecks:
            pipeline.append(bottleneck(pipeline[-1]))
        joined: Tensor = self.conv3(torch.cat([*(pipeline if self.concat else pipeline[-1:]), self.conv2(x)], 1))
        return joined

    def fuse(self) -> None:
        """Fold BatchNorms, branches and each `alpha` into the convolutions.

        Bottleneck i then computes gain[i + 1] * y[i + 1] from gain[i] * y[i], with gain[i + 1] = gain[i] / alpha[i],
        so that its shortcut needs no factor; the convolutions that read a scaled tensor divide by its gain. Exact
        for alpha > 0, as ReLU is positively homogeneous; any other alpha is left where it is.
        """
        gains = [1.0]
        with torch.no_grad():
            for bottleneck in self.bottlenecks:
                assert isinstance(bottleneck, Bottleneck)
                first, second = bottleneck.cv1.fuse(), bottleneck.cv2.fuse()
                gain = gains[-1]
                if bottleneck.alpha is not None and bottleneck.alpha.item() > 0:
                    gain /= bottleneck.alpha.item()
                    bottleneck.alpha = None
                first.weight /= gains[-1]
                second.weight *= gain
                if second.bias is not None:
                    second.bias *= gain
                gains.append(gain)
            last = self.conv3.fuse()
            for i, gain in enumerate(gains if self.concat else gains[-1:]):
                last.weight[:, i * self.hidden : (i + 1) * self.hidden] /= gain


class Stage(nn.Module):
    """A backbone stage: half the size, then a cross-stage layer."""

    def __init__(self, in_channels: int, row: Csp) -> None:
        super().__init__()
        self.downsample = QARepVGG(in_channels, row.channels, stride=2)
        self.blocks = CspLayer(row.channels, row)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.blocks(self.downsample(x))
        return y


class Spp(nn.Module):
    """Spatial pyramid pooling over windows of 5, 9 and 13."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cv1 = ConvBnRelu(channels, channels // 2)
        self.cv2 = ConvBnRelu(channels * 2, channels)

    def forward(self, x: Tensor) -> Tensor:
        pyramid = [self.cv1(x)]
        for _ in range(3):
            # A maximum over 9 is one over 5 of one over 5: the same numbers, a third of the comparisons.
            pyramid.append(F.max_pool2d(pyramid[-1], 5, 1, 2))
        y: Tensor = self.cv2(torch.cat(pyramid, 1))
        return y


class UpStage(nn.Module):
    """A neck stage towards larger maps: x, a map of twice its size and one of four times are joined."""

    def __init__(self, in_channels: int, skip1_channels: int, skip2_channels: int, row: Csp) -> None:
        super().__init__()
        width = row.channels
        self.reduce_skip1 = ConvBnRelu(skip1_channels, width)
        self.reduce_skip2 = ConvBnRelu(skip2_channels, width)
        self.conv = ConvBnRelu(in_channels, width)
        self.upsample = nn.ConvTranspose2d(width, width, 2, 2)
        self.downsample = ConvBnRelu(width, width, 3, 2)
        self.reduce_after_concat = ConvBnRelu(3 * width, width)
        self.blocks = CspLayer(width, row)

    def forward(self, x: Tensor, skip1: Tensor, skip2: Tensor) -> tuple[Tensor, Tensor]:
        """(the reduced x, which the way down takes again; the joined map at skip1's size)."""
        reduced = self.conv(x)
        joined = [self.upsample(reduced), self.reduce_skip1(skip1), self.downsample(self.reduce_skip2(skip2))]
        return reduced, self.blocks(self.reduce_after_concat(torch.cat(joined, 1)))


class DownStage(nn.Module):
    """A neck stage towards smaller maps: x at half its size joined with a map of that size."""

    def __init__(self, in_channels: int, skip_channels: int, row: Csp) -> None:
        super().__init__()
        self.conv = ConvBnRelu(in_channels, row.channels // 2, 3, 2)
        self.blocks = CspLayer(row.channels // 2 + skip_channels, row, repvgg=False)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        y: Tensor = self.blocks(torch.cat([self.conv(x), skip], 1))
        return y


class Head(nn.Module):
    """Box distributions and class logits of one map."""

    def __init__(self, in_channels: int, channels: int, num_classes: int, reg_max: int) -> None:
        super().__init__()
        self.stem = _seq(ConvBnRelu(in_channels, channels))
        self.cls_convs = nn.Sequential(_seq(ConvBnRelu(channels, channels, 3)))
        self.reg_convs = nn.Sequential(_seq(ConvBnRelu(channels, channels, 3)))
        self.cls_pred = nn.Conv2d(channels, num_classes, 1)
        self.reg_pred = nn.Conv2d(channels, 4 * (reg_max + 1), 1)
        nn.init.constant_(self.cls_pred.bias, -math.log((1 - PRIOR_SCORE) / PRIOR_SCORE))  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 4 * (reg_max + 1), h, w) box distributions, (B, C, h, w) class logits."""
        x = self.stem(x)
        return self.reg_pred(self.reg_convs(x)), self.cls_pred(self.cls_convs(x))


def _block3x3(channels: int, repvgg: bool) -> QARepVGG | ConvBnRelu:
    return QARepVGG(channels, channels, identity=True) if repvgg else ConvBnRelu(channels, channels, 3)


def _seq(block: nn.Module) -> nn.Sequential:
    """The block under the key `seq`, which the published heads have."""
    return nn.Sequential(OrderedDict(seq=block))
