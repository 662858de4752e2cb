"""Find the image encoder in a checkpoint, by the names and shapes of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from nanoseg.errors import BundleError
from nanoseg.models.checkpoints.load import Checkpoint
from nanoseg.processing.geometry import CELL_PX
from nanoseg.utils.names import first_names

PREFIX = "image_encoder."
# TinyViT's ImageNet classifier, which MobileSAM's file still holds.
CLASSIFIER = ("norm_head.", "head.")
# Width -> name of SAM's own image encoders.
SAM_WIDTHS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}


def extract_image_encoder(checkpoint: Checkpoint) -> Checkpoint:
    """Return the image encoder's part of a checkpoint, with its variant, a key of `ENCODERS`.

    Args:
        checkpoint: A whole SAM (`image_encoder.` beside the decoder's keys) or a bare encoder.

    Returns:
        The encoder's weights without prefix. `image_size` is that of the position embedding, if there is one, else
        the file's.

    Raises:
        BundleError: `ENCODERS` has no such network; the message names its content and the verb that takes it.
    """
    state_dict = checkpoint.state_dict
    weights = {name.removeprefix(PREFIX): value for name, value in state_dict.items() if name.startswith(PREFIX)}
    weights = weights or state_dict
    if "patch_embed.seq.0.c.weight" in weights:
        weights = {name: value for name, value in weights.items() if not name.startswith(CLASSIFIER)}
        return replace(checkpoint, state_dict=weights, variant="tiny_vit")
    if not _is_resnet18(weights):
        raise BundleError(f"{checkpoint.path}: {_describe_other(weights)}")
    size, position = checkpoint.image_size, weights.get("pos_embedding")
    if position is not None and position.ndim == 4:
        size = position.shape[-1] * CELL_PX
    variant = "slim" if "lateral_8.weight" in weights else "resnet18"
    return replace(checkpoint, state_dict=weights, variant=variant, image_size=size)


def sam_encoder_name(weights: Mapping[str, Tensor]) -> str | None:
    """Return the name of SAM's own image encoder in a file: vit_b, vit_l, vit_h, or None."""
    patches = weights.get(f"{PREFIX}patch_embed.proj.weight", weights.get("patch_embed.proj.weight"))
    return None if patches is None else SAM_WIDTHS.get(next(iter(patches.shape), 0))


def _is_resnet18(weights: Mapping[str, Tensor]) -> bool:
    # ResNet34 has a third block in its first stage, ResNet50 a third convolution in every block.
    deeper = ("backbone.layer1.2.conv1.weight", "backbone.layer1.0.conv3.weight")
    return {"backbone.layer1.0.conv1.weight", "up_1.0.weight"} <= set(weights) and not set(deeper) & set(weights)


def _describe_other(weights: Mapping[str, Tensor]) -> str:
    """Return a description of unsupported weights, and what to do with them."""
    if "patch_embed.proj.weight" in weights:
        name = sam_encoder_name(weights) or f"a ViT of width {next(iter(weights['patch_embed.proj.weight'].shape), 0)}"
        # NanoSAM and MobileSAM learned the embeddings of vit_h: another decoder cannot read them.
        decoder = "this file's decoder" if name == "vit_h" else "the decoder of mobile_sam.pt or of SAM's vit_h"
        return (
            f"the image encoder of SAM ({name}), which is not supported; "
            f"take NanoSAM's or MobileSAM's (mobile_sam.pt) with {decoder}"
        )
    if all(name.startswith(("prompt_encoder.", "mask_decoder.")) for name in weights):
        return "SAM's decoder without an image encoder; nanoseg export mask-decoder takes it"
    if any(name.startswith("heads.") for name in weights):
        return "a detector, no image encoder; nanoseg export yolo-nas takes YOLO-NAS"
    return (
        f"no image encoder of NanoSAM's ResNet18 or MobileSAM ({first_names(weights)}); "
        "give the ONNX file of another backbone to nanoseg bundle make directly"
    )
