"""What export_yolo_nas.py does: a YOLO-NAS checkpoint to a checked ONNX file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch

from nanoseg.bundle.labels import read_labels
from nanoseg.errors import UsageError
from nanoseg.models.checkpoints.layouts import Pixels
from nanoseg.models.checkpoints.load import Checkpoint, load_checkpoint
from nanoseg.models.checkpoints.yolo_nas import network_of
from nanoseg.models.export.to_onnx import export_onnx
from nanoseg.models.yolo_nas import check_side
from nanoseg.utils.files import check_writable

DEFAULT_SIZE_PX = 640
PIXELS = {"rgb": Pixels(), "bgr": Pixels(True), "rgb255": Pixels(False, 255.0), "bgr255": Pixels(True, 255.0)}
# Float32 reorders sums: a hundredth of a pixel at 640 is far below what moves a box's IoU.
ATOL = {"boxes": 1e-2, "scores": 1e-4}


def labels_of(checkpoint: Checkpoint, given: str | None, num_classes: int) -> tuple[str, ...] | None:
    """Class names from the flag (see `read_labels`), else from the checkpoint; one a class."""
    labels = checkpoint.labels if given is None else read_labels(given)
    if labels is not None and len(labels) != num_classes:
        where = f"--labels: wanted {num_classes} names, one a class of {checkpoint.path}, got {len(labels)}"
        if given is None:
            where = f"{checkpoint.path}: names {len(labels)} classes, but has {num_classes}; give --labels"
        raise UsageError(where)
    return labels


def export_checkpoint(
    checkpoint: Path,
    out: Path,
    *,
    variant: str | None = None,
    size_px: int | None = None,
    labels: str | None = None,
    pixels: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Checkpoint to checked ONNX file at `out`, with its origin and class names in the file's metadata.

    The keywords are the flags of this tool; `say` is told what had to be guessed. The metadata has `pixels_told` where
    nothing had to, and `rescale_px` where the checkpoint tells it of this size. Raises UsageError for what does not fit
    the checkpoint and where `out` cannot be written, BundleError for a checkpoint that is no YOLO-NAS.
    """
    check_writable(out)
    read = load_checkpoint(checkpoint)
    trained_on = (read.pixels or Pixels()) if pixels is None else PIXELS[pixels]
    network = network_of(read, variant, trained_on)
    names = labels_of(read, labels, network.num_classes)
    side_px = size_px or read.image_size or DEFAULT_SIZE_PX
    check_side(side_px)
    metadata = {"architecture": f"yolo_nas_{network.variant}", "weights": read.origin}
    if pixels is not None or read.pixels is not None:
        metadata["pixels_told"] = "yes"
    else:
        say(
            f"{checkpoint}: does not tell what pixels it was trained on, taken for {trained_on}; --pixels tells "
            "otherwise: super-gradients trains with bgr255 on a data set of one's own, mostly"
        )
    if read.rescale_px is not None and side_px == read.image_size:
        metadata["rescale_px"] = str(read.rescale_px)
    if trained_on != Pixels():
        metadata["trained_on"] = f"{trained_on}, folded into the first convolution"
    if names is not None:
        metadata["labels"] = json.dumps(names, ensure_ascii=False)
    random = torch.Generator().manual_seed(0)
    feeds = [{"images": torch.rand(1, 3, side_px, side_px, generator=random)} for _ in range(2)]
    outputs = ["boxes", "scores"]
    return export_onnx(network.fused(), feeds[0], out, outputs, atol=ATOL, feeds_to_check=feeds[1:], metadata=metadata)
