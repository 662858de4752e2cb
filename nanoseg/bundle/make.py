"""Writes a bundle beside its place, tries it out, and puts it there by a rename; the one before can come back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from nanoseg.bundle import manifest as bundle
from nanoseg.bundle.install import ADVICE, check_place, previous
from nanoseg.bundle.labels import read_labels
from nanoseg.errors import BundleError, UsageError, needs
from nanoseg.onnx_graphs.adapt.detector_spec import read_detector_spec
from nanoseg.onnx_graphs.deploy.compose import Networks, precision_of
from nanoseg.onnx_graphs.deploy.validate import validate_detector, validate_pipeline
from nanoseg.onnx_graphs.int8.quantize import METADATA as QUANTIZED_BY
from nanoseg.onnx_graphs.model.contract import SourceNetwork
from nanoseg.onnx_graphs.model.simplify import unsupported_operators
from nanoseg.utils.files import write_errors
from nanoseg.utils.folders import replace_folder, swap_folders, temporary_folder

with needs("tomli-w", "bundle"):
    import tomli_w


@dataclass(frozen=True)
class Recipe:
    """What to make a bundle of, and what to say in it."""

    detector: Path
    encoder: Path
    decoder: Path
    name: str
    mask_decoder: Path | None = None  # one that takes masks as prompts, for refining an answer
    detector_spec: Path | None = None  # TOML: what a detector made elsewhere takes and gives
    detector_px: int | None = None  # side of its input, where its file leaves that open
    labels: str | Path | None = None  # a file, names or "coco"; else those in the detector's metadata
    version: str = "1"
    description: str = ""
    licence: str = ""
    weights: str = ""  # where the weights came from
    rescale_px: int | None = None  # else the form's, the file's own, or 636 for a YOLO-NAS of 640, else all its side
    confidence: float = 0.25
    iou: float = 0.7
    max_detections: int = 300
    all_masks: bool = False  # all four of SAM's masks a prompt, not the best
    accuracy: Path | None = None  # JSON: {"float32": {"map50_95": ...}, "deployed": {...}}


def check(recipe: Recipe, out: Path) -> None:
    """Raise what can be told before a network is read: of the place, the numbers and the files of text.

    Exporting checkpoints takes minutes; whoever does it first, asks this before.
    """
    check_place(out.absolute())
    for key, value in (("confidence", recipe.confidence), ("iou", recipe.iou)):
        if not 0 <= value <= 1:
            raise UsageError(f"{key}: wanted 0 to 1, got {value}")
    _accuracy(recipe.accuracy)
    if recipe.labels is not None:
        read_labels(str(recipe.labels))
    if recipe.detector_spec is not None:
        read_detector_spec(recipe.detector_spec)


def make_bundle(recipe: Recipe, out: Path, say: Callable[[str], None] = lambda _: None) -> bundle.Bundle:
    """Make, try and verify the bundle, then put it at `out`; what was there is kept as `out`.previous.

    `say` is told each step in a few words. Raises BundleError or UsageError, with `out` as it was before.
    """
    out = out.absolute()
    check(recipe, out)
    accuracy = _accuracy(recipe.accuracy)
    say("reading the networks")
    form = None if recipe.detector_spec is None else read_detector_spec(recipe.detector_spec)
    networks = Networks.load(
        recipe.detector, recipe.encoder, recipe.decoder, recipe.mask_decoder, form, recipe.detector_px
    )
    labels = networks.labels(recipe.labels)
    for note in networks.notes():
        say(note)
    say("composing the graphs")
    rescale_px = networks.rescale_px(recipe.rescale_px)
    say(networks.rescale_note(recipe.rescale_px))
    models = networks.graphs(rescale_px, recipe.max_detections, recipe.all_masks)
    with write_errors(out, ADVICE), temporary_folder(out) as scratch:
        folder = scratch / out.name
        folder.mkdir()
        entries = {}
        for name, model in models.items():
            if missing_there := unsupported_operators(model):
                say(f"{name}.onnx: TensorRT cannot build {', '.join(missing_there)}; ONNX Runtime can run it")
            path = folder / f"{name}.onnx"
            path.write_bytes(model.SerializeToString(deterministic=True))
            digest, size = bundle.sha256_of(path), path.stat().st_size
            entries[name] = bundle.GraphEntry(path.name, digest, size, precision_of(model))
        sides = networks.detector.dims
        manifest = bundle.Manifest(
            format=bundle.FORMAT,
            name=recipe.name,
            version=recipe.version,
            description=recipe.description,
            licence=recipe.licence,
            labels=labels,
            thresholds=bundle.Thresholds(
                recipe.confidence, recipe.iou, min(recipe.max_detections, sides["A"] * sides["C"])
            ),
            input=bundle.InputSizes(sides["S"], rescale_px, networks.encoder.dims["E"]),
            graphs=bundle.GraphTable(**entries),
            networks=bundle.NetworkTable(
                detector=_network(networks.detector, recipe.weights),
                encoder=_network(networks.encoder, recipe.weights),
                decoder=_network(networks.decoder, recipe.weights),
                mask_decoder=_network(networks.mask_decoder, recipe.weights) if networks.mask_decoder else None,
            ),
            accuracy=accuracy,
        )
        (folder / bundle.MANIFEST).write_text(tomli_w.dumps(msgspec.to_builtins(manifest)), encoding="utf-8")
        say("running every graph once")
        bundle.open_bundle(folder)
        _try(folder, networks.detector)
        replace_folder(folder, out, previous(out))
    say("done")
    return bundle.open_bundle(out)


def restore_bundle(out: Path) -> bundle.Bundle:
    """Change places: the previous bundle is put back at `out`, what was there becomes the previous one.

    Raises BundleError where there is no previous one, or it is damaged, UsageError where they cannot be moved.
    """
    out = out.absolute()
    check_place(out)
    bundle.open_bundle(previous(out))
    with write_errors(out, ADVICE):
        swap_folders(out, previous(out))
    return bundle.open_bundle(out)


def _try(folder: Path, detector: SourceNetwork) -> None:
    validate_detector(detector)
    validate_pipeline(folder)


def _network(core: SourceNetwork, weights: str) -> bundle.Network:
    told = core.metadata
    return bundle.Network(
        architecture=told.get("architecture", core.path.stem),
        sha256=bundle.sha256_of(core.path),
        weights="; ".join(filter(None, (weights, told.get("weights"), _how_quantized(told)))),
    )


def _how_quantized(told: Mapping[str, str]) -> str:
    """How the file's ranges were found, where tools/quantize_yolo_nas.py made it."""
    try:
        how = json.loads(told[QUANTIZED_BY])
        percentile = f" {how['percentile']}" if "percentile" in how else ""
        kept = f", in float: {', '.join(how['kept'])}" if how["kept"] else ""
        return f"INT8 by {how['method']}{percentile} over {how['pictures']} pictures{kept}"
    except (KeyError, TypeError, ValueError):  # not quantized, or elsewhere
        return ""


def _accuracy(path: Path | None) -> bundle.AccuracyTable | None:
    if path is None:
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=bundle.AccuracyTable)
    except (OSError, msgspec.MsgspecError) as error:
        raise BundleError(f"{path}: wanted measured accuracy as JSON, got: {error}") from error
