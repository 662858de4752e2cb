"""Flags of both training verbs, by the field names of TrainingOptions."""

from __future__ import annotations

import argparse
from pathlib import Path

from nanoseg.models.training.options import TrainingOptions


def add_run_flags(parser: argparse.ArgumentParser, defaults: type[TrainingOptions]) -> None:
    """Add the flags of the run: its folder, its length, its device."""
    parser.set_defaults(**{name: getattr(defaults, name) for name in ("images", "batch", "learning_rate")})
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="continue the run in OUT")
    parser.add_argument("--weights", type=Path, help="checkpoint to start from (fine-tuning)")
    parser.add_argument("--images", type=int, help="training images in all (%(default)s)")
    parser.add_argument("--batch", type=int, help="images per step (%(default)s)")
    parser.add_argument("--learning-rate", type=float, help="at its peak (%(default)s)")
    parser.add_argument(
        "--judge-every",
        dest="evaluate_every",
        type=int,
        default=defaults.evaluate_every,
        help="training images between two evaluations (%(default)s)",
    )
    parser.add_argument(
        "--judge-on",
        dest="evaluate_on",
        type=int,
        default=defaults.evaluate_on,
        help="validation images of an evaluation (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--device", help="of torch; default: cuda where it is available, else cpu")
    parser.add_argument(
        "--threads", type=int, default=defaults.threads, help="of torch on a CPU; 0: torch's own number"
    )
    parser.add_argument("--workers", type=int, default=defaults.workers, help="processes that prepare batches")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 arithmetic where the machine is fast at it")


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a COCO data set; without them the simulated line is used."""
    parser.add_argument("--annotations", type=Path, help="COCO instances to train on; default: the simulated line")
    parser.add_argument("--pictures", type=Path, help="folder of their images")
    parser.add_argument("--val-annotations", type=Path, help="COCO instances to evaluate on")
    parser.add_argument("--val-pictures", type=Path, help="folder of their images")
