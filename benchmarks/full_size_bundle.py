"""A bundle of full-size networks with random weights, for timing where no published weights are at hand.

    python benchmarks/full_size_bundle.py --out /tmp/full-size
    python benchmarks/pipeline.py --bundle /tmp/full-size --frame 1280x720 --objects 10

YOLO-NAS S at 640, NanoSAM's ResNet18 at 1024, SAM's decoder: the real sizes and files. What it finds means nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from nanoseg.models.image_encoder import ResNet18Encoder
from nanoseg.models.mask_decoder import MaskDecoder
from nanoseg.models.yolo_nas import YoloNas

TOOLS = Path(__file__).resolve().parents[1] / "tools"
LABELS = ",".join(f"class {i}" for i in range(80))


def run(tool: str, *arguments: str | Path) -> None:
    """One of the tools, as a user calls it."""
    subprocess.run([sys.executable, TOOLS / f"{tool}.py", *arguments], check=True)


def networks() -> dict[str, torch.nn.Module]:
    """detector, encoder and decoder, with the same random weights each time."""
    torch.manual_seed(0)
    return {"detector": YoloNas("s"), "encoder": ResNet18Encoder(), "decoder": MaskDecoder()}


def main() -> None:
    """Write three checkpoints, export them and make the bundle, as a user does with real ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the bundle's folder")
    out = parser.parse_args().out
    exports = {
        "detector": ("export_yolo_nas", ["--variant", "s", "--labels", LABELS]),
        "encoder": ("export_image_encoder", ["--variant", "resnet18"]),
        "decoder": ("export_mask_decoder", []),
    }
    with tempfile.TemporaryDirectory() as scratch:
        wanted: list[str | Path] = ["--name", "full-size", "--description", "random weights, for timing", "--out", out]
        for name, network in networks().items():
            tool, flags = exports[name]
            checkpoint, exported = Path(scratch, f"{name}.pt"), Path(scratch, f"{name}.onnx")
            torch.save(network.state_dict(), checkpoint)
            run(tool, "--checkpoint", checkpoint, "--out", exported, *flags)
            wanted += [f"--{name}", exported]
        run("make_bundle", *wanted)


if __name__ == "__main__":
    main()
