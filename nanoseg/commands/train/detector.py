"""Train YOLO-NAS on a COCO data set or the simulated line, from scratch or from a checkpoint.

    python tools/train_yolo_nas.py --out runs/detector --images 150000
    python tools/train_yolo_nas.py --out runs/mine --variant s --size 640 --zoom 0.5 1.5 --weights yolo_nas_s.pth \\
        --annotations train.json --pictures train/ --val-annotations val.json --val-pictures val/

The loss and the assigner are modern-yolonas's: pip install "nanoseg[train]". Ends in OUT/checkpoint.pt, which
export_yolo_nas.py takes. Stopped, it goes on with --resume and the same flags.
"""

from __future__ import annotations

import argparse

from nanoseg.commands.run_tool import run_tool
from nanoseg.errors import needs
from nanoseg.models.training.options import add_data_options, add_run_options

VARIANTS = ("l", "m", "s", "slim")


def main() -> int:
    """Parse the flags and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_options(parser, images=150_000, batch=16, learning_rate=1e-3)
    add_data_options(parser)
    parser.add_argument("--variant", choices=VARIANTS, default="slim", help="the network (%(default)s)")
    parser.add_argument("--size", type=int, default=320, help="side of the network's input (%(default)s)")
    parser.add_argument("--rescale", type=int, help="longest side of a picture in it, kept for make_bundle (the usual)")
    parser.add_argument("--zoom", type=float, nargs=2, default=(1.0, 1.0), help="random zoom, least and most")
    options = parser.parse_args()

    def work() -> None:
        with needs("torch", "train"):
            from nanoseg.models.training.train_detector import train
        print(train(options))

    return run_tool("train_yolo_nas", work, "interrupted; --resume goes on from the last save")
