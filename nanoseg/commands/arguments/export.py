"""`nanoseg export`: checkpoints to the networks of a bundle, and an engine to a torch2trt module."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from nanoseg.commands import options
from nanoseg.commands.options import examples
from nanoseg.errors import needs
from nanoseg.utils.terminal import print_error, print_line

ENGINE_TENSORS = "Names of the engine's {}, separated by commas; by default those of X.engine.json."


class DetectorVariant(str, Enum):
    """Variants of YOLO-NAS and YOLO-NAS-Pose; n is of the latter alone."""

    slim = "slim"
    n = "n"
    s = "s"
    m = "m"
    l = "l"  # noqa: E741 - the variant's published name


class EncoderVariant(str, Enum):
    """Variants of the image encoder."""

    resnet18 = "resnet18"
    slim = "slim"
    tiny_vit = "tiny_vit"


class PixelFormatName(str, Enum):
    """Channel order and range of the pixels that a detector was trained on."""

    rgb = "rgb"
    bgr = "bgr"
    rgb255 = "rgb255"
    bgr255 = "bgr255"


@examples(
    "nanoseg export yolo-nas --checkpoint runs/detector/checkpoint.pt --out detector.onnx",
    "nanoseg export yolo-nas --checkpoint yolo-nas-s.safetensors --labels coco --size 640 --out detector.onnx",
    "nanoseg export yolo-nas --checkpoint yolo_nas_pose_n_coco_pose.pth --keypoints coco --out pose.onnx",
)
def yolo_nas(
    *,
    checkpoint: options.Checkpoint,
    out: options.OutOnnx,
    variant: Annotated[
        DetectorVariant | None, typer.Option(help="Variant that the weights must have; by default any.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(metavar="PX", help="Side of the input; by default the checkpoint's, else 640.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="coco, a file with one name a line, or names separated by commas; by default the checkpoint's."
        ),
    ] = None,
    pixels: Annotated[
        PixelFormatName | None,
        typer.Option(help="Pixel format of the training; by default the checkpoint's, else rgb, of poses bgr."),
    ] = None,
    keypoints: options.Keypoints = None,
    debug: options.Debug = False,
) -> None:
    """Export a YOLO-NAS checkpoint as the detector of a bundle: images (1, 3, S, S) -> boxes, scores.

    Takes what super-gradients, modern-yolonas and nanoseg train detector save: .pt, .pth, .ckpt or .safetensors, as
    trained or with its blocks merged. Variant and number of classes are read from the shapes of the weights; class
    names, size and the pixels it was trained on from the file, where it has them. A network that was trained on BGR,
    or on 0..255, as super-gradients does for custom data sets, is changed to take RGB in 0..1. Of several weights in a
    file the averaged ones are taken, ema_net before net, as super-gradients' own models.get does; the ONNX file's
    metadata says which. Branches, BatchNorms and alphas are folded. The file is put in place once ONNX Runtime computes
    the same as torch.

    Weights of YOLO-NAS-Pose become a detector that gives keypoints (1, A, J, 3), too: x, y and confidence. Its frames
    are padded at the right and below, as super-gradients does, which the file's metadata says.
    """
    with needs("torch", "export"):
        from nanoseg.models.export.yolo_nas import export_yolo_nas
    chosen = {
        "variant": variant and variant.value,
        "labels": labels,
        "pixels": pixels and pixels.value,
        "keypoints": keypoints,
    }
    print_line(str(export_yolo_nas(checkpoint, out, size_px=size, print_note=print_error, **chosen)))


@examples(
    "nanoseg export image-encoder --checkpoint mobile_sam.pt --out encoder.onnx",
    "nanoseg export image-encoder --checkpoint nanosam/checkpoint.pth --out encoder.onnx",
    "nanoseg export image-encoder --checkpoint runs/segmenter/checkpoint.pt --out encoder.onnx",
)
def image_encoder(
    *,
    checkpoint: options.Checkpoint,
    out: options.OutOnnx,
    variant: Annotated[
        EncoderVariant | None, typer.Option(help="Variant that the weights must have; by default any.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(metavar="PX", help="Side of the input; by default the checkpoint's, else 1024.")
    ] = None,
    debug: options.Debug = False,
) -> None:
    """Export an image encoder's checkpoint as the encoder of a bundle: image (1, 3, E, E) -> image_embeddings.

    Takes MobileSAM's file, whole or its image encoder alone, the checkpoints of NanoSAM's trainer for ResNet18, and
    those of nanoseg train segmenter; the weights tell them apart. BatchNorms are folded. The file is put in place once
    ONNX Runtime computes the same as torch.
    """
    with needs("torch", "export"):
        from nanoseg.models.export.image_encoder import export_image_encoder
    print_line(str(export_image_encoder(checkpoint, out, variant=variant and variant.value, size_px=size)))


@examples(
    "nanoseg export mask-decoder --checkpoint runs/segmenter/checkpoint.pt --out decoder.onnx",
    "nanoseg export mask-decoder --checkpoint mobile_sam.pt --out decoder.onnx --mask-out decoder_mask.onnx",
)
def mask_decoder(
    *,
    checkpoint: options.Checkpoint,
    out: options.OutOnnx,
    mask_out: Annotated[
        Path | None, typer.Option(metavar="FILE.onnx", help="Second ONNX file to write, which also takes mask prompts.")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(metavar="PX", help="Side of the encoder's input; by default the checkpoint's, else 1024."),
    ] = None,
    debug: options.Debug = False,
) -> None:
    """Export SAM's prompt encoder and mask decoder as the decoder of a bundle: N prompts on one embedding in one call.

    image_embeddings (1, 256, g, g), point_coords (N, P, 2) and point_labels (N, P) -> low_res_masks (N, 4, 4g, 4g) and
    iou_predictions (N, 4), g = size / 16, N and P dynamic. The file of --mask-out also takes an earlier mask of each
    prompt, mask_input (N, 1, 4g, 4g), where has_mask_input (N) is 1. The checkpoint may be a whole SAM, MobileSAM or
    nanosam: its image encoder is ignored. A file is put in place once ONNX Runtime computes the same as torch for
    several N, P, labels and masks.
    """
    with needs("torch", "export"):
        from nanoseg.models.export.mask_decoder import export_mask_decoder
    print_line(str(export_mask_decoder(checkpoint, out, mask_out=mask_out, size_px=size, print_note=print_error)))
    if mask_out is not None:
        print_line(str(mask_out))


@examples(
    "nanoseg export torch2trt encoder.engine --out encoder_trt.pth",
    "nanoseg export torch2trt encoder.engine --inputs image --outputs image_embeddings --out encoder_trt.pth",
)
def torch2trt(
    engine: Annotated[Path, typer.Argument(metavar="X.engine", help="Serialized TensorRT engine.")],
    *,
    out: Annotated[Path, typer.Option(metavar="MODEL.pth", help="File to write.")],
    inputs: Annotated[str, typer.Option(metavar="A,B", help=ENGINE_TENSORS.format("inputs"))] = "",
    outputs: Annotated[str, typer.Option(metavar="A,B", help=ENGINE_TENSORS.format("outputs"))] = "",
    debug: options.Debug = False,
) -> None:
    """Write a TensorRT engine as the state_dict of a torch2trt TRTModule, for code that loads those.

    To load it: module = TRTModule(); module.load_state_dict(torch.load("encoder_trt.pth")). The names come from
    X.engine.json where nanoseg import torch2trt wrote one, else from --inputs and --outputs, in the order of the
    module's arguments and results.
    """
    from nanoseg.models.torch2trt.export_engine import export_engine

    named = [[name.strip() for name in text.split(",") if name.strip()] for text in (inputs, outputs)]
    print_line(str(export_engine(engine, out, *named)))
