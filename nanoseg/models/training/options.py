"""Flags that every training script has, and the data they name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nanoseg.errors import UsageError

if TYPE_CHECKING:
    import torch

    from nanoseg.evaluation.scenes import Scenes


def add_run_options(parser: argparse.ArgumentParser, images: int, batch: int, learning_rate: float) -> None:
    """Where the run lies, how long it is, and on what it runs."""
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--resume", action="store_true", help="go on where the run in OUT stopped")
    parser.add_argument("--weights", type=Path, help="begin from this checkpoint (fine-tuning)")
    parser.add_argument("--images", type=int, default=images, help="pictures to learn from, in all (%(default)s)")
    parser.add_argument("--batch", type=int, default=batch, help="pictures a step (%(default)s)")
    parser.add_argument("--learning-rate", type=float, default=learning_rate, help="at its peak (%(default)s)")
    parser.add_argument("--judge-every", type=int, default=5000, help="pictures between two judgements (%(default)s)")
    parser.add_argument("--judge-on", type=int, default=100, help="validation pictures a judgement (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="of torch; default: cuda where it can be used, else cpu")
    parser.add_argument("--threads", type=int, default=0, help="of torch on a CPU; 0 leaves it to torch")
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare pictures (%(default)s)")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 arithmetic where the machine is fast at it")


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """A COCO data set for training and one for validation; without them the simulated line is both."""
    parser.add_argument("--annotations", type=Path, help="COCO instances to learn from; default: the simulated line")
    parser.add_argument("--pictures", type=Path, help="the folder of their pictures")
    parser.add_argument("--val-annotations", type=Path, help="COCO instances to be judged on")
    parser.add_argument("--val-pictures", type=Path, help="the folder of their pictures")


def device_of(options: argparse.Namespace) -> torch.device:
    """Where to train: what --device says, else the GPU if torch can use one."""
    import torch  # here, so that --help does not load it

    return torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))


def scenes_of(options: argparse.Namespace) -> tuple[Scenes, Scenes]:
    """What to learn from and what to be judged on; raises UsageError where only half of it is named."""
    from nanoseg.evaluation.scenes import CocoScenes, SimulatedScenes

    named = (options.annotations, options.pictures, options.val_annotations, options.val_pictures)
    if not any(named):
        return SimulatedScenes(), SimulatedScenes(validation=True)
    if not all(named):
        raise UsageError("a COCO data set wants --annotations, --pictures, --val-annotations and --val-pictures")
    train = CocoScenes(options.annotations, options.pictures)
    judged = CocoScenes(options.val_annotations, options.val_pictures)
    if train.labels != judged.labels:
        raise UsageError(f"{options.val_annotations}: its categories are not those of {options.annotations}")
    return train, judged
