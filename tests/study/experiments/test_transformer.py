"""The small Transformer: who sees what, where it normalizes, and its gradients at the start."""

from __future__ import annotations

import math

import pytest
import torch

from unstuck.datasets.text import LETTERS
from unstuck.study.experiments.transformer import (
    CONTEXT,
    HEADS,
    Layer,
    Transformer,
    last_gradient,
    letters_alone,
    next_letter,
    windows,
)
from unstuck.untouched import seeded


def test_pieces_of_text_are_shifted_by_a_letter() -> None:
    inputs, targets = windows()
    assert inputs.shape == targets.shape == (len(inputs), CONTEXT)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert 2.5 < letters_alone(targets) < math.log(len(LETTERS))


@pytest.mark.parametrize("pre", [False, True])
def test_no_letter_sees_a_later_one(pre: bool) -> None:
    with seeded(0):
        model = Transformer(2, pre=pre)
    letters = windows()[0][:1].clone()
    before = model(letters)
    letters[0, 20] = (letters[0, 20] + 1) % len(LETTERS)
    after = model(letters)
    assert torch.equal(before[:, :20], after[:, :20])
    assert not torch.allclose(before[:, 20:], after[:, 20:])


def test_attention_is_that_of_torch() -> None:
    with seeded(0):
        layer, values = Layer(16, pre=True), torch.randn(3, CONTEXT, 16)
    reference = torch.nn.MultiheadAttention(16, HEADS, bias=False, batch_first=True)
    reference.load_state_dict({"in_proj_weight": layer.attended.weight, "out_proj.weight": layer.joined.weight})
    seen = layer.first(values)
    attended = reference(seen, seen, seen, attn_mask=layer.mask, need_weights=False)[0]
    between = values + attended
    expected = between + layer.outward(torch.relu(layer.inward(layer.second(between))))
    torch.testing.assert_close(layer(values), expected)


def test_a_post_norm_layer_gives_normalized_values() -> None:
    with seeded(0):
        layer, values = Layer(16, pre=False), torch.randn(3, CONTEXT, 16)
    outputs = layer(10.0 * values)
    torch.testing.assert_close(outputs.square().mean(-1), torch.ones(3, CONTEXT), rtol=1e-3, atol=0.0)


def test_the_loss_is_a_mean_over_letters() -> None:
    targets = windows()[1][:4]
    losses = next_letter(torch.zeros(4, CONTEXT, len(LETTERS)), targets)
    torch.testing.assert_close(losses, torch.full((4,), math.log(len(LETTERS))))


def test_gradients_fall_with_depth_where_normalization_comes_first() -> None:
    small, large = (last_gradient(depth, pre=True, seed=3) for depth in (2, 12))
    assert large < 0.8 * small
    assert last_gradient(12, pre=False, seed=3) > 1.5 * large
