"""Detector spec: the input and outputs of another exporter's detector, described in a few lines of TOML.

    [input]                      # all of it may be left out
    name = "input0"              # default: the only one
    size_px = 640                # side of the square; only where the file leaves it open
    layout = "nchw"              # or nhwc
    rescale_px = 640             # longer side of the frame in it; default all of it, 636 for YOLO-NAS (see below)
    colour = "rgb"               # or bgr
    scale = 0.00392156862745098  # of a level 0..255; default 1/255, for a uint8 input 1
    mean = [0.485, 0.456, 0.406] # then (level * scale - mean) / std, by channel in the order of `colour`
    std = [0.229, 0.224, 0.225]

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

An end-to-end detector (YOLOv10, YOLO26, DETR, one with EfficientNMS) gives rows of one class each:

  [outputs]
  form = "end2end"             # or "scores", one column a class; default: as metadata and the values show
  joint = "output0"            # one tensor (1, N, 6), or boxes and scores as above, and:
  class_ids = "labels"         #   the third, (1, N); beside a joint (1, N, 5), box and score (MMDeploy), the second
  columns = ["box", "score", "class"] # of joint, in their order; also "batch", to skip, and "objectness"
  count = "num_dets"           # the number of rows in use; default all
  nms = true                   # its boxes still overlap; default: all of them are kept

Inputs beside the image get the same number, or list, for every image:

  [constants]
  pixel_mask = 1
  orig_target_sizes = [640, 640]

An image encoder of other names or pixels (default: its only input and the only output of its shape):

  [encoder]
  input = "input_image"
  output = "image_embeddings"
  size_px = 1024               # only where the file leaves it open
  layout = "nchw"              # or nhwc, hwc
  pixels = "normalised"        # or, with SAM's mean and deviation subtracted inside, "0..255" or "0..1"

The frame reaches every detector letterboxed: scaled to fit and centred on grey 114. super-gradients scales it to 636
for its own YOLO-NAS of 640, and to 640 for one that it trained on a custom data set: `rescale_px` says which.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from nanoseg.errors import UsageError
from nanoseg.utils.toml import read_toml

Positive = Annotated[float, msgspec.Meta(gt=0)]
Triple = tuple[float, float, float]
Form = Literal["scores", "end2end"]
Column = Literal["box", "score", "class", "batch", "objectness"]
Number = float | int


class InputSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The [input] table."""

    name: str | None = None
    size_px: Annotated[int, msgspec.Meta(ge=1)] | None = None
    rescale_px: Annotated[int, msgspec.Meta(ge=1)] | None = None
    layout: Literal["nchw", "nhwc"] = "nchw"
    colour: Literal["rgb", "bgr"] = "rgb"
    scale: Positive | None = None
    mean: Triple = (0.0, 0.0, 0.0)
    std: tuple[Positive, Positive, Positive] = (1.0, 1.0, 1.0)


class OutputSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The [outputs] table."""

    boxes: str | None = None
    scores: str | None = None
    joint: str | None = None
    transposed: bool = False
    objectness: bool = False
    box_form: Literal["xyxy", "cxcywh", "xywh", "yxyx"] = "xyxy"
    normalised: bool = False
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    background: Literal["none", "first", "last"] = "none"
    form: Form | None = None
    class_ids: str | None = None
    columns: tuple[Column, ...] | None = None
    count: str | None = None
    nms: bool | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the network's tensors that are its outputs; none where the spec does not name them."""
        return tuple(filter(None, (self.joint, self.boxes, self.scores, self.class_ids, self.count)))


class EncoderSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The [encoder] table: the image encoder of a bundle, beside its detector."""

    input: str | None = None
    output: str | None = None
    size_px: Annotated[int, msgspec.Meta(ge=1)] | None = None
    layout: Literal["nchw", "nhwc", "hwc"] = "nchw"
    pixels: Literal["normalised", "0..1", "0..255"] = "normalised"


class DetectorSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Content of a detector spec."""

    input: InputSpec = InputSpec()
    outputs: OutputSpec = OutputSpec()
    constants: dict[str, Number | list[Number]] = {}
    encoder: EncoderSpec | None = None


def read_detector_spec(path: str | Path) -> DetectorSpec:
    """Read a detector spec from a TOML file.

    Raises:
        UsageError: the file cannot be read or does not fit; the message has the path of the key.
    """
    path = Path(path)
    spec = read_toml(path, DetectorSpec)
    outputs = spec.outputs
    if (outputs.boxes is None) != (outputs.scores is None) or (outputs.joint and outputs.boxes):
        raise UsageError(f"{path}: outputs: wanted joint, or boxes and scores, got {', '.join(outputs.names)}")
    if outputs.boxes is not None and outputs.boxes == outputs.scores:
        raise UsageError(f"{path}: outputs: wanted boxes and scores apart, got {outputs.boxes} for both; or joint")
    if outputs.objectness and not outputs.joint:
        raise UsageError(f"{path}: outputs.objectness: wanted with joint, which names the tensor that holds it")
    _check_end2end(path, outputs)
    if spec.input.name in spec.constants:
        raise UsageError(f"{path}: constants: wanted the inputs beside the image, got {spec.input.name}, the image")
    return spec


def _check_end2end(path: Path, outputs: OutputSpec) -> None:
    """Check the keys of end-to-end detectors; raises UsageError."""
    keys = ("class_ids", "columns", "count", "nms")
    given = [key for key in keys if getattr(outputs, key) is not None]
    if given and outputs.form == "scores":
        raise UsageError(f'{path}: outputs.{given[0]}: wanted with form = "end2end", got form = "scores"')
    if (given or outputs.form == "end2end") and (outputs.objectness or outputs.activation == "softmax"):
        key = "objectness" if outputs.objectness else "activation"
        raise UsageError(f'{path}: outputs.{key}: wanted with form = "scores"; an end-to-end row has one score')
    if (given or outputs.form == "end2end") and outputs.background == "last":
        raise UsageError(f'{path}: outputs.background: wanted "first" or "none" for class ids, got "last"')
    if outputs.class_ids is not None and not outputs.boxes and not outputs.joint:
        raise UsageError(f"{path}: outputs.class_ids: wanted with boxes and scores, or with joint, got neither")
    if outputs.class_ids is not None and outputs.columns is not None:
        raise UsageError(f"{path}: outputs.columns: wanted without class_ids, beside which joint has box and score")
    if outputs.boxes is not None and outputs.form == "end2end" and outputs.class_ids is None:
        raise UsageError(f"{path}: outputs: wanted class_ids beside boxes and scores, got none")
    if outputs.columns is None:
        return
    if outputs.joint is None:
        raise UsageError(f"{path}: outputs.columns: wanted with joint, the tensor that holds them")
    got = list(outputs.columns)
    if sorted(set(got) - {"batch", "objectness"}) != ["box", "class", "score"] or len(set(got)) < len(got):
        raise UsageError(f"{path}: outputs.columns: wanted box, score and class once each, got {', '.join(got)}")
