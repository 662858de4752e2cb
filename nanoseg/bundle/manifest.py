"""The schema of bundle.toml, the file that describes a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from nanoseg.bundle.keypoints import KeypointSet
from nanoseg.errors import BundleError
from nanoseg.processing.geometry import LETTERBOX_VALUE
from nanoseg.processing.nms import NmsKind
from nanoseg.utils.file_name import FileName
from nanoseg.utils.hashing import Sha256
from nanoseg.utils.toml import invalid_key, read_toml

FORMAT = 1
MANIFEST = "bundle.toml"
GRAPHS = ("prepare", "detect", "embed", "segment")  # every bundle has these
# The decoder again: for boxes, whose masks are computed only there; and with a mask as a further prompt.
OPTIONAL_GRAPHS = ("segment_boxes", "segment_mask")
# What is done where TensorRT has no engine of a graph that others can stand in for.
INSTEAD = {
    "prepare": "the host preprocesses frames instead, which is slower",
    "segment_boxes": "whole masks are computed instead of what lies under the boxes, which is slower",
}
NETWORKS = ("detector", "encoder", "decoder", "mask_decoder")

Precision = Literal["fp32", "fp16", "int8"]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
MAX_PX = 8192  # the float32 input of a network of this side has 805 MB
SizePx = Annotated[int, msgspec.Meta(ge=1, le=MAX_PX)]


class Thresholds(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """[thresholds]: defaults that a user may override."""

    confidence: Fraction
    iou: Fraction
    max_detections: Annotated[int, msgspec.Meta(ge=1)]  # K, the rows of detect.onnx: after NMS
    max_candidates: Annotated[int, msgspec.Meta(ge=1)] | None = None  # before NMS; else max_detections
    nms: NmsKind = "by-class"  # what detect.onnx does


class InputSizes(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """[input]: sides of the networks' square inputs, in pixels, and what is around the frame in the detector's."""

    detector_px: SizePx
    rescale_px: SizePx  # the frame's longer side within the detector's input
    encoder_px: SizePx
    padding: Literal["around", "bottom-right"] = "around"
    padding_value: Annotated[int, msgspec.Meta(ge=0, le=255)] = LETTERBOX_VALUE  # its level


class ExternalFile(msgspec.Struct, forbid_unknown_fields=True):
    """[[graphs.NAME.external]], or [[graphs.NAME.tensorrt.external]]: a file of weights that an ONNX file refers to."""

    file: Annotated[str, msgspec.Meta(min_length=1)]  # within the folder of the ONNX file
    sha256: Sha256
    bytes: Annotated[int, msgspec.Meta(ge=0)]


class TensorrtEntry(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """[graphs.NAME.tensorrt]: the same graph in another form, which TensorRT runs faster and a CPU slower."""

    file: FileName
    sha256: Sha256
    bytes: Annotated[int, msgspec.Meta(ge=1)]
    external: list[ExternalFile] = []


class GraphEntry(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """[graphs.NAME]: one file of the folder."""

    file: FileName
    sha256: Sha256
    bytes: Annotated[int, msgspec.Meta(ge=1)]
    precision: Precision
    external: list[ExternalFile] = []
    tensorrt: TensorrtEntry | None = None  # where TensorRT builds another file


class NetworkEntry(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """[networks.NAME]: the exported network that a graph was composed from."""

    architecture: str
    sha256: Sha256  # of the exported ONNX file
    weights: str  # where the weights came from, as free text
    external: list[ExternalFile] = []  # the files of weights that it referred to


class Accuracy(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """[accuracy.NAME]: measured on `images` images of `dataset`."""

    map50_95: Fraction
    map50: Fraction
    miou: Fraction
    dataset: str = ""
    images: int = 0
    excluded: int = 0  # objects of its annotations that cannot be right, and were left out


class GraphTable(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """[graphs]."""

    prepare: GraphEntry
    detect: GraphEntry
    embed: GraphEntry
    segment: GraphEntry
    segment_boxes: GraphEntry | None = None
    segment_mask: GraphEntry | None = None


class NetworkTable(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """[networks]; segment and segment_boxes are composed from decoder, segment_mask from mask_decoder."""

    detector: NetworkEntry
    encoder: NetworkEntry
    decoder: NetworkEntry
    mask_decoder: NetworkEntry | None = None


class AccuracyTable(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """[accuracy]: float32 and deployed; absent where not measured."""

    float32: Accuracy | None = None
    deployed: Accuracy | None = None
    networks: dict[str, Sha256] = {}  # what was measured, in the file of `nanoseg bundle measure` alone


class ReferenceEntry(msgspec.Struct, forbid_unknown_fields=True):
    """[reference]: the file of frames with the objects that the graphs find in them."""

    file: FileName
    sha256: Sha256
    bytes: Annotated[int, msgspec.Meta(ge=1)]


class Manifest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The content of bundle.toml."""

    format: int
    name: Annotated[str, msgspec.Meta(min_length=1)]
    version: str
    description: str
    licence: str
    labels: Annotated[list[str], msgspec.Meta(min_length=1)]
    thresholds: Thresholds
    input: InputSizes
    graphs: GraphTable
    networks: NetworkTable
    keypoints: KeypointSet | None = None  # of a detector of poses
    accuracy: AccuracyTable | None = None
    reference: ReferenceEntry | None = None
    warnings: list[str] = []  # what `nanoseg bundle make --anyway` found wrong with the networks


def read_manifest(folder: Path) -> Manifest:
    """Read bundle.toml of a folder without looking at the graphs.

    Raises:
        BundleError: it cannot be read, or has another format; names the file and the key.
    """
    path = folder / MANIFEST
    raw = read_toml(path, dict, BundleError, missing_hint="; is this the folder of a bundle?")
    # First, because a later format may hold keys that this version does not know.
    if raw.get("format") != FORMAT:
        got = raw.get("format", "none")
        raise BundleError(f"{path}: format: wanted {FORMAT}, got {got}; a newer format needs a newer nanoseg")
    try:
        return msgspec.convert(raw, Manifest)
    except msgspec.ValidationError as error:
        raise BundleError(f"{path}: {invalid_key(error)}") from error
