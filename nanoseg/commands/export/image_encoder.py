"""Export an image encoder's checkpoint as the encoder of a bundle: `image` (1, 3, E, E) -> `image_embeddings`.

    python tools/export_image_encoder.py --checkpoint mobile_sam.pt --out encoder.onnx
    python tools/export_image_encoder.py --checkpoint nanosam/checkpoint.pth --out encoder.onnx
    python tools/export_image_encoder.py --checkpoint runs/segmenter/checkpoint.pt --out encoder.onnx

Takes MobileSAM's file, whole or its image encoder alone, what NanoSAM's trainer writes for ResNet18, and what
train_segmenter.py writes; which of them it is, its weights tell. BatchNorms are folded, and ONNX Runtime has found the
file equal to torch before it is put in place.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from nanoseg.commands.run_tool import run_tool
from nanoseg.errors import needs

VARIANTS = ("resnet18", "slim", "tiny_vit")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and export; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="weights: .pt, .pth or .safetensors")
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--variant", choices=VARIANTS, help="refuse all others; default: what the weights are")
    parser.add_argument("--size", type=int, help="side of the input, pixels; default: the checkpoint's, else 1024")
    options = parser.parse_args(argv)

    def work() -> None:
        with needs("torch", "export"):
            from nanoseg.models.export.image_encoder import export_image_encoder
        print(export_image_encoder(options.checkpoint, options.out, variant=options.variant, size_px=options.size))

    return run_tool("export_image_encoder", work)
