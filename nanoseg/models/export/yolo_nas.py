"""Export a YOLO-NAS checkpoint to ONNX."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch

from nanoseg.bundle.labels import read_labels
from nanoseg.errors import UsageError
from nanoseg.models.checkpoints.layouts import PixelFormat
from nanoseg.models.checkpoints.load import Checkpoint, load_checkpoint
from nanoseg.models.checkpoints.yolo_nas import load_yolo_nas
from nanoseg.models.export.to_onnx import export_onnx
from nanoseg.models.yolo_nas import check_side
from nanoseg.onnx_graphs.model.pictures import example_pictures
from nanoseg.utils.files import check_writable

DEFAULT_SIZE_PX = 640
PIXELS = {
    "rgb": PixelFormat(),
    "bgr": PixelFormat(True),
    "rgb255": PixelFormat(False, 255.0),
    "bgr255": PixelFormat(True, 255.0),
}


def class_names(checkpoint: Checkpoint, labels: str | None, num_classes: int) -> tuple[str, ...] | None:
    """Return the class names of `labels` (see `read_labels`), else the checkpoint's.

    Raises:
        UsageError: Their number is not `num_classes`.
    """
    names = checkpoint.labels if labels is None else read_labels(labels)
    if names is not None and len(names) != num_classes:
        message = f"--labels: wanted {num_classes} names, one per class of {checkpoint.path}, got {len(names)}"
        if labels is None:
            message = f"{checkpoint.path}: names {len(names)} classes, but has {num_classes}; give --labels"
        raise UsageError(message)
    return names


def export_yolo_nas(
    checkpoint: Path,
    out: Path,
    *,
    variant: str | None = None,
    size_px: int | None = None,
    labels: str | None = None,
    pixels: str | None = None,
    print_note: Callable[[str], None] = lambda _: None,
) -> Path:
    """Export a YOLO-NAS checkpoint as a bundle's detector.

    The input is `images` (1, 3, S, S) float32, RGB in 0..1; outputs are `boxes` (1, A, 4), xyxy in pixels of the input,
    and `scores` (1, A, C).

    Blocks are fused, and the pixel format of the training is folded into the first convolution. ONNX Runtime's results
    equal torch's before the file is put in place. Its metadata holds the origin of the weights and the class names,
    `pixels_told` where the pixel format is known, and `rescale_px` where the checkpoint has it for this size.

    Args:
        checkpoint: A file of super-gradients, modern-yolonas or `train_detector`.
        out: The ONNX file to write.
        variant: slim, s, m or l, that the weights must be of; None accepts all.
        size_px: Side S of the input; None takes the checkpoint's, else 640.
        labels: coco, a file with one name per line, or comma-separated names; None takes the checkpoint's.
        pixels: Pixel format of the training: rgb, bgr, rgb255 or bgr255; None takes the checkpoint's, else rgb.
        print_note: Called with a line about the pixel format that had to be assumed.

    Returns:
        `out`.

    Raises:
        UsageError: An option does not fit the checkpoint, or `out` cannot be written.
        BundleError: The checkpoint holds no YOLO-NAS, or the exported network differs from torch.
        DependencyError: A library of the export extra is not installed.
    """
    check_writable(out)
    loaded = load_checkpoint(checkpoint)
    trained_on = (loaded.pixels or PixelFormat()) if pixels is None else PIXELS[pixels]
    network = load_yolo_nas(loaded, variant, trained_on)
    names = class_names(loaded, labels, network.num_classes)
    side_px = size_px or loaded.image_size or DEFAULT_SIZE_PX
    check_side(side_px)
    metadata = {"architecture": f"yolo_nas_{network.variant}", "weights": loaded.origin}
    if pixels is not None or loaded.pixels is not None:
        metadata["pixels_told"] = "yes"
    else:
        print_note(
            f"{checkpoint}: does not record the pixel format of its training; assuming {trained_on}. Give --pixels "
            "if that is wrong: super-gradients mostly trains on bgr255 with custom data sets"
        )
    if loaded.rescale_px is not None and side_px == loaded.image_size:
        metadata["rescale_px"] = str(loaded.rescale_px)
    if trained_on != PixelFormat():
        metadata["trained_on"] = f"{trained_on}, folded into the first convolution"
    if names is not None:
        metadata["labels"] = json.dumps(names, ensure_ascii=False)
    inputs = [{"images": torch.from_numpy(image[None])} for image in example_pictures(side_px)]
    return export_onnx(
        network.fused(),
        inputs[0],
        out,
        ["boxes", "scores"],
        inputs_to_check=inputs[1:],
        metadata=metadata,
    )
