"""YOLO-NAS-Pose, which finds objects with their keypoints: YOLO-NAS's backbone and neck under heads of its own.

The architecture is that of super-gradients 3.7.1, with the published state_dict keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nanoseg.errors import UsageError
from nanoseg.models.yolo_nas import REG_MAX, VARIANTS, Backbone, Neck, Variant, decode, grid
from nanoseg.models.yolo_nas_blocks import Csp, PoseHead, fused_copy

BN_EPS = 1e-6  # YOLO-NAS has 1e-3
POSE_BLOCKS = (2, 2, 3)  # 3x3 convolutions before the keypoints of each map


@dataclass(frozen=True)
class PoseVariant:
    """Channel counts of one variant of YOLO-NAS-Pose."""

    trunk: Variant  # with the widths of its heads' boxes
    poses: tuple[int, int, int]  # widths of the heads' keypoints
    bn_momentum: float

    def scaled(self, factor: float) -> PoseVariant:
        """Return the variant with every channel count multiplied."""
        first, second, third = self.poses
        poses = (round(first * factor), round(second * factor), round(third * factor))
        return PoseVariant(self.trunk.scaled(factor), poses, self.bn_momentum)


_N = PoseVariant(
    Variant(
        stem=32,
        stages=(Csp(64, 2, 32), Csp(128, 3, 48), Csp(256, 4, 64), Csp(512, 2, 128)),
        necks=(Csp(128, 2, 48), Csp(64, 2, 32), Csp(128, 2, 48), Csp(256, 2, 48)),
        heads=(48, 88, 168),
    ),
    poses=(48, 168, 168),
    bn_momentum=0.03,
)
# N, S, M and L are the published ones; slim is N with half of every width.
POSE_VARIANTS: dict[str, PoseVariant] = {
    "slim": _N.scaled(0.5),
    "n": _N,
    "s": PoseVariant(VARIANTS["s"], (64, 256, 256), 0.1),
    "m": PoseVariant(VARIANTS["m"], (96, 384, 384), 0.1),
    "l": PoseVariant(VARIANTS["l"], (128, 512, 512), 0.03),
}


class DecodedPoses(NamedTuple):
    """Decoded predictions of A anchors with J keypoints each."""

    boxes: Tensor  # (B, A, 4) xyxy in pixels of the input
    scores: Tensor  # (B, A, 1) in [0, 1]
    keypoints: Tensor  # (B, A, J, 3) x, y in pixels of the input, confidence in [0, 1]


class PoseHeads(nn.Module):
    """One head per feature map, without shared weights."""

    def __init__(self, variant: PoseVariant, num_keypoints: int) -> None:
        super().__init__()
        rows = zip(variant.trunk.necks[1:], variant.trunk.heads, variant.poses, POSE_BLOCKS, strict=True)
        for i, (neck, width, pose_width, blocks) in enumerate(rows, 1):
            head = PoseHead(neck.channels, width, pose_width, blocks, num_keypoints, REG_MAX)
            self.add_module(f"head{i}", head)

    def forward(self, *maps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, list[tuple[int, int]]]:
        """Return predictions of all A cells, and (h, w) of each map.

        Returns:
            Box distributions (B, 4 * 17, A), logits (B, 1, A), offsets (B, J, 2, A) and logits (B, J, A) of the
            keypoints, and (h, w) of each map.
        """
        found = [head(x) for head, x in zip(self.children(), maps, strict=True)]
        distributions, logits, offsets, pose_logits = (
            torch.cat([output.flatten(-2) for output in outputs], -1) for outputs in zip(*found, strict=True)
        )
        return distributions, logits, offsets, pose_logits, [(x.shape[2], x.shape[3]) for x in maps]


class YoloNasPose(nn.Module):
    """YOLO-NAS-Pose with random weights.

    Args:
        variant: A key of `POSE_VARIANTS`.
        num_keypoints: Number J of keypoints of an object, 1 or more; COCO's persons have 17.

    Raises:
        UsageError: The variant does not exist, or `num_keypoints` is below 1.
    """

    def __init__(self, variant: str = "n", num_keypoints: int = 17) -> None:
        super().__init__()
        if variant not in POSE_VARIANTS:
            raise UsageError(f"variant: wanted one of {', '.join(POSE_VARIANTS)}, got {variant!r}")
        if num_keypoints < 1:
            raise UsageError(f"num_keypoints: wanted 1 or more, got {num_keypoints}")
        table = POSE_VARIANTS[variant]
        self.variant, self.num_keypoints = variant, num_keypoints
        self.backbone = Backbone(table.trunk)
        self.neck = Neck(table.trunk)
        self.heads = PoseHeads(table, num_keypoints)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps, module.momentum = BN_EPS, table.bn_momentum

    def forward(self, images: Tensor) -> DecodedPoses:
        """Find objects in images (B, 3, H, W), BGR in 0..1 as published, H and W multiples of 32."""
        distributions, logits, offsets, pose_logits, sizes_hw = self.heads(*self.neck(*self.backbone(images)))
        # Poses are decoded in float32 even under bfloat16 autocast, whose 8 bits would round them to 2 px.
        dtype = torch.promote_types(logits.dtype, torch.float32)
        points, strides_px = grid(sizes_hw, images.device)
        boxes, scores = decode(distributions.to(dtype), logits.to(dtype), points, strides_px)
        # Boxes count from the centre of a cell, keypoints from its corner.
        xy = (offsets.to(dtype) + (points.T - 0.5)) * strides_px.T
        confidence = pose_logits.to(dtype).sigmoid().unsqueeze(2)
        return DecodedPoses(boxes, scores, torch.cat([xy, confidence], 2).permute(0, 3, 1, 2))

    def fused(self) -> YoloNasPose:
        """Return a copy in eval mode, for inference only, with every block folded into one convolution."""
        return fused_copy(self)
