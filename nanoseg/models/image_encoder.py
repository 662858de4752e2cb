"""NanoSAM's ResNet18 image encoder, a slim one, and all encoders by name (`ENCODERS`).

state_dict keys are the published ones: timm's for the backbone (`backbone.layer1.0.conv1`), NanoSAM's for the neck
(`up_1`, `proj`, `pos_embedding`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from nanoseg.errors import UsageError
from nanoseg.models.tiny_vit import TinyViTEncoder
from nanoseg.processing.geometry import CELL_PX

EMBEDDING_CHANNELS = 256


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2015, arXiv 1512.03385)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y + self.downsample(x))


class ResNet18(nn.Module):
    """ResNet18 of a given width (64 in the paper), without its classifier; strides 2, 4, 8, 16, 32."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = self._stage(width, width, 1)
        self.layer2 = self._stage(width, 2 * width, 2)
        self.layer3 = self._stage(2 * width, 4 * width, 2)
        self.layer4 = self._stage(4 * width, 8 * width, 2)

    @staticmethod
    def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        return nn.Sequential(BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, 1))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """(B, 3, H, W) -> five feature maps, of strides 2, 4, 8, 16, 32."""
        features = [torch.relu(self.bn1(self.conv1(x)))]
        y = self.maxpool(features[0])
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            y = stage(y)
            features.append(y)
        return features


class ResNet18Encoder(nn.Module):
    """Image encoder with a ResNet18 backbone; the defaults are NanoSAM's published network.

    Args:
        width: Channels of the first stage.
        neck: Channels of the neck.
        image_size: Side of the input, pixels, a multiple of 32.
        position: Add a learned position embedding; without it any H and W that are multiples of 32 are accepted.
        lateral: Add the maps of stride 8 and 16 to the neck (feature pyramids, arXiv 1612.03144): a small input has
            too few cells of stride 32 to draw an outline from.

    Raises:
        UsageError: `image_size` is not a multiple of 32.
    """

    def __init__(
        self, width: int = 64, neck: int = 256, image_size: int = 1024, position: bool = True, lateral: bool = False
    ) -> None:
        super().__init__()
        if image_size <= 0 or image_size % 32:
            raise UsageError(f"image encoder: image_size wants a multiple of 32, got {image_size}")
        self.image_size = image_size
        grid = image_size // CELL_PX
        self.backbone = ResNet18(width)
        self.up_1 = nn.Sequential(
            nn.Conv2d(8 * width, neck, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(neck, neck, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(neck, neck, 3, padding=1),
            nn.GELU(),
            nn.ConvTranspose2d(neck, neck, 3, 2, 1, 1),
            nn.GELU(),
        )
        self.proj = nn.Sequential(
            nn.Conv2d(neck, neck, 3, padding=1), nn.GELU(), nn.Conv2d(neck, EMBEDDING_CHANNELS, 1)
        )
        self.lateral = lateral
        if lateral:
            self.lateral_8 = nn.Conv2d(2 * width, neck, 3, 2, 1)
            self.lateral_16 = nn.Conv2d(4 * width, neck, 1)
        self.pos_embedding: nn.Parameter | None = None
        if position:
            self.pos_embedding = nn.Parameter(1e-5 * torch.randn(1, EMBEDDING_CHANNELS, grid, grid))
        self._init_weights()

    def _init_weights(self) -> None:
        for module in self.backbone.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, BasicBlock):
                # Residual branches that start at zero train faster from scratch (arXiv 1706.02677).
                nn.init.zeros_(module.bn2.weight)
        for lateral in (self.lateral_8, self.lateral_16) if self.lateral else ():
            for parameter in lateral.parameters():
                nn.init.zeros_(parameter)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W), normalised -> image_embeddings (B, 256, H / 16, W / 16)."""
        _, _, stride_8, stride_16, stride_32 = self.backbone(image)
        neck = self.up_1(stride_32)
        if self.lateral:
            neck = neck + self.lateral_16(stride_16) + self.lateral_8(stride_8)
        embedding: torch.Tensor = self.proj(neck)
        return embedding if self.pos_embedding is None else embedding + self.pos_embedding


def slim_encoder(image_size: int = 512) -> ResNet18Encoder:
    """Return the encoder of the embedded bundle: width 24, neck 96, 2.4 million parameters."""
    return ResNet18Encoder(width=24, neck=96, image_size=image_size, lateral=True)


ENCODERS: Mapping[str, Callable[..., nn.Module]] = {
    "resnet18": ResNet18Encoder,
    "slim": slim_encoder,
    "tiny_vit": TinyViTEncoder,
}
