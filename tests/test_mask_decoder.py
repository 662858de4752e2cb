"""The mask decoder against segment-anything's outputs, and against its plain order of products."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs nanoseg[export]")

from benchmarks.plain_decoder import PlainDecoder  # noqa: E402
from nanoseg.errors import UsageError  # noqa: E402
from nanoseg.models.mask_decoder import MaskDecoder  # noqa: E402
from tests.data.fill_weights import fill, normal_f32  # noqa: E402

MASK_ATOL, IOU_ATOL = 2e-4, 6e-6  # ten times the float32 noise of these cases
CASES = ["box", "point", "box_plus_points", "point_with_pad"]


@pytest.fixture(scope="module")
def golden(data: Path) -> dict[str, np.ndarray]:
    with np.load(data / "golden_sam_mask_decoder.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def decoder(data: Path):
    manifest = json.loads((data / "manifest_sam_prompt_encoder_mask_decoder.json").read_text())
    decoder = MaskDecoder()
    decoder.load_state_dict({name: torch.from_numpy(value) for name, value in fill(manifest).items()})
    return decoder.eval()


@pytest.fixture(scope="module")
def small(decoder):
    """The same weights for images of 256 px: a grid of 16, so that laws are quick to test."""
    small = MaskDecoder(image_size=256)
    small.load_state_dict(decoder.state_dict())
    return small.eval()


@pytest.fixture(scope="module")
def embedding():
    return torch.from_numpy(normal_f32(31, (1, 256, 64, 64)))


@pytest.fixture(scope="module")
def small_embedding():
    return torch.from_numpy(normal_f32(33, (1, 256, 16, 16)))


def prompts(*rows):
    """Rows of (x, y, label) -> coordinates (N, P, 2) and labels (N, P)."""
    table = torch.tensor(rows, dtype=torch.float32)
    return table[..., :2], table[..., 2]


def agree(found, wanted, mask_atol=MASK_ATOL, iou_atol=IOU_ATOL):
    torch.testing.assert_close(found[0], wanted[0], rtol=0, atol=mask_atol)
    torch.testing.assert_close(found[1], wanted[1], rtol=0, atol=iou_atol)


def test_state_dict_is_the_published_one(data, decoder):
    manifest = json.loads((data / "manifest_sam_prompt_encoder_mask_decoder.json").read_text())
    found = {k: list(v.shape) for k, v in decoder.state_dict().items()}
    assert found == {k: v["shape"] for k, v in manifest.items()}


@pytest.mark.parametrize("form", ["halved", "plain"])
@pytest.mark.parametrize("case", CASES)
def test_golden(golden, decoder, embedding, case, form):
    module = decoder if form == "halved" else PlainDecoder(decoder)
    coords, labels = (torch.from_numpy(golden[f"{case}.point_{k}"]) for k in ("coords", "labels"))
    with torch.inference_mode():
        masks, iou = module(embedding, coords, labels)
    np.testing.assert_allclose(iou, golden[f"{case}.iou_predictions"], rtol=0, atol=IOU_ATOL)
    name = f"{case}.low_res_masks"
    assert list(masks.shape) == golden[f"{name}.shape"].tolist()
    sample = masks.numpy().ravel()[:: int(golden[f"{name}.stride"])]
    np.testing.assert_allclose(sample, golden[f"{name}.sample"], rtol=0, atol=MASK_ATOL)
    assert np.abs(masks.numpy(), dtype=np.float64).sum() == pytest.approx(golden[f"{name}.stats"][2], rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_prompt_tokens(golden, decoder, case):
    coords, labels = (torch.from_numpy(golden[f"{case}.point_{k}"]) for k in ("coords", "labels"))
    with torch.inference_mode():
        tokens = decoder.prompt_encoder(coords, labels)
    wanted = golden[f"{case}.sparse_embedding.sample"].reshape(tokens.shape)
    np.testing.assert_allclose(tokens, wanted, rtol=0, atol=1e-5)


def test_position_grid(golden, decoder):
    with torch.inference_mode():
        grid = decoder.prompt_encoder.pe_layer.grid(64).T.reshape(1, 256, 64, 64)
    sample = grid.numpy().ravel()[:: int(golden["dense_pe.stride"])]
    np.testing.assert_allclose(sample, golden["dense_pe.sample"], rtol=0, atol=2e-5)


MIXED = (
    [(20, 30, 2), (200, 180, 3), (90, 90, 1)],
    [(128, 64, 1), (10, 10, 0), (0, 0, -1)],
    [(3, 3, 2), (40, 250, 3), (0, 0, -1)],
)


def test_halved_equals_plain_for_many_prompts(small, small_embedding):
    coords, labels = prompts(*MIXED)
    with torch.inference_mode():
        agree(small(small_embedding, coords, labels), PlainDecoder(small)(small_embedding, coords, labels))


def test_prompts_do_not_see_each_other(small, small_embedding):
    coords, labels = prompts(*MIXED)
    with torch.inference_mode():
        masks, iou = small(small_embedding, coords, labels)
        for i in range(len(coords)):
            agree(small(small_embedding, coords[i : i + 1], labels[i : i + 1]), (masks[i : i + 1], iou[i : i + 1]))


@pytest.mark.parametrize("where", [0, 1, 2])
@pytest.mark.parametrize("x", [0.0, 77.0, float("nan"), float("inf")])
def test_absent_points_have_no_influence(small, small_embedding, where, x):
    coords, labels = prompts([(20, 30, 2), (200, 180, 3)], [(128, 64, 1), (0, 0, -1)])
    absent_coords = torch.cat([coords[:, :where], torch.full((2, 2, 2), x), coords[:, where:]], 1)
    absent_labels = torch.cat([labels[:, :where], torch.full((2, 2), -2.0), labels[:, where:]], 1)
    with torch.inference_mode():
        wanted = small(small_embedding, coords, labels)
        agree(small(small_embedding, absent_coords, absent_labels), wanted)


def test_padding_point_has_influence(small, small_embedding):
    with torch.inference_mode():
        lone = small(small_embedding, *prompts([(128, 64, 1)]))[1]
        padded = small(small_embedding, *prompts([(128, 64, 1), (0, 0, -1)]))[1]
    assert (lone - padded).abs().max() > 1e-2


def test_gradients_equal_those_of_the_plain_form(data):
    torch.manual_seed(0)
    decoder = MaskDecoder(image_size=64)
    coords, labels = prompts(*MIXED)
    gradients = []
    for module in (decoder, PlainDecoder(decoder)):
        decoder.zero_grad()
        image = torch.from_numpy(normal_f32(34, (1, 256, 4, 4))).requires_grad_()
        masks, iou = module(image, coords / 4, labels)
        (masks.square().mean() + iou.square().mean()).backward()
        found = {name: p.grad.clone() for name, p in decoder.named_parameters() if p.grad is not None}
        gradients.append(found | {"image": image.grad})
    halved, plain = gradients
    unused = {n for n, _ in decoder.named_parameters() if n.startswith("prompt_encoder.mask_downscaling")}
    assert {n for n, _ in decoder.named_parameters()} - unused | {"image"} == set(plain)
    for name, wanted in plain.items():
        if name in halved:
            torch.testing.assert_close(halved[name], wanted, rtol=1e-3, atol=1e-6, msg=name)
        else:
            # What the halved form drops has no influence: a key bias cancels in the softmax.
            assert wanted.abs().max() < 1e-6, name


@pytest.mark.parametrize("size", [0, -16, 500])
def test_sizes_that_do_not_divide_are_refused(size):
    with pytest.raises(UsageError, match="multiple of 16"):
        MaskDecoder(image_size=size)
