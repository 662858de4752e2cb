"""The mask decoder with segment-anything's order of products, the reference for nanoseg's."""

from __future__ import annotations

import torch
from torch import nn

from nanoseg.models.mask_decoder import MASKS, MaskDecoder
from nanoseg.models.transformer import Attention


def attend(attention: Attention, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Multi-head attention, like segment-anything's `Attention.forward`."""
    q, k, v = attention.q_proj(q), attention.k_proj(k), attention.v_proj(v)
    q, k, v = (x.reshape(x.shape[0], x.shape[1], 8, -1).transpose(1, 2) for x in (q, k, v))
    weights = torch.softmax(q @ k.permute(0, 1, 3, 2) / q.shape[-1] ** 0.5, -1)
    out = (weights @ v).transpose(1, 2)
    return attention.out_proj(out.reshape(out.shape[0], out.shape[1], -1))


class PlainDecoder(nn.Module):
    """The weights of a MaskDecoder in segment-anything's order of products; absent points are not supported."""

    def __init__(self, decoder: MaskDecoder) -> None:
        super().__init__()
        self.prompt_encoder, self.mask_decoder, self.grid = decoder.prompt_encoder, decoder.mask_decoder, decoder.grid
        centre = (torch.arange(self.grid) + 0.5) / self.grid
        y, x = torch.meshgrid(centre, centre, indexing="ij")
        with torch.no_grad():
            pe = decoder.prompt_encoder.pe_layer(torch.stack([x, y], -1))
        self.register_buffer("dense_pe", pe.permute(2, 0, 1).unsqueeze(0).contiguous())

    def prompts(self, coords: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the sparse embedding (N, P, 256), like segment-anything's SamOnnxModel."""
        encoder = self.prompt_encoder
        labels = labels.unsqueeze(-1)
        embedding = encoder.pe_layer((coords + 0.5) / encoder.image_size)
        embedding = embedding * (labels != -1) + encoder.not_a_point_embed.weight * (labels == -1)
        for i in range(4):
            embedding = embedding + encoder.point_embeddings[i].weight * (labels == i)
        return embedding

    def transform(
        self, image: torch.Tensor, pe: torch.Tensor, points: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return tokens and image, like segment-anything's `TwoWayTransformer.forward`."""
        transformer = self.mask_decoder.transformer
        keys, pe, queries = image.flatten(2).permute(0, 2, 1), pe.flatten(2).permute(0, 2, 1), points
        for i, layer in enumerate(transformer.layers):
            if i == 0:
                queries = attend(layer.self_attn, queries, queries, queries)
            else:
                q = queries + points
                queries = queries + attend(layer.self_attn, q, q, queries)
            queries = layer.norm1(queries)
            attention = layer.cross_attn_token_to_image
            queries = layer.norm2(queries + attend(attention, queries + points, keys + pe, keys))
            queries = layer.norm3(queries + layer.mlp(queries))
            attention = layer.cross_attn_image_to_token
            keys = layer.norm4(keys + attend(attention, keys + pe, queries + points, queries))
        read = attend(transformer.final_attn_token_to_image, queries + points, keys + pe, keys)
        return transformer.norm_final_attn(queries + read), keys

    def masks(self, mask_input: torch.Tensor, has_mask_input: torch.Tensor) -> torch.Tensor:
        """Return the dense embedding (N, 256, g, g), like segment-anything's SamOnnxModel."""
        has_mask = has_mask_input.reshape(-1, 1, 1, 1)
        absent = self.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        return has_mask * self.prompt_encoder.mask_downscaling(mask_input) + (1 - has_mask) * absent

    def forward(
        self,
        image_embeddings: torch.Tensor,
        point_coords: torch.Tensor,
        point_labels: torch.Tensor,
        mask_input: torch.Tensor | None = None,
        has_mask_input: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode N prompts on one image; inputs and outputs are those of MaskDecoder."""
        head, n, g = self.mask_decoder, point_coords.shape[0], self.grid
        outputs = torch.cat([head.iou_token.weight, head.mask_tokens.weight]).unsqueeze(0).expand(n, -1, -1)
        points = torch.cat([outputs, self.prompts(point_coords, point_labels)], 1)
        if mask_input is None:
            dense = self.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(n, -1, g, g)
        else:
            dense = self.masks(mask_input, has_mask_input)
        image = torch.repeat_interleave(image_embeddings, n, 0) if n > 1 else image_embeddings
        tokens, keys = self.transform(image + dense, self.dense_pe.expand(n, -1, -1, -1), points)
        pixels = head.output_upscaling(keys.transpose(1, 2).reshape(n, -1, g, g))
        mlps = head.output_hypernetworks_mlps
        weights = torch.stack([mlps[i](tokens[:, 1 + i]) for i in range(MASKS)], 1)
        masks = (weights @ pixels.flatten(2)).reshape(n, MASKS, 4 * g, 4 * g)
        return masks, head.iou_prediction_head(tokens[:, 0])
