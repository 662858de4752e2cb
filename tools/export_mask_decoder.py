"""Export SAM's prompt encoder and mask decoder as the decoder of a bundle: N prompts on one embedding, one call.

    python tools/export_mask_decoder.py --checkpoint runs/segmenter/checkpoint.pt --out decoder.onnx
    python tools/export_mask_decoder.py --checkpoint mobile_sam.pt --out decoder.onnx --size 1024

`image_embeddings` (1, 256, g, g), `point_coords` (N, P, 2) and `point_labels` (N, P) -> `low_res_masks` (N, 4, 4g, 4g)
and `iou_predictions` (N, 4), g = size / 16, N and P dynamic. The checkpoint may hold an image encoder too. ONNX Runtime
has found the file equal to torch for several N, P and labels before it is put in place.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from nanoseg.errors import BundleError, NanosegError
from nanoseg.models.checkpoints import Checkpoint, load_checkpoint, load_weights
from nanoseg.models.export import export_onnx
from nanoseg.models.mask_decoder import MaskDecoder

PREFIXES = ("prompt_encoder.", "mask_decoder.")
DEFAULT_SIZE_PX = 1024
OUTPUTS = ["low_res_masks", "iou_predictions"]
AXES = {name: {0: "N", 1: "P"} for name in ("point_coords", "point_labels")}
# Logits run to tens: a thousandth moves no mask's edge by a visible part of a pixel.
ATOL = {"low_res_masks": 1e-3, "iou_predictions": 1e-4}
# The largest weight that is rearranged has 256 x 256 floats; the position encoding of the grid is larger, and
# stays the two tables that it is made of: 4 MB less at 1024.
FOLD_LIMIT_BYTES = 300_000
# One list of labels a prompt; the first is what is traced by.
LABELS: tuple[list[list[int]], ...] = (
    [[2, 3, 1, -2], [1, 0, 0, -1], [2, 3, -2, -2]],
    [[1]],
    [[2, 3]] * 5,
    [[-2, 2, 3, 1, 0, -2], [1, -2, -2, -2, -2, -1]],
)


def decoder_of(checkpoint: Checkpoint, size_px: int) -> MaskDecoder:
    """The decoder with the checkpoint's weights; what else the checkpoint holds is left alone."""
    own = {name: value for name, value in checkpoint.state_dict.items() if name.startswith(PREFIXES)}
    if not own:
        raise BundleError(f"{checkpoint.path}: wanted SAM's weights under {' and '.join(PREFIXES)}, found none")
    decoder = MaskDecoder(size_px)
    load_weights(decoder, replace(checkpoint, state_dict=own))
    return decoder


def feeds_of(size_px: int) -> list[dict[str, torch.Tensor]]:
    """Inputs of several N and P, with every label there is."""
    random = torch.Generator().manual_seed(0)
    feeds = []
    for rows in LABELS:
        labels = torch.tensor(rows, dtype=torch.float32)
        feeds.append(
            {
                "image_embeddings": torch.randn(1, 256, size_px // 16, size_px // 16, generator=random),
                "point_coords": torch.rand(*labels.shape, 2, generator=random) * size_px,
                "point_labels": labels,
            }
        )
    return feeds


def export(options: argparse.Namespace) -> Path:
    """Checkpoint to checked ONNX file, with its origin in the file's metadata."""
    checkpoint = load_checkpoint(options.checkpoint)
    if checkpoint.architecture not in (None, "nanosam"):
        raise BundleError(f"{checkpoint.path}: wanted a nanosam checkpoint, got one of {checkpoint.architecture}")
    size_px = options.size or checkpoint.image_size or DEFAULT_SIZE_PX
    decoder = decoder_of(checkpoint, size_px)
    metadata = {"architecture": "sam_mask_decoder", "weights": checkpoint.origin}
    first, *others = feeds_of(size_px)
    return export_onnx(decoder, first, options.out, OUTPUTS, AXES, ATOL, others, metadata, FOLD_LIMIT_BYTES)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and export; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="weights: .pt, .pth or .safetensors")
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument(
        "--size", type=int, help="side of the encoder's input, px; default: the checkpoint's, else 1024"
    )
    try:
        print(export(parser.parse_args(argv)))
    except NanosegError as error:
        print(f"export_mask_decoder: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
