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
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

if not __package__:  # run as a file: its neighbours are found from the folder above
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nanoseg.errors import UsageError
from nanoseg.labels import read_labels
from nanoseg.models.checkpoint_forms import Pixels
from nanoseg.models.checkpoints import Checkpoint, load_checkpoint
from nanoseg.models.export import export_onnx
from nanoseg.models.yolo_nas import VARIANTS, check_side
from nanoseg.models.yolo_nas_checkpoint import network_of
from nanoseg.out_file import check_out
from tools.run_tool import note, run_tool

TOOL = "export_yolo_nas"
DEFAULT_SIZE_PX = 640
PIXELS = {"rgb": Pixels(), "bgr": Pixels(True), "rgb255": Pixels(False, 255.0), "bgr255": Pixels(True, 255.0)}
# Float32 reorders sums: a hundredth of a pixel at 640 is far below what moves a box's IoU.
ATOL = {"boxes": 1e-2, "scores": 1e-4}


def labels_of(checkpoint: Checkpoint, given: str | None, num_classes: int) -> tuple[str, ...] | None:
    """Class names from the flag (see `read_labels`), else from the checkpoint; one a class."""
    labels = checkpoint.labels if given is None else read_labels(given)
    if labels is not None and len(labels) != num_classes:
        where = f"--labels: wanted {num_classes} names, one a class of {checkpoint.path}, got {len(labels)}"
        if given is None:
            where = f"{checkpoint.path}: names {len(labels)} classes, but has {num_classes}; give --labels"
        raise UsageError(where)
    return labels


def export_checkpoint(
    checkpoint: Path,
    out: Path,
    *,
    variant: str | None = None,
    size_px: int | None = None,
    labels: str | None = None,
    pixels: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Checkpoint to checked ONNX file at `out`, with its origin and class names in the file's metadata.

    The keywords are the flags of this tool; `say` is told what had to be guessed. The metadata has `pixels_told` where
    nothing had to, and `rescale_px` where the checkpoint tells it of this size. Raises UsageError for what does not fit
    the checkpoint and where `out` cannot be written, BundleError for a checkpoint that is no YOLO-NAS.
    """
    check_out(out)
    read = load_checkpoint(checkpoint)
    trained_on = (read.pixels or Pixels()) if pixels is None else PIXELS[pixels]
    network = network_of(read, variant, trained_on)
    names = labels_of(read, labels, network.num_classes)
    side_px = size_px or read.image_size or DEFAULT_SIZE_PX
    check_side(side_px)
    metadata = {"architecture": f"yolo_nas_{network.variant}", "weights": read.origin}
    if pixels is not None or read.pixels is not None:
        metadata["pixels_told"] = "yes"
    else:
        say(
            f"{checkpoint}: does not tell what pixels it was trained on, taken for {trained_on}; --pixels tells "
            "otherwise: super-gradients trains with bgr255 on a data set of one's own, mostly"
        )
    if read.rescale_px is not None and side_px == read.image_size:
        metadata["rescale_px"] = str(read.rescale_px)
    if trained_on != Pixels():
        metadata["trained_on"] = f"{trained_on}, folded into the first convolution"
    if names is not None:
        metadata["labels"] = json.dumps(names, ensure_ascii=False)
    random = torch.Generator().manual_seed(0)
    feeds = [{"images": torch.rand(1, 3, side_px, side_px, generator=random)} for _ in range(2)]
    outputs = ["boxes", "scores"]
    return export_onnx(network.fused(), feeds[0], out, outputs, atol=ATOL, feeds_to_check=feeds[1:], metadata=metadata)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and export; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="weights: .pt, .pth, .ckpt or .safetensors")
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--variant", choices=list(VARIANTS), help="only to be sure: it is read from the weights")
    parser.add_argument("--size", type=int, help="side of the input, pixels; default: the checkpoint's, else 640")
    parser.add_argument("--labels", help="coco, a file with one name a line, or names with commas; default: its own")
    parser.add_argument("--pixels", choices=list(PIXELS), help="what it was trained on; default: as it says, else rgb")
    given = parser.parse_args(argv)

    def work() -> None:
        options = {"variant": given.variant, "labels": given.labels, "pixels": given.pixels}
        print(export_checkpoint(given.checkpoint, given.out, size_px=given.size, say=partial(note, TOOL), **options))

    return run_tool(TOOL, work)


if __name__ == "__main__":
    sys.exit(main())
