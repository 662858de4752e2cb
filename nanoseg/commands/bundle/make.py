"""`nanoseg bundle make`: export the checkpoints among the files, make the bundle, print each step."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from nanoseg.bundle import Bundle
from nanoseg.bundle.install import bundle_scratch
from nanoseg.bundle.make import BundleOptions, check_options, make_bundle, restore_bundle
from nanoseg.errors import BundleError, NanosegError, UsageError, needs
from nanoseg.processing.nms import NmsKind
from nanoseg.utils.describe_file import ONNX, SAFETENSORS, TORCH, describe_file
from nanoseg.utils.leftovers import WORK

EXPORTERS = {"detector": "yolo_nas", "encoder": "image_encoder", "decoder": "mask_decoder"}
CHECKPOINTS = (".pt", ".pth", ".ckpt", ".safetensors")


@dataclass(frozen=True, kw_only=True)
class MakeOptions:
    """Options of `nanoseg bundle make`; see its flags."""

    out: Path
    restore: bool = False
    detector: Path | None = None
    variant: str | None = None
    pixels: str | None = None
    keypoints: str | None = None
    size: int | None = None
    detector_spec: Path | None = None
    encoder: Path | None = None
    encoder_variant: str | None = None
    encoder_size: int | None = None
    decoder: Path | None = None
    mask_decoder: Path | None = None
    mask_prompts: bool = False
    name: str | None = None
    labels: str | None = None
    rescale: int | None = None
    confidence: float | None = None
    iou: float = 0.7
    max_detections: int = 300
    max_candidates: int | None = None
    nms: NmsKind = "by-class"
    all_masks: bool = False
    version: str = "1"
    description: str = ""
    licence: str = ""
    weights_note: str = ""
    accuracy: Path | None = None
    images: str | None = None
    anyway: bool = False


def make_or_restore(options: MakeOptions) -> None:
    """Make or restore a bundle and print the result to stderr; raises NanosegError."""
    console = Console(stderr=True)
    if options.restore:
        bundle = restore_bundle(options.out)
    else:
        absent = [f"--{flag}" for flag in ("detector", "encoder", "decoder") if getattr(options, flag) is None]
        if absent:
            raise UsageError(f"{', '.join(absent)}: wanted a file each, ONNX or a checkpoint, got none")
        if options.mask_prompts and options.mask_decoder:
            raise UsageError("--mask-prompts: wanted without --mask-decoder; give one of the two")
        with console.status("starting") as status:

            def progress(step: str) -> None:
                console.print(step, markup=False, highlight=False, soft_wrap=True)
                status.update(step)

            bundle = _make(options, progress)
    size = sum(graph.all_bytes for graph in bundle.graphs.values())
    console.print(f"{bundle.path}: {bundle.name} {bundle.version}, {len(bundle.labels)} labels, {size / 1e6:.1f} MB")


def _make(options: MakeOptions, progress: Callable[[str], None]) -> Bundle:
    files = input_files(options)
    recipe = BundleOptions(
        detector=files["detector"],
        encoder=files["encoder"],
        decoder=files["decoder"],
        mask_decoder=files.get("mask_decoder"),
        detector_spec=options.detector_spec,
        detector_px=options.size,
        name=options.name or options.out.absolute().name,
        labels=options.labels,
        version=options.version,
        description=options.description,
        licence=options.licence,
        weights=options.weights_note,
        rescale_px=options.rescale,
        confidence=options.confidence,
        iou=options.iou,
        max_detections=options.max_detections,
        max_candidates=options.max_candidates,
        nms=options.nms,
        all_masks=options.all_masks,
        accuracy=options.accuracy,
        images=options.images,
        anyway=options.anyway,
    )
    check_options(recipe, options.out)  # before the minutes that checkpoints take
    with bundle_scratch(options.out.absolute()) as scratch:
        work = scratch / WORK
        originals = {str(_exported(work, name, path)): str(path) for name, path in files.items()}

        def by_input(text: str) -> str:
            """Name the checkpoint in place of the file that it is exported to, which is gone when a user reads it."""
            for temporary, path in originals.items():
                text = text.replace(temporary, path)
            return text

        try:
            exported: dict[str, Any] = {**export_checkpoints(files, options, work, progress)}
            return make_bundle(replace(recipe, **exported), options.out, lambda line: progress(by_input(line)), scratch)
        except NanosegError as error:
            error.args = (by_input(str(error)),)
            raise


def _exported(folder: Path, name: str, checkpoint: Path) -> Path:
    return folder / name / f"{checkpoint.stem}.onnx"


def input_files(options: MakeOptions) -> dict[str, Path]:
    """Return the networks' files of the flags by name, after checking that the flags fit them.

    Raises:
        BundleError: A file does not exist.
        UsageError: A flag does not apply to its file.
    """
    files = {name: getattr(options, name) for name in ("detector", "encoder", "decoder", "mask_decoder")}
    files = {name: path for name, path in files.items() if path is not None}
    checkpoints = _checkpoints_of(files)
    for path in files.values():
        if not path.is_file():  # checked before torch is loaded
            raise BundleError(f"{path}: no such file; give a checkpoint or an ONNX file")
    if "mask_decoder" in checkpoints:
        raise UsageError("--mask-decoder: wanted ONNX; of a checkpoint: --decoder CHECKPOINT --mask-prompts")
    if options.detector_spec is not None and "detector" in checkpoints:
        raise UsageError("--detector-spec: wanted with an ONNX file; a checkpoint is exported in nanoseg's own form")
    for flag, name in (
        ("--variant", "detector"),
        ("--pixels", "detector"),
        ("--keypoints", "detector"),
        ("--encoder-variant", "encoder"),
    ):
        if getattr(options, flag.strip("-").replace("-", "_")) is not None and name not in checkpoints:
            raise UsageError(f"{flag}: wanted with a checkpoint as --{name}, got {files[name].name}")
    if options.encoder_size is not None and not {"encoder", "decoder"} & checkpoints.keys():
        raise UsageError("--encoder-size: wanted with a checkpoint as --encoder or --decoder; ONNX has its size")
    return files


def export_checkpoints(
    inputs: Mapping[str, Path], options: MakeOptions, scratch: Path, progress: Callable[[str], None]
) -> dict[str, Path]:
    """Return the ONNX files to make the bundle of: the inputs, checkpoints among them exported into `scratch`.

    Args:
        inputs: Files by name, ONNX or checkpoints, from `input_files`.
        options: The flags of the exports.
        scratch: Folder for the exported files.
        progress: Called with a description of each export.

    Raises:
        NanosegError: A checkpoint cannot be exported.
    """
    files, checkpoints = dict(inputs), _checkpoints_of(inputs)

    arguments: dict[str, dict[str, object]] = {
        "detector": {name: getattr(options, name) for name in ("variant", "pixels", "keypoints", "labels")}
        | {"size_px": options.size},
        "encoder": {"variant": options.encoder_variant, "size_px": options.encoder_size},
        "decoder": {"size_px": options.encoder_size},
    }
    if options.mask_prompts:
        files["mask_decoder"] = files["decoder"]
        if "decoder" in checkpoints:
            files["mask_decoder"] = arguments["decoder"]["mask_out"] = _exported(
                scratch, "mask_decoder", files["decoder"]
            )
    for name, path in checkpoints.items():
        progress(f"exporting the {name} of {path}")
        files[name] = exporter(name)(path, _exported(scratch, name, path), **arguments[name])
    return files


def _checkpoints_of(files: Mapping[str, Path]) -> dict[str, Path]:
    return {name: path for name, path in files.items() if _is_checkpoint(path)}


def _is_checkpoint(path: Path) -> bool:
    """Return whether a file is a checkpoint by its content; by its suffix where that is neither, or not there."""
    kind = describe_file(path).name if path.is_file() else ""
    if kind in (TORCH, SAFETENSORS, ONNX):
        return kind != ONNX
    return path.suffix.lower() in CHECKPOINTS


def exporter(name: str) -> Callable[..., Path]:
    """Return the function that exports a network's checkpoint; raises DependencyError without torch."""
    module = EXPORTERS[name]
    with needs("torch", "export"):
        export: Callable[..., Path] = getattr(
            importlib.import_module(f"nanoseg.models.export.{module}"), f"export_{module}"
        )
    return export
