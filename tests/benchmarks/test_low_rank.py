"""The decoder of low rank against the one that makes the image side of each prompt."""

import pytest

pytest.importorskip("torch", reason="needs nanoseg[export]")
import torch

from low_rank import two_way
from nanoseg.models.transformer import TwoWayTransformer


def test_low_rank_equals_the_two_way_transformer():
    """Of large weights and biases, for prompts with absent tokens."""
    torch.manual_seed(0)
    net = TwoWayTransformer()
    with torch.no_grad():
        for weight in net.parameters():
            if weight.ndim > 1:
                weight.mul_(2)
            else:
                weight.add_(torch.randn_like(weight) * 0.2)
        image, position, points = torch.randn(1, 400, 256), torch.randn(400, 256) * 0.7, torch.randn(3, 8, 256)
        mask = torch.zeros(3, 8)
        mask[1, 6] = -30000
        tokens, images = net(image, position, points, mask)
        low_tokens, low_images = two_way(net, image[0].T, position.T, points, mask)
    assert images.abs().max() > 3
    torch.testing.assert_close(low_images, images, atol=2e-5, rtol=0)
    torch.testing.assert_close(low_tokens[mask == 0], tokens[mask == 0], atol=2e-5, rtol=0)
