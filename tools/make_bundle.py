"""Make a bundle of a detector, an image encoder and a mask decoder in ONNX.

examples:
  python tools/make_bundle.py --detector detector.onnx --encoder encoder.onnx --decoder decoder.onnx \\
      --labels labels.txt --name parts --out bundles/parts
  python tools/make_bundle.py --restore --out bundles/parts     # the one before, put back
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from nanoseg.errors import NanosegError, UsageError


def main(arguments: list[str] | None = None) -> int:
    """Run the tool; returns the exit code of nanoseg's errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the bundle's folder; one that is there is replaced")
    parser.add_argument("--restore", action="store_true", help="put back the bundle that --out replaced last")
    parser.add_argument("--detector", type=Path, help="ONNX: images -> boxes, scores")
    parser.add_argument("--encoder", type=Path, help="ONNX: image -> image_embeddings")
    parser.add_argument("--decoder", type=Path, help="ONNX: embeddings and prompts -> low_res_masks, iou_predictions")
    parser.add_argument("--name", help="the bundle's name (default: the folder's)")
    parser.add_argument("--labels", type=Path, help="text, one label a line (default: those in the detector's file)")
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
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    try:
        run(options, console)
    except NanosegError as error:
        console.print(f"make_bundle: {error}", markup=False, highlight=False, soft_wrap=True)
        return error.exit_code
    return 0


def run(options: argparse.Namespace, console: Console) -> None:
    """Make or restore; raises NanosegError."""
    from nanoseg.graphs.make import Recipe, make_bundle, restore_bundle

    if options.restore:
        made = restore_bundle(options.out)
    else:
        absent = [f"--{flag}" for flag in ("detector", "encoder", "decoder") if getattr(options, flag) is None]
        if absent:
            raise UsageError(f"{', '.join(absent)}: wanted an ONNX file each, got none")
        recipe = Recipe(
            detector=options.detector,
            encoder=options.encoder,
            decoder=options.decoder,
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
        with console.status("starting") as status:

            def say(step: str) -> None:
                console.print(step, markup=False, highlight=False, soft_wrap=True)
                status.update(step)

            made = make_bundle(recipe, options.out, say)
    size = sum(graph.bytes for graph in made.graphs.values())
    console.print(f"{made.path}: {made.name} {made.version}, {len(made.labels)} labels, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(main())
