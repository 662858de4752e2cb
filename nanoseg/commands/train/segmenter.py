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
from nanoseg.commands.train.flags import add_data_flags, add_run_flags
from nanoseg.errors import needs
from nanoseg.models.training.options import SegmenterOptions

VARIANTS = ("resnet18", "slim", "tiny_vit")


def main() -> int:
    """Parse the flags and train; returns the exit code."""
    defaults = SegmenterOptions
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_flags(parser, defaults)
    add_data_flags(parser)
    parser.add_argument("--variant", choices=VARIANTS, default=defaults.variant, help="the encoder (%(default)s)")
    parser.add_argument(
        "--size", dest="size_px", type=int, default=defaults.size_px, help="side of the encoder's input (%(default)s)"
    )
    parser.add_argument(
        "--most",
        dest="max_objects",
        type=int,
        default=defaults.max_objects,
        help="maximum number of objects taken from one image (%(default)s)",
    )
    flags = vars(parser.parse_args())

    def work() -> None:
        options = SegmenterOptions(**flags)
        with needs("torch", "train"):
            from nanoseg.models.training.train_segmenter import train_segmenter
        print(train_segmenter(options))

    return run_tool("train_segmenter", work, "interrupted; --resume continues from the last save")
