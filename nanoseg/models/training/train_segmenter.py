"""What train_segmenter.py does: train NanoSAM's encoder and SAM's decoder together."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nanoseg.models.checkpoints.image_encoder import CLASSIFIER, PREFIX
from nanoseg.models.checkpoints.load import load_checkpoint, load_weights
from nanoseg.models.image_encoder import ENCODERS
from nanoseg.models.mask_decoder import MaskDecoder
from nanoseg.models.training.loop import Plan, Training, batches
from nanoseg.models.training.options import device_of, scenes_of
from nanoseg.models.training.segmenter import batch, box_miou, segmenter_loss


class Segmenter(MaskDecoder):
    """Encoder and decoder under the key prefixes of SAM's own checkpoints."""

    def __init__(self, variant: str, image_size: int) -> None:
        super().__init__(image_size=image_size)
        self.image_encoder = ENCODERS[variant](image_size=image_size)


def train(options: argparse.Namespace) -> Path:
    """The whole run; returns the checkpoint."""
    torch.manual_seed(options.seed)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = device_of(options)
    network = Segmenter(options.variant, options.size)
    if options.weights:
        start_from(network, options.weights)
    network.to(device)
    learn, judged = scenes_of(options)
    plan = Plan(options.images, options.batch, options.learning_rate, seed=options.seed)
    description = {"architecture": "nanosam", "variant": options.variant, "image_size": options.size}
    training = Training(network, plan, options.out, description)
    if options.resume:
        training.resume()
    make = partial(
        batch, learn, size=plan.batch, image_size=options.size, most=options.most, jitter_px=1.6, seed=plan.seed
    )
    stream = batches(make, training.step, plan.steps, options.workers)

    def step(model: Any, _: int) -> tuple[Tensor, dict[str, float]]:
        return segmenter_loss(model.image_encoder, model, next(stream), device, options.bf16)

    def judge(model: Any) -> dict[str, float]:
        return {"miou": box_miou(model.image_encoder, model, judged, options.judge_on, options.size)}

    return training.run(step, judge, options.judge_every)


def start_from(network: Segmenter, path: Path) -> None:
    """Load a whole SAM's checkpoint, of this tool or MobileSAM's; raises BundleError where something does not fit."""
    checkpoint = load_checkpoint(path)
    classifier = tuple(PREFIX + name for name in CLASSIFIER)
    own = {name: value for name, value in checkpoint.state_dict.items() if not name.startswith(classifier)}
    load_weights(network, replace(checkpoint, state_dict=own))
