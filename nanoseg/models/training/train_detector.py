"""Train YOLO-NAS: `train_detector`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from nanoseg.errors import BundleError, UsageError
from nanoseg.models.checkpoints.load import load_checkpoint
from nanoseg.models.checkpoints.yolo_nas import load_yolo_nas
from nanoseg.models.repvgg import QARepVGG
from nanoseg.models.training.detector import Letterbox, detector_loss, evaluate_detector, make_batch
from nanoseg.models.training.loop import Hyperparameters, Training, batches, torch_device
from nanoseg.models.training.loss import make_criterion
from nanoseg.models.training.options import DetectorOptions
from nanoseg.models.training.scenes import open_training_scenes
from nanoseg.models.yolo_nas import YoloNas, check_side
from nanoseg.processing.geometry import default_rescale_px

STATIC_SHARE = 0.06  # of the run: boxes are assigned by distance alone while predictions are still noise


def train_detector(options: DetectorOptions) -> Path:
    """Train YOLO-NAS and write its checkpoint, which `export_yolo_nas` takes.

    Args:
        options: Options of the run. With `options.weights` the network starts from that checkpoint; class predictions
            for another number of classes start from random weights.

    Returns:
        The path of checkpoint.pt in the folder `options.out`.

    Raises:
        UsageError: An option is out of range, or the folder holds a run that these options do not continue.
        SourceError: The data set cannot be read.
        BundleError: The weights to start from do not fit the network.
        DependencyError: modern-yolonas, whose loss this uses, is not installed.
    """
    torch.manual_seed(options.seed)
    if options.threads:
        torch.set_num_threads(options.threads)
    check_side(options.size_px)
    rescale_px = options.rescale_px or default_rescale_px(options.size_px)
    if not 1 <= rescale_px <= options.size_px:
        limit = f"1 to {options.size_px}, the side of the network's input"
        raise UsageError(f"--rescale: wanted {limit}, got {rescale_px}")
    scenes, validation = open_training_scenes(options)
    network = YoloNas(options.variant, num_classes=len(scenes.labels))
    if options.weights:
        start_from(network, options.weights)
    network.to(torch_device(options.device))
    plan = Hyperparameters(options.samples, options.batch, options.learning_rate, seed=options.seed)
    description = {"architecture": "yolo_nas", "variant": options.variant, "image_size": options.size_px}
    description |= {"rescale_px": rescale_px, "labels": list(scenes.labels)}
    training = Training(network, plan, options.out, description)
    if options.resume:
        training.resume()
    criterion = make_criterion(len(scenes.labels))
    letterbox = Letterbox(options.size_px, rescale_px, options.zoom)
    make = partial(make_batch, scenes, batch=plan.batch, letterbox=letterbox, seed=plan.seed)
    prefetched = batches(make, training.step, plan.steps, options.workers)

    def step(model: nn.Module, number: int) -> tuple[Tensor, dict[str, float]]:
        images, targets = next(prefetched)
        return detector_loss(model, criterion, images, targets, number < STATIC_SHARE * plan.steps, options.bf16)

    def evaluate(model: nn.Module) -> dict[str, float]:
        return evaluate_detector(model, validation, options.evaluate_on, Letterbox(options.size_px, rescale_px))

    return training.run(step, evaluate, evaluate_every=options.evaluate_every)


def start_from(network: YoloNas, path: Path) -> None:
    """Load a checkpoint into the network, except for class predictions of another number of classes.

    Raises:
        BundleError: Anything else does not fit, or the checkpoint's branches are merged.
    """
    source = load_yolo_nas(load_checkpoint(path), network.variant)
    if any(module.form != "branches" for module in source.modules() if isinstance(module, QARepVGG)):
        raise BundleError(f"{path}: its branches are merged, which ends training; wanted the file that training wrote")
    own, weights = network.state_dict(), source.state_dict()
    kept = {
        name: own[name] for name, value in weights.items() if ".cls_pred." in name and own[name].shape != value.shape
    }
    network.load_state_dict(weights | kept)
    print(f"{path}: loaded{', except for the class predictions' if kept else ''}")
