"""YOLO-NAS-Pose against the outputs of super-gradients' implementation with the same formula weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nanoseg.errors import UsageError
from nanoseg.models.yolo_nas_blocks import Bottleneck
from nanoseg.models.yolo_nas_pose import POSE_VARIANTS, DecodedPoses, YoloNasPose
from tests.data.fill_weights import fill, uniform_f32
from tests.models.test_yolo_nas import BOX_ATOL_PX, INPUTS, MAPS, OTHER_ATOL, assert_golden

POSE_ATOL_PX = 3e-4  # ten times the float32 noise
# Of the published networks: entries of the state_dict, parameters in all and of those used, multiply-adds fused at 640.
SIZES = {
    "n": (956, 9_901_483, 7_165_323, 9_368_320_000),
    "s": (987, 22_226_028, 16_050_444, 19_109_888_000),
    "m": (1031, 58_208_046, 40_886_734, 50_997_043_200),
    "l": (1163, 79_366_452, 56_919_508, 72_473_804_800),
}


@pytest.fixture(scope="module", params=["n", *(pytest.param(each, marks=pytest.mark.slow) for each in ("s", "m", "l"))])
def variant(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(variant: str, request: pytest.FixtureRequest) -> Path:
    """N travels with the project; the others lie in the reference folder."""
    return request.getfixturevalue("data") if variant == "n" else request.getfixturevalue("shared") / "reference"


@pytest.fixture(scope="module")
def manifest(folder: Path, variant: str) -> dict:
    return json.loads((folder / f"manifest_yolo_nas_pose_{variant}.json").read_text())


@pytest.fixture(scope="module")
def golden(folder: Path, variant: str) -> dict:
    with np.load(folder / f"golden_yolo_nas_pose_{variant}.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def network(manifest: dict, variant: str) -> YoloNasPose:
    network = YoloNasPose(variant)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in fill(manifest).items()})
    return network.eval()


@pytest.fixture(scope="module")
def fused(network: YoloNasPose) -> YoloNasPose:
    return network.fused()


def test_yolo_nas_pose_state_dict_is_the_published_one(network: YoloNasPose, manifest: dict, variant: str) -> None:
    published = [(name, tuple(entry["shape"]), entry["dtype"]) for name, entry in manifest.items()]
    ours = [(k, tuple(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in network.state_dict().items()]
    assert ours == published
    assert len(ours) == SIZES[variant][0]


@pytest.mark.parametrize("form", ["network", "fused"])
@pytest.mark.parametrize("case", INPUTS)
def test_yolo_nas_pose_golden(form: str, case: str, golden: dict, request: pytest.FixtureRequest) -> None:
    with torch.no_grad():
        found = request.getfixturevalue(form)(torch.from_numpy(uniform_f32(*INPUTS[case])))
    assert isinstance(found, DecodedPoses)
    assert_golden(found.boxes, golden, f"{case}.boxes_xyxy", BOX_ATOL_PX)
    assert_golden(found.scores, golden, f"{case}.scores", OTHER_ATOL)
    assert_golden(found.keypoints[..., :2], golden, f"{case}.pose_xy", POSE_ATOL_PX)
    assert_golden(found.keypoints[..., 2], golden, f"{case}.pose_scores", OTHER_ATOL)


def test_yolo_nas_pose_golden_of_raw_predictions_and_feature_maps(network: YoloNasPose, golden: dict) -> None:
    outputs: dict[str, torch.Tensor] = {}

    def record(name: str):
        def hook(_module: nn.Module, _inputs: object, output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
            for i, value in enumerate(output if isinstance(output, tuple) else (output,)):
                outputs[f"{name}.out{i}" if isinstance(output, tuple) else name] = value

        return hook

    hooks = [network.get_submodule(name).register_forward_hook(record(name)) for name in (*MAPS, "heads")]
    with torch.no_grad():
        network(torch.from_numpy(uniform_f32(*INPUTS["decoded"])))
    for hook in hooks:
        hook.remove()
    raw = {
        f"raw.{name}": outputs.pop(f"heads.out{i}").transpose(1, 2)
        for i, name in enumerate(["reg_distri", "cls_logits"])
    }
    for i in (2, 3, 4):  # the keypoints' raw predictions, which the goldens hold by map
        del outputs[f"heads.out{i}"]
    assert len(outputs) == 24
    for name, value in (outputs | raw).items():
        assert_golden(value, golden, name, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("variant", SIZES)
def test_yolo_nas_pose_has_the_published_size(variant: str) -> None:
    multiply_adds = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal multiply_adds
        assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        # A transposed convolution spreads each of its inputs, another one gathers for each of its outputs.
        places = inputs[0][0, 0] if isinstance(module, nn.ConvTranspose2d) else output[0, 0]
        multiply_adds += module.weight.numel() * places.numel()

    with torch.device("meta"):
        network = YoloNasPose(variant)
        parameters = {name: value.numel() for name, value in network.named_parameters()}
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.register_forward_hook(count)
        network.eval()(torch.empty(1, 3, 640, 640))
    # As trained, a block has a 1x1 convolution beside each 3x3 one, which fusion folds away.
    folded = sum(_places(name) * value for name, value in parameters.items() if name.endswith(".branch_1x1.weight"))
    used = sum(value for name, value in parameters.items() if ".rbr_reparam." not in name)
    assert (sum(parameters.values()), used, multiply_adds - folded) == SIZES[variant][1:]


def _places(name: str) -> int:
    """Return the number of cells of the map that a block of the backbone or the neck writes, at 640 px."""
    part = name.split(".")[1]
    return (
        640 // {"stem": 2, "stage1": 4, "stage2": 8, "stage3": 16, "stage4": 32, "neck1": 16, "neck2": 8}[part]
    ) ** 2


@pytest.mark.parametrize(("name", "momentum"), [("slim", 0.03), ("n", 0.03), ("s", 0.1), ("m", 0.1), ("l", 0.03)])
def test_yolo_nas_pose_batch_norm_settings(name: str, momentum: float) -> None:
    with torch.device("meta"):
        network = YoloNasPose(name)
    assert set(POSE_VARIANTS) == {"slim", *SIZES}
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-6, momentum)}


def test_yolo_nas_pose_fused_has_convolutions_only(fused: YoloNasPose) -> None:
    assert not [m for m in fused.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(m.alpha is None for m in fused.modules() if isinstance(m, Bottleneck))


@pytest.mark.parametrize("num_keypoints", [1, 14, 20])
def test_yolo_nas_pose_takes_any_number_of_keypoints(num_keypoints: int) -> None:
    with torch.no_grad():
        found = YoloNasPose("slim", num_keypoints).eval()(torch.rand(2, 3, 64, 96))
    assert found.keypoints.shape == (2, 8 * 12 + 4 * 6 + 2 * 3, num_keypoints, 3)


def test_yolo_nas_pose_every_used_parameter_learns() -> None:
    network = YoloNasPose("slim", 3).train()
    sum(output.sum() for output in network(torch.rand(2, 3, 64, 64))).backward()
    without_gradient = {name for name, p in network.named_parameters() if p.grad is None}
    assert without_gradient == {name for name, _ in network.named_parameters() if ".rbr_reparam." in name}


@pytest.mark.parametrize(("arguments", "message"), [(("xl", 17), "variant"), (("n", 0), "num_keypoints")])
def test_yolo_nas_pose_refuses_arguments(arguments: tuple[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        YoloNasPose(*arguments)
