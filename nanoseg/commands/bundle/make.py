"""Make a bundle of a detector, an image encoder and a mask decoder: ONNX files or checkpoints, wherever they were made.

examples:
  python tools/make_bundle.py --detector detector.onnx --encoder encoder.onnx --decoder decoder.onnx \\
      --labels labels.txt --name parts --out bundles/parts
  python tools/make_bundle.py --detector yolo-nas-s.safetensors --labels coco --encoder mobile_sam.pt \\
      --decoder mobile_sam.pt --mask-prompts --out bundles/coco     # checkpoints are exported on the way
  python tools/make_bundle.py --restore --out bundles/parts     # the one before, put back

A decoder exported by segment-anything, MobileSAM or NanoSAM takes one prompt a call; one of export_mask_decoder.py
takes all of a frame's at once. A YOLO-NAS of super-gradients or modern-yolonas is known by its shapes; for another
detector, and for a file with NMS or preprocessing inside, --detector-spec names what it takes and gives:

%(form)s

A YOLO-NAS that super-gradients trained on a data set of one's own takes colour "bgr" and scale 1, mostly.
A detector that was quantized elsewhere, with Q/DQ nodes inside, is taken as it is and called int8. Training with
quantization (QAT) is out of scope here.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from nanoseg.bundle import Bundle
from nanoseg.commands.run_tool import run_tool
from nanoseg.errors import BundleError, UsageError, needs

EXPORTERS = {"detector": "yolo_nas", "encoder": "image_encoder", "decoder": "mask_decoder"}
PIXELS = ("rgb", "bgr", "rgb255", "bgr255")
CHECKPOINTS = (".pt", ".pth", ".ckpt", ".safetensors")


def main(arguments: list[str] | None = None) -> int:
    """Run the tool; returns the exit code of nanoseg's errors."""
    return run_tool("make_bundle", lambda: run(_parser().parse_args(arguments), Console(stderr=True)))


def run(options: argparse.Namespace, console: Console) -> None:
    """Make or restore; raises NanosegError."""
    from nanoseg.bundle.make import restore_bundle

    if options.restore:
        made = restore_bundle(options.out)
    else:
        absent = [f"--{flag}" for flag in ("detector", "encoder", "decoder") if getattr(options, flag) is None]
        if absent:
            raise UsageError(f"{', '.join(absent)}: wanted a file each, ONNX or a checkpoint, got none")
        if options.mask_prompts and options.mask_decoder:
            raise UsageError("--mask-prompts: wanted without --mask-decoder, which is a file for the same")
        with console.status("starting") as status, tempfile.TemporaryDirectory(prefix="nanoseg.") as scratch:

            def say(step: str) -> None:
                console.print(step, markup=False, highlight=False, soft_wrap=True)
                status.update(step)

            made = _make(options, Path(scratch), say)
    size = sum(graph.bytes for graph in made.graphs.values())
    console.print(f"{made.path}: {made.name} {made.version}, {len(made.labels)} labels, {size / 1e6:.1f} MB")


def _make(options: argparse.Namespace, scratch: Path, say: Callable[[str], None]) -> Bundle:
    from nanoseg.bundle.make import BundleOptions, check_options, make_bundle

    files = given_files(options)
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
        all_masks=options.masks == "all",
        accuracy=options.accuracy,
    )
    check_options(recipe, options.out)  # before the minutes that checkpoints take
    exported: dict[str, Any] = {**export_checkpoints(files, options, scratch, say)}
    recipe = replace(recipe, **exported)
    return make_bundle(recipe, options.out, say)


def given_files(options: argparse.Namespace) -> dict[str, Path]:
    """The networks' files by name, as given; raises UsageError for a flag that means nothing for its file."""
    files = {name: getattr(options, name) for name in ("detector", "encoder", "decoder", "mask_decoder")}
    files = {name: path for name, path in files.items() if path is not None}
    of_checkpoint = _checkpoints_of(files)
    for path in files.values():
        if not path.is_file():  # said before torch is loaded
            raise BundleError(f"{path}: no such file; give a checkpoint or an ONNX file")
    if "mask_decoder" in of_checkpoint:
        raise UsageError("--mask-decoder: wanted ONNX; of a checkpoint: --decoder CHECKPOINT --mask-prompts")
    if options.detector_spec is not None and "detector" in of_checkpoint:
        raise UsageError("--detector-spec: wanted with an ONNX file; a checkpoint is exported in nanoseg's own form")
    for flag, name in (("--variant", "detector"), ("--pixels", "detector"), ("--encoder-variant", "encoder")):
        if getattr(options, flag.strip("-").replace("-", "_")) is not None and name not in of_checkpoint:
            raise UsageError(f"{flag}: wanted with a checkpoint as --{name}, got {files[name].name}")
    if options.encoder_size is not None and not {"encoder", "decoder"} & of_checkpoint.keys():
        raise UsageError("--encoder-size: wanted with a checkpoint as --encoder or --decoder; ONNX has its size")
    return files


def export_checkpoints(
    given: Mapping[str, Path], options: argparse.Namespace, scratch: Path, say: Callable[[str], None]
) -> dict[str, Path]:
    """The ONNX files to make the bundle of: as given, or exported into `scratch` by the tools beside this one.

    Raises what the exporters raise.
    """
    files, of_checkpoint = dict(given), _checkpoints_of(given)

    def target(name: str, checkpoint: Path) -> Path:
        return scratch / name / f"{checkpoint.stem}.onnx"  # what is wrong with it is told of this name

    asked: dict[str, dict[str, object]] = {
        "detector": {name: getattr(options, name) for name in ("variant", "pixels", "labels")}
        | {"size_px": options.size},
        "encoder": {"variant": options.encoder_variant, "size_px": options.encoder_size},
        "decoder": {"size_px": options.encoder_size},
    }
    if options.mask_prompts:
        files["mask_decoder"] = files["decoder"]
        if "decoder" in of_checkpoint:
            files["mask_decoder"] = asked["decoder"]["mask_out"] = target("mask_decoder", files["decoder"])
    for name, path in of_checkpoint.items():
        say(f"exporting the {name} of {path}")
        files[name] = exporter(name)(path, target(name, path), **asked[name])
    return files


def _checkpoints_of(files: Mapping[str, Path]) -> dict[str, Path]:
    return {name: path for name, path in files.items() if path.suffix.lower() in CHECKPOINTS}


def exporter(name: str) -> Callable[..., Path]:
    """Return the function that exports this network; its module loads torch."""
    kind = EXPORTERS[name]
    with needs("torch", "export"):
        export: Callable[..., Path] = getattr(
            importlib.import_module(f"nanoseg.models.export.{kind}"), f"export_{kind}"
        )
    return export


def _parser() -> argparse.ArgumentParser:
    from nanoseg.onnx_graphs.adapt import detector_spec as form  # here, where a missing onnx is told in one line

    lines = str(form.__doc__).splitlines()
    about = str(__doc__) % {"form": "\n".join(line for line in lines if line.startswith("    "))}
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the bundle's folder; one that is there is replaced")
    parser.add_argument("--restore", action="store_true", help="put back the bundle that --out replaced last")
    parser.add_argument("--detector", type=Path, help="ONNX: images -> boxes, scores; or a checkpoint of YOLO-NAS")
    parser.add_argument("--variant", help="of a detector's checkpoint, to be sure of it")
    parser.add_argument("--pixels", choices=PIXELS, help="of a detector's checkpoint that does not say it")
    parser.add_argument("--size", type=int, metavar="PX", help="side of the detector's input, where its file is open")
    parser.add_argument("--detector-spec", type=Path, metavar="TOML", help="what a detector takes and gives, see above")
    parser.add_argument("--encoder", type=Path, help="ONNX: image -> image_embeddings; or a checkpoint")
    parser.add_argument("--encoder-variant", help="of an encoder's checkpoint, to be sure of it")
    parser.add_argument("--encoder-size", type=int, metavar="PX", help="side of its input, for both SAM's checkpoints")
    parser.add_argument("--decoder", type=Path, help="ONNX: prompts -> low_res_masks, iou_predictions; or a checkpoint")
    parser.add_argument("--mask-decoder", type=Path, help="ONNX with mask_input, has_mask_input: for refining answers")
    parser.add_argument("--mask-prompts", action="store_true", help="make the --mask-decoder of --decoder's file, too")
    parser.add_argument("--name", help="the bundle's name (default: the folder's)")
    parser.add_argument("--labels", help="a file with one a line, names with commas, or coco (default: the detector's)")
    parser.add_argument("--rescale", type=int, metavar="PX", help="longer side of the frame in the detector's input")
    parser.add_argument("--confidence", type=float, default=0.25, help="(default: %(default)s)")
    parser.add_argument("--iou", type=float, default=0.7, help="of non-maximum suppression (default: %(default)s)")
    parser.add_argument("--max-detections", type=int, default=300, metavar="K", help="(default: %(default)s)")
    parser.add_argument("--masks", choices=("best", "all"), default="best", help="a prompt (default: %(default)s)")
    parser.add_argument("--version", default="1", help="of the bundle, any text (default: %(default)s)")
    parser.add_argument("--description", default="", help="one line for people")
    parser.add_argument("--licence", default="", help="of the weights, an SPDX name where there is one")
    parser.add_argument("--weights-note", default="", help="where the weights came from")
    parser.add_argument("--accuracy", type=Path, help="JSON: float32 and deployed, each map50_95, map50, miou")
    return parser
