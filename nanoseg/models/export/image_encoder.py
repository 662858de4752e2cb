"""What export_image_encoder.py does: an image encoder's checkpoint to a checked ONNX file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from nanoseg.errors import BundleError, UsageError
from nanoseg.models.checkpoints.image_encoder import find_encoder
from nanoseg.models.checkpoints.load import Checkpoint, load_checkpoint, load_weights
from nanoseg.models.export.to_onnx import export_onnx
from nanoseg.models.image_encoder import ENCODERS
from nanoseg.utils.files import check_writable

DEFAULT_SIZE_PX = 1024
# Whose network it is, for the bundle to tell.
FAMILY = {"tiny_vit": "mobile_sam"}
# Embeddings are of the order of 1; folding BatchNorms reorders float32 sums.
ATOL = 1e-3


def encoder_of(checkpoint: Checkpoint, size_px: int) -> nn.Module:
    """The network of what find_encoder gave, for inputs of `size_px` a side.

    Raises UsageError for a size that the network cannot have, BundleError for weights that do not fit.
    """
    encoder = ENCODERS[str(checkpoint.variant)](image_size=size_px)
    made_for = checkpoint.image_size
    if "pos_embedding" in checkpoint.state_dict and made_for not in (None, size_px):
        raise BundleError(
            f"{checkpoint.path}: its position embedding is for {made_for} pixels a side, got --size {size_px}; "
            "leave the flag away"
        )
    load_weights(encoder, checkpoint)
    return encoder


def export_checkpoint(checkpoint: Path, out: Path, *, variant: str | None = None, size_px: int | None = None) -> Path:
    """Checkpoint to checked ONNX file, with its origin in the file's metadata; returns `out`.

    `variant` is a name in ENCODERS that the weights must be of. Raises NanosegError.
    """
    if variant is not None and variant not in ENCODERS:
        raise UsageError(f"--variant: wanted {' or '.join(ENCODERS)}, got {variant}")
    if checkpoint.suffix == ".pdparams":  # of the better NanoSAM encoders
        raise BundleError(f"{checkpoint}: Paddle's weights; their ONNX goes straight into tools/make_bundle.py")
    check_writable(out)
    whole = load_checkpoint(checkpoint)
    if whole.architecture not in (None, "nanosam"):
        raise BundleError(f"{checkpoint}: wanted a nanosam checkpoint, got one of {whole.architecture}")
    found = find_encoder(whole)
    said = variant or whole.variant
    if said not in (None, found.variant):
        who = "--variant asks for" if variant else "it says that it holds"
        raise BundleError(
            f"{checkpoint}: {who} {said}, but its weights are those of {found.variant}; take --variant {found.variant}"
        )
    side = size_px if size_px is not None else found.image_size or DEFAULT_SIZE_PX
    encoder = encoder_of(found, side)
    metadata = {"architecture": f"{FAMILY.get(str(found.variant), 'nanosam')}_{found.variant}", "weights": whole.origin}
    random = torch.Generator().manual_seed(0)
    feeds = [{"image": torch.randn(1, 3, side, side, generator=random)} for _ in range(2)]
    return export_onnx(
        encoder, feeds[0], out, ["image_embeddings"], atol=ATOL, feeds_to_check=feeds[1:], metadata=metadata
    )
