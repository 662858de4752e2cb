"""Which YOLO-NAS a file holds, and the network with its weights: the files do not say, names and shapes do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from nanoseg.errors import BundleError
from nanoseg.models.checkpoints.layouts import Pixels
from nanoseg.models.checkpoints.load import Checkpoint, load_weights, some
from nanoseg.models.repvgg import QARepVGG
from nanoseg.models.yolo_nas import VARIANTS, Variant, YoloNas

_CLASS_LOGITS = tuple(f"heads.head{i}.cls_pred.{leaf}" for i in (1, 2, 3) for leaf in ("bias", "weight"))
_ANY_COUNT = 80  # of classes, where the file has no class predictions at all and is refused for that


def network_of(checkpoint: Checkpoint, variant: str | None = None, pixels: Pixels | None = None) -> YoloNas:
    """The network with the checkpoint's weights, in eval mode; it takes RGB in 0..1 whatever it was trained on.

    `variant` and `pixels` are what is known beside the file. A checkpoint whose blocks are merged, all or some, gives
    a network in that form: the same function, not to be trained. Raises BundleError where the file holds another
    network, or not all of this one.
    """
    path, given = checkpoint.path, checkpoint.state_dict
    if checkpoint.architecture not in (None, "yolo_nas"):
        raise BundleError(f"{path}: wanted a yolo_nas checkpoint, got one of {checkpoint.architecture}")
    if any(".pose_pred." in name for name in given):
        raise BundleError(f"{path}: holds YOLO-NAS-Pose, which finds people's joints; wanted the detector YOLO-NAS")
    found = _variant_in(checkpoint)
    if variant not in (None, found):
        raise BundleError(f"{path}: holds YOLO-NAS {named(found)}, --variant {variant} was given")
    if checkpoint.variant in VARIANTS and checkpoint.variant != found:
        raise BundleError(f"{path}: holds YOLO-NAS {named(found)}, but says that it is {named(checkpoint.variant)}")
    classes = next((len(given[name]) for name in _CLASS_LOGITS if name in given and given[name].ndim), _ANY_COUNT)
    network = YoloNas(found, classes).eval()
    _take_forms(network, given)
    load_weights(network, checkpoint, kind=f"YOLO-NAS {named(found)}")
    _take_pixels(network, pixels or checkpoint.pixels or Pixels(), path)
    return network


def named(variant: str) -> str:
    """A variant as people write it: S, M, L, slim."""
    return variant.upper() if len(variant) == 1 else variant


def _variant_in(checkpoint: Checkpoint) -> str:
    """The variant whose widths agree with every shape that tells them."""
    given = checkpoint.state_dict
    shapes = {name: tuple(given[name].shape[:2]) for name in _WIDTHS["s"] if name in given}
    if not shapes:
        wanted, got = some(_WIDTHS["s"]), some(given)
        raise BundleError(f"{checkpoint.path}: holds no YOLO-NAS: wanted {wanted}; got {got}")
    wrong = {variant: [name for name in shapes if shapes[name] != widths[name]] for variant, widths in _WIDTHS.items()}
    found = min(wrong, key=lambda variant: len(wrong[variant]))
    if wrong[found]:
        differ = some(f"{name} {shapes[name]}" for name in wrong[found])
        known = ", ".join(named(variant) for variant in VARIANTS)
        raise BundleError(f"{checkpoint.path}: holds a YOLO-NAS that is none of {known}: {differ}")
    return found


def _widths(table: Variant) -> dict[str, tuple[int, int]]:
    """(out channels, in channels) of convolutions that no form of a file renames, and that tell variants apart."""
    layers = [(f"backbone.stage{i}", row) for i, row in enumerate(table.stages, 1)]
    layers += [(f"neck.neck{i}", row) for i, row in enumerate(table.necks, 1)]
    widths = {
        f"{path}.blocks.conv3.conv.weight": (row.channels, row.hidden * (2 + row.bottlenecks * row.concat))
        for path, row in layers
    }
    for i, (channels, row) in enumerate(zip(table.heads, table.necks[1:], strict=True), 1):
        widths[f"heads.head{i}.stem.seq.conv.weight"] = (channels, row.channels)
    return widths


_WIDTHS = {variant: _widths(table) for variant, table in VARIANTS.items()}


def _take_forms(network: YoloNas, given: Mapping[str, Tensor]) -> None:
    """Put each block into the form that the file has it in."""
    unmerged = {name.partition(".branch_")[0] for name in given if ".branch_" in name}
    for path, block in network.named_modules():
        if isinstance(block, QARepVGG) and path not in unmerged and f"{path}.rbr_reparam.weight" in given:
            block.take_form("merged" if f"{path}.post_bn.weight" in given else "single")


@torch.no_grad()
def _take_pixels(network: YoloNas, pixels: Pixels, path: Path) -> None:
    """Fold what training did to colours into the first convolutions: exact, as zeros of the padding stay zeros."""
    if pixels.shifted:
        raise BundleError(f"{path}: was trained on {pixels}; of that only order and range can be folded in")
    for weight in network.backbone.stem.parameters():
        if weight.ndim == 4:
            weight.copy_((weight.flip(1) if pixels.bgr else weight) * pixels.white)
