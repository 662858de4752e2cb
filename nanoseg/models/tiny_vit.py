"""MobileSAM's image encoder: TinyViT-5M with SAM's neck, under the published state_dict keys.

TinyViT is Wu et al. 2022 (arXiv 2207.10666): convolutions first, then attention in windows. MobileSAM
(arXiv 2306.14289) keeps the last stage at stride 16 and adds the neck of SAM's ViT. Its file also holds TinyViT's
classifier, `norm_head` and `head`, which an embedding does not need.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanoseg.errors import UsageError
from nanoseg.processing.geometry import CELL_PX

EMBEDDING_CHANNELS = 256
EXPANSION = 4  # of the hidden channels, in convolutions and MLPs alike


class ConvNorm(nn.Sequential):
    """Convolution without bias, padded to keep the size at stride 1, and BatchNorm."""

    bn: nn.BatchNorm2d

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(OrderedDict(c=conv, bn=nn.BatchNorm2d(outputs)))


class InvertedBottleneck(nn.Module):
    """MobileNetV2's inverted bottleneck (arXiv 1801.04381) with GELU, also after the shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = EXPANSION * channels
        self.conv1 = ConvNorm(channels, hidden)
        self.conv2 = ConvNorm(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvNorm(hidden, channels)
        nn.init.zeros_(self.conv3.bn.weight)  # a block that starts as the identity trains faster

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return F.gelu(self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x))))) + x)


class Merge(nn.Module):
    """Transition to the next stage: other channels, and half the size at stride 2."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inputs, outputs)
        self.conv2 = ConvNorm(outputs, outputs, 3, stride, groups=outputs)
        self.conv3 = ConvNorm(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride)."""
        y: Tensor = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))
        return y


class WindowAttention(nn.Module):
    """Self-attention within a window, with a learned bias per head and relative position (|dy|, |dx|)."""

    offset: Tensor  # (cells * cells,): index of two cells' bias in `attention_biases`

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.scale = (channels // heads) ** -0.5
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)  # per head: queries, keys, values
        self.proj = nn.Linear(channels, channels)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        cells = torch.arange(window * window)
        y, x = cells // window, cells % window
        offset = (y[:, None] - y).abs() * window + (x[:, None] - x).abs()
        self.register_buffer("offset", offset.flatten(), persistent=False)

    def bias(self) -> Tensor:
        """Return the bias (heads, cells, cells); not cached, as the weights may change."""
        cells = self.window * self.window
        return self.attention_biases.index_select(1, self.offset).view(self.heads, cells, cells)

    def forward(self, x: Tensor) -> Tensor:
        """(windows, cells, C) -> the same shape."""
        windows, cells, channels = x.shape
        qkv = self.qkv(self.norm(x)).view(windows, cells, self.heads, -1).transpose(1, 2)
        q, k, v = qkv.chunk(3, -1)
        weights = ((q * self.scale) @ k.transpose(-2, -1) + self.bias()).softmax(-1)
        y: Tensor = self.proj((weights @ v).transpose(1, 2).reshape(windows, cells, channels))
        return y


class Mlp(nn.Module):
    """LayerNorm, then two linear layers with GELU in between, over the last axis."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, EXPANSION * channels)
        self.fc2 = nn.Linear(EXPANSION * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> the same shape."""
        y: Tensor = self.fc2(F.gelu(self.fc1(self.norm(x))))
        return y


class WindowBlock(nn.Module):
    """Attention within windows, a depthwise convolution across their borders, an MLP."""

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(channels, heads, window)
        self.local_conv = ConvNorm(channels, channels, 3, groups=channels)
        self.mlp = Mlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        tokens = x.permute(0, 2, 3, 1)
        tokens = tokens + self._attend(tokens)
        tokens = self.local_conv(tokens.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        out: Tensor = (tokens + self.mlp(tokens)).permute(0, 3, 1, 2)
        return out

    def _attend(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        side = self.window
        down, right = -height % side, -width % side
        # The padding is not masked: the published weights were trained with attention to it.
        x = F.pad(x, (0, 0, 0, right, 0, down))
        rows, columns = (height + down) // side, (width + right) // side
        x = x.reshape(batch, rows, side, columns, side, channels).transpose(2, 3)
        x = self.attn(x.reshape(batch * rows * columns, side * side, channels))
        x = x.view(batch, rows, columns, side, side, channels).transpose(2, 3)
        return x.reshape(batch, height + down, width + right, channels)[:, :height, :width]


class TinyVitStage(nn.Module):
    """Blocks of one size, and the transition to the next stage, if any."""

    def __init__(self, blocks: Sequence[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.downsample = downsample or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        y: Tensor = self.downsample(self.blocks(x))
        return y


class PatchEmbed(nn.Module):
    """Stem: two convolutions of stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(ConvNorm(3, channels // 2, 3, 2), nn.GELU(), ConvNorm(channels // 2, channels, 3, 2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H / 4, W / 4)."""
        y: Tensor = self.seq(x)
        return y


class TinyViTEncoder(nn.Module):
    """Image encoder with a TinyViT backbone; the defaults are the image encoder of mobile_sam.pt.

    No weight depends on the image size: any H and W that are multiples of 16 are accepted.

    Args:
        image_size: Side of the input, pixels, a multiple of 16; MobileSAM was trained at 1024.
        widths: Channels of the four stages.
        depths: Blocks of the four stages.
        heads: Attention heads of the last three stages; the first has no attention.
        windows: Side of the attention windows of the last three stages, cells.

    Raises:
        UsageError: `image_size` is not a multiple of 16.
    """

    def __init__(
        self,
        image_size: int = 1024,
        widths: tuple[int, int, int, int] = (64, 128, 160, 320),
        depths: tuple[int, int, int, int] = (2, 2, 6, 2),
        heads: tuple[int, int, int] = (4, 5, 10),
        windows: tuple[int, int, int] = (7, 14, 7),
    ) -> None:
        super().__init__()
        if image_size <= 0 or image_size % CELL_PX:
            raise UsageError(f"image encoder: image_size wants a multiple of {CELL_PX}, got {image_size}")
        self.image_size = image_size
        self.patch_embed = PatchEmbed(widths[0])
        first: list[nn.Module] = [InvertedBottleneck(widths[0]) for _ in range(depths[0])]
        stages = [TinyVitStage(first, Merge(widths[0], widths[1], 2))]
        for i in (1, 2, 3):
            blocks = [WindowBlock(widths[i], heads[i - 1], windows[i - 1]) for _ in range(depths[i])]
            stages.append(TinyVitStage(blocks, Merge(widths[i], widths[i + 1], 2 if i == 1 else 1) if i < 3 else None))
        self.layers = nn.ModuleList(stages)
        # LayerNorm over the last axis is one ONNX operator, which float16 engines accumulate in float32.
        self.neck = nn.ModuleList(
            [
                nn.Conv2d(widths[3], EMBEDDING_CHANNELS, 1, bias=False),
                nn.LayerNorm(EMBEDDING_CHANNELS, eps=1e-6),
                nn.Conv2d(EMBEDDING_CHANNELS, EMBEDDING_CHANNELS, 3, padding=1, bias=False),
                nn.LayerNorm(EMBEDDING_CHANNELS, eps=1e-6),
            ]
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W), normalised -> image_embeddings (B, 256, H / 16, W / 16)."""
        x = self.patch_embed(image)
        for stage in self.layers:
            x = stage(x)
        narrow, norm_narrow, mix, norm_mix = self.neck
        x = norm_narrow(narrow(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        embedding: Tensor = norm_mix(mix(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return embedding
