"""Train NanoSAM's encoder and SAM's decoder together, from masks, on a COCO data set or the simulated line.

    python tools/train_segmenter.py --out runs/segmenter --images 60000
    python tools/train_segmenter.py --out runs/mine --weights runs/segmenter/checkpoint.pt --images 200000 \\
        --annotations train.json --pictures train/ --val-annotations val.json --val-pictures val/

Ends in OUT/checkpoint.pt, which export_image_encoder.py and export_mask_decoder.py take. Stopped, it goes on with
--resume and the same flags.
"""

from __future__ import annotations

import argparse

from nanoseg.commands.run_tool import run_tool
from nanoseg.errors import needs
from nanoseg.models.training.options import add_data_options, add_run_options

VARIANTS = ("resnet18", "slim", "tiny_vit")


def main() -> int:
    """Parse the flags and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_options(parser, images=60_000, batch=4, learning_rate=5e-4)
    add_data_options(parser)
    parser.add_argument("--variant", choices=VARIANTS, default="slim", help="the encoder (%(default)s)")
    parser.add_argument("--size", type=int, default=512, help="side of the encoder's input (%(default)s)")
    parser.add_argument("--most", type=int, default=8, help="objects taken from one picture (%(default)s)")
    options = parser.parse_args()

    def work() -> None:
        with needs("torch", "train"):
            from nanoseg.models.training.train_segmenter import train
        print(train(options))

    return run_tool("train_segmenter", work, "interrupted; --resume goes on from the last save")
