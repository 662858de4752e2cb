"""YOLO-NAS, the detector: a training form with the published state_dict keys, and a fused form for the export.

The architecture is that of super-gradients 3.7.1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nanoseg.errors import UsageError
from nanoseg.models.repvgg import QARepVGG
from nanoseg.models.yolo_nas_blocks import Csp, DownStage, Head, Spp, Stage, UpStage, fused_copy

STRIDES_PX = (8, 16, 32)
REG_MAX = 16  # a side lies 0..16 strides from its anchor point, as a distribution over 17 bins
ANCHOR_STRIDES = 5.0  # side of the square anchors of the loss's static assigner, in strides


@dataclass(frozen=True)
class Variant:
    """Channel counts and depths of one variant of YOLO-NAS."""

    stem: int
    stages: tuple[Csp, Csp, Csp, Csp]
    necks: tuple[Csp, Csp, Csp, Csp]
    heads: tuple[int, int, int]

    def scaled(self, factor: float) -> Variant:
        """Return the variant with every channel count multiplied."""
        s, n, h = self.stages, self.necks, self.heads
        return replace(
            self,
            stem=round(self.stem * factor),
            stages=(s[0].scaled(factor), s[1].scaled(factor), s[2].scaled(factor), s[3].scaled(factor)),
            necks=(n[0].scaled(factor), n[1].scaled(factor), n[2].scaled(factor), n[3].scaled(factor)),
            heads=(round(h[0] * factor), round(h[1] * factor), round(h[2] * factor)),
        )


_S = Variant(
    stem=48,
    stages=(Csp(96, 2, 32), Csp(192, 3, 64), Csp(384, 5, 96), Csp(768, 2, 192)),
    necks=(Csp(192, 2, 64), Csp(96, 2, 48), Csp(192, 2, 64), Csp(384, 2, 64)),
    heads=(64, 128, 256),
)
_M = Variant(
    stem=48,
    stages=(Csp(96, 2, 64, True), Csp(192, 3, 128, True), Csp(384, 5, 256, True), Csp(768, 2, 384)),
    necks=(Csp(192, 2, 192), Csp(96, 3, 64), Csp(192, 2, 192), Csp(384, 3, 256)),
    heads=(96, 192, 384),
)
_L = Variant(
    stem=48,
    stages=(Csp(96, 2, 96, True), Csp(192, 3, 128, True), Csp(384, 5, 256, True), Csp(768, 2, 512, True)),
    necks=(Csp(192, 4, 128), Csp(96, 4, 128), Csp(192, 4, 128), Csp(384, 4, 256)),
    heads=(128, 256, 512),
)
# S, M and L are the published ones; slim is S with half of every width.
VARIANTS: dict[str, Variant] = {"slim": _S.scaled(0.5), "s": _S, "m": _M, "l": _L}


class Decoded(NamedTuple):
    """Decoded predictions of A anchors and C classes."""

    boxes: Tensor  # (B, A, 4) xyxy in pixels of the input
    scores: Tensor  # (B, A, C) in [0, 1]


class Raw(NamedTuple):
    """Raw predictions for the loss, in the order in which modern-yolonas's PPYoloELoss unpacks them."""

    cls_logits: Tensor  # (B, A, C)
    reg_distri: Tensor  # (B, A, 4 * 17): left, top, right, bottom as logits over 0..16 strides
    anchors: Tensor  # (A, 4) xyxy in pixels: squares of five strides
    anchor_points: Tensor  # (A, 2) x, y in pixels: centres of the cells
    num_anchors_list: list[int]  # of each map, largest first
    stride_tensor: Tensor  # (A, 1) pixels


class Backbone(nn.Module):
    """Backbone: images -> feature maps of strides 4, 8, 16 and 32."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        rows = variant.stages
        self.stem = nn.Sequential()
        self.stem.add_module("conv", QARepVGG(3, variant.stem, stride=2))
        self.stage1 = Stage(variant.stem, rows[0])
        self.stage2 = Stage(rows[0].channels, rows[1])
        self.stage3 = Stage(rows[1].channels, rows[2])
        self.stage4 = Stage(rows[2].channels, rows[3])
        self.context_module = Spp(rows[3].channels)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        c2 = self.stage1(self.stem(images))
        c3 = self.stage2(c2)
        c4 = self.stage3(c3)
        return c2, c3, c4, self.context_module(self.stage4(c4))


class Neck(nn.Module):
    """Path aggregation network: up twice, down twice; feature maps of strides 8, 16 and 32."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        c2, c3, c4, c5 = (row.channels for row in variant.stages)
        n1, n2, n3, n4 = variant.necks
        self.neck1 = UpStage(c5, c4, c3, n1)
        self.neck2 = UpStage(n1.channels, c3, c2, n2)
        self.neck3 = DownStage(n2.channels, n2.channels, n3)
        self.neck4 = DownStage(n3.channels, n1.channels, n4)

    def forward(self, c2: Tensor, c3: Tensor, c4: Tensor, c5: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        reduced5, x = self.neck1(c5, c4, c3)
        reduced4, p3 = self.neck2(x, c3, c2)
        p4 = self.neck3(p3, reduced4)
        return p3, p4, self.neck4(p4, reduced5)


class Heads(nn.Module):
    """One head per feature map, without shared weights."""

    def __init__(self, variant: Variant, num_classes: int) -> None:
        super().__init__()
        widths = [row.channels for row in variant.necks[1:]]
        self.head1 = Head(widths[0], variant.heads[0], num_classes, REG_MAX)
        self.head2 = Head(widths[1], variant.heads[1], num_classes, REG_MAX)
        self.head3 = Head(widths[2], variant.heads[2], num_classes, REG_MAX)

    def forward(self, p3: Tensor, p4: Tensor, p5: Tensor) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
        """Return box distributions (B, 4 * 17, A), class logits (B, C, A), and (h, w) of each map."""
        maps = (self.head1(p3), self.head2(p4), self.head3(p5))
        distributions = torch.cat([reg.flatten(2) for reg, _ in maps], 2)
        logits = torch.cat([cls.flatten(2) for _, cls in maps], 2)
        return distributions, logits, [(p.shape[2], p.shape[3]) for p in (p3, p4, p5)]


class YoloNas(nn.Module):
    """YOLO-NAS with random weights.

    In eval mode `forward` returns `Decoded`; in training mode `(Decoded, Raw)`, the pair that modern-yolonas's
    PPYoloELoss takes as predictions. `with_raw` returns that pair in either mode.

    Args:
        variant: A key of `VARIANTS`.
        num_classes: Number of classes, 1 or more.

    Raises:
        UsageError: The variant does not exist, or `num_classes` is below 1.
    """

    def __init__(self, variant: str = "s", num_classes: int = 80) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise UsageError(f"variant: wanted one of {', '.join(VARIANTS)}, got {variant!r}")
        if num_classes < 1:
            raise UsageError(f"num_classes: wanted 1 or more, got {num_classes}")
        table = VARIANTS[variant]
        self.variant, self.num_classes = variant, num_classes
        self.backbone = Backbone(table)
        self.neck = Neck(table)
        self.heads = Heads(table, num_classes)

    def forward(self, images: Tensor) -> Decoded | tuple[Decoded, Raw]:
        """Detect objects in images (B, 3, H, W), RGB in 0..1, H and W multiples of 32."""
        return self.with_raw(images) if self.training else self.decoded(images)

    def decoded(self, images: Tensor) -> Decoded:
        """Return boxes and scores."""
        distributions, logits, sizes_hw = self._run_heads(images)
        points, strides_px = grid(sizes_hw, images.device)
        return decode(distributions, logits, points, strides_px)

    def with_raw(self, images: Tensor) -> tuple[Decoded, Raw]:
        """Return boxes and scores, and the raw predictions for the loss."""
        distributions, logits, sizes_hw = self._run_heads(images)
        points, strides_px = grid(sizes_hw, images.device)
        centres_px = points * strides_px
        half_px = strides_px * (ANCHOR_STRIDES / 2)
        raw = Raw(
            logits.transpose(1, 2),
            distributions.transpose(1, 2),
            torch.cat([centres_px - half_px, centres_px + half_px], 1),
            centres_px,
            [h * w for h, w in sizes_hw],
            strides_px,
        )
        return decode(distributions, logits, points, strides_px), raw

    def fused(self) -> YoloNas:
        """Return a copy in eval mode, for inference only, with every block folded into one convolution."""
        return fused_copy(self)

    def _run_heads(self, images: Tensor) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
        distributions, logits, sizes_hw = self.heads(*self.neck(*self.backbone(images)))
        # Boxes are decoded in float32 even under bfloat16 autocast, whose 8 bits would round them to 2 px.
        dtype = torch.promote_types(logits.dtype, torch.float32)
        return distributions.to(dtype), logits.to(dtype), sizes_hw


def check_side(side_px: int) -> None:
    """Raise UsageError unless the side of the input is a multiple of the largest stride."""
    if side_px < STRIDES_PX[-1] or side_px % STRIDES_PX[-1]:
        raise UsageError(f"--size: wanted a multiple of {STRIDES_PX[-1]}, got {side_px}")


def grid(sizes_hw: list[tuple[int, int]], device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Return the cell centres of all maps, (A, 2) x, y in strides, and their strides, (A, 1) in pixels."""
    points, strides_px = [], []
    for (height, width), stride_px in zip(sizes_hw, STRIDES_PX, strict=True):
        y, x = torch.meshgrid(
            torch.arange(height, dtype=torch.float32, device=device) + 0.5,
            torch.arange(width, dtype=torch.float32, device=device) + 0.5,
            indexing="ij",
        )
        points.append(torch.stack([x, y], -1).reshape(-1, 2))
        strides_px.append(torch.full((height * width, 1), float(stride_px), device=device))
    return torch.cat(points), torch.cat(strides_px)


def decode(distributions: Tensor, logits: Tensor, points: Tensor, strides_px: Tensor) -> Decoded:
    """Return boxes and scores.

    The distance of a side is the mean of its distribution (Generalized Focal Loss, arXiv 2006.04388, section 3.2).

    Args:
        distributions: (B, 4 * 17, A) logits.
        logits: (B, C, A) class logits.
        points: (A, 2) cell centres in strides.
        strides_px: (A, 1).
    """
    batch, _, anchors = distributions.shape
    bins = torch.arange(REG_MAX + 1, dtype=distributions.dtype, device=distributions.device)
    probabilities = distributions.reshape(batch, 4, REG_MAX + 1, anchors).softmax(2)
    distances = (probabilities * bins[:, None]).sum(2).transpose(1, 2)
    boxes = torch.cat([points - distances[..., :2], points + distances[..., 2:]], -1) * strides_px
    return Decoded(boxes, logits.transpose(1, 2).sigmoid())
