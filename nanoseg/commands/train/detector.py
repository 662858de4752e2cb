"""Train YOLO-NAS on a COCO data set or the simulated line, from scratch or from a checkpoint.

    python tools/train_yolo_nas.py --out runs/detector --images 150000
    python tools/train_yolo_nas.py --out runs/mine --variant s --size 640 --zoom 0.5 1.5 --weights yolo_nas_s.pth \\
        --annotations train.json --pictures train/ --val-annotations val.json --val-pictures val/

The loss and the assigner are modern-yolonas's: pip install "nanoseg[train]". Ends in OUT/checkpoint.pt, which
export_yolo_nas.py takes. An interrupted run continues with --resume and the same
flags.
"""

from __future__ import annotations

import argparse

from nanoseg.commands.run_tool import run_tool
from nanoseg.commands.train.flags import add_data_flags, add_run_flags
from nanoseg.errors import needs
from nanoseg.models.training.options import DetectorOptions

VARIANTS = ("l", "m", "s", "slim")


def main() -> int:
    """Parse the flags and train; returns the exit code."""
    defaults = DetectorOptions
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_flags(parser, defaults)
    add_data_flags(parser)
    parser.add_argument("--variant", choices=VARIANTS, default=defaults.variant, help="the network (%(default)s)")
    parser.add_argument(
        "--size", dest="size_px", type=int, default=defaults.size_px, help="side of the network's input (%(default)s)"
    )
    parser.add_argument(
        "--rescale", dest="rescale_px", type=int, help="longest side of an image in it, kept for the bundle (the usual)"
    )
    parser.add_argument(
        "--zoom", type=float, nargs=2, default=defaults.zoom, help="range of a random zoom, minimum and maximum"
    )
    flags = vars(parser.parse_args())

    def work() -> None:
        options = DetectorOptions(**{**flags, "zoom": (flags["zoom"][0], flags["zoom"][1])})
        with needs("torch", "train"):
            from nanoseg.models.training.train_detector import train_detector
        print(train_detector(options))

    return run_tool("train_yolo_nas", work, "interrupted; --resume continues from the last save")
