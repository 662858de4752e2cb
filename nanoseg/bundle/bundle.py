"""A model bundle: a folder with bundle.toml and its deployment graphs, verified when it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nanoseg.bundle.check_graphs import check_graphs, check_sizes
from nanoseg.bundle.external_data import beside, combined_sha256
from nanoseg.bundle.keypoints import KeypointSet
from nanoseg.bundle.manifest import (
    GRAPHS,
    MANIFEST,
    NETWORKS,
    OPTIONAL_GRAPHS,
    Accuracy,
    AccuracyTable,
    GraphEntry,
    NetworkEntry,
    Precision,
    TensorrtEntry,
    read_manifest,
)
from nanoseg.bundle.user_folder import COCO_BUNDLE, GET_COCO, user_bundles_folder
from nanoseg.bundle.verify import verify_file
from nanoseg.errors import BundleError
from nanoseg.processing.geometry import CENTRED, Padding
from nanoseg.processing.nms import NmsKind

EMBEDDED_FOLDER = Path(__file__).parents[1] / "bundles"  # the bundles of the package, opened by name
EMBEDDED_BUNDLE = "parts"  # the one that commands and load() open by default


@dataclass(frozen=True)
class Graph:
    """One deployment graph on disk."""

    file: str
    sha256: str  # of the file; where it refers to others, of its digest and theirs
    bytes: int
    precision: Precision
    path: Path
    external_bytes: int = 0  # of the files that it refers to
    for_tensorrt: Graph | None = None  # the same graph in a form that TensorRT runs faster

    @property
    def built(self) -> Graph:
        """What TensorRT builds."""
        return self.for_tensorrt or self

    @property
    def all_bytes(self) -> int:
        """Bytes of its files, without those that they refer to."""
        return self.bytes + (self.for_tensorrt.bytes if self.for_tensorrt is not None else 0)


@dataclass(frozen=True)
class Bundle:
    """An opened bundle, whose files have been verified."""

    path: Path  # its folder
    name: str
    version: str
    description: str
    licence: str
    labels: tuple[str, ...]  # by class id
    confidence: float
    iou: float
    max_detections: int  # after NMS
    detector_px: int
    rescale_px: int
    encoder_px: int
    graphs: Mapping[str, Graph]  # prepare, detect, embed, segment, and those of OPTIONAL_GRAPHS that it has
    networks: Mapping[str, NetworkEntry]  # detector, encoder, decoder, and mask_decoder beside segment_mask
    accuracy: Mapping[str, Accuracy]  # float32, deployed; those that were measured
    warnings: tuple[str, ...] = ()  # what is wrong with its networks, as `nanoseg bundle make --anyway` found
    max_candidates: int | None = None  # rows before NMS; None in bundles made before it, where max_detections is
    nms: NmsKind = "by-class"  # of detect.onnx
    padding: Padding = CENTRED  # around the frame in the detector's input
    keypoints: KeypointSet | None = None  # of its objects; None where its detector gives none
    reference: Path | None = None  # frames with the objects that its graphs find in them; None in older bundles

    def __repr__(self) -> str:
        return f"Bundle({self.name!r}, version={self.version!r}, path={str(self.path)!r})"


def open_bundle(name_or_path: str | Path) -> Bundle:
    """Open the bundle in a folder, or the embedded one of that name, and verify every file.

    Args:
        name_or_path: a folder, its bundle.toml, or the name of an embedded or installed one. A folder with a bundle is
            preferred to an embedded bundle of the same name; a folder without one is not.

    Returns:
        The bundle; all its files exist and match the sha256 of bundle.toml.

    Raises:
        BundleError: there is no such bundle, or a file of it is damaged; names the file, and the key in it.
    """
    folder = find_bundle(name_or_path)
    manifest = read_manifest(folder)
    check_sizes(folder / MANIFEST, manifest)
    graphs, verified = {}, set[tuple[Path, int, str]]()
    for name in (*GRAPHS, *OPTIONAL_GRAPHS):
        entry: GraphEntry | None = getattr(manifest.graphs, name)
        if entry is None:
            continue
        form = entry.tensorrt
        for_tensorrt = None if form is None else _graph(folder, form, entry.precision)
        graphs[name] = _graph(folder, entry, entry.precision, for_tensorrt)
        for each in (entry, form):
            for wanted in _files(folder, each) if each is not None else ():
                if wanted not in verified:  # graphs may share weights
                    verify_file(*wanted)
                    verified.add(wanted)
    check_graphs(folder, manifest)
    reference = manifest.reference
    if reference is not None:
        verify_file(folder / reference.file, reference.bytes, reference.sha256)
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
        max_candidates=manifest.thresholds.max_candidates,
        nms=manifest.thresholds.nms,
        reference=None if reference is None else folder / reference.file,
        detector_px=manifest.input.detector_px,
        rescale_px=manifest.input.rescale_px,
        encoder_px=manifest.input.encoder_px,
        padding=Padding(manifest.input.padding == "around", manifest.input.padding_value),
        keypoints=manifest.keypoints,
        graphs=graphs,
        networks={name: network for name in NETWORKS if (network := getattr(manifest.networks, name)) is not None},
        accuracy={name: value for name, value in accuracy.items() if value is not None},
        warnings=tuple(manifest.warnings),
    )


def _graph(
    folder: Path, entry: GraphEntry | TensorrtEntry, precision: Precision, for_tensorrt: Graph | None = None
) -> Graph:
    digest, external_bytes = combined_sha256(entry.sha256, entry.external), sum(file.bytes for file in entry.external)
    return Graph(entry.file, digest, entry.bytes, precision, folder / entry.file, external_bytes, for_tensorrt)


def _files(folder: Path, entry: GraphEntry | TensorrtEntry) -> list[tuple[Path, int, str]]:
    """Return path, bytes and sha256 of a graph's file and of those that it refers to."""
    path = folder / entry.file
    files = [(beside(path, file.file), file.bytes, file.sha256) for file in entry.external]
    return [(path, entry.bytes, entry.sha256), *files]


def find_bundle(name_or_path: str | Path) -> Path:
    """Return the folder of a bundle given by path or name; raises BundleError where there is none.

    A name is that of an embedded bundle, or of one that `nanoseg bundle get` has installed.
    """
    path = Path(name_or_path)
    folders = [EMBEDDED_FOLDER] + [folder for folder in [user_bundles_folder()] if folder is not None]
    # A name, unlike ./name, means such a bundle even where a folder of images has the same name.
    named = [folder / path for folder in folders] if str(name_or_path) == path.name else []
    try:
        if path.name == MANIFEST and path.is_file():
            return path.parent
        for folder in (path, *named):
            if (folder / MANIFEST).is_file():
                return folder
        # A folder named coco without a bundle is most often the data set.
        if path.is_dir() and str(name_or_path) != COCO_BUNDLE:
            return path
    except OSError as error:  # a name too long, a parent folder without permission
        raise BundleError(f"{name_or_path}: cannot be read: {error.strerror or error}") from error
    if str(name_or_path) == COCO_BUNDLE:
        raise BundleError(f"{COCO_BUNDLE}: is not installed yet: {GET_COCO}")
    if path.name and (previous := path.with_name(f"{path.name}.previous")).joinpath(MANIFEST).is_file():
        raise BundleError(  # its replacement was cut off on a file system without exchange, or somebody deleted it
            f"{name_or_path}: no such bundle, but {previous} is there: "
            f"nanoseg bundle make --restore --out {name_or_path} puts it back"
        )
    names = sorted({found.parent.name for folder in folders for found in _manifests(folder)})
    raise BundleError(
        f"{name_or_path}: no such bundle; give its folder, or one of those installed: {', '.join(names) or 'none here'}"
    )


def _manifests(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.glob(f"*/{MANIFEST}") if not path.parent.name.startswith(".")]
    except OSError:
        return []
