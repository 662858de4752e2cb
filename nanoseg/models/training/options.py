"""Options of a training run; torch is not needed to make them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nanoseg.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options that every training run has.

    The four paths name a COCO data set to train on and one to evaluate on; without them the simulated line is both.

    Raises:
        UsageError: Only a part of the data set is named.
    """

    out: Path  # folder of the run
    samples: int  # training images in all, each epoch counted anew
    batch: int  # images per optimizer step
    learning_rate: float  # at its peak
    resume: bool = False  # continue the run in `out`
    weights: Path | None = None  # checkpoint to start from
    annotations: Path | None = None  # COCO instances to train on
    images: Path | None = None  # folder of their images
    val_annotations: Path | None = None  # COCO instances to evaluate on
    val_images: Path | None = None  # folder of their images
    evaluate_every: int = 5000  # training images between two evaluations
    evaluate_on: int = 100  # validation images of one evaluation
    seed: int = 0
    device: str | None = None  # of torch; None takes cuda where it is available, else cpu
    threads: int = 0  # of torch on a CPU; 0 leaves the number to torch
    workers: int = 0  # processes that prepare batches; 0 prepares them in this one
    bf16: bool = False  # bfloat16 arithmetic

    def __post_init__(self) -> None:
        paths = (self.annotations, self.images, self.val_annotations, self.val_images)
        if any(paths) and not all(paths):
            raise UsageError("a COCO data set needs all of --annotations, --images, --val-annotations and --val-images")


@dataclass(frozen=True, kw_only=True)
class DetectorOptions(TrainingOptions):
    """Options of `train_detector`."""

    samples: int = 150_000
    batch: int = 16
    learning_rate: float = 1e-3
    variant: str = "slim"  # of YOLO-NAS: slim, s, m or l
    size_px: int = 320  # side of the network's input
    rescale_px: int | None = None  # longest side of an image in the input; None takes the usual one
    zoom: tuple[float, float] = (1.0, 1.0)  # range of a random factor on the image's scale


@dataclass(frozen=True, kw_only=True)
class SegmenterOptions(TrainingOptions):
    """Options of `train_segmenter`."""

    samples: int = 60_000
    batch: int = 4
    learning_rate: float = 5e-4
    variant: str = "slim"  # of the image encoder: resnet18, slim or tiny_vit
    size_px: int = 512  # side of the encoder's input
    max_objects: int = 8  # objects taken from one image
