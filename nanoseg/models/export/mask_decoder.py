"""Export the prompt encoder and mask decoder of a checkpoint to ONNX."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import torch

from nanoseg.errors import BundleError, UsageError
from nanoseg.models.checkpoints.image_encoder import sam_encoder_name
from nanoseg.models.checkpoints.load import Checkpoint, load_checkpoint, load_weights
from nanoseg.models.export.to_onnx import export_onnx
from nanoseg.models.mask_decoder import MaskDecoder
from nanoseg.onnx_graphs.model.simplify import FOLD_LIMIT_BYTES
from nanoseg.processing.geometry import CELL_PX
from nanoseg.utils.files import check_writable
from nanoseg.utils.names import first_names

PREFIXES = ("prompt_encoder.", "mask_decoder.")
# Position embeddings of an image encoder, (1, g, g, C) in segment-anything and (1, 256, g, g) in nanosam: the only
# entries of SAM's own files that depend on the image size.
POSITION_EMBEDDINGS = ("image_encoder.pos_embed", "image_encoder.pos_embedding")
# SAM's encoders whose embeddings no distilled encoder imitates.
OTHER_EMBEDDINGS = ("vit_b", "vit_l")
DEFAULT_SIZE_PX = 1024
OUTPUTS = ["low_res_masks", "iou_predictions"]
# Labels and has_mask_input of each prompt; the first list is traced with.
PROMPTS: tuple[list[tuple[list[int], int]], ...] = (
    [([2, 3, 1, -2], 1), ([1, 0, 0, -1], 0), ([2, 3, -2, -2], 1)],
    [([1], 0)],
    [([2, 3], 1), ([2, 3], 0), ([2, 3], 0), ([1, -1], 1), ([-2, -2], 1)],
    [([-2, 2, 3, 1, 0, -2], 0), ([1, -2, -2, -2, -2, -1], 0)],
    [([-2], 1)],
)


def load_mask_decoder(checkpoint: Checkpoint, size_px: int) -> MaskDecoder:
    """Return the decoder with the checkpoint's weights; other weights in the checkpoint are ignored."""
    own = {name: value for name, value in checkpoint.state_dict.items() if name.startswith(PREFIXES)}
    if not own:
        raise BundleError(_no_decoder(checkpoint))
    decoder = MaskDecoder(size_px)
    load_weights(decoder, replace(checkpoint, state_dict=own))
    return decoder


def _no_decoder(checkpoint: Checkpoint) -> str:
    names = checkpoint.state_dict
    wanted = f"wanted SAM's prompt encoder and mask decoder, weights under {' and '.join(PREFIXES)}"
    found = first_names(names)
    if all(name.startswith(("backbone.", "up_1.", "proj.", "pos_embedding", "image_encoder.")) for name in names):
        return f"{checkpoint.path}: {wanted}, got an image encoder alone ({found}); take that of its teacher SAM"
    return f"{checkpoint.path}: {wanted}, got none of them ({found})"


def encoder_input_px(checkpoint: Checkpoint) -> int:
    """Return the side of the encoder's input: the file's, else that of its position embedding, else 1024."""
    if checkpoint.image_size is not None:
        return checkpoint.image_size
    embeddings = [checkpoint.state_dict[name] for name in POSITION_EMBEDDINGS if name in checkpoint.state_dict]
    return CELL_PX * embeddings[0].shape[2] if embeddings and embeddings[0].ndim == 4 else DEFAULT_SIZE_PX


def example_inputs(size_px: int, masks: bool) -> list[dict[str, torch.Tensor]]:
    """Return inputs of several N and P with all labels; with `masks`, of prompts with and without a mask."""
    random = torch.Generator().manual_seed(0)
    grid = size_px // CELL_PX
    examples = []
    for prompts in PROMPTS:
        labels = torch.tensor([row for row, _ in prompts], dtype=torch.float32)
        inputs = {
            "image_embeddings": torch.randn(1, 256, grid, grid, generator=random),
            "point_coords": torch.rand(*labels.shape, 2, generator=random) * size_px,
            "point_labels": labels,
        }
        if masks:
            inputs["mask_input"] = torch.randn(len(labels), 1, 4 * grid, 4 * grid, generator=random) * 8
            inputs["has_mask_input"] = torch.tensor([has_mask for _, has_mask in prompts], dtype=torch.float32)
        examples.append(inputs)
    return examples


def export_mask_decoder(
    checkpoint: Path,
    out: Path,
    *,
    size_px: int | None = None,
    mask_out: Path | None = None,
    print_note: Callable[[str], None] = lambda _: None,
) -> Path:
    """Export SAM's mask decoder as a bundle's: any number N of prompts on one embedding.

    Inputs are `image_embeddings` (1, 256, g, g), `point_coords` (N, P, 2) and `point_labels` (N, P), all float32;
    outputs `low_res_masks` (N, 4, 4g, 4g) and `iou_predictions` (N, 4). ONNX Runtime's results equal torch's before a
    file is put in place; its metadata holds the origin of the weights.

    Args:
        checkpoint: SAM, MobileSAM, or a checkpoint of `train_segmenter`; its image encoder is ignored.
        out: The ONNX file to write.
        size_px: Side of the image encoder's input; None takes the checkpoint's, else 1024.
        mask_out: A second ONNX file to write, with the further inputs `mask_input` and `has_mask_input`.
        print_note: Called with a line about the decoder's limits.

    Returns:
        `out`.

    Raises:
        UsageError: The size is not a multiple of 16, or a file cannot be written.
        BundleError: The checkpoint holds no decoder, or the exported network differs from torch.
        DependencyError: A library of the export extra is not installed.
    """
    if mask_out is not None and mask_out.absolute() == out.absolute():
        raise UsageError(f"--mask-out: wanted another file than --out, got {mask_out} for both")
    check_writable(out)
    if mask_out is not None:
        check_writable(mask_out, "--mask-out")
    loaded = load_checkpoint(checkpoint)
    if loaded.architecture not in (None, "nanosam"):
        raise BundleError(f"{checkpoint}: wanted a nanosam checkpoint, got one of {loaded.architecture}")
    size_px = encoder_input_px(loaded) if size_px is None else size_px
    decoder = load_mask_decoder(loaded, size_px)
    vit = sam_encoder_name(loaded.state_dict)
    # NanoSAM's and MobileSAM's encoders imitate vit_h's embeddings.
    architecture = f"sam_{vit}_mask_decoder" if vit in OTHER_EMBEDDINGS else "sam_mask_decoder"
    if vit in OTHER_EMBEDDINGS:
        print_note(
            f"{checkpoint}: the decoder of SAM's {vit}, which reads the embeddings of its own image encoder alone; for "
            "NanoSAM's or MobileSAM's take the decoder of mobile_sam.pt or of SAM's vit_h"
        )
    metadata = {"architecture": architecture, "weights": loaded.origin}
    for masks, target in ((False, out), (True, mask_out)):
        if target is not None:
            first, *others = example_inputs(size_px, masks)
            export_onnx(
                decoder,
                first,
                target,
                OUTPUTS,
                dynamic_axes=_dynamic_axes(first),
                inputs_to_check=others,
                metadata=metadata,
                fold_limit_bytes=FOLD_LIMIT_BYTES,
            )
    return out


def _dynamic_axes(names: Iterable[str]) -> dict[str, dict[int, str]]:
    axes = {0: "N"}, {0: "N", 1: "P"}
    return {name: axes[name.startswith("point_")] for name in names if name != "image_embeddings"}
