"""Export an image encoder's checkpoint to ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from nanoseg.errors import BundleError, UsageError
from nanoseg.models.checkpoints.image_encoder import extract_image_encoder
from nanoseg.models.checkpoints.load import Checkpoint, load_checkpoint, load_weights
from nanoseg.models.export.to_onnx import export_onnx
from nanoseg.models.image_encoder import ENCODERS
from nanoseg.onnx_graphs.model.pictures import example_pictures
from nanoseg.processing.geometry import SAM_MEAN, SAM_STD
from nanoseg.utils.files import check_writable

DEFAULT_SIZE_PX = 1024
# Publisher's name of the network, for the metadata.
FAMILY = {"tiny_vit": "mobile_sam"}


def load_image_encoder(checkpoint: Checkpoint, size_px: int) -> nn.Module:
    """Return the network of a checkpoint of `extract_image_encoder`, for inputs of `size_px` a side.

    Raises:
        UsageError: The network cannot have that size.
        BundleError: The weights do not fit.
    """
    encoder = ENCODERS[str(checkpoint.variant)](image_size=size_px)
    own_px = checkpoint.image_size
    if "pos_embedding" in checkpoint.state_dict and own_px not in (None, size_px):
        raise BundleError(
            f"{checkpoint.path}: its position embedding is for {own_px} pixels a side, got --size {size_px}; "
            "leave out --size"
        )
    load_weights(encoder, checkpoint)
    return encoder


def export_image_encoder(
    checkpoint: Path, out: Path, *, variant: str | None = None, size_px: int | None = None
) -> Path:
    """Export an image encoder's checkpoint as a bundle's encoder.

    The input is `image` (1, 3, E, E) float32, normalised; the output `image_embeddings` (1, 256, E / 16, E / 16).
    ONNX Runtime's results equal torch's before the file is put in place; its metadata holds the origin of the weights.

    Args:
        checkpoint: NanoSAM's ResNet18 encoder, MobileSAM, or a checkpoint of `train_segmenter`.
        out: The ONNX file to write.
        variant: A key of `ENCODERS` that the weights must be of; None accepts all.
        size_px: Side E of the input; None takes the checkpoint's, else 1024.

    Returns:
        `out`.

    Raises:
        UsageError: An option is invalid, or `out` cannot be written.
        BundleError: The checkpoint holds no supported encoder, or the exported network differs from torch.
        DependencyError: A library of the export extra is not installed.
    """
    if variant is not None and variant not in ENCODERS:
        raise UsageError(f"--variant: wanted {' or '.join(ENCODERS)}, got {variant}")
    if checkpoint.suffix == ".pdparams":  # of the better NanoSAM encoders
        raise BundleError(
            f"{checkpoint}: Paddle's weights, which are not supported; give their ONNX file to nanoseg bundle make"
        )
    check_writable(out)
    whole = load_checkpoint(checkpoint)
    if whole.architecture not in (None, "nanosam"):
        raise BundleError(f"{checkpoint}: wanted a nanosam checkpoint, got one of {whole.architecture}")
    found = extract_image_encoder(whole)
    wanted = variant or whole.variant
    if wanted not in (None, found.variant):
        origin = "--variant" if variant else "its description"
        raise BundleError(
            f"{checkpoint}: {origin} says {wanted}, but its weights are those of {found.variant}; "
            f"give --variant {found.variant}"
        )
    side = size_px if size_px is not None else found.image_size or DEFAULT_SIZE_PX
    encoder = load_image_encoder(found, side)
    metadata = {"architecture": f"{FAMILY.get(str(found.variant), 'nanosam')}_{found.variant}", "weights": whole.origin}
    pictures = (example_pictures(side).transpose(0, 2, 3, 1) * 255 - SAM_MEAN) / SAM_STD
    inputs = [{"image": torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32))} for image in pictures]
    return export_onnx(encoder, inputs[0], out, ["image_embeddings"], inputs_to_check=inputs[1:], metadata=metadata)
