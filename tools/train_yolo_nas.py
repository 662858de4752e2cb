"""Train YOLO-NAS on a COCO data set or the simulated line, from scratch or from a checkpoint.

    python tools/train_yolo_nas.py --out runs/detector --images 150000
    python tools/train_yolo_nas.py --out runs/mine --variant s --size 640 --zoom 0.5 1.5 --weights yolo_nas_s.pth \\
        --annotations train.json --pictures train/ --val-annotations val.json --val-pictures val/

The loss and the assigner are modern-yolonas's: pip install "nanoseg[train]". Ends in OUT/checkpoint.pt, which
export_yolo_nas.py takes. Stopped, it goes on with --resume and the same flags.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

if not __package__:  # run as a file: its neighbours are found from the folder above
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nanoseg.errors import BundleError, UsageError, needs
from nanoseg.geometry import usual_rescale_px
from nanoseg.models.checkpoints import load_checkpoint
from nanoseg.models.repvgg import QARepVGG
from nanoseg.models.training.detect import View, batch, detector_loss, judge_boxes
from nanoseg.models.training.loop import Plan, Training, batches
from nanoseg.models.training.options import add_data_options, add_run_options, scenes_of
from nanoseg.models.yolo_nas import VARIANTS, YoloNas, check_side
from nanoseg.models.yolo_nas_checkpoint import network_of
from tools.run_tool import run_tool

STATIC_SHARE = 0.06  # of the run: boxes are assigned by distance alone while the answers are still noise


def make_criterion(classes: int) -> Any:
    """modern-yolonas's loss; raises DependencyError where it is not installed."""
    with needs("modern-yolonas", "train"):
        from modern_yolonas.training.loss import PPYoloELoss
    return PPYoloELoss(num_classes=classes, static_assigner_epochs=1)


def train(options: argparse.Namespace) -> Path:
    """The whole run; returns the checkpoint."""
    torch.manual_seed(options.seed)
    if options.threads:
        torch.set_num_threads(options.threads)
    check_side(options.size)
    rescale_px = options.rescale or usual_rescale_px(options.size)
    if not 1 <= rescale_px <= options.size:
        raise UsageError(f"--rescale: wanted 1 to {options.size}, the side of the network's input, got {rescale_px}")
    learn, judged = scenes_of(options)
    network = YoloNas(options.variant, num_classes=len(learn.labels))
    if options.weights:
        start_from(network, options.weights)
    network.to(torch.device(options.device))
    plan = Plan(options.images, options.batch, options.learning_rate, seed=options.seed)
    description = {"architecture": "yolo_nas", "variant": options.variant, "image_size": options.size}
    description |= {"rescale_px": rescale_px, "labels": list(learn.labels)}
    training = Training(network, plan, options.out, description)
    if options.resume:
        training.resume()
    criterion = make_criterion(len(learn.labels))
    whole = View(options.size, rescale_px)
    view = View(options.size, rescale_px, (options.zoom[0], options.zoom[1]))
    make = partial(batch, learn, size=plan.batch, view=view, seed=plan.seed)
    stream = batches(make, training.step, plan.steps, options.workers)

    def step(model: nn.Module, number: int) -> tuple[Tensor, dict[str, float]]:
        images, targets = next(stream)
        return detector_loss(model, criterion, images, targets, number < STATIC_SHARE * plan.steps, options.bf16)

    def judge(model: nn.Module) -> dict[str, float]:
        return judge_boxes(model, judged, options.judge_on, whole)

    return training.run(step, judge, options.judge_every)


def start_from(network: YoloNas, path: Path) -> None:
    """Load a checkpoint; the class predictions of another number of classes are learnt anew.

    Raises BundleError where anything else does not fit, or the checkpoint's branches were merged.
    """
    start = network_of(load_checkpoint(path), network.variant)
    if any(module.form != "branches" for module in start.modules() if isinstance(module, QARepVGG)):
        raise BundleError(f"{path}: its branches are merged, which ends training; wanted the file that training left")
    own, weights = network.state_dict(), start.state_dict()
    anew = {
        name: own[name] for name, value in weights.items() if ".cls_pred." in name and own[name].shape != value.shape
    }
    network.load_state_dict(weights | anew)
    print(f"{path}: taken{', but for the class predictions' if anew else ''}")


def main() -> int:
    """Parse the flags and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_options(parser, images=150_000, batch=16, learning_rate=1e-3)
    add_data_options(parser)
    parser.add_argument("--variant", choices=sorted(VARIANTS), default="slim", help="the network (%(default)s)")
    parser.add_argument("--size", type=int, default=320, help="side of the network's input (%(default)s)")
    parser.add_argument("--rescale", type=int, help="longest side of a picture in it, kept for make_bundle (the usual)")
    parser.add_argument("--zoom", type=float, nargs=2, default=(1.0, 1.0), help="random zoom, least and most")
    options = parser.parse_args()
    return run_tool("train_yolo_nas", lambda: print(train(options)), "interrupted; --resume goes on from the last save")


if __name__ == "__main__":
    sys.exit(main())
