"""Build the YOLO-NAS that a checkpoint holds; its variant and form are read from names and shapes of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from nanoseg.errors import BundleError
from nanoseg.models.checkpoints.layouts import PixelFormat
from nanoseg.models.checkpoints.load import Checkpoint, load_weights
from nanoseg.models.repvgg import QARepVGG
from nanoseg.models.yolo_nas import VARIANTS, Variant, YoloNas
from nanoseg.models.yolo_nas_pose import YoloNasPose
from nanoseg.utils.names import first_names

Widths = Mapping[str, tuple[int, int]]  # (out, in) channels of the convolutions that tell variants apart, by name
_CLASS_LOGITS = tuple(f"heads.head{i}.cls_pred.{leaf}" for i in (1, 2, 3) for leaf in ("bias", "weight"))
_FALLBACK_CLASSES = 80  # where the file has no class predictions, which load_weights then reports


def load_yolo_nas(checkpoint: Checkpoint, variant: str | None = None, pixels: PixelFormat | None = None) -> YoloNas:
    """Return the network with the checkpoint's weights, in eval mode; its input is RGB in 0..1.

    Blocks that are merged in the file are merged in the network, too: the same function, which cannot be trained.

    Args:
        checkpoint: The weights.
        variant: A key of `VARIANTS` that the file must be of; None accepts all.
        pixels: Pixel format of the training; None takes the file's, else RGB in 0..1.

    Raises:
        BundleError: The file holds another network, or only a part of this one.
    """
    path, given = checkpoint.path, checkpoint.state_dict
    if checkpoint.architecture not in (None, "yolo_nas"):
        raise BundleError(f"{path}: wanted a yolo_nas checkpoint, got one of {checkpoint.architecture}")
    if holds_poses(checkpoint):
        raise BundleError(f"{path}: holds YOLO-NAS-Pose, which detects keypoints; wanted the detector YOLO-NAS")
    found = find_variant(checkpoint, _WIDTHS, "YOLO-NAS", variant)
    classes = next(
        (len(given[name]) for name in _CLASS_LOGITS if name in given and given[name].ndim), _FALLBACK_CLASSES
    )
    network = YoloNas(found, classes).eval()
    fill_network(network, checkpoint, f"YOLO-NAS {variant_name(found)}", pixels or checkpoint.pixels or PixelFormat())
    return network


def holds_poses(checkpoint: Checkpoint) -> bool:
    """Return whether a checkpoint holds YOLO-NAS-Pose."""
    return any(".pose_pred." in name for name in checkpoint.state_dict)


def variant_name(variant: str) -> str:
    """Return the name of a variant for messages: S, M, L, slim."""
    return variant.upper() if len(variant) == 1 else variant


def find_variant(checkpoint: Checkpoint, widths: Mapping[str, Widths], family: str, wanted: str | None) -> str:
    """Return the variant whose channel counts agree with all shapes that tell variants apart.

    Args:
        checkpoint: The weights.
        widths: Of each variant.
        family: What messages call the network.
        wanted: The variant that it must be; None accepts all.

    Raises:
        BundleError: It is none of them, another one than `wanted`, or another one than the file says.
    """
    path, given, some = checkpoint.path, checkpoint.state_dict, next(iter(widths.values()))
    shapes = {name: tuple(given[name].shape[:2]) for name in some if name in given}
    if not shapes:
        raise BundleError(f"{path}: holds no {family}: wanted {first_names(some)}; got {first_names(given)}")
    wrong = {variant: [name for name in shapes if shapes[name] != table[name]] for variant, table in widths.items()}
    found = min(wrong, key=lambda variant: len(wrong[variant]))
    if wrong[found]:
        differ = first_names(f"{name} {shapes[name]}" for name in wrong[found])
        known = ", ".join(variant_name(variant) for variant in widths)
        raise BundleError(f"{path}: holds a {family} that is none of {known}: {differ}")
    if wanted not in (None, found):
        raise BundleError(f"{path}: holds {family} {variant_name(found)}, --variant {wanted} was given")
    said = checkpoint.variant
    if said is not None and said in widths and said != found:
        raise BundleError(f"{path}: holds {family} {variant_name(found)}, but says that it is {variant_name(said)}")
    return found


def trunk_widths(table: Variant) -> Widths:
    """Return the channels of the backbone's and the neck's convolutions that have one name in every form."""
    layers = [(f"backbone.stage{i}", row) for i, row in enumerate(table.stages, 1)]
    layers += [(f"neck.neck{i}", row) for i, row in enumerate(table.necks, 1)]
    return {
        f"{path}.blocks.conv3.conv.weight": (row.channels, row.hidden * (2 + row.bottlenecks * row.concat))
        for path, row in layers
    }


def _widths(table: Variant) -> Widths:
    rows = enumerate(zip(table.heads, table.necks[1:], strict=True), 1)
    stems = {f"heads.head{i}.stem.seq.conv.weight": (channels, row.channels) for i, (channels, row) in rows}
    return dict(trunk_widths(table)) | stems


_WIDTHS = {variant: _widths(table) for variant, table in VARIANTS.items()}


def fill_network(network: YoloNas | YoloNasPose, checkpoint: Checkpoint, kind: str, pixels: PixelFormat) -> None:
    """Load the weights into the network, whose input becomes RGB in 0..1.

    Args:
        network: The network.
        checkpoint: Its weights.
        kind: What messages call it.
        pixels: Pixel format of the training.

    Raises:
        BundleError: They are not this network's.
    """
    _set_forms(network, checkpoint.state_dict)
    load_weights(network, checkpoint, kind=kind)
    _fold_pixels(network, pixels, checkpoint.path)


def _set_forms(network: nn.Module, given: Mapping[str, Tensor]) -> None:
    """Set each block to the form that it has in the file."""
    unmerged = {name.partition(".branch_")[0] for name in given if ".branch_" in name}
    for path, block in network.named_modules():
        if isinstance(block, QARepVGG) and path not in unmerged and f"{path}.rbr_reparam.weight" in given:
            block.set_form("merged" if f"{path}.post_bn.weight" in given else "single")


@torch.no_grad()
def _fold_pixels(network: YoloNas | YoloNasPose, pixels: PixelFormat, path: Path) -> None:
    """Fold channel order and range into the first convolutions; exact, as the zero padding stays zero."""
    if pixels.shifted:
        raise BundleError(
            f"{path}: was trained on {pixels}; only channel order and range can be folded into the network"
        )
    for weight in network.backbone.stem.parameters():
        if weight.ndim == 4:
            weight.copy_((weight.flip(1) if pixels.bgr else weight) * pixels.white)
