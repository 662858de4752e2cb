"""SAM's two-way transformer with the same results at half the arithmetic.

Parameters and their names are segment-anything's; the order of the products is not. A prompt has T (about 7) tokens
times 8 heads, an image 4096 cells, so projections of the image side are moved to the token side:

    (x W_k) . q == x . (W_k^T q)       softmax ignores the key bias, constant along a row
    a (x W_v)   == (a x) W_v           the rows of `a` sum to 1, so the value bias is added after
    a v W_o + b == a (v W_o + b / 8)   the rows of 8 heads sum to 8

Before the first layer the image side is the same for every prompt, so there it is projected, once. A mask prompt makes
it differ, but only by 16 features f per cell, through one matrix W of 256 x 16, and these are moved likewise:

    (s + W f) . r == s . r + f . (W^T r)
    a (s + f W^T) == a s + (a f) W^T

Shapes: N prompts, T tokens, 8 heads, X cells of the image (g * g), F features of a mask prompt (16).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

CHANNELS = 256
HEADS = 8
LAYERS = 2
MLP_CHANNELS = 2048


class DensePrompts(NamedTuple):
    """Mask prompts: each adds features @ weight.T + present * constant to the shared image."""

    features: torch.Tensor  # (N, X, F), zero for a prompt without mask
    weight: torch.Tensor  # (256, F)
    present: torch.Tensor  # (N, 1): 1, or 0 for a prompt without mask
    constant: torch.Tensor  # (256,)


class Attention(nn.Module):
    """The four projections of an attention; `inner` is their width over all heads."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(CHANNELS, inner)
        self.k_proj = nn.Linear(CHANNELS, inner)
        self.v_proj = nn.Linear(CHANNELS, inner)
        self.out_proj = nn.Linear(inner, CHANNELS)
        self.head = inner // HEADS
        self.scale = self.head**-0.5

    def split(self, x: torch.Tensor) -> torch.Tensor:
        """(N, T, inner) -> (N, 8, T, inner / 8)."""
        return x.reshape(x.shape[0], -1, HEADS, self.head).transpose(1, 2)

    def join(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 8, T, inner / 8) -> (N, T, 256), through the output projection."""
        y: torch.Tensor = self.out_proj(x.transpose(1, 2).flatten(2))
        return y

    def tokens_to_tokens(self, qk: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Self-attention (N, T, 256); `mask` (N, T) is added to the logits of the keys."""
        q, k = self.split(self.q_proj(qk)) * self.scale, self.split(self.k_proj(qk))
        logits = q @ k.transpose(-1, -2) + mask[:, None, None]
        return self.join(torch.softmax(logits, -1) @ self.split(self.v_proj(v)))

    def tokens_to_shared_image(
        self, q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, dense: DensePrompts | None
    ) -> torch.Tensor:
        """Attention of all prompts' tokens (N, T, 256) to one image (1, X, 256) plus mask prompts."""
        k, v = self.split(self.k_proj(keys)), self.split(self.v_proj(values))
        rows = self.split(self.q_proj(q).flatten(0, 1).unsqueeze(0)) * self.scale
        logits = rows @ k.transpose(-1, -2)
        if dense is None:
            return self.join(torch.softmax(logits, -1) @ v).reshape(q.shape)
        n, t = q.shape[:2]
        # (8, N, T, ...) here: heads first, as the shared products leave them.
        w_k = (self.k_proj.weight @ dense.weight).reshape(HEADS, 1, self.head, -1)
        w_v = (self.v_proj.weight @ dense.weight).reshape(HEADS, 1, self.head, -1).transpose(-1, -2)
        own = (rows.reshape(HEADS, n, t, self.head) @ w_k) @ dense.features.transpose(1, 2)
        weights = torch.softmax(logits.reshape(HEADS, n, t, -1) + own, -1)
        read = (weights.flatten(1, 2) @ v).reshape(HEADS, n, t, self.head) + (weights @ dense.features) @ w_v
        # The rows of `weights` sum to 1; in the logits a constant cancels.
        constant = dense.present * (self.v_proj.weight @ dense.constant)
        return self.join(read.transpose(0, 1) + constant.reshape(n, HEADS, 1, self.head))

    def tokens_to_image(self, q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Attention of the tokens (N, T, 256) to the image of their own prompt (N, X, 256)."""
        w_k = self.k_proj.weight.reshape(HEADS, self.head, CHANNELS)
        w_v = self.v_proj.weight.reshape(HEADS, self.head, CHANNELS).transpose(1, 2)
        rows = ((self.split(self.q_proj(q)) * self.scale) @ w_k).flatten(1, 2)
        read = torch.softmax(rows @ keys.transpose(1, 2), -1) @ values
        read = read.reshape(q.shape[0], HEADS, -1, CHANNELS) @ w_v
        return self.join(read + self.v_proj.bias.reshape(HEADS, 1, self.head))

    def shared_image_to_tokens(
        self, image: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, dense: DensePrompts | None
    ) -> torch.Tensor:
        """Attention of one image (1, X, 256) to the tokens (N, T, 256) of each prompt -> (N, X, 256).

        With mask prompts, the result includes what they add to the image.
        """
        kh = self.split(self.k_proj(k)) * self.scale
        # Keys as a block-diagonal matrix over the heads: one product gives (N, X, 8 T) without a transposition.
        eye = torch.eye(HEADS, dtype=kh.dtype, device=kh.device).reshape(HEADS, 1, HEADS, 1)
        rows = (kh.unsqueeze(3) * eye).flatten(3).flatten(1, 2)
        offset = mask.unsqueeze(1).expand(-1, HEADS, -1)
        logits = self.q_proj(image) @ rows.transpose(1, 2)
        if dense is not None:
            w_q = (self.q_proj.weight @ dense.weight).reshape(HEADS, self.head, -1)
            logits = logits + dense.features @ (kh @ w_q).flatten(1, 2).transpose(1, 2)
            constant = (self.q_proj.weight @ dense.constant).reshape(HEADS, 1, self.head)
            offset = offset + (kh * constant).sum(-1) * dense.present.unsqueeze(-1)
        return self._weighted_values(logits, offset, v, dense)

    def image_to_tokens(
        self, image: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Attention of each prompt's image (N, X, 256) to its tokens (N, T, 256) -> (N, X, 256)."""
        kh = self.split(self.k_proj(k)) * self.scale
        rows = (kh @ self.q_proj.weight.reshape(HEADS, self.head, CHANNELS)).flatten(1, 2)
        # The query bias is not constant along a row here, so it stays; the mask is added to it.
        offset = (kh * self.q_proj.bias.reshape(HEADS, 1, self.head)).sum(-1) + mask.unsqueeze(1)
        return self._weighted_values(image @ rows.transpose(1, 2), offset, v)

    def _weighted_values(
        self, logits: torch.Tensor, offset: torch.Tensor, v: torch.Tensor, dense: DensePrompts | None = None
    ) -> torch.Tensor:
        """Return softmax(logits (N, X, 8 T) + offset (N, 8, T)) times the projected values, plus the mask prompts."""
        n, t = v.shape[:2]
        logits = logits + offset.reshape(n, 1, HEADS * t)
        weights = torch.softmax(logits.reshape(n, -1, HEADS, t), -1).flatten(2)
        w_o = self.out_proj.weight.reshape(CHANNELS, HEADS, self.head).permute(1, 2, 0)
        values = self.split(self.v_proj(v)) @ w_o + self.out_proj.bias / HEADS
        if dense is None:
            return weights @ values.flatten(1, 2)
        # One wider product: the sum of two images of (N, X, 256) would take longer.
        values = values.flatten(1, 2) + (dense.present * (dense.constant / HEADS)).unsqueeze(1)
        added = dense.weight.T.expand(n, -1, -1)
        return torch.cat([weights, dense.features], -1) @ torch.cat([values, added], 1)


def layer_norm_rows(norm: nn.LayerNorm, image: torch.Tensor) -> torch.Tensor:
    """Return the LayerNorm of an image (N, X, 256), computed on rows (N * X, 256).

    ONNX Runtime would fuse the addition before it and the LayerNorm into a kernel that takes twice as long as both
    (measured with 1.31 on a CPU); the reshape in between prevents that.
    """
    y: torch.Tensor = norm(image.flatten(0, 1))
    return y.reshape(image.shape)


class TokenMLP(nn.Module):
    """Two linear layers with ReLU in between."""

    def __init__(self) -> None:
        super().__init__()
        self.lin1 = nn.Linear(CHANNELS, MLP_CHANNELS)
        self.lin2 = nn.Linear(MLP_CHANNELS, CHANNELS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, T, 256) -> (N, T, 256)."""
        y: torch.Tensor = self.lin2(torch.relu(self.lin1(x)))
        return y


class TwoWayBlock(nn.Module):
    """Self-attention of tokens, attention of tokens to the image, attention of the image to tokens.

    In the `first` block the tokens are the prompt tokens themselves, and all prompts share one image.
    """

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(CHANNELS)
        self.norm1 = nn.LayerNorm(CHANNELS)
        self.cross_attn_token_to_image = Attention(CHANNELS // 2)
        self.norm2 = nn.LayerNorm(CHANNELS)
        self.mlp = TokenMLP()
        self.norm3 = nn.LayerNorm(CHANNELS)
        self.norm4 = nn.LayerNorm(CHANNELS)
        self.cross_attn_image_to_token = Attention(CHANNELS // 2)

    def forward(
        self,
        q: torch.Tensor,
        points: torch.Tensor,
        image: torch.Tensor,
        position: torch.Tensor,
        mask: torch.Tensor,
        dense: DensePrompts | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tokens (N, T, 256) and one image per prompt (N, X, 256).

        The image has shape (1, X, 256) in the first block and (N, X, 256) in later ones. `dense` is for the first
        block: later images include it.
        """
        keys = image + position
        to_image, to_tokens = self.cross_attn_token_to_image, self.cross_attn_image_to_token
        if self.first:
            q = self.norm1(self.self_attn.tokens_to_tokens(points, points, mask))
            q = self.norm2(q + to_image.tokens_to_shared_image(q + points, keys, image, dense))
        else:
            q = self.norm1(q + self.self_attn.tokens_to_tokens(q + points, q, mask))
            q = self.norm2(q + to_image.tokens_to_image(q + points, keys, image))
        q = self.norm3(q + self.mlp(q))
        if self.first:
            update = to_tokens.shared_image_to_tokens(keys, q + points, q, mask, dense)
        else:
            update = to_tokens.image_to_tokens(keys, q + points, q, mask)
        return q, layer_norm_rows(self.norm4, image + update)


class TwoWayTransformer(nn.Module):
    """Two blocks and a final attention of the tokens to the image."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(first=i == 0) for i in range(LAYERS))
        self.final_attn_token_to_image = Attention(CHANNELS // 2)
        self.norm_final_attn = nn.LayerNorm(CHANNELS)

    def forward(
        self,
        image: torch.Tensor,
        position: torch.Tensor,
        points: torch.Tensor,
        mask: torch.Tensor,
        dense: DensePrompts | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tokens (N, T, 256) and one image per prompt (N, X, 256).

        Args:
            image: (1, X, 256) one image for all prompts.
            position: (X, 256) its position encoding.
            points: (N, T, 256) output and prompt tokens.
            mask: (N, T) added to the logits of every attention to tokens: 0, or a large negative number for a token
                that is to be ignored.
            dense: Mask prompts.
        """
        q, images = points, image
        for layer in self.layers:
            q, images = layer(q, points, images, position, mask, dense)
        read = self.final_attn_token_to_image.tokens_to_image(q + points, images + position, images)
        return self.norm_final_attn(q + read), images
