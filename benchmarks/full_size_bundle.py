"""Make a bundle of full-size networks with random weights, for timing without published weights.

    python benchmarks/full_size_bundle.py --out /tmp/full-size
    python benchmarks/pipeline.py --bundle /tmp/full-size --frame 1280x720 --objects 10

YOLO-NAS S at 640, NanoSAM's ResNet18 at 1024, SAM's decoder, with --fp16-decoder in float16: the real sizes and files.
Its detections mean nothing.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import onnx
import torch

from nanoseg.bundle.make import BundleOptions, make_bundle
from nanoseg.models.export.image_encoder import export_image_encoder
from nanoseg.models.export.mask_decoder import export_mask_decoder
from nanoseg.models.export.yolo_nas import export_yolo_nas
from nanoseg.models.image_encoder import ResNet18Encoder
from nanoseg.models.mask_decoder import MaskDecoder
from nanoseg.models.yolo_nas import YoloNas
from nanoseg.onnx_graphs.adapt.decoder import load_decoder
from nanoseg.onnx_graphs.fp16.to_fp16 import to_fp16

LABELS = ",".join(f"class {i}" for i in range(80))


def networks() -> dict[str, torch.nn.Module]:
    """Return detector, encoder and decoder with random weights, the same in every call."""
    torch.manual_seed(0)
    return {"detector": YoloNas("s"), "encoder": ResNet18Encoder(), "decoder": MaskDecoder()}


def export_networks(folder: Path) -> dict[str, Path]:
    """Save three checkpoints and export them, like a user does with real ones; return the ONNX files."""
    files: dict[str, Path] = {}
    for name, network in networks().items():
        checkpoint, files[name] = folder / f"{name}.pt", folder / f"{name}.onnx"
        torch.save(network.state_dict(), checkpoint)
    export_yolo_nas(folder / "detector.pt", files["detector"], variant="s", labels=LABELS)
    export_image_encoder(folder / "encoder.pt", files["encoder"], variant="resnet18")
    export_mask_decoder(folder / "decoder.pt", files["decoder"])
    return files


def main() -> None:
    """Parse the flags and make the bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the bundle's folder")
    parser.add_argument("--fp16-decoder", action="store_true", help="the decoder in float16")
    options = parser.parse_args()
    out: Path = options.out
    with tempfile.TemporaryDirectory() as scratch:
        files = export_networks(Path(scratch))
        if options.fp16_decoder:
            onnx.save(to_fp16(load_decoder(files["decoder"]).model), files["decoder"])
        bundle = BundleOptions(
            detector=files["detector"],
            encoder=files["encoder"],
            decoder=files["decoder"],
            name="full-size",
            description="random weights, for timing",
            anyway=options.fp16_decoder,  # random embeddings are nearly the same for every image
        )
        make_bundle(bundle, out)


if __name__ == "__main__":
    main()
