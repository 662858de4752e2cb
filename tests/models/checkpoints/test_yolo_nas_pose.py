"""load_yolo_nas_pose restores the network from super-gradients' files, and refuses other files."""

from pathlib import Path
from typing import Any

import pytest
import torch

from nanoseg.errors import BundleError
from nanoseg.models.checkpoints.layouts import PixelFormat
from nanoseg.models.checkpoints.load import Checkpoint, load_checkpoint
from nanoseg.models.checkpoints.yolo_nas_pose import POSE_PIXELS, load_yolo_nas_pose
from nanoseg.models.yolo_nas_pose import BN_EPS, POSE_VARIANTS, YoloNasPose
from tests.data.fill_weights import uniform_f32
from tests.helpers import yolo_nas_files as files

STATE = dict(files.pose_network().state_dict())
OTHERS, BLOCKS = files.others(STATE), files.blocks(STATE)
LAYOUTS: dict[str, Any] = {
    "averaged": files.super_gradients(OTHERS, STATE, files.POSE_RECIPE),
    "averaged, on several GPUs": files.super_gradients(OTHERS, files.prefixed(STATE, "module.module.")),
    "not averaged": files.super_gradients(files.prefixed(STATE, "module."), None),
    "bare, without rbr_reparam": files.without_reparam(STATE),
    "partly fused": {"net": files.merged(STATE, BLOCKS[::2], eps=BN_EPS)},
    "fully fused": {"net": files.merged(STATE, BLOCKS, single=True, eps=BN_EPS)},
    "nanoseg": {"model": STATE, "architecture": "yolo_nas_pose", "variant": "slim"},
}


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.from_numpy(uniform_f32(1, (1, 3, 64, 64)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_load_yolo_nas_pose_restores_the_network(layout: str, images: torch.Tensor, tmp_path: Path) -> None:
    """It takes RGB, whatever it was trained on."""
    torch.save(LAYOUTS[layout], tmp_path / "weights.pth")
    network = load_yolo_nas_pose(load_checkpoint(tmp_path / "weights.pth"))
    assert (network.variant, network.num_keypoints, network.training) == ("slim", 17, False)
    with torch.no_grad():
        found, wanted = network(images.flip(1)), files.pose_network()(images)
    for own, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-3)


def test_load_yolo_nas_pose_takes_the_files_pixels_or_those_given(images: torch.Tensor) -> None:
    with torch.no_grad():
        bgr, rgb = (
            load_yolo_nas_pose(Checkpoint(Path("w.pth"), STATE, pixels=recorded), pixels=given).backbone.stem(images)
            for recorded, given in ((PixelFormat(), POSE_PIXELS), (PixelFormat(), None))
        )
        wanted = files.pose_network().backbone.stem
        torch.testing.assert_close(bgr, wanted(images.flip(1)), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(rgb, wanted(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", POSE_VARIANTS)
@pytest.mark.parametrize("num_keypoints", [14, 20])
@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")
def test_load_yolo_nas_pose_finds_variant_and_number_of_keypoints(variant: str, num_keypoints: int) -> None:
    with torch.device("meta"):  # shapes without values, which is fast
        given = YoloNasPose(variant, num_keypoints).state_dict()
    one = torch.ones(1)
    state = {name: one.to(value.dtype).reshape([]).expand(value.shape) for name, value in given.items()}
    with torch.device("meta"):
        network = load_yolo_nas_pose(Checkpoint(Path("w.pth"), state))
    assert (network.variant, network.num_keypoints) == (variant, num_keypoints)
    other = "m" if variant != "m" else "s"
    with pytest.raises(BundleError, match=f"^w.pth: holds YOLO-NAS-Pose .*, --variant {other} was given$"):
        load_yolo_nas_pose(Checkpoint(Path("w.pth"), state), other)


def without(*names: str) -> dict:
    return {name: value for name, value in STATE.items() if not name.startswith(names)}


REFUSED: dict[str, tuple[dict, dict, str]] = {
    "the detector": (files.state(), {}, "YOLO-NAS-Pose that is none of slim, N, S, M, L: backbone"),
    "another architecture": (STATE, {"architecture": "yolo_nas"}, "wanted a yolo_nas_pose checkpoint, got one of yolo"),
    "another network": ({"a": torch.zeros(1)}, {}, "holds no YOLO-NAS-Pose: wanted backbone.*; got a$"),
    "other widths": (
        STATE | {"heads.head2.pose_stem.seq.conv.weight": torch.zeros(88, 64, 1, 1)},
        {},
        r"none of slim, N, S, M, L: heads.head2.pose_stem.seq.conv.weight \(88, 64\)$",
    ),
    "says another variant": (STATE, {"variant": "n"}, "holds YOLO-NAS-Pose slim, but says that it is N"),
    "no keypoints": (
        without("heads.head1.pose_pred", "heads.head2.pose_pred", "heads.head3.pose_pred"),
        {},
        "6 missing",
    ),
    "heads of unlike count": (
        STATE | {"heads.head2.pose_pred.bias": torch.zeros(28)},
        {},
        r"1 of another shape \(heads.head2.pose_pred.bias \(28,\) for \(34,\)\)$",
    ),
    "a mean subtracted": (STATE, {"pixels": PixelFormat(bgr=True, shifted=True)}, "BGR in 0..1, minus a mean; only"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_load_yolo_nas_pose_refuses_files(case: str) -> None:
    weights, description, message = REFUSED[case]
    with pytest.raises(BundleError, match=message) as caught:
        load_yolo_nas_pose(Checkpoint(Path("w.pth"), weights, **description))
    assert str(caught.value).startswith("w.pth: ")
    assert "\n" not in str(caught.value)
