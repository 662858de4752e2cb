"""The image encoders against the outputs of NanoSAM's own, from formula weights."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs nanoseg[export]")

from nanoseg.errors import UsageError  # noqa: E402
from nanoseg.models.image_encoder import ENCODERS, ResNet18Encoder, slim_encoder  # noqa: E402
from tests.data.fill_weights import fill, normal_f32  # noqa: E402

ATOL = 4e-5  # ten times the float32 noise of these cases


@pytest.fixture(scope="module")
def golden(data: Path) -> dict[str, np.ndarray]:
    with np.load(data / "golden_nanosam_resnet18_encoder.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def weights(data: Path) -> dict:
    manifest = json.loads((data / "manifest_nanosam_resnet18_encoder.json").read_text())
    return {name: torch.from_numpy(value) for name, value in fill(manifest).items()}


def assert_close(golden: dict[str, np.ndarray], name: str, value, atol: float = ATOL) -> None:
    array = value.detach().numpy()
    assert list(array.shape) == golden[f"{name}.shape"].tolist()
    sample = array.ravel()[:: int(golden[f"{name}.stride"])]
    np.testing.assert_allclose(sample, golden[f"{name}.sample"], rtol=0, atol=atol)
    assert np.abs(array, dtype=np.float64).sum() == pytest.approx(golden[f"{name}.stats"][2], rel=1e-5)


def test_image_encoder_state_dict_is_the_published_one(data):
    manifest = json.loads((data / "manifest_nanosam_resnet18_encoder.json").read_text())
    state = ResNet18Encoder().state_dict()
    assert {k: list(v.shape) for k, v in state.items()} == {k: v["shape"] for k, v in manifest.items()}


def test_image_encoder_golden(golden, weights):
    encoder = ResNet18Encoder()
    encoder.load_state_dict(weights)
    encoder.eval()
    with torch.inference_mode():
        features = encoder.backbone(torch.from_numpy(normal_f32(11, (1, 3, 1024, 1024))))
        up = encoder.up_1(features[-1])
        embedding = encoder.proj(up) + encoder.pos_embedding
    for i, feature in enumerate(features):
        assert_close(golden, f"1024.backbone.out{i}", feature)
    assert_close(golden, "1024.up_1", up)
    assert_close(golden, "1024.image_embeddings", embedding)


def test_image_encoder_without_position_embedding_takes_any_size(golden, weights):
    encoder = ResNet18Encoder(position=False)
    encoder.load_state_dict({k: v for k, v in weights.items() if k != "pos_embedding"})
    encoder.eval()
    with torch.inference_mode():
        embedding = encoder(torch.from_numpy(normal_f32(12, (1, 3, 256, 192))))
    assert_close(golden, "256x192_no_pos.image_embeddings", embedding)


def test_slim_encoder_size_and_output():
    encoder = slim_encoder().eval()
    assert sum(p.numel() for p in encoder.parameters()) <= 2_500_000
    with torch.inference_mode():
        assert encoder(torch.zeros(1, 3, 512, 512)).shape == (1, 256, 32, 32)


def test_image_encoder_lateral_maps_start_at_zero_and_learn():
    torch.manual_seed(0)
    with_maps = ResNet18Encoder(8, 16, 64, lateral=True)
    plain = ResNet18Encoder(8, 16, 64)
    missing = plain.load_state_dict(with_maps.state_dict(), strict=False).unexpected_keys
    assert {name.split(".")[0] for name in missing} == {"lateral_8", "lateral_16"}
    image = torch.randn(2, 3, 64, 64)
    embedding = with_maps(image)
    assert torch.equal(embedding, plain(image))
    embedding.square().sum().backward()
    assert all(layer.weight.grad.abs().max() > 0 for layer in (with_maps.lateral_8, with_maps.lateral_16))


@pytest.mark.parametrize("size", [0, -32, 500])
def test_image_encoder_refuses_sizes(size):
    with pytest.raises(UsageError, match="multiple of 32"):
        ResNet18Encoder(image_size=size)


@pytest.mark.parametrize("variant", ENCODERS)
def test_encoders_by_name(variant):
    encoder = ENCODERS[variant](image_size=96).eval()
    assert encoder.image_size == 96
    with torch.inference_mode():
        assert encoder(torch.zeros(1, 3, 96, 96)).shape == (1, 256, 6, 6)
