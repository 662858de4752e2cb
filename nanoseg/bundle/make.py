"""Make a bundle of exported networks: write it beside its folder, run it once, and rename it into place."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nanoseg.bundle.accuracy_file import check_accuracy, read_accuracy
from nanoseg.bundle.add_reference import try_add_reference
from nanoseg.bundle.bundle import Bundle, open_bundle
from nanoseg.bundle.check_graphs import CLASSES, NMS_KIND
from nanoseg.bundle.external_data import hash_external_data
from nanoseg.bundle.install import ADVICE, bundle_scratch, check_install_folder, previous_path
from nanoseg.bundle.labels import read_labels
from nanoseg.bundle.manifest import (
    FORMAT,
    MANIFEST,
    AccuracyTable,
    GraphEntry,
    GraphTable,
    InputSizes,
    Manifest,
    NetworkTable,
    TensorrtEntry,
    Thresholds,
)
from nanoseg.bundle.network_table import network_table
from nanoseg.errors import BundleError, UsageError, needs
from nanoseg.onnx_graphs.adapt.detector_spec import read_detector_spec
from nanoseg.onnx_graphs.deploy.check_images import check_images
from nanoseg.onnx_graphs.deploy.compose import Networks, precision_of
from nanoseg.onnx_graphs.deploy.detector_metadata import keypoints_of, padding_of
from nanoseg.onnx_graphs.deploy.low_rank.graph import LOW_RANK
from nanoseg.onnx_graphs.deploy.shared_weights import share_weights
from nanoseg.onnx_graphs.deploy.try_networks import MIN_IMAGES, try_networks
from nanoseg.onnx_graphs.deploy.validate import low_rank_difference, validate_detector, validate_pipeline
from nanoseg.onnx_graphs.model.simplify import unsupported_operators
from nanoseg.processing.nms import DEFAULT_CANDIDATES, NmsKind, check_nms
from nanoseg.utils.files import write_errors
from nanoseg.utils.folders import replace_folder, swap_folders
from nanoseg.utils.hashing import sha256_of_file

if TYPE_CHECKING:
    from onnx import ModelProto

with needs("tomli-w", "bundle"):
    import tomli_w

_MAX_DIFFERENCE = 1e-4  # of a graph's values, in parts of the largest, to those of its form for TensorRT


CONFIDENCE, POSE_CONFIDENCE = 0.25, 0.5  # super-gradients' defaults


@dataclass(frozen=True)
class BundleOptions:
    """The files to make a bundle of, and the entries of its bundle.toml."""

    detector: Path  # ONNX, as are the other networks
    encoder: Path
    decoder: Path
    name: str
    mask_decoder: Path | None = None  # a decoder that also takes masks as prompts, for refining masks
    detector_spec: Path | None = None  # TOML: inputs and outputs of a detector exported by other software
    detector_px: int | None = None  # side of its input, where the file leaves that open
    labels: str | Path | None = None  # a file, names with commas or "coco"; else those in the detector's metadata
    version: str = "1"
    description: str = ""
    licence: str = ""
    weights: str = ""  # where the weights came from
    rescale_px: int | None = (
        None  # else that of the detector_spec, the file, or 636 for a YOLO-NAS of 640, else its whole side
    )
    confidence: float | None = None  # by default CONFIDENCE, of a detector of poses POSE_CONFIDENCE
    iou: float = 0.7
    max_detections: int = 300  # after NMS
    max_candidates: int | None = None  # before NMS; by default DEFAULT_CANDIDATES, or max_detections if that is more
    nms: NmsKind = "by-class"  # whether a box is dropped by better ones of its class, or of any
    all_masks: bool = False  # all four of SAM's masks of a prompt, not only the best
    accuracy: Path | None = None  # JSON: {"float32": {"map50_95": ...}, "deployed": {...}}
    images: str | None = None  # folder or pattern of images to try the networks on; else those built in
    anyway: bool = False  # make it of networks whose outputs are wrong, too; what is wrong is recorded


def check_options(options: BundleOptions, out: Path) -> None:
    """Check the folder, the thresholds and the text files, before any network is read.

    Callers that export checkpoints first, which takes minutes, call it before that.

    Raises:
        UsageError: the folder cannot be written, or an option is wrong.
        BundleError: the accuracy file cannot be read.
    """
    check_install_folder(out.absolute())
    for key, value in (("confidence", options.confidence), ("iou", options.iou)):
        if value is not None and not 0 <= value <= 1:
            raise UsageError(f"{key}: wanted 0 to 1, got {value}")
    check_nms(options.nms)
    read_accuracy(options.accuracy)
    if options.labels is not None:
        read_labels(str(options.labels))
    if options.detector_spec is not None:
        read_detector_spec(options.detector_spec)


def make_bundle(
    options: BundleOptions,
    out: Path,
    progress: Callable[[str], None] = lambda _: None,
    scratch: Path | None = None,
) -> Bundle:
    """Try the networks on images, compose the deployment graphs, run and verify them, then put the bundle at `out`.

    A bundle that was at `out` is kept as `out`.previous.

    Args:
        options: the networks and the manifest's entries.
        out: its folder.
        progress: called with a description of each step.
        scratch: the folder of `bundle_scratch(out)`, for callers that opened it to export networks into it.

    Raises:
        BundleError: a network does not fit; `out` is as it was before.
        UsageError: an option is wrong, `out` cannot be written, or another process makes it; it is as it was before.
    """
    out = out.absolute()
    check_options(options, out)
    if scratch is None:
        with bundle_scratch(out) as own:
            return make_bundle(options, out, progress, own)
    accuracy = read_accuracy(options.accuracy)
    progress("reading the networks")
    spec = None if options.detector_spec is None else read_detector_spec(options.detector_spec)
    networks = Networks.load(
        options.detector, options.encoder, options.decoder, options.mask_decoder, spec, options.detector_px
    )
    labels = networks.labels(options.labels)
    table = network_table(networks, options.weights)
    accuracy = check_accuracy(options.accuracy, accuracy, table, progress)
    for note in networks.notes(options.nms):
        progress(note)
    progress("composing the graphs")
    rescale_px = networks.rescale_px(options.rescale_px)
    progress(networks.rescale_note(options.rescale_px))
    max_candidates = options.max_candidates
    if max_candidates is None:
        max_candidates = max(DEFAULT_CANDIDATES, options.max_detections)
    models = networks.graphs(rescale_px, options.max_detections, options.all_masks, max_candidates, options.nms)
    with write_errors(out, ADVICE):
        folder = scratch / out.name
        folder.mkdir()
        models["detect"].metadata_props.add(key=CLASSES, value=str(len(labels)))
        if options.nms != "by-class":
            models["detect"].metadata_props.add(key=NMS_KIND, value=options.nms)
        entries = {name: _write_graph(folder / f"{name}.onnx", model, progress) for name, model in models.items()}
        progress("running every graph once")
        validate_detector(networks.detector)
        validate_pipeline(folder)
        _take_low_rank(folder, entries, progress)
        warnings = _try_networks(networks, folder / "prepare.onnx", options, progress)
        thresholds = _thresholds(options, models["detect"])
        manifest = _manifest(options, networks, rescale_px, labels, thresholds, entries, table, accuracy, warnings)
        (folder / MANIFEST).write_text(tomli_w.dumps(msgspec.to_builtins(manifest)), encoding="utf-8")
        try_add_reference(folder, options.images, progress)
        open_bundle(folder)
        replace_folder(folder, out, previous_path(out))
    progress("done")
    return open_bundle(out)


def restore_bundle(out: Path) -> Bundle:
    """Exchange the bundle at `out` with the one that it replaced.

    Raises:
        BundleError: there is no previous bundle, or it is damaged.
        UsageError: the folders cannot be renamed.
    """
    out = out.absolute()
    check_install_folder(out)
    with bundle_scratch(out):
        open_bundle(previous_path(out))
        with write_errors(out, ADVICE):
            swap_folders(out, previous_path(out))
    return open_bundle(out)


def _write_graph(path: Path, model: ModelProto, progress: Callable[[str], None]) -> GraphEntry:
    if missing := unsupported_operators(model):
        progress(f"{path.name}: TensorRT cannot build {', '.join(missing)}; ONNX Runtime can run it")
    if path.stem in ("segment_boxes", LOW_RANK):
        share_weights(model, path.with_name("segment.onnx"))
    path.write_bytes(model.SerializeToString(deterministic=True))
    external = hash_external_data(path)
    return GraphEntry(path.name, sha256_of_file(path), path.stat().st_size, precision_of(model), external)


def _take_low_rank(folder: Path, entries: dict[str, GraphEntry], progress: Callable[[str], None]) -> None:
    """Make a low-rank graph the form of segment_boxes that TensorRT builds; remove it where it gives other values."""
    entry = entries.pop(LOW_RANK, None)
    if entry is None:
        return
    try:
        difference = low_rank_difference(folder)
        problem = f"{entry.file}: its values differ from those of segment_boxes by {difference:.1e} of the largest"
    except BundleError as error:
        difference, problem = math.inf, str(error)
    if difference > _MAX_DIFFERENCE:
        (folder / entry.file).unlink()
        progress(f"{problem}; it is left out")
        return
    form = TensorrtEntry(entry.file, entry.sha256, entry.bytes, entry.external)
    entries["segment_boxes"] = msgspec.structs.replace(entries["segment_boxes"], tensorrt=form)


def _thresholds(options: BundleOptions, detect: ModelProto) -> Thresholds:
    """Return the thresholds, with the numbers of rows that the graph has: no more than pairs of anchor and class."""
    rows = {output.name: output.type.tensor_type.shape.dim[:1] for output in detect.graph.output}
    max_detections, max_candidates = (
        sum(dim.dim_value for dim in rows.get(name, ())) for name in ("boxes", "candidates")
    )
    confidence = options.confidence
    if confidence is None:
        confidence = POSE_CONFIDENCE if "keypoints" in rows else CONFIDENCE
    return Thresholds(confidence, options.iou, max_detections, max_candidates or None, options.nms)


def _manifest(
    options: BundleOptions,
    networks: Networks,
    rescale_px: int,
    labels: list[str],
    thresholds: Thresholds,
    entries: Mapping[str, GraphEntry],
    table: NetworkTable,
    accuracy: AccuracyTable | None,
    warnings: list[str],
) -> Manifest:
    padding = padding_of(networks.detector)
    return Manifest(
        format=FORMAT,
        name=options.name,
        version=options.version,
        description=options.description,
        licence=options.licence,
        labels=labels,
        thresholds=thresholds,
        input=InputSizes(
            networks.detector.dims["S"],
            rescale_px,
            networks.encoder.dims["E"],
            "around" if padding.centred else "bottom-right",
            padding.value,
        ),
        keypoints=keypoints_of(networks.detector),
        graphs=GraphTable(**entries),
        networks=table,
        accuracy=accuracy,
        warnings=warnings,
    )


def _try_networks(
    networks: Networks, prepare: Path, options: BundleOptions, progress: Callable[[str], None]
) -> list[str]:
    """Return what is wrong with the networks' outputs; raises BundleError for the first unless `anyway`."""
    images = check_images(options.images)
    if len(images) < MIN_IMAGES:
        raise UsageError(f"--images: wanted {MIN_IMAGES} images or more, got {len(images)} in {options.images}")
    origin = "built-in images" if options.images is None else f"images of {options.images}"
    progress(f"trying the networks on {len(images)} {origin}")
    problems = try_networks(networks, prepare, images, progress)
    if problems and not options.anyway:
        advice = "export it anew, or give --images of what it was trained for; --anyway makes the bundle all the same"
        name, _, what = problems[0].partition(": ")
        raise BundleError(f"{getattr(networks, name).path}: {what}; {advice}")
    for problem in problems:
        progress(f"warning: {problem}")
    return problems
