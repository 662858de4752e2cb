"""Export a YOLO-NAS checkpoint as the detector of a bundle: `images` (1, 3, S, S) -> `boxes`, `scores`.

    python tools/export_yolo_nas.py --checkpoint runs/detector/checkpoint.pt --out detector.onnx
    python tools/export_yolo_nas.py --variant s --checkpoint yolo-nas-s.safetensors --out detector.onnx --size 640

A checkpoint of train_yolo_nas.py says itself what it is; for others give --variant, and --labels if the bundle
is to know the names. Branches, BatchNorms and alphas are folded, and ONNX Runtime has found the file equal to
torch before it is put in place.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from nanoseg.errors import BundleError, NanosegError, UsageError
from nanoseg.models.checkpoints import Checkpoint, load_checkpoint, load_weights
from nanoseg.models.export import export_onnx
from nanoseg.models.yolo_nas import VARIANTS, YoloNas, check_side

DEFAULT_SIZE_PX = 640
CLASS_LOGITS = "heads.head1.cls_pred.bias"
# Float32 reorders sums: a hundredth of a pixel at 640 is far below what moves a box's IoU.
ATOL = {"boxes": 1e-2, "scores": 1e-4}


def network_of(checkpoint: Checkpoint, variant: str | None) -> YoloNas:
    """The network with the checkpoint's weights; its number of classes is read from their shapes."""
    if checkpoint.architecture not in (None, "yolo_nas"):
        raise BundleError(f"{checkpoint.path}: wanted a yolo_nas checkpoint, got one of {checkpoint.architecture}")
    variant = variant or checkpoint.variant
    if variant is None:
        raise UsageError(f"{checkpoint.path}: does not say its variant; give --variant {' or '.join(VARIANTS)}")
    if CLASS_LOGITS not in checkpoint.state_dict:
        raise BundleError(f"{checkpoint.path}: wanted YOLO-NAS weights in their training form, found no {CLASS_LOGITS}")
    network = YoloNas(variant, len(checkpoint.state_dict[CLASS_LOGITS]))
    load_weights(network, checkpoint)
    return network


def labels_of(checkpoint: Checkpoint, given: str | None, num_classes: int) -> tuple[str, ...] | None:
    """Class names from the flag (a file with one a line, or a comma-separated list), else from the checkpoint."""
    labels = checkpoint.labels
    if given is not None:
        # os.path, as Path.is_file fails where 80 names are longer than a file's name may be.
        lines = _lines(Path(given)) if os.path.isfile(given) else given.split(",")
        labels = tuple(line.strip() for line in lines if line.strip())
    if labels is not None and len(labels) != num_classes:
        raise UsageError(f"--labels: wanted {num_classes} names, one a class of {checkpoint.path}, got {len(labels)}")
    return labels


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--labels: {path} cannot be read as text: {error}") from error


def export(options: argparse.Namespace) -> Path:
    """Checkpoint to checked ONNX file, with its origin and class names in the file's metadata."""
    checkpoint = load_checkpoint(options.checkpoint)
    network = network_of(checkpoint, options.variant)
    labels = labels_of(checkpoint, options.labels, network.num_classes)
    size_px = options.size or checkpoint.image_size or DEFAULT_SIZE_PX
    check_side(size_px)
    metadata = {"architecture": f"yolo_nas_{network.variant}", "weights": checkpoint.origin}
    if labels is not None:
        metadata["labels"] = json.dumps(labels, ensure_ascii=False)
    random = torch.Generator().manual_seed(0)
    feeds = [{"images": torch.rand(1, 3, size_px, size_px, generator=random)} for _ in range(2)]
    names = ["boxes", "scores"]
    return export_onnx(
        network.fused(), feeds[0], options.out, names, atol=ATOL, feeds_to_check=feeds[1:], metadata=metadata
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and export; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="weights: .pt, .pth or .safetensors")
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--variant", choices=sorted(VARIANTS), help="default: what the checkpoint says")
    parser.add_argument("--size", type=int, help="side of the input, pixels; default: the checkpoint's, else 640")
    parser.add_argument("--labels", help="a file with one name a line, or names with commas; default: the checkpoint's")
    try:
        print(export(parser.parse_args(argv)))
    except NanosegError as error:
        print(f"export_yolo_nas: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
