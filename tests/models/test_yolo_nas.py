"""YOLO-NAS against the outputs of super-gradients' implementation with the same formula weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nanoseg.errors import UsageError
from nanoseg.models.repvgg import ConvBnRelu, QARepVGG
from nanoseg.models.yolo_nas import VARIANTS, Decoded, YoloNas, grid
from nanoseg.models.yolo_nas_blocks import Bottleneck, Csp, CspLayer
from tests.data.fill_weights import fill, uniform_f32

BOX_ATOL_PX, OTHER_ATOL = 3e-4, 1e-5  # from the reference's README: ten times the float32 noise
INPUTS = {"decoded": (1, (1, 3, 320, 320)), "decoded_256x352": (2, (1, 3, 256, 352))}
MAPS = [
    *("backbone.stem", "backbone.stage1", "backbone.stage2", "backbone.stage3", "backbone.stage4"),
    *("backbone.context_module", "neck.neck1", "neck.neck2", "neck.neck3", "neck.neck4"),
    *("heads.head1", "heads.head2", "heads.head3"),
]


ENTRIES = {"s": 921, "m": 965, "l": 1097}  # of the published state_dict


@pytest.fixture(scope="module", params=["s", *(pytest.param(each, marks=pytest.mark.slow) for each in ("m", "l"))])
def variant(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def manifest(data: Path, variant: str) -> dict:
    return json.loads((data / f"manifest_yolo_nas_{variant}.json").read_text())


@pytest.fixture(scope="module")
def golden(data: Path, variant: str):
    with np.load(data / f"golden_yolo_nas_{variant}.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def network(manifest: dict, variant: str) -> YoloNas:
    network = YoloNas(variant)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in fill(manifest).items()})
    return network.eval()


@pytest.fixture(scope="module")
def fused(network: YoloNas) -> YoloNas:
    return network.fused()


def test_yolo_nas_state_dict_is_the_published_one(network: YoloNas, manifest: dict, variant: str) -> None:
    published = [(name, tuple(entry["shape"]), entry["dtype"]) for name, entry in manifest.items()]
    ours = [(k, tuple(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in network.state_dict().items()]
    assert ours == published
    assert len(ours) == ENTRIES[variant]


@pytest.mark.parametrize("form", ["network", "fused"])
@pytest.mark.parametrize("case", INPUTS)
def test_yolo_nas_golden(form: str, case: str, golden: dict, request: pytest.FixtureRequest) -> None:
    with torch.no_grad():
        found = request.getfixturevalue(form)(torch.from_numpy(uniform_f32(*INPUTS[case])))
    assert isinstance(found, Decoded)
    assert_golden(found.boxes, golden, f"{case}.boxes_xyxy", BOX_ATOL_PX)
    assert_golden(found.scores, golden, f"{case}.scores", OTHER_ATOL)


def test_yolo_nas_golden_of_raw_predictions_and_feature_maps(network: YoloNas, golden: dict) -> None:
    outputs: dict[str, torch.Tensor] = {}

    def record(name: str):
        def hook(_module: nn.Module, _inputs: object, output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
            for i, value in enumerate(output if isinstance(output, tuple) else (output,)):
                outputs[f"{name}.out{i}" if isinstance(output, tuple) else name] = value

        return hook

    hooks = [network.get_submodule(name).register_forward_hook(record(name)) for name in MAPS]
    with torch.no_grad():
        decoded, raw = network.with_raw(torch.from_numpy(uniform_f32(*INPUTS["decoded"])))
    for hook in hooks:
        hook.remove()
    assert len(outputs) == 18
    for name, value in outputs.items():
        assert_golden(
            value, golden, name, atol=1e-4, rtol=1e-4
        )  # values inside the network are of the order of 10 to 100
    assert_golden(raw.cls_logits, golden, "raw.cls_logits", OTHER_ATOL)
    assert_golden(raw.reg_distri, golden, "raw.reg_distri", 1e-4)
    torch.testing.assert_close(raw.cls_logits.sigmoid(), decoded.scores)


@pytest.mark.parametrize("name", VARIANTS)
def test_yolo_nas_batch_norm_settings(name: str) -> None:
    with torch.device("meta"):
        network = YoloNas(name)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.03)}


def test_yolo_nas_fused_has_convolutions_only(fused: YoloNas) -> None:
    assert not [m for m in fused.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(m.alpha is None for m in fused.modules() if isinstance(m, Bottleneck))
    assert not [name for name in fused.state_dict() if "branch_" in name or "alpha" in name]


def test_yolo_nas_slim_has_half_of_every_width() -> None:
    whole = {k: v.shape for k, v in YoloNas("s", 8).state_dict().items()}
    slim = {k: v.shape for k, v in YoloNas("slim", 8).state_dict().items()}
    fixed = {3, 8, 68}  # numbers of colours, classes and bins
    for name, shape in whole.items():
        widths, kernel = shape[:2], shape[2:]
        halved = tuple(n if n in fixed or n == 1 else n // 2 for n in widths)  # an alpha is one number
        assert tuple(slim[name]) == (*halved, *kernel), name
    used = sum(v.numel() for k, v in YoloNas("slim", 8).named_parameters() if "rbr_reparam" not in k)
    assert used == 3_229_952


@pytest.mark.parametrize("concat", [False, True])
@pytest.mark.parametrize("repvgg", [False, True])
@pytest.mark.parametrize("alphas", [(1.3, 0.4, 2.5), (0.7, -0.2, 1.5), (0.0, 3.0, -1.0)])
def test_csp_layer_fuses_exactly(concat: bool, repvgg: bool, alphas: tuple[float, ...]) -> None:
    torch.manual_seed(0)
    layer = CspLayer(6, Csp(10, len(alphas), 4, concat), repvgg).double()
    for module in layer.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                nn.init.uniform_(tensor, 0.5, 2.0)
            for tensor in (module.bias.data, module.running_mean):
                nn.init.uniform_(tensor, -1.0, 1.0)
    for bottleneck, alpha in zip(layer.bottlenecks, alphas, strict=True):
        bottleneck.alpha.data.fill_(alpha)
    layer.eval()
    x = torch.randn(2, 6, 7, 9, dtype=torch.float64)
    with torch.no_grad():
        wanted = layer(x)
        for _ in range(2):  # a second call changes nothing
            layer.fuse()
            torch.testing.assert_close(layer(x), wanted, rtol=1e-12, atol=1e-12)
    assert [b.alpha is None for b in layer.bottlenecks] == [alpha > 0 for alpha in alphas]


def test_yolo_nas_training_output_is_what_the_loss_unpacks() -> None:
    torch.manual_seed(0)
    network = YoloNas("slim", num_classes=5).train()
    decoded, raw = network(torch.rand(2, 3, 64, 96))
    cls_logits, reg_distri, anchors, anchor_points, num_anchors_list, stride_tensor = raw
    count = 8 * 12 + 4 * 6 + 2 * 3
    assert num_anchors_list == [8 * 12, 4 * 6, 2 * 3]
    assert [tuple(t.shape) for t in decoded] == [(2, count, 4), (2, count, 5)]
    assert (cls_logits.shape, reg_distri.shape) == ((2, count, 5), (2, count, 68))
    assert (anchors.shape, anchor_points.shape, stride_tensor.shape) == ((count, 4), (count, 2), (count, 1))
    torch.testing.assert_close(anchor_points[:2], torch.tensor([[4.0, 4.0], [12.0, 4.0]]))
    torch.testing.assert_close(anchors[-1], torch.tensor([80.0 - 80, 48.0 - 80, 80.0 + 80, 48.0 + 80]))
    # The boxes again, from the mean of each distribution.
    probabilities = torch.softmax(reg_distri.reshape(2, count, 4, 17), -1)
    left, top, right, bottom = (probabilities * torch.arange(17.0)).sum(-1).unbind(-1)
    x, y, stride = anchor_points[:, 0], anchor_points[:, 1], stride_tensor[:, 0]
    boxes = torch.stack([x - left * stride, y - top * stride, x + right * stride, y + bottom * stride], -1)
    torch.testing.assert_close(decoded.boxes, boxes, rtol=1e-5, atol=1e-4)
    assert decoded.scores.mean().item() == pytest.approx(0.01, rel=0.5)  # the prior


def test_yolo_nas_every_used_parameter_learns() -> None:
    network = YoloNas("slim", num_classes=2).train()
    decoded, _ = network(torch.rand(1, 3, 64, 64))
    (decoded.boxes.sum() + decoded.scores.sum()).backward()
    without_gradient = {name for name, p in network.named_parameters() if p.grad is None}
    assert without_gradient == {name for name, _ in network.named_parameters() if ".rbr_reparam." in name}


def test_yolo_nas_fused_copies() -> None:
    network = YoloNas("slim", num_classes=2).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.fused()
    assert network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_grid_is_in_row_order() -> None:
    points, strides_px = grid([(1, 2), (1, 1), (1, 1)])
    assert points.tolist() == [[0.5, 0.5], [1.5, 0.5], [0.5, 0.5], [0.5, 0.5]]
    assert strides_px.tolist() == [[8.0], [8.0], [16.0], [32.0]]


@pytest.mark.parametrize(("arguments", "message"), [(("xl", 80), "variant"), (("s", 0), "num_classes")])
def test_yolo_nas_refuses_arguments(arguments: tuple[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        YoloNas(*arguments)


@pytest.mark.parametrize("identity", [False, True])
def test_qarepvgg_merged_fuses_like_branches(identity: bool) -> None:
    torch.manual_seed(0)
    block = QARepVGG(6, 6, identity=identity).double().eval()
    for norm in (block.branch_3x3.bn, block.post_bn):
        nn.init.uniform_(norm.weight, 0.5, 2.0)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
        nn.init.uniform_(norm.bias, -1.0, 1.0)
        nn.init.uniform_(norm.running_mean, -1.0, 1.0)
    x = torch.randn(2, 6, 5, 7, dtype=torch.float64)
    with torch.no_grad():
        wanted = block(x)
        # The branches are linear: their response to zeros is the bias, that to a one is a weight.
        merged = QARepVGG(6, 6, identity=identity).double().eval()
        merged.post_bn.load_state_dict(block.post_bn.state_dict())
        merged.rbr_reparam.bias.copy_(_branches(block, torch.zeros(1, 6, 3, 3, dtype=torch.float64))[0, :, 1, 1])
        for i in range(6):
            for row, column in np.ndindex(3, 3):
                one = torch.zeros(1, 6, 3, 3, dtype=torch.float64)
                one[0, i, row, column] = 1
                response = _branches(block, one)[0, :, 1, 1] - merged.rbr_reparam.bias
                merged.rbr_reparam.weight[:, i, row, column] = response
        merged.set_form("merged")
        torch.testing.assert_close(merged(x), wanted)
        for each in (merged, block):
            each.fuse()
            torch.testing.assert_close(each(x), wanted)
            assert list(each.state_dict()) == ["rbr_reparam.weight", "rbr_reparam.bias"]


def _branches(block: QARepVGG, x: torch.Tensor) -> torch.Tensor:
    return block.branch_3x3(x) + block.branch_1x1(x) + (x if block.identity else 0)


def test_blocks_fuse_with_stride() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 4, 9, 11)
    for block in (QARepVGG(4, 6, stride=2).eval(), ConvBnRelu(4, 6, 3, 2).eval()):
        with torch.no_grad():
            wanted = block(x)
            block.fuse()
            torch.testing.assert_close(block(x), wanted, rtol=1e-5, atol=1e-5)


def assert_golden(value: torch.Tensor, golden: dict, name: str, atol: float, rtol: float = 0.0) -> None:
    assert list(value.shape) == golden[f"{name}.shape"].tolist(), name
    sample = value.numpy().ravel()[:: int(golden[f"{name}.stride"])]
    np.testing.assert_allclose(sample, golden[f"{name}.sample"], rtol=rtol, atol=atol, err_msg=name)
