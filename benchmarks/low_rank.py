"""SAM's two-way transformer without the image side of each prompt: the same results by algebra of low rank.

transformer.py makes for each prompt an image of 256 channels, several times over. Here that is never made, because all
that a prompt adds to the shared image E comes from its T (about 7) tokens times 8 heads. With E and V0 centred:

    after layer 0   image = g r (E + S0 V0) + c                     g, c: gain and shift of a LayerNorm
    after layer 1   image = g' r' (r (E' + S0 V0') + S1 V1) + c'  E', V0': g E and g V0, centred

S0 and S1 (X, 8 T) are weights of attention, V0 and V1 (8 T, 256) what the tokens give. So a projection of the image
side is one of E, which all prompts share, plus S times a small matrix; and LayerNorm's factor r follows from Gram
matrices:

    256 / r^2 = |E + S0 V0|^2 = |E|^2 + sum of S0 * (2 E V0^T + S0 V0 V0^T)

A constant b of the image, such as a bias, is part of V: the weights S of 8 heads sum to 8, so each row takes b / 8.

Shapes: N prompts, T tokens, 8 heads of 16, X cells of the image (g * g), one row of S each. Parameters are
those of TwoWayTransformer.
"""

from __future__ import annotations

from typing import Any

import torch

from nanoseg.models.transformer import CHANNELS, HEADS


def two_way(
    net: Any, image: torch.Tensor, position: torch.Tensor, points: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the tokens (N, T, 256) and one image per prompt (N, X, 256), as TwoWayTransformer.forward does.

    Args:
        net: the parameters.
        image: (256, X) one image for all prompts.
        position: (256, X) its position encoding.
        points: (N, T, 256) output and prompt tokens.
        mask: (N, T) added to the logits of every attention to tokens.
    """
    first, second = net.layers

    # Layer 0: all prompts read one image.
    read, write = first.cross_attn_token_to_image, first.cross_attn_image_to_token
    bias = write.out_proj.bias[:, None]
    image, place = image + bias, position - bias  # the bias is part of E
    q = first.norm1(first.self_attn.tokens_to_tokens(points, points, mask))
    x = _queries(read, read.q_proj(q + points))
    weights = torch.softmax(x @ (read.k_proj.weight @ image + read.k_proj.weight @ place), -1)
    q = _after_reading(first, q, read, _own_heads(weights @ (read.v_proj.weight @ image).T) + _bias(read.v_proj, -bias))
    y = _queries(write, write.k_proj(q + points))
    rows = write.q_proj.weight @ image + (write.q_proj.weight @ place + write.q_proj.bias[:, None])
    s0 = _softmax_of_tokens(rows.T @ y.transpose(1, 2), mask)
    given = _blocks(write.split(write.v_proj(q)))
    out = _centred(write.out_proj.weight.T)  # (128, 256)
    v0 = given @ out
    mean = image.mean(0, keepdim=True)
    centred = image - mean
    crossed = (out @ image).T @ (2 * given).transpose(1, 2) + s0 @ (v0 @ v0.transpose(1, 2))
    r = _factor(first.norm4, centred.square().sum(0)[:, None] + (s0 * crossed).sum(-1, keepdim=True))

    # Layer 1.
    read, write = second.cross_attn_token_to_image, second.cross_attn_image_to_token
    gain, shift = first.norm4.weight, first.norm4.bias[:, None]
    place, scaled = position + shift, v0 * gain
    q = second.norm1(q + second.self_attn.tokens_to_tokens(q + points, q, mask))
    x = _queries(read, read.q_proj(q + points))
    logits = x @ (_centred(read.k_proj.weight * gain) @ image) + _mixed(x, scaled, read.k_proj) @ s0.transpose(1, 2)
    weights = torch.softmax(r.transpose(1, 2) * logits + x @ (read.k_proj.weight @ place), -1) * r.transpose(1, 2)
    taken = weights @ (_centred(read.v_proj.weight * gain) @ image).T + (weights @ s0) @ (scaled @ read.v_proj.weight.T)
    q = _after_reading(second, q, read, _own_heads(taken) + _bias(read.v_proj, shift))
    y = _queries(write, write.k_proj(q + points)).transpose(1, 2)
    logits = (_centred(write.q_proj.weight * gain) @ image).T @ y
    logits = logits + s0 @ _mixed(y.transpose(1, 2), scaled, write.q_proj).transpose(1, 2)
    table = write.q_proj.weight @ place + write.q_proj.bias[:, None]
    s1 = _softmax_of_tokens(r * logits + table.T @ y, mask)
    given_too = _blocks(write.split(write.v_proj(q)))
    out_gained, out_too = _centred(out * gain), _centred(write.out_proj.weight.T)
    constant = _centred(shift[:, 0] + write.out_proj.bias)
    v0, v1 = given @ out_gained, given_too @ out_too + constant / HEADS
    gained_mean = (centred * gain[:, None]).mean(0, keepdim=True)
    of_s0 = (_centred(out_gained * gain) @ image).T @ (2 * given).transpose(1, 2) + s0 @ (v0 @ v0.transpose(1, 2))
    of_both = (_centred(out_too * gain) @ image).T @ (2 * given_too).transpose(1, 2) + s0 @ (
        v0 @ (2 * v1).transpose(1, 2)
    )
    squares = r * r * s0 * of_s0 + s1 * (r * of_both + s1 @ (v1 @ v1.transpose(1, 2)))
    own = (centred * gain[:, None]).square().sum(0) - CHANNELS * gained_mean[0].square()
    twice = 2 * (_centred(constant * gain) @ image)
    r_too = _factor(second.norm4, r * (r * own[:, None] + twice[:, None]) + squares.sum(-1, keepdim=True))

    # The last attention of the tokens to the image.
    read = net.final_attn_token_to_image
    gain_too, shift = second.norm4.weight, second.norm4.bias[:, None]
    x = _queries(read, read.q_proj(q + points))
    keys, values = (_centred(_centred(each.weight * gain_too) * gain) for each in (read.k_proj, read.v_proj))
    rows0, rows1 = v0 * gain_too, v1 * gain_too
    logits = r.transpose(1, 2) * (x @ (keys @ image) + _mixed(x, rows0, read.k_proj) @ s0.transpose(1, 2))
    logits = r_too.transpose(1, 2) * (logits + _mixed(x, rows1, read.k_proj) @ s1.transpose(1, 2))
    weights = torch.softmax(logits + x @ (read.k_proj.weight @ (position + shift)), -1) * r_too.transpose(1, 2)
    scaled = weights * r.transpose(1, 2)
    taken = scaled @ (values @ image).T + (scaled @ s0) @ (rows0 @ read.v_proj.weight.T)
    taken = taken + (weights @ s1) @ (rows1 @ read.v_proj.weight.T)
    q = net.norm_final_attn(q + read.join(_own_heads(taken) + _bias(read.v_proj, shift)))

    images = r * ((image.T - mean.T) * gain - gained_mean.T + s0 @ v0) + s1 @ v1
    return q, images * r_too * gain_too + shift[:, 0]


def _blocks(x: torch.Tensor) -> torch.Tensor:
    """(N, 8, T, 16) -> (N, 8 T, 128), zero outside of each row's own head: products with all heads at once."""
    eye = torch.eye(HEADS, dtype=x.dtype, device=x.device).reshape(HEADS, 1, HEADS, 1)
    return (x.unsqueeze(3) * eye).flatten(3).flatten(1, 2)


def _own_heads(x: torch.Tensor) -> torch.Tensor:
    """(N, 8 T, 128) -> (N, 8, T, 16): of each row its own head."""
    eye = torch.eye(HEADS, dtype=x.dtype, device=x.device).reshape(HEADS, 1, HEADS, 1)
    return (x.reshape(x.shape[0], HEADS, -1, HEADS, x.shape[-1] // HEADS) * eye).sum(3)


def _queries(attention: Any, projected: torch.Tensor) -> torch.Tensor:
    """(N, T, 128) -> blocks (N, 8 T, 128), scaled."""
    return _blocks(attention.split(projected) * attention.scale)


def _bias(values: Any, shift: torch.Tensor) -> torch.Tensor:
    """The bias of a projection of values that are shifted by (256, 1): (8, 1, 16)."""
    bias: torch.Tensor = ((values.weight @ shift)[:, 0] + values.bias).reshape(HEADS, 1, -1)
    return bias


def _centred(x: torch.Tensor) -> torch.Tensor:
    return x - x.mean(-1, keepdim=True)


def _mixed(x: torch.Tensor, rows: torch.Tensor, projection: Any) -> torch.Tensor:
    """Products of queries (N, 8 T, 128) with projected rows (N, R, 256): (N, 8 T, R)."""
    mixed: torch.Tensor = x @ (rows @ projection.weight.T).transpose(1, 2)
    return mixed


def _softmax_of_tokens(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Softmax over the tokens of each head, (N, X, 8 T) -> (N, X, 8 T)."""
    by_head = logits.reshape(*logits.shape[:2], HEADS, -1) + mask[:, None, None]
    return torch.softmax(by_head, -1).flatten(2)


def _factor(norm: Any, squares: torch.Tensor) -> torch.Tensor:
    return torch.rsqrt(squares / CHANNELS + norm.eps)


def _after_reading(layer: Any, q: torch.Tensor, attention: Any, taken: torch.Tensor) -> torch.Tensor:
    q = layer.norm2(q + attention.join(taken))
    done: torch.Tensor = layer.norm3(q + layer.mlp(q))
    return done
