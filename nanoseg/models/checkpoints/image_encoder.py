"""Which image encoder a file holds: its publishers do not say, the names and shapes of the weights do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from nanoseg.errors import BundleError
from nanoseg.models.checkpoints.load import Checkpoint, some
from nanoseg.processing.geometry import CELL_PX

PREFIX = "image_encoder."
# What TinyViT classified ImageNet with; MobileSAM's file still has it.
CLASSIFIER = ("norm_head.", "head.")
# Width of SAM's image encoders, by the names of its files.
SAM_WIDTHS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}


def find_encoder(checkpoint: Checkpoint) -> Checkpoint:
    """The image encoder in a checkpoint: its weights alone, without prefix, and the variant that they are of.

    Takes a whole SAM (`image_encoder.` beside the decoder's keys) or a bare encoder. `image_size` is the one that
    the weights were made for where they depend on it, else what the file says.
    Raises BundleError that says what the file is and who takes it, where ENCODERS has no such network.
    """
    given = checkpoint.state_dict
    weights = {name.removeprefix(PREFIX): value for name, value in given.items() if name.startswith(PREFIX)} or given
    if "patch_embed.seq.0.c.weight" in weights:
        weights = {name: value for name, value in weights.items() if not name.startswith(CLASSIFIER)}
        return replace(checkpoint, state_dict=weights, variant="tiny_vit")
    if not _is_resnet18(weights):
        raise BundleError(f"{checkpoint.path}: {_refusal(weights)}")
    size, position = checkpoint.image_size, weights.get("pos_embedding")
    if position is not None and position.ndim == 4:
        size = position.shape[-1] * CELL_PX
    variant = "slim" if "lateral_8.weight" in weights else "resnet18"
    return replace(checkpoint, state_dict=weights, variant=variant, image_size=size)


def sam_vit_of(weights: Mapping[str, Tensor]) -> str | None:
    """Which of SAM's own image encoders a file holds: vit_b, vit_l, vit_h; None for another, or none."""
    patches = weights.get(f"{PREFIX}patch_embed.proj.weight", weights.get("patch_embed.proj.weight"))
    return None if patches is None else SAM_WIDTHS.get(next(iter(patches.shape), 0))


def _is_resnet18(weights: Mapping[str, Tensor]) -> bool:
    # ResNet34 has a third block in its first stage, ResNet50 a third convolution in every block.
    deeper = ("backbone.layer1.2.conv1.weight", "backbone.layer1.0.conv3.weight")
    return {"backbone.layer1.0.conv1.weight", "up_1.0.weight"} <= set(weights) and not set(deeper) & set(weights)


def _refusal(weights: Mapping[str, Tensor]) -> str:
    """What it is instead of an encoder that is built here, and what to do with it."""
    if "patch_embed.proj.weight" in weights:
        name = sam_vit_of(weights) or f"a ViT of width {next(iter(weights['patch_embed.proj.weight'].shape), 0)}"
        # NanoSAM and MobileSAM learned the embeddings of vit_h: another decoder cannot read them.
        decoder = "this file's decoder" if name == "vit_h" else "the decoder of mobile_sam.pt or of SAM's vit_h"
        return (
            f"the image encoder of SAM ({name}), which is not exported here; "
            f"take NanoSAM's or MobileSAM's (mobile_sam.pt) with {decoder}"
        )
    if all(name.startswith(("prompt_encoder.", "mask_decoder.")) for name in weights):
        return "SAM's decoder without an image encoder; tools/export_mask_decoder.py takes it"
    if any(name.startswith("heads.") for name in weights):
        return "a detector, no image encoder; tools/export_yolo_nas.py takes YOLO-NAS"
    return (
        f"no image encoder of NanoSAM's ResNet18 or MobileSAM ({some(weights)}); "
        "one of another backbone goes straight into tools/make_bundle.py as ONNX, which its authors publish or export"
    )
