"""The mask decoder against segment-anything's outputs, and against segment-anything's order of products."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs nanoseg[export]")

from nanoseg.errors import UsageError  # noqa: E402
from nanoseg.models.mask_decoder import MaskDecoder  # noqa: E402
from plain_decoder import PlainDecoder  # noqa: E402
from tests.data.fill_weights import fill, normal_f32  # noqa: E402

MASK_ATOL, IOU_ATOL = 2e-4, 6e-6  # ten times the float32 noise of these cases
CASES = ["box", "point", "box_plus_points", "point_with_pad"]
MASKED = "box_with_mask"


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
    """The same weights for images of 256 px: a grid of 16, for fast tests."""
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


def assert_close(found, wanted, mask_atol=MASK_ATOL, iou_atol=IOU_ATOL):
    torch.testing.assert_close(found[0], wanted[0], rtol=0, atol=mask_atol)
    torch.testing.assert_close(found[1], wanted[1], rtol=0, atol=iou_atol)


def test_mask_decoder_state_dict_is_the_published_one(data, decoder):
    manifest = json.loads((data / "manifest_sam_prompt_encoder_mask_decoder.json").read_text())
    found = {k: list(v.shape) for k, v in decoder.state_dict().items()}
    assert found == {k: v["shape"] for k, v in manifest.items()}


# Content of an unused mask, which must have no influence; None: the network has no mask input.
FORMS = {"halved": None, "halved, with mask input": np.nan, "plain": None, "plain, with mask input": 0.0}


@pytest.mark.parametrize(
    ("form", "case"),
    [(form, case) for form, unused in FORMS.items() for case in (*CASES, MASKED)[: 4 if unused is None else 5]],
)
def test_mask_decoder_golden(golden, decoder, embedding, case, form):
    module, unused = decoder if form.startswith("halved") else PlainDecoder(decoder), FORMS[form]
    inputs = [embedding, *(torch.from_numpy(golden[f"{case}.point_{k}"]) for k in ("coords", "labels"))]
    if unused is not None:
        mask = normal_f32(32, (1, 1, 256, 256)) if case == MASKED else np.full((1, 1, 256, 256), unused, np.float32)
        inputs += [torch.from_numpy(mask), torch.from_numpy(golden[f"{case}.has_mask_input"])]
    with torch.inference_mode():
        masks, iou = (output.numpy() for output in module(*inputs))
    np.testing.assert_allclose(iou, golden[f"{case}.iou_predictions"], rtol=0, atol=IOU_ATOL)
    name = f"{case}.low_res_masks"
    assert list(masks.shape) == golden[f"{name}.shape"].tolist()
    sample = masks.ravel()[:: int(golden[f"{name}.stride"])]
    np.testing.assert_allclose(sample, golden[f"{name}.sample"], rtol=0, atol=MASK_ATOL)
    assert np.abs(masks, dtype=np.float64).sum() == pytest.approx(golden[f"{name}.stats"][2], rel=1e-5)
    # A logit that equals the threshold to within rounding may fall on either side.
    assert np.abs((masks > 0).sum((2, 3)) - golden[f"{name}_positive_count"]).max() <= 2
    stability = (masks > 1).sum((2, 3)) / (masks > -1).sum((2, 3))
    np.testing.assert_allclose(stability, golden[f"{case}.stability_score"], rtol=0, atol=1e-4)
    # segment-anything's choice of one mask: never the first for one or two points, always the first for more.
    best = int(golden[f"{case}.single.best_index"])
    assert (iou + (len(inputs[1][0]) - 2.5) * np.array([1000, 0, 0, 0])).argmax() == best
    np.testing.assert_allclose(iou[:, [best]], golden[f"{case}.single.iou"], rtol=0, atol=IOU_ATOL)


# The cases as segment-anything's predictor, not its export, encodes them: points, a padding point or a box.
BOX = [(100, 200, 2), (700, 650, 3)]
NATIVE = {
    "box": BOX,
    "point": [(512, 300, 1), (0, 0, -1)],
    "point_with_pad": [(512, 300, 1), (0, 0, -1)],
    "box_plus_points": [(400, 400, 1), (650, 300, 0), *BOX],
    MASKED: BOX,
}


def test_mask_decoder_native_golden_in_one_call(golden, decoder, embedding):
    tokens = [len(rows) for rows in NATIVE.values()]
    assert tokens == [golden[f"{case}.native.n_sparse_tokens"] for case in NATIVE]
    coords, labels = prompts(*(rows + [(0, 0, -2)] * (max(tokens) - len(rows)) for rows in NATIVE.values()))
    has_mask = torch.tensor([float(case == MASKED) for case in NATIVE])
    mask = torch.from_numpy(normal_f32(32, (1, 1, 256, 256))).expand(len(NATIVE), -1, -1, -1)
    with torch.inference_mode():
        masks, iou = (output.numpy() for output in decoder(embedding, coords, labels, mask, has_mask))
    for i, case in enumerate(NATIVE):
        np.testing.assert_allclose(iou[i : i + 1], golden[f"{case}.native.iou"], rtol=0, atol=IOU_ATOL, err_msg=case)
        sample = masks[i].ravel()[:: int(golden[f"{case}.native.low_res_masks.stride"])]
        wanted = golden[f"{case}.native.low_res_masks.sample"]
        np.testing.assert_allclose(sample, wanted, rtol=0, atol=MASK_ATOL, err_msg=case)


def test_mask_decoder_dense_embedding_golden(golden, decoder):
    mask = torch.from_numpy(normal_f32(32, (1, 1, 256, 256))).expand(2, -1, -1, -1)
    with torch.inference_mode():
        dense = decoder.prompt_encoder.dense(mask, torch.tensor([1.0, 0.0]))
        added = dense.features @ dense.weight.T + (dense.present * dense.constant).unsqueeze(1)
        whole = added + decoder.prompt_encoder.no_mask_embed.weight
    for rows, case in zip(whole.transpose(1, 2).numpy(), (MASKED, "box"), strict=True):
        sample = rows.ravel()[:: int(golden[f"{case}.dense_embedding.stride"])]
        np.testing.assert_allclose(sample, golden[f"{case}.dense_embedding.sample"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("case", CASES)
def test_mask_decoder_prompt_tokens_golden(golden, decoder, case):
    coords, labels = (torch.from_numpy(golden[f"{case}.point_{k}"]) for k in ("coords", "labels"))
    with torch.inference_mode():
        tokens = decoder.prompt_encoder(coords, labels)
    wanted = golden[f"{case}.sparse_embedding.sample"].reshape(tokens.shape)
    np.testing.assert_allclose(tokens, wanted, rtol=0, atol=1e-5)


def test_mask_decoder_position_grid_golden(golden, decoder):
    with torch.inference_mode():
        grid = decoder.prompt_encoder.pe_layer.grid(64).T.reshape(1, 256, 64, 64)
    sample = grid.numpy().ravel()[:: int(golden["dense_pe.stride"])]
    np.testing.assert_allclose(sample, golden["dense_pe.sample"], rtol=0, atol=2e-5)


MIXED = (
    [(20, 30, 2), (200, 180, 3), (90, 90, 1)],
    [(128, 64, 1), (10, 10, 0), (0, 0, -1)],
    [(3, 3, 2), (40, 250, 3), (0, 0, -1)],
)


def test_mask_decoder_equals_plain_decoder(small, small_embedding):
    coords, labels = prompts(*MIXED)
    with torch.inference_mode():
        assert_close(small(small_embedding, coords, labels), PlainDecoder(small)(small_embedding, coords, labels))


def test_mask_decoder_prompts_are_independent(small, small_embedding):
    coords, labels = prompts(*MIXED)
    with torch.inference_mode():
        masks, iou = small(small_embedding, coords, labels)
        for i in range(len(coords)):
            assert_close(
                small(small_embedding, coords[i : i + 1], labels[i : i + 1]), (masks[i : i + 1], iou[i : i + 1])
            )


@pytest.fixture(scope="module")
def earlier(small, small_embedding):
    """Logits of an earlier call for each of MIXED, in their usual range."""
    with torch.inference_mode():
        return small(small_embedding, *prompts(*MIXED))[0][:, :1] * 4


def test_mask_decoder_mixes_prompts_with_and_without_masks(small, small_embedding, earlier):
    coords, labels = prompts(*MIXED)
    has_mask = torch.tensor([1.0, 0.0, 1.0])
    with torch.inference_mode():
        together = small(small_embedding, coords, labels, earlier, has_mask)
        assert_close(together, PlainDecoder(small)(small_embedding, coords, labels, earlier, has_mask))
        assert_close(
            small(small_embedding, coords, labels, earlier),
            small(small_embedding, coords, labels, earlier, has_mask * 0 + 1),
        )
        for i in range(len(coords)):
            one = slice(i, i + 1)
            alone = small(small_embedding, coords[one], labels[one], *([earlier[one]] if has_mask[i] else []))
            assert_close(alone, (together[0][one], together[1][one]))
        bare = small(small_embedding, coords, labels)[1]
    difference = (together[1] - bare).abs().amax(1)
    assert (difference > 1e-2).tolist() == [True, False, True]


def test_mask_decoder_of_a_mask_alone(small, small_embedding, earlier):
    """segment-anything then has no tokens: absent points, or none."""
    coords, labels = prompts(*MIXED)
    no_points = coords[:, :0], labels[:, :0]
    has_mask = torch.ones(len(earlier))
    with torch.inference_mode():
        wanted = PlainDecoder(small)(small_embedding, *no_points, earlier, has_mask)
        assert_close(small(small_embedding, *no_points, earlier, has_mask), wanted)
        labels[1] = -2  # the other two prompts have points
        found = small(small_embedding, coords, labels, earlier, has_mask)
    assert_close([output[1:2] for output in found], [output[1:2] for output in wanted])
    assert (found[1][0] - wanted[1][0]).abs().max() > 1e-2


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("x", [0.0, 77.0, float("nan"), float("inf")])
def test_mask_decoder_ignores_absent_points(small, small_embedding, position, x):
    coords, labels = prompts([(20, 30, 2), (200, 180, 3)], [(128, 64, 1), (0, 0, -1)])
    absent_coords = torch.cat([coords[:, :position], torch.full((2, 2, 2), x), coords[:, position:]], 1)
    absent_labels = torch.cat([labels[:, :position], torch.full((2, 2), -2.0), labels[:, position:]], 1)
    with torch.inference_mode():
        wanted = small(small_embedding, coords, labels)
        assert_close(small(small_embedding, absent_coords, absent_labels), wanted)


def test_mask_decoder_uses_the_padding_point(small, small_embedding):
    with torch.inference_mode():
        lone = small(small_embedding, *prompts([(128, 64, 1)]))[1]
        padded = small(small_embedding, *prompts([(128, 64, 1), (0, 0, -1)]))[1]
    assert (lone - padded).abs().max() > 1e-2


@pytest.mark.parametrize("masked", [False, True])
def test_mask_decoder_gradients_equal_plain_decoders(masked):
    torch.manual_seed(0)
    decoder = MaskDecoder(image_size=64)
    coords, labels = prompts(*MIXED)
    earlier = (torch.from_numpy(normal_f32(35, (3, 1, 16, 16))), torch.tensor([1.0, 0.0, 1.0])) if masked else ()
    gradients = []
    for module in (decoder, PlainDecoder(decoder)):
        decoder.zero_grad()
        image = torch.from_numpy(normal_f32(34, (1, 256, 4, 4))).requires_grad_()
        masks, iou = module(image, coords / 4, labels, *earlier)
        (masks.square().mean() + iou.square().mean()).backward()
        found = {name: p.grad.clone() for name, p in decoder.named_parameters() if p.grad is not None}
        gradients.append(found | {"image": image.grad})
    halved, plain = gradients
    downscaling = {n for n, _ in decoder.named_parameters() if n.startswith("prompt_encoder.mask_downscaling")}
    unused = set() if masked else downscaling
    assert {n for n, _ in decoder.named_parameters()} - unused | {"image"} == set(plain)
    for name, wanted in plain.items():
        if name in halved:
            torch.testing.assert_close(halved[name], wanted, rtol=1e-3, atol=1e-6, msg=name)
        else:
            # What the halved form drops has no influence: a key bias cancels in the softmax.
            assert wanted.abs().max() < 1e-6, name


@pytest.mark.parametrize("size", [0, -16, 500])
def test_mask_decoder_refuses_sizes(size):
    with pytest.raises(UsageError, match="multiple of 16"):
        MaskDecoder(image_size=size)
