"""What export_mask_decoder.py does: the prompt encoder and decoder of a checkpoint to checked ONNX files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import torch

from nanoseg.errors import BundleError, UsageError
from nanoseg.models.checkpoints.image_encoder import sam_vit_of
from nanoseg.models.checkpoints.load import Checkpoint, load_checkpoint, load_weights, some
from nanoseg.models.export.to_onnx import export_onnx
from nanoseg.models.mask_decoder import MaskDecoder
from nanoseg.onnx_graphs.model.simplify import FOLD_LIMIT_BYTES
from nanoseg.processing.geometry import CELL_PX
from nanoseg.utils.files import check_writable

PREFIXES = ("prompt_encoder.", "mask_decoder.")
# Positions of an image encoder's grid, (1, g, g, C) in segment-anything and (1, 256, g, g) in nanosam: SAM's own
# files say the image's size nowhere else.
GRIDS = ("image_encoder.pos_embed", "image_encoder.pos_embedding")
# SAM's encoders that no other encoder here was taught by.
OTHER_EMBEDDINGS = ("vit_b", "vit_l")
DEFAULT_SIZE_PX = 1024
OUTPUTS = ["low_res_masks", "iou_predictions"]
# Logits run to tens: a thousandth moves no mask's edge by a visible part of a pixel.
ATOL = {"low_res_masks": 1e-3, "iou_predictions": 1e-4}
# Labels and whether there is a mask, one a prompt; the first prompts are what is traced by.
PROMPTS: tuple[list[tuple[list[int], int]], ...] = (
    [([2, 3, 1, -2], 1), ([1, 0, 0, -1], 0), ([2, 3, -2, -2], 1)],
    [([1], 0)],
    [([2, 3], 1), ([2, 3], 0), ([2, 3], 0), ([1, -1], 1), ([-2, -2], 1)],
    [([-2, 2, 3, 1, 0, -2], 0), ([1, -2, -2, -2, -2, -1], 0)],
    [([-2], 1)],
)


def decoder_of(checkpoint: Checkpoint, size_px: int) -> MaskDecoder:
    """The decoder with the checkpoint's weights; what else the checkpoint holds is left alone."""
    own = {name: value for name, value in checkpoint.state_dict.items() if name.startswith(PREFIXES)}
    if not own:
        raise BundleError(_no_decoder(checkpoint))
    decoder = MaskDecoder(size_px)
    load_weights(decoder, replace(checkpoint, state_dict=own))
    return decoder


def _no_decoder(checkpoint: Checkpoint) -> str:
    names = checkpoint.state_dict
    wanted = f"wanted SAM's prompt encoder and mask decoder, weights under {' and '.join(PREFIXES)}"
    few = some(names)
    if all(name.startswith(("backbone.", "up_1.", "proj.", "pos_embedding", "image_encoder.")) for name in names):
        return f"{checkpoint.path}: {wanted}, got an image encoder alone ({few}); take those of the SAM it learnt from"
    return f"{checkpoint.path}: {wanted}, got none of them ({few})"


def size_of(checkpoint: Checkpoint) -> int:
    """Side of the encoder's input, pixels: what the file says, else what its image encoder was made for, else 1024."""
    if checkpoint.image_size is not None:
        return checkpoint.image_size
    grids = [checkpoint.state_dict[name] for name in GRIDS if name in checkpoint.state_dict]
    return CELL_PX * grids[0].shape[2] if grids and grids[0].ndim == 4 else DEFAULT_SIZE_PX


def feeds_of(size_px: int, masks: bool) -> list[dict[str, torch.Tensor]]:
    """Inputs of several N and P, with every label there is, and with `masks` prompts with and without one."""
    random = torch.Generator().manual_seed(0)
    grid = size_px // CELL_PX
    feeds = []
    for prompts in PROMPTS:
        labels = torch.tensor([row for row, _ in prompts], dtype=torch.float32)
        feed = {
            "image_embeddings": torch.randn(1, 256, grid, grid, generator=random),
            "point_coords": torch.rand(*labels.shape, 2, generator=random) * size_px,
            "point_labels": labels,
        }
        if masks:
            feed["mask_input"] = torch.randn(len(labels), 1, 4 * grid, 4 * grid, generator=random) * 8
            feed["has_mask_input"] = torch.tensor([has_mask for _, has_mask in prompts], dtype=torch.float32)
        feeds.append(feed)
    return feeds


def export_checkpoint(
    path: Path,
    out: Path,
    *,
    size_px: int | None = None,
    mask_out: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Checkpoint to checked ONNX file `out`, with its origin in the file's metadata; with masks to `mask_out`, too.

    `size_px` is the side of the encoder's input; None takes the checkpoint's. `say` is told what to know of the
    decoder. Returns `out`. Raises BundleError where the checkpoint does not hold a decoder, UsageError for a size that
    16 does not divide, and where a file cannot be written.
    """
    if mask_out is not None and mask_out.absolute() == out.absolute():
        raise UsageError(f"--mask-out: wanted another file than --out, got {mask_out} for both")
    check_writable(out)
    if mask_out is not None:
        check_writable(mask_out, "--mask-out")
    checkpoint = load_checkpoint(path)
    if checkpoint.architecture not in (None, "nanosam"):
        raise BundleError(f"{checkpoint.path}: wanted a nanosam checkpoint, got one of {checkpoint.architecture}")
    size_px = size_of(checkpoint) if size_px is None else size_px
    decoder = decoder_of(checkpoint, size_px)
    vit = sam_vit_of(checkpoint.state_dict)
    # NanoSAM's and MobileSAM's encoders give what vit_h's gives.
    architecture = f"sam_{vit}_mask_decoder" if vit in OTHER_EMBEDDINGS else "sam_mask_decoder"
    if vit in OTHER_EMBEDDINGS:
        say(
            f"{path}: the decoder of SAM's {vit}, which reads the embeddings of its own image encoder alone; for "
            "NanoSAM's or MobileSAM's take the decoder of mobile_sam.pt or of SAM's vit_h"
        )
    metadata = {"architecture": architecture, "weights": checkpoint.origin}
    for masks, target in ((False, out), (True, mask_out)):
        if target is not None:
            first, *others = feeds_of(size_px, masks)
            export_onnx(decoder, first, target, OUTPUTS, _axes(first), ATOL, others, metadata, FOLD_LIMIT_BYTES)
    return out


def _axes(names: Iterable[str]) -> dict[str, dict[int, str]]:
    axes = {0: "N"}, {0: "N", 1: "P"}
    return {name: axes[name.startswith("point_")] for name in names if name != "image_embeddings"}
