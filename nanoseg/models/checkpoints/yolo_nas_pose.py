"""Build the YOLO-NAS-Pose that a checkpoint holds; variant and number of keypoints are read from shapes."""

from __future__ import annotations

from nanoseg.errors import BundleError
from nanoseg.models.checkpoints.layouts import PixelFormat
from nanoseg.models.checkpoints.load import Checkpoint
from nanoseg.models.checkpoints.yolo_nas import Widths, fill_network, find_variant, trunk_widths, variant_name
from nanoseg.models.yolo_nas_pose import POSE_VARIANTS, PoseVariant, YoloNasPose

POSE_PIXELS = PixelFormat(bgr=True)  # of super-gradients' published weights and recipes
_COORDINATES = tuple(f"heads.head{i}.pose_pred.{leaf}" for i in (1, 2, 3) for leaf in ("bias", "weight"))


def load_yolo_nas_pose(
    checkpoint: Checkpoint, variant: str | None = None, pixels: PixelFormat | None = None
) -> YoloNasPose:
    """Return the network with the checkpoint's weights, in eval mode; its input is RGB in 0..1.

    Blocks that are merged in the file are merged in the network, too: the same function, which cannot be trained.

    Args:
        checkpoint: The weights.
        variant: A key of `POSE_VARIANTS` that the file must be of; None accepts all.
        pixels: Pixel format of the training; None takes the file's, else BGR in 0..1.

    Raises:
        BundleError: The file holds another network, or only a part of this one.
    """
    given = checkpoint.state_dict
    if checkpoint.architecture not in (None, "yolo_nas_pose"):
        raise BundleError(f"{checkpoint.path}: wanted a yolo_nas_pose checkpoint, got one of {checkpoint.architecture}")
    found = find_variant(checkpoint, _WIDTHS, "YOLO-NAS-Pose", variant)
    # A file without them, or with an odd number, is reported by what loads the weights.
    numbers = (len(given[name]) // 2 for name in _COORDINATES if name in given and given[name].ndim)
    network = YoloNasPose(found, max(1, next(numbers, 1))).eval()
    fill_network(
        network, checkpoint, f"YOLO-NAS-Pose {variant_name(found)}", pixels or checkpoint.pixels or POSE_PIXELS
    )
    return network


def _widths(table: PoseVariant) -> Widths:
    rows = enumerate(zip(table.trunk.heads, table.poses, table.trunk.necks[1:], strict=True), 1)
    stems = {
        f"heads.head{i}.{name}.seq.conv.weight": (width, neck.channels)
        for i, (boxes, poses, neck) in rows
        for name, width in (("bbox_stem", boxes), ("pose_stem", poses))
    }
    return dict(trunk_widths(table.trunk)) | stems


_WIDTHS = {variant: _widths(table) for variant, table in POSE_VARIANTS.items()}
