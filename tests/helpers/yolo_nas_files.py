"""YOLO-NAS and YOLO-NAS-Pose with formula weights in the layouts of super-gradients and modern-yolonas."""

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
from nanoseg.models.yolo_nas_blocks import Network
from nanoseg.models.yolo_nas_pose import YoloNasPose
from tests.data.fill_weights import fill

LABELS = ["nut", "bolt", "washer"]
EPS = 1e-3
State = dict[str, Tensor]


@cache
def network() -> YoloNas:
    """Return the slim network in its training form."""
    return filled(YoloNas("slim", len(LABELS)))


@cache
def pose_network(num_keypoints: int = 17) -> YoloNasPose:
    """Return the slim network of poses in its training form."""
    return filled(YoloNasPose("slim", num_keypoints))


def filled(module: Network) -> Network:
    """Return the module with formula weights, in eval mode."""
    manifest = {name: {"shape": value.shape, "dtype": str(value.dtype)} for name, value in module.state_dict().items()}
    module.load_state_dict({name: torch.from_numpy(value) for name, value in fill(manifest).items()})
    return module.eval()


def state() -> State:
    """Return its weights."""
    return dict(network().state_dict())


def blocks(weights: State | None = None) -> list[str]:
    """Return the paths of all QARepVGG blocks, by default of `network`."""
    return [
        name.removesuffix(".branch_1x1.weight") for name in weights or state() if name.endswith(".branch_1x1.weight")
    ]


def merged(weights: State, paths: list[str], single: bool = False, eps: float = EPS) -> State:
    """Return the weights with the branches of these blocks folded into rbr_reparam, with `single` post_bn, too.

    It follows super-gradients' partial_fusion and full_fusion step by step, in float32.
    """
    result = dict(weights)
    for path in paths:
        kernel, bias = _folded(
            result, f"{path}.branch_3x3.bn", result[f"{path}.branch_3x3.conv.weight"], torch.zeros(1), eps
        )
        kernel = kernel + torch.nn.functional.pad(result[f"{path}.branch_1x1.weight"], [1, 1, 1, 1])
        bias = bias + result[f"{path}.branch_1x1.bias"]
        if path.endswith((".cv1", ".cv2")):  # the blocks of a bottleneck have an identity branch
            kernel = kernel + torch.eye(len(kernel))[:, :, None, None] * torch.eye(3)[1][:, None] * torch.eye(3)[1]
        if single:
            kernel, bias = _folded(result, f"{path}.post_bn", kernel, bias, eps)
        removed = (f"{path}.branch_", f"{path}.post_bn.") if single else (f"{path}.branch_",)
        result = {name: value for name, value in result.items() if not name.startswith(removed)}
        result |= {f"{path}.rbr_reparam.weight": kernel, f"{path}.rbr_reparam.bias": bias}
    return result


def _folded(weights: State, norm: str, kernel: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    std = (weights[f"{norm}.running_var"] + eps).sqrt()
    gain = weights[f"{norm}.weight"] / std
    shift = weights[f"{norm}.bias"] - weights[f"{norm}.weight"] * weights[f"{norm}.running_mean"] / std
    return kernel * gain[:, None, None, None], bias * gain + shift


def without_reparam(weights: State) -> State:
    """Return the weights as older versions of super-gradients saved them."""
    return {name: value for name, value in weights.items() if ".rbr_reparam." not in name}


def prefixed(weights: State, prefix: str) -> State:
    """Return the weights with `prefix` before every name."""
    return {f"{prefix}{name}": value for name, value in weights.items()}


def others(weights: State) -> State:
    """Return weights of the same names and shapes with other values."""
    return {name: value + 1 for name, value in weights.items()}


# Of DetectionDataset.get_dataset_preprocessing_params: custom data sets are read as BGR and stay in 0..255.
FINE_TUNED = [
    "ReverseImageChannels",
    {"DetectionLongestMaxSizeRescale": {"output_shape": (320, 320)}},
    {"DetectionBottomRightPadding": {"output_shape": (320, 320), "pad_value": 114}},
    {"ImagePermute": {"permutation": (2, 0, 1)}},
]
# Of its COCO recipe: reversing the channels twice cancels out.
COCO_RECIPE = [
    "ReverseImageChannels",
    {"ReverseImageChannels"},
    {"DetectionLongestMaxSizeRescale": {"output_shape": (636, 636)}},
    {"DetectionCenterPadding": {"output_shape": (640, 640), "pad_value": 114}},
    {"StandardizeImage": {"max_value": 255.0}},
    {"ImagePermute": {"permutation": (2, 0, 1)}},
]

# Of YOLO-NAS-Pose's recipes.
POSE_RECIPE = [
    "ReverseImageChannels",
    {"KeypointsLongestMaxSizeRescale": {"output_shape": [640, 640]}},
    {"KeypointsBottomRightPadding": {"output_shape": [640, 640], "pad_value": 127}},
    {"StandardizeImage": {"max_value": 255}},
    {"ImagePermute": {"permutation": (2, 0, 1)}},
]

# Of recipes that stretch an image to the square.
STRETCHED = [
    "ReverseImageChannels",
    "ReverseImageChannels",
    {"DetectionRescale": {"output_shape": (320, 320)}},
    {"StandardizeImage": {"max_value": 255.0}},
]


def super_gradients(net: State, ema: State | None, steps: list[Any] | None = None) -> dict[str, Any]:
    """Return the content of SgTrainer's ckpt_best.pth."""
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


def super_gradients_pose(net: State, ema: State | None, links: list[list[int]] | None = None) -> dict[str, Any]:
    """Return the content of SgTrainer's ckpt_best.pth of YOLO-NAS-Pose, with the lines of its skeleton."""
    saved = super_gradients(net, ema, POSE_RECIPE)
    saved["processing_params"] = {**saved["processing_params"], "edge_links": links or [[0, 1], [0, 2], [1, 3]]}
    del saved["processing_params"]["class_names"]
    return saved


def lightning(net: State, ema: State | None = None, extra: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
    """Return the content of a .ckpt that Lightning saves for modern-yolonas."""
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
