"""What train_yolo_nas.py does: train YOLO-NAS."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nanoseg.errors import BundleError, UsageError, needs
from nanoseg.models.checkpoints.load import load_checkpoint
from nanoseg.models.checkpoints.yolo_nas import network_of
from nanoseg.models.repvgg import QARepVGG
from nanoseg.models.training.detector import View, batch, detector_loss, judge_boxes
from nanoseg.models.training.loop import Plan, Training, batches
from nanoseg.models.training.options import device_of, scenes_of
from nanoseg.models.yolo_nas import YoloNas, check_side
from nanoseg.processing.geometry import usual_rescale_px

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
    network.to(device_of(options))
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
