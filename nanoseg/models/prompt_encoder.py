"""SAM's prompt encoder: points and boxes -> tokens, masks -> features added to the image.

Names and constants are segment-anything's (Kirillov et al. 2023, arXiv 2304.02643).
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import nn

from nanoseg.models.transformer import DensePrompts
from nanoseg.types import ABSENT, PADDING

CHANNELS = 256


class PositionEncoding(nn.Module):
    """Random Fourier features of a position (Tancik et al. 2020, arXiv 2006.10739)."""

    positional_encoding_gaussian_matrix: torch.Tensor

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, channels // 2))

    def forward(self, xy: torch.Tensor) -> torch.Tensor:
        """Positions (..., 2) in 0..1 -> (..., 256): sines, then cosines."""
        gaussian = self.positional_encoding_gaussian_matrix
        x, y = (2 * xy - 1).unsqueeze(-2).unbind(-1)
        # Two products added, not a matmul: under bfloat16 autocast that would round points to whole pixels.
        phase = (x * gaussian[0] + y * gaussian[1]) * (2 * math.pi)
        return torch.cat([phase.sin(), phase.cos()], -1)

    def grid(self, cells: int) -> torch.Tensor:
        """Return the encodings of the centres of a square grid, (cells * cells, 256), row by row.

        sin(x + y) and cos(x + y) are written as sums of products of one table per row and one per column: an ONNX
        file with the tables is 4 MB smaller at 64 cells than one with the grid. The runtime folds them into it.
        """
        gaussian = self.positional_encoding_gaussian_matrix
        centre = (2 * torch.arange(cells, dtype=gaussian.dtype, device=gaussian.device) + 1) / cells - 1
        phase = centre.reshape(1, cells, 1) * gaussian.unsqueeze(1) * (2 * math.pi)
        (sine_x, sine_y), (cosine_x, cosine_y) = phase.sin().unbind(0), phase.cos().unbind(0)
        columns = torch.stack([torch.cat([sine_x, cosine_x], -1), torch.cat([cosine_x, -sine_x], -1)])
        rows = torch.stack([torch.cat([cosine_y, cosine_y], -1), torch.cat([sine_y, sine_y], -1)])
        return (rows.unsqueeze(2) * columns.unsqueeze(1)).sum(0).flatten(0, 1)


class LayerNorm2d(nn.Module):
    """segment-anything's LayerNorm over the channels of (B, C, H, W); eps 1e-6."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = 1e-6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> the same shape."""
        centred = x - x.mean(1, keepdim=True)
        variance = centred.square().mean(1, keepdim=True)
        normal = centred / torch.sqrt(variance + self.eps)
        return normal * self.weight[:, None, None] + self.bias[:, None, None]

    def last_axis(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the same LayerNorm over the last axis, (..., C)."""
        return nn.functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class PromptEncoder(nn.Module):
    """SAM's prompt encoder for images of `image_size` pixels a side; a box is two points."""

    def __init__(self, image_size: int = 1024) -> None:
        super().__init__()
        self.image_size = image_size
        self.pe_layer = PositionEncoding()
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, CHANNELS) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, CHANNELS)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, 4, 2, 2),
            LayerNorm2d(4),
            nn.GELU(),
            nn.Conv2d(4, 16, 2, 2),
            LayerNorm2d(16),
            nn.GELU(),
            nn.Conv2d(16, CHANNELS, 1),
        )
        self.no_mask_embed = nn.Embedding(1, CHANNELS)

    def forward(self, point_coords: torch.Tensor, point_labels: torch.Tensor) -> torch.Tensor:
        """Return the tokens (N, P, 256) of points.

        Args:
            point_coords: (N, P, 2) x, y in pixels of the image encoder's input.
            point_labels: (N, P) 1 foreground, 0 background, 2 and 3 a box's corners, -1 SAM's padding point,
                -2 absent (a zero token, which the decoder masks out).
        """
        position = self.pe_layer((point_coords + 0.5) / self.image_size)
        label = point_labels.unsqueeze(-1)
        position = torch.where(label >= 0, position, torch.zeros_like(position))
        embeddings = [self.not_a_point_embed, *self.point_embeddings]
        table = torch.cat([embedding.weight for embedding in embeddings])
        # Equal + MatMul instead of Gather: labels are floats, and an absent one selects no row.
        codes = torch.arange(PADDING, 4, dtype=label.dtype, device=label.device)
        return position + (label == codes).to(table.dtype) @ table

    def dense(self, mask_input: torch.Tensor, has_mask_input: torch.Tensor) -> DensePrompts:
        """Return what mask prompts add to an image to which `no_mask_embed` has been added already.

        Args:
            mask_input: (N, 1, 4g, 4g) logits of earlier masks.
            has_mask_input: (N,) 1 where the prompt has a mask, else 0.
        """
        *steps, last = self.mask_downscaling
        features = mask_input
        for step in steps:
            features = step(features)
        projection = cast(nn.Conv2d, last)
        constant = cast(torch.Tensor, projection.bias) - self.no_mask_embed.weight[0]
        present = (has_mask_input > 0).unsqueeze(-1)
        # where(), not a product with 0: an unused mask may hold anything, infinities included.
        features = torch.where(present.unsqueeze(-1), features.flatten(2).transpose(1, 2), 0.0)
        return DensePrompts(features, projection.weight.flatten(1), present.to(features.dtype), constant)

    @staticmethod
    def absent(point_labels: torch.Tensor) -> torch.Tensor:
        """Return (N, P) bool: which points are absent."""
        return point_labels == ABSENT
