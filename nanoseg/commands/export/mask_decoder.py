"""Export SAM's prompt encoder and mask decoder as the decoder of a bundle: N prompts on one embedding, one call.

    python tools/export_mask_decoder.py --checkpoint runs/segmenter/checkpoint.pt --out decoder.onnx
    python tools/export_mask_decoder.py --checkpoint mobile_sam.pt --out decoder.onnx --mask-out decoder_mask.onnx

`image_embeddings` (1, 256, g, g), `point_coords` (N, P, 2) and `point_labels` (N, P) -> `low_res_masks` (N, 4, 4g, 4g)
and `iou_predictions` (N, 4), g = size / 16, N and P dynamic. The file of --mask-out also takes an earlier answer of
each prompt, `mask_input` (N, 1, 4g, 4g), where `has_mask_input` (N) is 1. The checkpoint may be a whole SAM, MobileSAM
or nanosam: the image encoder in it is left alone. ONNX Runtime has found a file equal to torch for several N, P, labels
and masks before it is put in place.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from nanoseg.commands.run_tool import note, run_tool
from nanoseg.errors import needs

TOOL = "export_mask_decoder"


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and export; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="weights: .pt, .pth or .safetensors")
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--mask-out", type=Path, help="a second ONNX file to write, which takes mask prompts, too")
    parser.add_argument(
        "--size", type=int, help="side of the encoder's input, px; default: the checkpoint's, else 1024"
    )
    options = parser.parse_args(argv)

    def work() -> None:
        with needs("torch", "export"):
            from nanoseg.models.export.mask_decoder import export_mask_decoder
        outs = {"out": options.out, "mask_out": options.mask_out}
        print(export_mask_decoder(options.checkpoint, **outs, size_px=options.size, print_note=partial(note, TOOL)))
        if options.mask_out is not None:
            print(options.mask_out)

    return run_tool(TOOL, work)
