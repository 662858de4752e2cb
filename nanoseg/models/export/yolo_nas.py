"""Export a YOLO-NAS or YOLO-NAS-Pose checkpoint to ONNX."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch

from nanoseg.errors import UsageError
from nanoseg.models.checkpoints.layouts import PixelFormat
from nanoseg.models.checkpoints.load import load_checkpoint
from nanoseg.models.checkpoints.yolo_nas import holds_poses, load_yolo_nas
from nanoseg.models.checkpoints.yolo_nas_pose import POSE_PIXELS, load_yolo_nas_pose
from nanoseg.models.export.names import POSE_PADDING, class_names, describe_poses
from nanoseg.models.export.to_onnx import export_onnx
from nanoseg.models.yolo_nas import YoloNas, check_side
from nanoseg.models.yolo_nas_pose import YoloNasPose
from nanoseg.onnx_graphs.model.pictures import example_pictures
from nanoseg.processing.geometry import CENTRED
from nanoseg.utils.files import check_writable

DEFAULT_SIZE_PX = 640
PIXELS = {
    "rgb": PixelFormat(),
    "bgr": PixelFormat(True),
    "rgb255": PixelFormat(False, 255.0),
    "bgr255": PixelFormat(True, 255.0),
}


def export_yolo_nas(
    checkpoint: Path,
    out: Path,
    *,
    variant: str | None = None,
    size_px: int | None = None,
    labels: str | None = None,
    pixels: str | None = None,
    keypoints: str | None = None,
    print_note: Callable[[str], None] = lambda _: None,
) -> Path:
    """Export a YOLO-NAS checkpoint as a bundle's detector.

    The input is `images` (1, 3, S, S) float32, RGB in 0..1; outputs are `boxes` (1, A, 4), xyxy in pixels of the input,
    and `scores` (1, A, C); of YOLO-NAS-Pose, which the weights' names tell, also `keypoints` (1, A, J, 3): x, y in the
    same pixels, and confidence.

    Blocks are fused, and the pixel format of the training is folded into the first convolution. ONNX Runtime's results
    equal torch's before the file is put in place. Its metadata holds the origin of the weights and the class names,
    `pixels_told` where the pixel format is known, `rescale_px` where the checkpoint has it for this size, and `padding`
    where it is another than usual; of YOLO-NAS-Pose also names, sigmas and skeleton of the keypoints.

    Args:
        checkpoint: A file of super-gradients, modern-yolonas or `train_detector`.
        out: The ONNX file to write.
        variant: slim, n, s, m or l, that the weights must be of; None accepts all.
        size_px: Side S of the input; None takes the checkpoint's, else 640.
        labels: coco, a file with one name per line, or comma-separated names; None takes the checkpoint's.
        pixels: Pixel format of the training: rgb, bgr, rgb255 or bgr255; None takes the checkpoint's, else rgb, or bgr
            of YOLO-NAS-Pose.
        keypoints: coco, crowdpose, animalpose, or a TOML file with names, sigmas and skeleton; None takes the published
            set of as many keypoints.
        print_note: Called with a line about what had to be assumed.

    Returns:
        `out`.

    Raises:
        UsageError: An option does not fit the checkpoint, or `out` cannot be written.
        BundleError: The checkpoint holds no YOLO-NAS, or the exported network differs from torch.
        DependencyError: A library of the export extra is not installed.
    """
    check_writable(out)
    loaded = load_checkpoint(checkpoint)
    is_pose = holds_poses(loaded)
    if keypoints is not None and not is_pose:
        raise UsageError(f"--keypoints: wanted a checkpoint of YOLO-NAS-Pose, got a detector without: {checkpoint}")
    usual = POSE_PIXELS if is_pose else PixelFormat()
    trained_on = (loaded.pixels or usual) if pixels is None else PIXELS[pixels]
    side_px = size_px or loaded.image_size or DEFAULT_SIZE_PX
    check_side(side_px)
    metadata = {"weights": loaded.origin}
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
    padding = loaded.padding or (POSE_PADDING if is_pose else CENTRED)
    if padding != CENTRED:
        metadata["padding"] = str(padding)
    network: YoloNas | YoloNasPose
    if is_pose:
        network = load_yolo_nas_pose(loaded, variant, trained_on)
        metadata |= describe_poses(loaded, network.num_keypoints, keypoints, labels, print_note)
        metadata = {"rescale_px": str(side_px)} | metadata
    else:
        network = load_yolo_nas(loaded, variant, trained_on)
        if (names := class_names(loaded, labels, network.num_classes)) is not None:
            metadata["labels"] = json.dumps(names, ensure_ascii=False)
    metadata["architecture"] = f"yolo_nas_{'pose_' if is_pose else ''}{network.variant}"
    inputs = [{"images": torch.from_numpy(image[None])} for image in example_pictures(side_px)]
    return export_onnx(
        network.fused(),
        inputs[0],
        out,
        ["boxes", "scores", *(["keypoints"] if is_pose else [])],
        inputs_to_check=inputs[1:],
        metadata=metadata,
    )
