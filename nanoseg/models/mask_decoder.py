"""SAM's prompt encoder and mask decoder: N prompts on one image embedding, in one call.

state_dict keys are segment-anything's (`prompt_encoder.*`, `mask_decoder.*`). `transformer.py` explains how half of
the usual arithmetic is enough; `benchmarks/plain_decoder.py` has segment-anything's own order of products.
"""

from __future__ import annotations

import torch
from torch import nn

from nanoseg.errors import UsageError
from nanoseg.models.prompt_encoder import CHANNELS, LayerNorm2d, PromptEncoder
from nanoseg.models.transformer import DensePrompts, TwoWayTransformer
from nanoseg.processing.geometry import CELL_PX

MASKS = 4
MASK_CHANNELS = 32
# Added to the logits of absent tokens: exp(-30000) is 0 in float32, and -30000 is finite in float16.
MASKED = -30000.0


class HeadMLP(nn.Module):
    """Three linear layers with ReLU in between."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Linear(CHANNELS, CHANNELS), nn.Linear(CHANNELS, CHANNELS), nn.Linear(CHANNELS, outputs)]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 256) -> (N, outputs)."""
        first, second, third = self.layers
        y: torch.Tensor = third(torch.relu(second(torch.relu(first(x)))))
        return y


def upscale_2x(conv: nn.ConvTranspose2d, x: torch.Tensor) -> torch.Tensor:
    """Apply a 2x2 transposed convolution of stride 2 as one matrix product: (N, X, C) -> (N, 4 X, C').

    Each cell becomes four consecutive rows (top left, top right, bottom left, bottom right), so that
    LayerNorm and GELU work on the last axis; one transposition at the end orders all pixels.
    """
    weight = conv.weight.permute(0, 2, 3, 1).flatten(1)
    # A separate addition: ONNX Runtime's Gemm or GELU with a bias is slower than that.
    bias = 0.0 if conv.bias is None else conv.bias.repeat(4)
    return (x @ weight + bias).reshape(x.shape[0], -1, conv.out_channels)


class MaskHead(nn.Module):
    """segment-anything's MaskDecoder: tokens and image -> four masks and their predicted IoU."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer()
        self.iou_token = nn.Embedding(1, CHANNELS)
        self.mask_tokens = nn.Embedding(MASKS, CHANNELS)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(CHANNELS, 64, 2, 2),
            LayerNorm2d(64),
            nn.GELU(),
            nn.ConvTranspose2d(64, MASK_CHANNELS, 2, 2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(HeadMLP(MASK_CHANNELS) for _ in range(MASKS))
        self.iou_prediction_head = HeadMLP(MASKS)

    def forward(
        self,
        image: torch.Tensor,
        position: torch.Tensor,
        prompts: torch.Tensor,
        absent: torch.Tensor,
        dense: DensePrompts | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return masks (N, 4, 16 X), pixels in the order of `upscale_2x`, and their predicted IoU (N, 4).

        Args:
            image: (1, X, 256) one image for all prompts.
            position: (X, 256) its position encoding.
            prompts: (N, P, 256) prompt tokens.
            absent: (N, P) bool, tokens to be ignored.
            dense: Mask prompts, added to the image.
        """
        n = prompts.shape[0]
        outputs = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        points = torch.cat([outputs.unsqueeze(0).expand(n, -1, -1), prompts], 1)
        mask = nn.functional.pad(absent.to(points.dtype) * MASKED, (1 + MASKS, 0))
        tokens, images = self.transformer(image, position, points, mask, dense)
        pixels = images
        for module in self.output_upscaling:
            if isinstance(module, nn.ConvTranspose2d):
                pixels = upscale_2x(module, pixels)
            else:
                pixels = module.last_axis(pixels) if isinstance(module, LayerNorm2d) else module(pixels)
        mlps = self.output_hypernetworks_mlps
        weights = torch.stack([mlp(tokens[:, 1 + i]) for i, mlp in enumerate(mlps)], 1)
        return weights @ pixels.transpose(1, 2), self.iou_prediction_head(tokens[:, 0])


class MaskDecoder(nn.Module):
    """SAM's prompt encoder and mask decoder: prompts on one image -> masks.

    Args:
        image_size: Side E of the image encoder's input, pixels, a multiple of 16. The embedding has g = E / 16 cells
            a side.

    Raises:
        UsageError: `image_size` is not a multiple of 16.
    """

    def __init__(self, image_size: int = 1024) -> None:
        super().__init__()
        if image_size <= 0 or image_size % CELL_PX:
            raise UsageError(f"mask decoder: image_size wants a multiple of {CELL_PX}, got {image_size}")
        self.image_size = image_size
        self.grid = image_size // CELL_PX
        self.prompt_encoder = PromptEncoder(image_size)
        self.mask_decoder = MaskHead()

    def forward(
        self,
        image_embeddings: torch.Tensor,
        point_coords: torch.Tensor,
        point_labels: torch.Tensor,
        mask_input: torch.Tensor | None = None,
        has_mask_input: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode N prompts of P points on one image.

        A prompt of a mask alone has absent points only.

        Args:
            image_embeddings: (1, 256, g, g).
            point_coords: (N, P, 2) x, y in pixels of the encoder's input.
            point_labels: (N, P) 1 foreground, 0 background, 2 and 3 a box's corners, -1 SAM's padding point, -2 absent.
            mask_input: (N, 1, 4g, 4g) logits of earlier masks, used as prompts.
            has_mask_input: (N,) 1 where the prompt's mask is used, 0 where it is ignored; None uses all.

        Returns:
            low_res_masks (N, 4, 4g, 4g), logits, and iou_predictions (N, 4).
        """
        encoder, g = self.prompt_encoder, self.grid
        image = image_embeddings.flatten(2).transpose(1, 2) + encoder.no_mask_embed.weight
        # Coordinates are encoded in float32 even where the decoder runs in bfloat16, which is too coarse for them.
        prompts = encoder(point_coords, point_labels).to(image.dtype)
        position = encoder.pe_layer.grid(g).to(image.dtype)
        dense = None
        if mask_input is not None:
            has_mask = torch.ones_like(mask_input[:, 0, 0, 0]) if has_mask_input is None else has_mask_input
            dense = encoder.dense(mask_input, has_mask)
        masks, iou = self.mask_decoder(image, position, prompts, encoder.absent(point_labels), dense)
        # (row, column, two 2x2 upscalings) -> rows and columns of the mask.
        masks = masks.reshape(-1, g, g, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4, 6)
        return masks.reshape(-1, MASKS, 4 * g, 4 * g), iou
