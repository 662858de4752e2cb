"""Export an image encoder's checkpoint as the encoder of a bundle: `image` (1, 3, E, E) -> `image_embeddings`.

    python tools/export_image_encoder.py --checkpoint runs/segmenter/checkpoint.pt --out encoder.onnx
    python tools/export_image_encoder.py --variant resnet18 --checkpoint nanosam_resnet18.pth --out encoder.onnx

A checkpoint of train_segmenter.py says itself what it is; others are taken for NanoSAM's ResNet18 at 1024 unless
--variant and --size say otherwise. BatchNorms are folded, and ONNX Runtime has found the file equal to torch before
it is put in place.
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
from nanoseg.models.image_encoder import ENCODERS, ResNet18Encoder

PREFIX = "image_encoder."
DEFAULT_VARIANT = "resnet18"
DEFAULT_SIZE_PX = {"resnet18": 1024, "slim": 512}
# Embeddings are of the order of 1; folding BatchNorms reorders float32 sums.
ATOL = 1e-3


def encoder_of(checkpoint: Checkpoint, variant: str, size_px: int) -> ResNet18Encoder:
    """The encoder with the checkpoint's weights: bare ones, or those of a segmenter under `image_encoder.`."""
    encoder = ENCODERS[variant](image_size=size_px)
    weights = checkpoint.state_dict
    own = {name.removeprefix(PREFIX): value for name, value in weights.items() if name.startswith(PREFIX)}
    load_weights(encoder, replace(checkpoint, state_dict=own or weights))
    return encoder


def export(options: argparse.Namespace) -> Path:
    """Checkpoint to checked ONNX file, with its origin in the file's metadata."""
    checkpoint = load_checkpoint(options.checkpoint)
    if checkpoint.architecture not in (None, "nanosam"):
        raise BundleError(f"{checkpoint.path}: wanted a nanosam checkpoint, got one of {checkpoint.architecture}")
    variant = options.variant or checkpoint.variant or DEFAULT_VARIANT
    if variant not in ENCODERS:
        raise BundleError(f"{checkpoint.path}: wanted variant {' or '.join(ENCODERS)}, got {variant}")
    size_px = options.size or checkpoint.image_size or DEFAULT_SIZE_PX[variant]
    encoder = encoder_of(checkpoint, variant, size_px)
    metadata = {"architecture": f"nanosam_{variant}", "weights": checkpoint.origin}
    random = torch.Generator().manual_seed(0)
    feeds = [{"image": torch.randn(1, 3, size_px, size_px, generator=random)} for _ in range(2)]
    return export_onnx(
        encoder, feeds[0], options.out, ["image_embeddings"], atol=ATOL, feeds_to_check=feeds[1:], metadata=metadata
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and export; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="weights: .pt, .pth or .safetensors")
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--variant", choices=sorted(ENCODERS), help="default: the checkpoint's, else resnet18")
    parser.add_argument(
        "--size", type=int, help="side of the input, pixels; default: the checkpoint's, else 1024 (512)"
    )
    try:
        print(export(parser.parse_args(argv)))
    except NanosegError as error:
        print(f"export_image_encoder: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
