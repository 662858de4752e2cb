"""MobileSAM's image encoder against the outputs of its own code, from formula weights."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs nanoseg[export]")

from nanoseg.errors import UsageError  # noqa: E402
from nanoseg.models.tiny_vit import TinyViTEncoder, WindowAttention, WindowBlock  # noqa: E402
from tests.data.fill_weights import fill, normal_f32  # noqa: E402

ATOL = 4e-5  # ten times the float32 noise of these cases
SMALL = {"widths": (8, 16, 16, 32), "depths": (1, 1, 2, 1), "heads": (2, 2, 4), "windows": (3, 4, 3)}


@pytest.fixture(scope="module")
def manifest(data):
    """Manifest of the image encoder alone, with its classifier."""
    whole = json.loads((data / "manifest_mobile_sam_vit_t.json").read_text())
    return {name: about for name, about in whole.items() if name.startswith("image_encoder.")}


@pytest.fixture(scope="module")
def encoder(manifest):
    """In evaluation mode before the weights come: what is derived of them must follow."""
    made = TinyViTEncoder().eval()
    weights = {name.removeprefix("image_encoder."): torch.from_numpy(v) for name, v in fill(manifest).items()}
    found = made.load_state_dict(weights, strict=False)
    assert found.missing_keys == []
    assert {name.split(".")[0] for name in found.unexpected_keys} == {"norm_head", "head"}
    return made


@pytest.fixture(scope="module")
def golden(data):
    with np.load(data / "golden_mobile_sam_tinyvit.npz") as file:
        return dict(file)


def assert_close(golden, name, value):
    array = value.numpy()
    assert list(array.shape) == golden[f"{name}.shape"].tolist()
    sample = array.ravel()[:: int(golden[f"{name}.stride"])]
    np.testing.assert_allclose(sample, golden[f"{name}.sample"], rtol=0, atol=ATOL)
    assert np.abs(array, dtype=np.float64).sum() == pytest.approx(golden[f"{name}.stats"][2], rel=1e-5)


def test_tiny_vit_state_dict_is_the_published_one(manifest):
    published = {
        name.removeprefix("image_encoder."): about["shape"]
        for name, about in manifest.items()
        if not name.startswith(("image_encoder.norm_head.", "image_encoder.head."))
    }
    assert {name: list(value.shape) for name, value in TinyViTEncoder().state_dict().items()} == published


def test_tiny_vit_golden(golden, encoder):
    seen = {}

    def keep(name):
        return lambda module, inputs, output: seen.__setitem__(name, output)

    stages = {f"layers.{i}": stage for i, stage in enumerate(encoder.layers)}
    hooks = [
        module.register_forward_hook(keep(name))
        for name, module in {"patch_embed": encoder.patch_embed, **stages}.items()
    ]
    with torch.inference_mode():
        embedding = encoder(torch.from_numpy(normal_f32(21, (1, 3, 1024, 1024))))
    for hook in hooks:
        hook.remove()
    assert_close(golden, "image_embeddings", embedding)
    assert_close(golden, "patch_embed", seen["patch_embed"])
    for name in stages:
        assert_close(golden, name, seen[name].flatten(2).transpose(1, 2))  # theirs are tokens


@pytest.mark.slow
def test_tiny_vit_attention_bias_is_not_cached(golden, encoder):
    """Zero biases loaded after a first run have an effect; the golden is MobileSAM's with a cache of zeros."""
    kept = {name: value.clone() for name, value in encoder.state_dict().items()}
    zeros = {name: torch.zeros_like(v) for name, v in kept.items() if name.endswith("attention_biases")}
    encoder.load_state_dict(zeros, strict=False)
    with torch.inference_mode():
        embedding = encoder(torch.from_numpy(normal_f32(21, (1, 3, 1024, 1024))))
    encoder.load_state_dict(kept)
    assert_close(golden, "stale_zero_attention_bias.image_embeddings", embedding)


def reference_attention(attention, window):
    """Softmax attention over the cells of one window (side, side, C), by loops."""
    side, _, channels = window.shape
    per_head = channels // attention.heads
    cells = [(y, x) for y in range(side) for x in range(side)]
    qkv = attention.qkv(attention.norm(window))
    out = torch.zeros(side, side, channels, dtype=window.dtype)
    for head in range(attention.heads):
        q, k, v = qkv[..., 3 * per_head * head : 3 * per_head * (head + 1)].split(per_head, -1)
        for y, x in cells:
            logits = torch.stack(
                [
                    q[y, x] @ k[j, i] / per_head**0.5 + attention.attention_biases[head, abs(y - j) * side + abs(x - i)]
                    for j, i in cells
                ]
            )
            mixed = sum(weight * v[j, i] for weight, (j, i) in zip(logits.softmax(0), cells, strict=True))
            out[y, x, per_head * head : per_head * (head + 1)] = mixed
    return attention.proj(out)


@pytest.mark.parametrize("size_hw", [(3, 3), (6, 3), (4, 5), (2, 7)])
def test_tiny_vit_window_attention_equals_reference(size_hw):
    """For multiples of the window and for other sizes, where zeros at the right and bottom count as cells."""
    torch.manual_seed(0)
    block = WindowBlock(8, 2, 3).double()
    torch.nn.init.normal_(block.attn.attention_biases)
    torch.nn.init.normal_(block.attn.norm.bias)
    height, width = size_hw
    x = torch.randn(2, height, width, 8, dtype=torch.float64)
    padded = torch.zeros(2, 9, 9, 8, dtype=torch.float64)
    padded[:, :height, :width] = x
    wanted = torch.zeros_like(padded)
    with torch.no_grad():
        for image in range(2):
            for top in range(0, height, 3):
                for left in range(0, width, 3):
                    window = (image, slice(top, top + 3), slice(left, left + 3))
                    wanted[window] = reference_attention(block.attn, padded[window])
        found = block._attend(x)
    torch.testing.assert_close(found, wanted[:, :height, :width], rtol=0, atol=1e-12)


def test_tiny_vit_attention_bias_learns():
    attention = WindowAttention(8, 2, 2)
    attention(torch.randn(3, 4, 8)).square().sum().backward()
    assert attention.attention_biases.grad.abs().min() > 0


@pytest.mark.parametrize("size_hw", [(64, 64), (16, 80), (112, 48)])
def test_tiny_vit_takes_any_size(size_hw):
    height, width = size_hw
    encoder = TinyViTEncoder(64, **SMALL).eval()
    with torch.inference_mode():
        found = encoder(torch.randn(2, 3, height, width))
    assert found.shape == (2, 256, height // 16, width // 16)
    assert found.isfinite().all()


@pytest.mark.parametrize("size", [0, -16, 1000, 8])
def test_tiny_vit_refuses_sizes(size):
    with pytest.raises(UsageError, match="multiple of 16"):
        TinyViTEncoder(image_size=size)
