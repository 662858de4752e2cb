"""What float32's own rounding explains is accepted, and a fault of a thousandth is not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from nanoseg.errors import BundleError
from nanoseg.models.export.compare_with_torch import check_same_outputs
from nanoseg.models.export.to_onnx import export_onnx
from nanoseg.models.yolo_nas import YoloNas
from nanoseg.onnx_graphs.model.pictures import example_pictures

PX = 64


def pictures(seed: int = 0) -> list[dict[str, torch.Tensor]]:
    return [{"images": torch.from_numpy(image[None])} for image in example_pictures(PX, 2, seed)]


def with_trained_norms(network: nn.Module) -> nn.Module:
    """Give every BatchNorm the mean and variance that images have there, as training does."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean of all batches
    network.train()
    with torch.no_grad():
        for seed in range(3):
            network(torch.from_numpy(example_pictures(PX, 4, 10 + seed)))
    return network.eval()


class Small(nn.Module):
    """Layers with BatchNorms, then boxes in pixels and scores."""

    def __init__(self) -> None:
        super().__init__()
        layers, channels = list[nn.Module](), 3
        for stride in (2, 1, 2, 1, 2, 1):
            layers += [nn.Conv2d(channels, 24, 3, stride, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU()]
            channels = 24
        self.layers = nn.Sequential(*layers)
        self.boxes, self.scores = nn.Conv2d(24, 4, 1), nn.Conv2d(24, 3, 1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.layers(images)
        return self.boxes(features).flatten(2) * PX, self.scores(features).flatten(2).sigmoid()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A small detector and its file."""
    torch.manual_seed(0)
    network = with_trained_norms(Small())
    first, *others = pictures()
    out = tmp_path_factory.mktemp("exported") / "d.onnx"
    return network, export_onnx(network, first, out, ["boxes", "scores"], inputs_to_check=others)


@pytest.mark.slow
def test_compare_accepts_yolo_nas_with_trained_norms(tmp_path: Path) -> None:
    """Noise, which no trained network expects, has the larger errors: more than 1e-2 px at 640."""
    torch.manual_seed(0)
    network, (first, *others) = with_trained_norms(YoloNas("slim", 3)).fused(), pictures()
    path = export_onnx(network, first, tmp_path / "d.onnx", ["boxes", "scores"], inputs_to_check=others)
    noise = [{"images": torch.rand(1, 3, PX, PX, generator=torch.Generator().manual_seed(n))} for n in range(3)]
    check_same_outputs(network, [*pictures(5), *noise], path, ["boxes", "scores"], path)


def convolutions(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Their weights, first to last."""
    weights = {weight.name: weight for weight in model.graph.initializer}
    return [weights[node.input[1]] for node in model.graph.node if node.op_type == "Conv"]


def edit(tensor: onnx.TensorProto, change: Callable[[np.ndarray], np.ndarray]) -> None:
    value = change(numpy_helper.to_array(tensor).copy())
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value.astype(np.float32)), tensor.name))


def scaled(at: int) -> Callable[[onnx.ModelProto], None]:
    return lambda model: edit(convolutions(model)[at], lambda weight: weight * 1.001)


def one_channel(model: onnx.ModelProto) -> None:
    """One of the channels of a layer in the middle."""

    def change(weight: np.ndarray) -> np.ndarray:
        weight[0] *= 1.01
        return weight

    edit(convolutions(model)[len(convolutions(model)) // 2], change)


def swapped_channels(model: onnx.ModelProto) -> None:
    edit(convolutions(model)[0], lambda weight: weight[:, ::-1])


def dropped_layer(model: onnx.ModelProto) -> None:
    """A Relu that does nothing."""
    relu = [node for node in model.graph.node if node.op_type == "Relu"][-1]
    relu.op_type = "Identity"


def constant(model: onnx.ModelProto) -> None:
    """The bias of the last convolution, a thousandth off."""
    weights = {weight.name: weight for weight in model.graph.initializer}
    node = [node for node in model.graph.node if node.op_type == "Conv" and len(node.input) > 2][-1]
    edit(weights[node.input[2]], lambda bias: bias * 1.001)


def float16_layer(model: onnx.ModelProto) -> None:
    """The first layer's weights in half precision: 5e-4 of each."""
    edit(convolutions(model)[0], lambda weight: weight.astype(np.float16))


FAULTS = {
    "first layer": scaled(0),
    "layer in the middle": scaled(3),
    "last layer": scaled(-1),
    "one channel": one_channel,
    "swapped channels": swapped_channels,
    "dropped layer": dropped_layer,
    "wrong constant": constant,
    "float16": float16_layer,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_compare_finds_faults(fault: str, exported: tuple[nn.Module, Path], tmp_path: Path) -> None:
    network, path = exported
    model = onnx.load(path)
    FAULTS[fault](model)
    onnx.save(model, tmp_path / "faulty.onnx")
    message = r"d.onnx: example 0: '\w+' differs from torch by .*, limit .* by float32's own error of .*; not written"
    with pytest.raises(BundleError, match=message):
        check_same_outputs(network, pictures(), tmp_path / "faulty.onnx", ["boxes", "scores"], path)


class Other(nn.Module):
    """Sums that cancel: float32 is off by a hundredth of the result, and every order of summing by another one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.weight = nn.Parameter(torch.randn(4096, 16) * 1e4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.weight) - (x.flip(1) @ self.weight.flip(0))


@pytest.mark.parametrize("nan", [False, True])
def test_compare_knows_float32s_error(nan: bool, tmp_path: Path) -> None:
    """An output that is nothing but rounding is accepted; NaN in the file is not."""
    module, x = Other().eval(), {"x": torch.randn(8, 4096)}
    path = export_onnx(module, x, tmp_path / "a.onnx", ["y"])
    if nan:
        model = onnx.load(path)
        edit(next(w for w in model.graph.initializer if len(w.dims) == 2), lambda weight: weight * np.nan)
        onnx.save(model, path)
        with pytest.raises(BundleError, match="'y' differs from torch by nan"):
            check_same_outputs(module, [x], path, ["y"], path)
    else:
        check_same_outputs(module, [x], path, ["y"], path)
