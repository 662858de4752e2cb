"""Building blocks of YOLO-NAS, named as in its published weights."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nanoseg.models.repvgg import ConvBnRelu, QARepVGG

Network = TypeVar("Network", bound=nn.Module)

PRIOR_SCORE = 0.01  # initial score of every class, so that the background does not dominate the loss at first


@dataclass(frozen=True)
class Csp:
    """Size of one cross-stage layer: output channels, number of bottlenecks and their channels."""

    channels: int
    bottlenecks: int
    hidden: int
    concat: bool = False  # the last convolution also reads the input of every bottleneck

    def scaled(self, factor: float) -> Csp:
        """Return the same layer with every channel count multiplied."""
        return replace(self, channels=round(self.channels * factor), hidden=round(self.hidden * factor))


class Bottleneck(nn.Module):
    """Two 3x3 blocks and a shortcut weighted by a learned `alpha`; None once that is folded."""

    def __init__(self, channels: int, repvgg: bool) -> None:
        super().__init__()
        self.cv1, self.cv2 = _block3x3(channels, repvgg), _block3x3(channels, repvgg)
        self.alpha: nn.Parameter | None = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.cv2(self.cv1(x))
        return y + (x if self.alpha is None else self.alpha * x)


class CspLayer(nn.Module):
    """Cross-stage layer: half of the channels go through bottlenecks; a 1x1 convolution joins both halves."""

    def __init__(self, in_channels: int, row: Csp, repvgg: bool = True) -> None:
        super().__init__()
        self.concat, self.hidden = row.concat, row.hidden
        slices = 2 + row.bottlenecks * row.concat
        self.conv1 = ConvBnRelu(in_channels, row.hidden)
        self.conv2 = ConvBnRelu(in_channels, row.hidden)
        self.conv3 = ConvBnRelu(row.hidden * slices, row.channels)
        self.bottlenecks = nn.Sequential(*(Bottleneck(row.hidden, repvgg) for _ in range(row.bottlenecks)))

    def forward(self, x: Tensor) -> Tensor:
        outputs = [self.conv1(x)]
        for bottleneck in self.bottlenecks:
            outputs.append(bottleneck(outputs[-1]))
        joined: Tensor = self.conv3(torch.cat([*(outputs if self.concat else outputs[-1:]), self.conv2(x)], 1))
        return joined

    def fuse(self) -> None:
        """Fold BatchNorms, branches and each `alpha` into the convolutions.

        Bottleneck i then computes gain[i + 1] * y[i + 1] from gain[i] * y[i], with gain[i + 1] = gain[i] / alpha[i],
        so that its shortcut needs no factor; convolutions that read a scaled tensor divide by its gain. Exact for
        alpha > 0, as ReLU is positively homogeneous; any other alpha stays.
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
    """Backbone stage: a block of stride 2, then a cross-stage layer."""

    def __init__(self, in_channels: int, row: Csp) -> None:
        super().__init__()
        self.downsample = QARepVGG(in_channels, row.channels, stride=2)
        self.blocks = CspLayer(row.channels, row)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.blocks(self.downsample(x))
        return y


class Spp(nn.Module):
    """Spatial pyramid pooling with windows of 5, 9 and 13."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cv1 = ConvBnRelu(channels, channels // 2)
        self.cv2 = ConvBnRelu(channels * 2, channels)

    def forward(self, x: Tensor) -> Tensor:
        pyramid = [self.cv1(x)]
        for _ in range(3):
            # Max pooling over 9 equals pooling over 5 twice, with a third of the comparisons.
            pyramid.append(F.max_pool2d(pyramid[-1], 5, 1, 2))
        y: Tensor = self.cv2(torch.cat(pyramid, 1))
        return y


class UpStage(nn.Module):
    """Neck stage towards larger maps: joins x with maps of twice and four times its size."""

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
        """Return the reduced x, which a DownStage reads again, and the joined map of skip1's size."""
        reduced = self.conv(x)
        joined = [self.upsample(reduced), self.reduce_skip1(skip1), self.downsample(self.reduce_skip2(skip2))]
        return reduced, self.blocks(self.reduce_after_concat(torch.cat(joined, 1)))


class DownStage(nn.Module):
    """Neck stage towards smaller maps: joins x at half its size with a map of that size."""

    def __init__(self, in_channels: int, skip_channels: int, row: Csp) -> None:
        super().__init__()
        self.conv = ConvBnRelu(in_channels, row.channels // 2, 3, 2)
        self.blocks = CspLayer(row.channels // 2 + skip_channels, row, repvgg=False)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        y: Tensor = self.blocks(torch.cat([self.conv(x), skip], 1))
        return y


class Head(nn.Module):
    """Head of one feature map: box distributions and class logits."""

    def __init__(self, in_channels: int, channels: int, num_classes: int, reg_max: int) -> None:
        super().__init__()
        self.stem = _seq(ConvBnRelu(in_channels, channels))
        self.cls_convs = nn.Sequential(_seq(ConvBnRelu(channels, channels, 3)))
        self.reg_convs = nn.Sequential(_seq(ConvBnRelu(channels, channels, 3)))
        self.cls_pred = nn.Conv2d(channels, num_classes, 1)
        self.reg_pred = nn.Conv2d(channels, 4 * (reg_max + 1), 1)
        nn.init.constant_(self.cls_pred.bias, -math.log((1 - PRIOR_SCORE) / PRIOR_SCORE))  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return box distributions (B, 4 * (reg_max + 1), h, w) and class logits (B, C, h, w)."""
        x = self.stem(x)
        return self.reg_pred(self.reg_convs(x)), self.cls_pred(self.cls_convs(x))


class PoseHead(nn.Module):
    """Head of one feature map of YOLO-NAS-Pose: a box, a score, and J keypoints with theirs."""

    def __init__(
        self, in_channels: int, channels: int, pose_channels: int, pose_blocks: int, num_keypoints: int, reg_max: int
    ) -> None:
        super().__init__()
        self.pose_stem = _seq(ConvBnRelu(in_channels, pose_channels))
        self.bbox_stem = _seq(ConvBnRelu(in_channels, channels))
        self.cls_convs = nn.Sequential(_seq(ConvBnRelu(channels, channels, 3)))
        self.reg_convs = nn.Sequential(_seq(ConvBnRelu(channels, channels, 3)))
        self.pose_convs = nn.Sequential(
            *(_seq(ConvBnRelu(pose_channels, pose_channels, 3)) for _ in range(pose_blocks))
        )
        self.reg_pred = nn.Conv2d(channels, 4 * (reg_max + 1), 1)
        self.cls_pred = nn.Conv2d(channels, 1 + num_keypoints, 1)  # the keypoints' scores come from the box's features
        self.pose_pred = nn.Conv2d(pose_channels, 2 * num_keypoints, 1)
        nn.init.constant_(self.cls_pred.bias, -math.log((1 - PRIOR_SCORE) / PRIOR_SCORE))  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return box distributions, score logits, and offsets and logits of the keypoints.

        Returns:
            (B, 4 * (reg_max + 1), h, w), (B, 1, h, w), (B, J, 2, h, w) x, y in strides from the cell, (B, J, h, w).
        """
        box_features = self.bbox_stem(x)
        logits: Tensor = self.cls_pred(self.cls_convs(box_features))
        offsets = self.pose_pred(self.pose_convs(self.pose_stem(x))).unflatten(1, (-1, 2))
        return self.reg_pred(self.reg_convs(box_features)), logits[:, :1], offsets, logits[:, 1:]


def fused_copy(network: Network) -> Network:
    """Return a copy in eval mode, for inference only, with every block folded into one convolution."""
    copied = copy.deepcopy(network).eval()
    for module in list(copied.modules()):
        # A CspLayer fuses its own convolutions, so that theirs is a second call, which changes nothing.
        if isinstance(module, ConvBnRelu | QARepVGG | CspLayer):
            module.fuse()
    return copied


def _block3x3(channels: int, repvgg: bool) -> QARepVGG | ConvBnRelu:
    return QARepVGG(channels, channels, identity=True) if repvgg else ConvBnRelu(channels, channels, 3)


def _seq(block: nn.Module) -> nn.Sequential:
    """Return the block under the key `seq` of the published heads."""
    return nn.Sequential(OrderedDict(seq=block))
