"""`nanoseg bundle get`, `nanoseg bundle make` and `nanoseg bundle measure`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from nanoseg.commands import options
from nanoseg.commands.arguments.export import DetectorVariant, EncoderVariant, PixelFormatName
from nanoseg.commands.options import NOTHING_WRITTEN, examples, on_interrupt


class MaskChoice(str, Enum):
    """Masks that a bundle computes for each prompt."""

    best = "best"
    all = "all"


class DetectorSizeName(str, Enum):
    """Sizes of YOLO-NAS."""

    s = "s"
    m = "m"
    l = "l"  # noqa: E741


class EncoderName(str, Enum):
    """Image encoders that are published."""

    mobile_sam = "mobile-sam"
    nanosam = "nanosam"


@examples(
    "nanoseg bundle get coco --accept-licence",
    "nanoseg bundle get coco --size m --encoder nanosam --accept-licence",
    "nanoseg run photo.jpg --bundle coco --out annotated",
)
def get(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The bundle: coco.")],
    size: Annotated[DetectorSizeName | None, typer.Option(help="Size of YOLO-NAS; s unless one is there.")] = None,
    encoder: Annotated[
        EncoderName | None, typer.Option(help="Image encoder: MobileSAM's, or NanoSAM's, which is faster.")
    ] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the terms of YOLO-NAS's weights, which are not free.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The bundle's folder; by default it is opened by its name from anywhere."),
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Make it anew, even where it is there.")] = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Fetch published weights and make a bundle of them that knows everyday objects; torch is not needed.

    coco: YOLO-NAS for COCO's 80 classes, an image encoder and MobileSAM's mask decoder. The terms of YOLO-NAS's weights
    allow no commercial use, none in production and no passing on; --accept-licence says that you accept them. Files are
    fetched from their publishers, else from mirrors, and verified; an interrupted download continues. The bundle is
    installed in $NANOSEG_BUNDLES, else in nanoseg/bundles of the user's data folder, and a picture is run.
    """
    with on_interrupt("interrupted; run again to continue"):
        from nanoseg.commands.bundle.get import GetOptions
        from nanoseg.commands.bundle.get import get as get_and_print

        get_and_print(
            GetOptions(
                name=name,
                size=size and size.value,
                encoder=encoder and encoder.value,
                accept_licence=accept_licence,
                out=out,
                refresh=refresh,
                json=json,
            )
        )


@examples(
    "nanoseg bundle make --detector detector.onnx --encoder encoder.onnx --decoder decoder.onnx --labels labels.txt "
    "--name parts --out bundles/parts",
    "nanoseg bundle make --detector yolo-nas-s.safetensors --labels coco --encoder mobile_sam.pt --decoder "
    "mobile_sam.pt --mask-prompts --out bundles/coco   # exports the checkpoints on the way",
    "nanoseg bundle make --restore --out bundles/parts   # puts the previous bundle back",
)
def make(
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the bundle; an existing bundle is replaced.")],
    restore: Annotated[bool, typer.Option("--restore", help="Put back the bundle that --out replaced last.")] = False,
    detector: Annotated[
        Path | None, typer.Option(metavar="FILE", help="ONNX: images -> boxes, scores; or a checkpoint of YOLO-NAS.")
    ] = None,
    variant: Annotated[
        DetectorVariant | None, typer.Option(help="Variant that a detector's checkpoint must have; by default any.")
    ] = None,
    pixels: Annotated[
        PixelFormatName | None,
        typer.Option(help="Pixel format that a detector's checkpoint was trained on, if it records none."),
    ] = None,
    keypoints: options.Keypoints = None,
    size: options.DetectorSize = None,
    detector_spec: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml", help="Inputs and outputs of a detector exported by other software, see above."
        ),
    ] = None,
    encoder: Annotated[
        Path | None, typer.Option(metavar="FILE", help="ONNX: image -> image_embeddings; or a checkpoint.")
    ] = None,
    encoder_variant: Annotated[
        EncoderVariant | None, typer.Option(help="Variant that an encoder's checkpoint must have; by default any.")
    ] = None,
    encoder_size: Annotated[
        int | None,
        typer.Option(metavar="PX", help="Side of the encoder's input, where --encoder or --decoder is a checkpoint."),
    ] = None,
    decoder: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="ONNX: prompts -> low_res_masks, iou_predictions; or a checkpoint."),
    ] = None,
    mask_decoder: Annotated[
        Path | None,
        typer.Option(metavar="FILE.onnx", help="ONNX decoder with mask_input and has_mask_input, for refining masks."),
    ] = None,
    mask_prompts: Annotated[
        bool, typer.Option("--mask-prompts", help="Take the --decoder file as --mask-decoder, too.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Name of the bundle; by default the folder's.")] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="File with one name a line, names separated by commas, or coco; by default the detector's own."
        ),
    ] = None,
    rescale: options.DetectorRescale = None,
    confidence: Annotated[
        float | None, typer.Option(help="Minimum confidence of a box; by default 0.25, of a detector of poses 0.5.")
    ] = None,
    iou: Annotated[float, typer.Option(help="Overlap above which non-maximum suppression drops a box.")] = 0.7,
    nms: Annotated[
        options.NmsChoice,
        typer.Option(help="Whether a box is dropped by better ones of its own class, or of any."),
    ] = options.NmsChoice.by_class,
    max_detections: Annotated[int, typer.Option(metavar="K", help="Maximum number of boxes a frame, after NMS.")] = 300,
    max_candidates: Annotated[
        int | None,
        typer.Option(metavar="L", help="Maximum number before NMS; by default 1024, or K where that is more."),
    ] = None,
    masks: Annotated[MaskChoice, typer.Option(help="Masks that are computed for each prompt.")] = MaskChoice.best,
    version: Annotated[str, typer.Option(help="Version of the bundle, any text.")] = "1",
    description: Annotated[str, typer.Option(help="One line that describes the bundle.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the weights, an SPDX name where there is one.")] = "",
    weights_note: Annotated[str, typer.Option(help="Origin of the weights.")] = "",
    accuracy: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="Accuracy as nanoseg bundle measure --out writes it."),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="Folder or pattern of images to try the networks on; by default built-in."),
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Make the bundle even if outputs are wrong; the bundle then says so.")
    ] = False,
    debug: options.Debug = False,
) -> None:
    """Make a bundle of a detector, an image encoder and a mask decoder: ONNX files or checkpoints, of any origin.

    A decoder exported by segment-anything, MobileSAM or NanoSAM takes one prompt a call; one of nanoseg export
    mask-decoder takes all of a frame's in one call. A YOLO-NAS of super-gradients or modern-yolonas is recognised by
    its shapes; for another detector, and for a file with NMS or preprocessing inside, --detector-spec describes its
    input and outputs:

    \b
    [input]                      # all of it may be left out
    name = "input0"              # default: the only one
    size_px = 640                # side of the square; only where the file leaves it open
    layout = "nchw"              # or nhwc
    rescale_px = 640             # longer side of the frame in it; default all of it, 636 for YOLO-NAS
    colour = "rgb"               # or bgr
    scale = 0.00392156862745098  # of a level 0..255; default 1/255, for a uint8 input 1
    mean = [0.485, 0.456, 0.406] # then (level * scale - mean) / std, by channel in the order of `colour`
    std = [0.229, 0.224, 0.225]
    \b
    [outputs]
    joint = "output0"            # one tensor of 4 + C columns, or:
    boxes = "boxes"              #   two; any tensor of the network, so also those before an NMS inside it
    scores = "scores"
    transposed = true            # (1, columns, A) rather than (1, A, columns)
    objectness = true            # joint: 4 + 1 + C columns, the fifth multiplies the others (YOLOv5, YOLOX)
    box_form = "cxcywh"          # or xyxy, xywh, yxyx; default xyxy
    normalised = true            # boxes in 0..1 of the input rather than its pixels
    activation = "sigmoid"       # logits: sigmoid or softmax over the classes; default none: probabilities
    background = "last"          # a class that is no object: first or last; default none
    \b
    [outputs]                    # of an end-to-end detector (YOLOv10, YOLO26, DETR): a row has one box, score and class
    form = "end2end"             # or "scores", one column a class; default: as metadata and the values show
    joint = "output0"            # one tensor (1, N, 6), or boxes and scores as above, and:
    class_ids = "labels"         #   the third, (1, N)
    columns = ["box", "score", "class"] # of joint, in their order; also "batch", to skip, and "objectness"
    count = "num_dets"           # the number of rows in use; default all
    nms = true                   # its boxes still overlap; default: all of them are kept
    \b
    [constants]                  # inputs beside the image: the number, or list, that each gets for every image
    pixel_mask = 1
    orig_target_sizes = [640, 640]
    \b
    [encoder]                    # an image encoder of other names or pixels; default: its only input and output
    input = "input_image"
    output = "image_embeddings"
    size_px = 1024               # only where the file leaves it open
    layout = "nchw"              # or nhwc, hwc
    pixels = "normalised"        # or, where it normalises by SAM's mean and deviation inside, "0..255" or "0..1"

    A YOLO-NAS that super-gradients trained on a custom data set mostly takes colour "bgr" and scale 1. A detector that
    was quantized by other software, with Q/DQ nodes inside, is kept unchanged and has precision int8. nanoseg itself
    does no quantization-aware training (QAT).
    """
    from nanoseg.commands.bundle.make import MakeOptions, make_or_restore

    make_or_restore(
        MakeOptions(
            out=out,
            restore=restore,
            detector=detector,
            variant=variant and variant.value,
            pixels=pixels and pixels.value,
            keypoints=keypoints,
            size=size,
            detector_spec=detector_spec,
            encoder=encoder,
            encoder_variant=encoder_variant and encoder_variant.value,
            encoder_size=encoder_size,
            decoder=decoder,
            mask_decoder=mask_decoder,
            mask_prompts=mask_prompts,
            name=name,
            labels=labels,
            rescale=rescale,
            confidence=confidence,
            iou=iou,
            nms=nms.value,
            max_detections=max_detections,
            max_candidates=max_candidates,
            all_masks=masks is MaskChoice.all,
            version=version,
            description=description,
            licence=licence,
            weights_note=weights_note,
            accuracy=accuracy,
            images=images,
            anyway=anyway,
        )
    )


@examples(
    "nanoseg bundle measure --bundle bundles/mine --float bundles/mine-float32 --out accuracy.json",
    "nanoseg bundle measure --bundle bundles/coco --images val2017/ --annotations instances_val2017.json",
)
def measure(
    *,
    bundle: options.BundleName,
    float_: Annotated[
        str | None, typer.Option("--float", metavar="BUNDLE", help="The same bundle in float32, to compare with.")
    ] = None,
    images: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Folder of the images of --annotations, or parts://.")
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(metavar="COCO.json", help="COCO instances of the images, with masks.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Maximum number of images.")] = 300,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="File to write, for nanoseg bundle make --accuracy.")
    ] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Measure a bundle's accuracy: in float32, as deployed in its own precisions, and as a CPU runs it.

    Without --images the frames of nanoseg demo are used. "deployed" runs the graphs with ONNX Runtime, every number
    rounded as on the device: Q/DQ nodes are executed, and float16 is rounded after each operator. "cpu" is the same
    bundle in float32, as nanoseg run uses it on a computer without a GPU.
    """
    with on_interrupt(NOTHING_WRITTEN):
        from nanoseg.commands.bundle.measure import measure as measure_and_print

        measure_and_print(bundle, float_, images, annotations, limit, out, json)
