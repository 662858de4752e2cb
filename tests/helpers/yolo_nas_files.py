"""YOLO-NAS as trainers save it, of formula weights: the layouts of super-gradients, modern-yolonas and their likes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nanoseg.models.yolo_nas import YoloNas
from tests.data.fill_weights import fill

LABELS = ["nut", "bolt", "washer"]
EPS = 1e-3
State = dict[str, Tensor]


@cache
def network() -> YoloNas:
    """The slim network in its training form."""
    made = YoloNas("slim", len(LABELS))
    manifest = {name: {"shape": value.shape, "dtype": str(value.dtype)} for name, value in made.state_dict().items()}
    made.load_state_dict({name: torch.from_numpy(value) for name, value in fill(manifest).items()})
    return made.eval()


def state() -> State:
    """Its weights."""
    return dict(network().state_dict())


def blocks() -> list[str]:
    """Paths of all QARepVGG blocks."""
    return [name.removesuffix(".branch_1x1.weight") for name in state() if name.endswith(".branch_1x1.weight")]


def merged(weights: State, paths: list[str], single: bool = False) -> State:
    """With the branches of these blocks in rbr_reparam, and post_bn too where `single`: float32, step by step, as
    super-gradients' partial_fusion and full_fusion compute it."""
    left = dict(weights)
    for path in paths:
        kernel, bias = _folded(left, f"{path}.branch_3x3.bn", left[f"{path}.branch_3x3.conv.weight"], torch.zeros(1))
        kernel = kernel + torch.nn.functional.pad(left[f"{path}.branch_1x1.weight"], [1, 1, 1, 1])
        bias = bias + left[f"{path}.branch_1x1.bias"]
        if path.endswith((".cv1", ".cv2")):  # the blocks of a bottleneck also hand on what they were given
            kernel = kernel + torch.eye(len(kernel))[:, :, None, None] * torch.eye(3)[1][:, None] * torch.eye(3)[1]
        if single:
            kernel, bias = _folded(left, f"{path}.post_bn", kernel, bias)
        gone = (f"{path}.branch_", f"{path}.post_bn.") if single else (f"{path}.branch_",)
        left = {name: value for name, value in left.items() if not name.startswith(gone)}
        left |= {f"{path}.rbr_reparam.weight": kernel, f"{path}.rbr_reparam.bias": bias}
    return left


def _folded(weights: State, norm: str, kernel: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    std = (weights[f"{norm}.running_var"] + EPS).sqrt()
    gain = weights[f"{norm}.weight"] / std
    shift = weights[f"{norm}.bias"] - weights[f"{norm}.weight"] * weights[f"{norm}.running_mean"] / std
    return kernel * gain[:, None, None, None], bias * gain + shift


def without_reparam(weights: State) -> State:
    """As files are from before super-gradients registered rbr_reparam."""
    return {name: value for name, value in weights.items() if ".rbr_reparam." not in name}


def prefixed(weights: State, prefix: str) -> State:
    """With every name behind `prefix`."""
    return {f"{prefix}{name}": value for name, value in weights.items()}


def others(weights: State) -> State:
    """Weights of the same names and shapes that give other answers."""
    return {name: value + 1 for name, value in weights.items()}


# Of DetectionDataset.get_dataset_preprocessing_params: data sets of one's own are read as BGR and stay in 0..255.
FINE_TUNED = [
    "ReverseImageChannels",
    {"DetectionLongestMaxSizeRescale": {"output_shape": (320, 320)}},
    {"DetectionBottomRightPadding": {"output_shape": (320, 320), "pad_value": 114}},
    {"ImagePermute": {"permutation": (2, 0, 1)}},
]
# Of its COCO recipe: turned twice is not turned.
COCO_RECIPE = [
    "ReverseImageChannels",
    {"ReverseImageChannels"},
    {"DetectionLongestMaxSizeRescale": {"output_shape": (636, 636)}},
    {"DetectionCenterPadding": {"output_shape": (640, 640), "pad_value": 114}},
    {"StandardizeImage": {"max_value": 255.0}},
    {"ImagePermute": {"permutation": (2, 0, 1)}},
]

# Of recipes that squeeze a picture into the square: no side of it keeps a length of its own.
STRETCHED = [
    "ReverseImageChannels",
    "ReverseImageChannels",
    {"DetectionRescale": {"output_shape": (320, 320)}},
    {"StandardizeImage": {"max_value": 255.0}},
]


def super_gradients(net: State, ema: State | None, steps: list[Any] | None = None) -> dict[str, Any]:
    """What SgTrainer saves as ckpt_best.pth."""
    saved: dict[str, Any] = {
        "net": OrderedDict(net),
        "acc": np.float64(0.5),
        "epoch": 3,
        "metrics": {"tracked_metric_name": "mAP@0.50", "valid": {"mAP@0.50": np.float32(0.5)}, "train": np.ones(2)},
        "packages": {"torch": "2.1.0", "numpy": "1.23.0"},
        "optimizer_state_dict": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-4}]},
        "scaler_state_dict": {"scale": 65536.0, "_growth_tracker": 0},
        "torch_scheduler_state_dict": None,
    }
    if ema is not None:
        saved["ema_net"] = OrderedDict(ema)
    if steps is not None:
        processor = {"ComposeProcessing": {"processings": steps}}
        saved["processing_params"] = {"class_names": LABELS, "image_processor": processor, "iou": 0.65, "conf": 0.5}
    return saved


def lightning(net: State, ema: State | None = None, extra: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
    """What Lightning saves of modern-yolonas's training, as a .ckpt."""
    saved: dict[str, Any] = {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": OrderedDict({**prefixed(net, "model."), **(extra or {})}),
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val/mAP'}": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"num_classes": 3, "val_ann_file": Path("val.json"), "input_size": 320, "lr": 2e-4},
    }
    if ema is not None:
        saved |= {"ema_state_dict": OrderedDict(ema), "ema_updates": 10}
    return saved
