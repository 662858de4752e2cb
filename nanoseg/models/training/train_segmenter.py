"""Train NanoSAM's image encoder and SAM's mask decoder together: `train_segmenter`."""

from __future__ import annotations

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
from nanoseg.models.training.loop import Hyperparameters, Training, batches, torch_device
from nanoseg.models.training.options import SegmenterOptions
from nanoseg.models.training.scenes import open_training_scenes
from nanoseg.models.training.segmenter import evaluate_segmenter, make_batch, segmenter_loss

BOX_JITTER_PX = 1.6  # scale of the noise on the corners of a box prompt


class SegmenterNetwork(MaskDecoder):
    """Image encoder, prompt encoder and mask decoder, under the key prefixes of SAM's own checkpoints."""

    def __init__(self, variant: str, image_size: int) -> None:
        super().__init__(image_size=image_size)
        self.image_encoder = ENCODERS[variant](image_size=image_size)


def train_segmenter(options: SegmenterOptions) -> Path:
    """Train encoder and decoder and write their checkpoint.

    `export_image_encoder` and `export_mask_decoder` take it.

    Args:
        options: Options of the run. With `options.weights` both networks start from that checkpoint.

    Returns:
        The path of checkpoint.pt in the folder `options.out`.

    Raises:
        UsageError: An option is out of range, or the folder holds a run that these options do not continue.
        SourceError: The data set cannot be read, or shows no object.
        BundleError: The weights to start from do not fit the networks.
    """
    torch.manual_seed(options.seed)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch_device(options.device)
    network = SegmenterNetwork(options.variant, options.size_px)
    if options.weights:
        start_from(network, options.weights)
    network.to(device)
    scenes, validation = open_training_scenes(options)
    plan = Hyperparameters(options.samples, options.batch, options.learning_rate, seed=options.seed)
    description = {"architecture": "nanosam", "variant": options.variant, "image_size": options.size_px}
    training = Training(network, plan, options.out, description)
    if options.resume:
        training.resume()
    make = partial(
        make_batch,
        scenes,
        batch=plan.batch,
        image_size=options.size_px,
        max_objects=options.max_objects,
        jitter_px=BOX_JITTER_PX,
        seed=plan.seed,
    )
    prefetched = batches(make, training.step, plan.steps, options.workers)

    def step(model: Any, _: int) -> tuple[Tensor, dict[str, float]]:
        return segmenter_loss(model.image_encoder, model, next(prefetched), device, options.bf16)

    def evaluate(model: Any) -> dict[str, float]:
        miou = evaluate_segmenter(model.image_encoder, model, validation, options.evaluate_on, options.size_px)
        return {"miou": miou}

    return training.run(step, evaluate, evaluate_every=options.evaluate_every)


def start_from(network: SegmenterNetwork, path: Path) -> None:
    """Load the checkpoint of a whole SAM, `train_segmenter`'s or MobileSAM's, into the network.

    Raises:
        BundleError: The weights do not fit.
    """
    checkpoint = load_checkpoint(path)
    classifier = tuple(PREFIX + name for name in CLASSIFIER)
    own = {name: value for name, value in checkpoint.state_dict.items() if not name.startswith(classifier)}
    load_weights(network, replace(checkpoint, state_dict=own))
