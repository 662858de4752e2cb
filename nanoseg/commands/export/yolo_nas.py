"""Export a YOLO-NAS checkpoint as the detector of a bundle: `images` (1, 3, S, S) -> `boxes`, `scores`.

    python tools/export_yolo_nas.py --checkpoint runs/detector/checkpoint.pt --out detector.onnx
    python tools/export_yolo_nas.py --checkpoint yolo-nas-s.safetensors --labels coco --out detector.onnx --size 640

Takes what super-gradients, modern-yolonas and train_yolo_nas.py save: .pt, .pth, .ckpt or .safetensors, as trained or
with its blocks merged. Variant and number of classes are read from the shapes of the weights; class names, size and
what the network was trained on from the file, where it tells them. A network that was trained on BGR, or on 0..255, as
super-gradients does it for data sets of one's own, is made to take RGB in 0..1. Of several weights in a file the
averaged ones are taken, `ema_net` before `net`, as super-gradients' own models.get does; the ONNX file's metadata says
which. Branches, BatchNorms and alphas are
folded, and ONNX Runtime has found the file equal to torch before it is put in place.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from nanoseg.commands.run_tool import note, run_tool
from nanoseg.errors import needs

TOOL = "export_yolo_nas"
VARIANTS = ("slim", "s", "m", "l")
PIXELS = ("rgb", "bgr", "rgb255", "bgr255")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and export; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="weights: .pt, .pth, .ckpt or .safetensors")
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--variant", choices=VARIANTS, help="only to be sure: it is read from the weights")
    parser.add_argument("--size", type=int, help="side of the input, pixels; default: the checkpoint's, else 640")
    parser.add_argument("--labels", help="coco, a file with one name a line, or names with commas; default: its own")
    parser.add_argument("--pixels", choices=PIXELS, help="what it was trained on; default: as it says, else rgb")
    given = parser.parse_args(argv)

    def work() -> None:
        with needs("torch", "export"):
            from nanoseg.models.export.yolo_nas import export_yolo_nas
        options = {"variant": given.variant, "labels": given.labels, "pixels": given.pixels}
        print(
            export_yolo_nas(given.checkpoint, given.out, size_px=given.size, print_note=partial(note, TOOL), **options)
        )

    return run_tool(TOOL, work)
