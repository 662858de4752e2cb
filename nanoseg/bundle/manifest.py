"""A model bundle: a folder with bundle.toml and its deployment graphs, verified when it is opened."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from nanoseg.errors import BundleError

FORMAT = 1
MANIFEST = "bundle.toml"
GRAPHS = ("prepare", "detect", "embed", "segment")  # every bundle has these
OPTIONAL_GRAPHS = ("segment_mask",)  # the decoder again, with a mask as a further prompt
NETWORKS = ("detector", "encoder", "decoder", "mask_decoder")
EMBEDDED = Path(__file__).parents[1] / "bundles"

Precision = Literal["fp32", "fp16", "int8"]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
Pixels = Annotated[int, msgspec.Meta(ge=1)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Thresholds(msgspec.Struct, forbid_unknown_fields=True):
    """[thresholds]: what a user may override."""

    confidence: Fraction
    iou: Fraction
    max_detections: Annotated[int, msgspec.Meta(ge=1)]  # K, the rows of detect.onnx


class InputSizes(msgspec.Struct, forbid_unknown_fields=True):
    """[input]: sides of the networks' square inputs."""

    detector_px: Pixels
    rescale_px: Pixels  # the frame's longer side within the detector's input
    encoder_px: Pixels


class GraphEntry(msgspec.Struct, forbid_unknown_fields=True):
    """[graphs.NAME]: one file of the folder."""

    file: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
    sha256: Sha256
    bytes: Annotated[int, msgspec.Meta(ge=1)]
    precision: Precision


class Network(msgspec.Struct, forbid_unknown_fields=True):
    """[networks.NAME]: what a graph was made from."""

    architecture: str
    sha256: Sha256  # of the exported ONNX file
    weights: str  # where the weights came from, for people


class Accuracy(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """[accuracy.NAME]: measured, on `images` images of `dataset`."""

    map50_95: Fraction
    map50: Fraction
    miou: Fraction
    dataset: str = ""
    images: int = 0


class GraphTable(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """[graphs]."""

    prepare: GraphEntry
    detect: GraphEntry
    embed: GraphEntry
    segment: GraphEntry
    segment_mask: GraphEntry | None = None


class NetworkTable(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """[networks]: mask_decoder is what segment_mask was made from."""

    detector: Network
    encoder: Network
    decoder: Network
    mask_decoder: Network | None = None


class AccuracyTable(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """[accuracy]: each is absent where nobody measured it."""

    float32: Accuracy | None = None
    deployed: Accuracy | None = None


class Manifest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The whole of bundle.toml."""

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
    accuracy: AccuracyTable | None = None


@dataclass(frozen=True)
class Graph:
    """One deployment graph on disk."""

    file: str
    sha256: str
    bytes: int
    precision: Precision
    path: Path


@dataclass(frozen=True)
class Bundle:
    """An opened bundle."""

    path: Path  # its folder
    name: str
    version: str
    description: str
    licence: str
    labels: tuple[str, ...]  # by class id
    confidence: float
    iou: float
    max_detections: int
    detector_px: int
    rescale_px: int
    encoder_px: int
    graphs: Mapping[str, Graph]  # prepare, detect, embed, segment, and segment_mask where the bundle has it
    networks: Mapping[str, Network]  # detector, encoder, decoder, and mask_decoder beside segment_mask
    accuracy: Mapping[str, Accuracy]  # float32, deployed; those that were measured


def open_bundle(name_or_path: str | Path) -> Bundle:
    """The bundle in a folder, or the embedded one of that name; every file is held against its sha256.

    A folder with a bundle in it goes before an embedded name, one without after it. Raises BundleError, naming the
    file, and the key in it.
    """
    folder = find_bundle(name_or_path)
    manifest = read_manifest(folder)
    if (manifest.graphs.segment_mask is None) != (manifest.networks.mask_decoder is None):
        raise BundleError(
            f"{folder / MANIFEST}: wanted graphs.segment_mask and networks.mask_decoder both or neither, got one"
        )
    graphs = {}
    for name in (*GRAPHS, *OPTIONAL_GRAPHS):
        entry: GraphEntry | None = getattr(manifest.graphs, name)
        if entry is None:
            continue
        graphs[name] = Graph(entry.file, entry.sha256, entry.bytes, entry.precision, folder / entry.file)
        _verify(graphs[name])
    measured = manifest.accuracy or AccuracyTable()
    accuracy = {"float32": measured.float32, "deployed": measured.deployed}
    return Bundle(
        path=folder,
        name=manifest.name,
        version=manifest.version,
        description=manifest.description,
        licence=manifest.licence,
        labels=tuple(manifest.labels),
        confidence=manifest.thresholds.confidence,
        iou=manifest.thresholds.iou,
        max_detections=manifest.thresholds.max_detections,
        detector_px=manifest.input.detector_px,
        rescale_px=manifest.input.rescale_px,
        encoder_px=manifest.input.encoder_px,
        graphs=graphs,
        networks={name: network for name in NETWORKS if (network := getattr(manifest.networks, name)) is not None},
        accuracy={name: value for name, value in accuracy.items() if value is not None},
    )


def find_bundle(name_or_path: str | Path) -> Path:
    """The folder meant by a path or by an embedded bundle's name; raises BundleError where there is none."""
    path = Path(name_or_path)
    # A name, unlike ./name, is the embedded bundle's even where a folder of pictures is called the same.
    embedded = [EMBEDDED / path] if str(name_or_path) == path.name else []
    try:
        if path.name == MANIFEST and path.is_file():
            return path.parent
        for folder in (path, *embedded):
            if (folder / MANIFEST).is_file():
                return folder
        if path.is_dir():
            return path
    except OSError as error:  # a name too long, a folder on the way that may not be read
        raise BundleError(f"{name_or_path}: cannot be read: {error.strerror or error}") from error
    names = sorted(found.parent.name for found in EMBEDDED.glob(f"*/{MANIFEST}"))
    raise BundleError(
        f"{name_or_path}: no such bundle; give its folder, or one of those embedded: {', '.join(names) or 'none here'}"
    )


def read_manifest(folder: Path) -> Manifest:
    """bundle.toml of a folder, without looking at the files; raises BundleError with the path of the key."""
    path = folder / MANIFEST
    try:
        raw = msgspec.toml.decode(path.read_bytes())
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}; is this the folder of a bundle?") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: not TOML: {error}") from error
    # First, because a later format may hold keys that this version has never heard of.
    if raw.get("format") != FORMAT:
        got = raw.get("format", "none")
        raise BundleError(f"{path}: format: wanted {FORMAT}, got {got}; a newer format needs a newer nanoseg")
    try:
        return msgspec.convert(raw, Manifest)
    except msgspec.ValidationError as error:
        raise BundleError(f"{path}: {with_key(str(error))}") from error


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file of any size."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _verify(graph: Graph) -> None:
    try:
        size = graph.path.stat().st_size
        digest = sha256_of(graph.path) if size == graph.bytes else ""
    except OSError as error:
        raise BundleError(f"{graph.path}: cannot be read: {error.strerror}; fetch the bundle anew") from error
    if size != graph.bytes:
        raise BundleError(f"{graph.path}: wanted {graph.bytes} bytes, got {size}; fetch the bundle anew")
    if digest != graph.sha256:
        raise BundleError(f"{graph.path}: wanted sha256 {graph.sha256}, got {digest}; fetch the bundle anew")


def with_key(message: str) -> str:
    """msgspec's "Expected `float` <= 1.0 - at `$.thresholds.iou`" with the key first."""
    what, _, where = message.partition(" - at `$")
    key = where.strip("`").lstrip(".")
    return f"{key}: {what}" if key else what
