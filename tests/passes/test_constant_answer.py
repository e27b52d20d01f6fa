"""The best constant answer against closed forms: shares of classes, means, medians; and losses that have none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.closed_forms.made import DOUBLE, normal
from torch import Tensor, nn
from torch.nn import functional as F

from unstuck.passes.constant_answer import best_constant, kind_of, loss_of_constant

CLASSES = torch.tensor([0, 0, 0, 1, 2, 2, 0, 1])
SHARES = torch.bincount(CLASSES).double() / 8
SCORES = normal(8, 3)


@pytest.mark.parametrize(
    ("outputs", "kind"),
    [
        (SCORES, "scores"),
        (SCORES.softmax(1), "probabilities"),
        (SCORES.log_softmax(1), "log-probabilities"),
        (SCORES.sigmoid(), "shares"),
        (SCORES[:, :1].sigmoid(), "shares"),
        (torch.ones(8, 1), "shares"),
        (-SCORES.abs(), "scores"),
    ],
)
def test_kinds_of_outputs(outputs: Tensor, kind: str) -> None:
    assert kind_of(outputs) == kind


@pytest.mark.parametrize(
    ("loss", "outputs", "expected"),
    [
        (nn.CrossEntropyLoss(), SCORES, None),
        (nn.NLLLoss(), SCORES.log_softmax(1), SHARES.log()),
        (lambda o, t: F.nll_loss(o.log(), t), SCORES.softmax(1), SHARES),
        (lambda o, t: (o - F.one_hot(t, 3)).square().mean(), SCORES.softmax(1), SHARES),
        (lambda o, t: (o - F.one_hot(t, 3)).square().mean(), SCORES, SHARES),
        (lambda o, t: F.binary_cross_entropy(o, F.one_hot(t, 3).double()), SCORES.sigmoid(), SHARES),
    ],
)
def test_of_classes_it_is_their_shares(
    loss: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, expected: Tensor | None
) -> None:
    found = best_constant(loss, outputs, CLASSES, kind_of(outputs))
    assert found is not None
    if expected is None:  # scores are known but for a constant
        found, expected = found.softmax(0), SHARES
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_of_numbers_it_is_their_mean() -> None:
    targets = normal(50, 2, seed=1) + torch.tensor([3.0, -7.0])
    found = best_constant(nn.MSELoss(), torch.zeros(50, 2, dtype=DOUBLE), targets, "scores")
    assert found is not None
    torch.testing.assert_close(found, targets.mean(0), rtol=1e-5, atol=1e-6)
    assert loss_of_constant(nn.MSELoss(), found, targets, targets) == pytest.approx(
        float(targets.var(0, correction=0).mean()), rel=1e-6
    )


@pytest.mark.parametrize(
    "loss",
    [
        lambda outputs, targets: -outputs.mean(),  # ever lower
        lambda outputs, targets: (outputs * torch.nan).mean(),
        lambda outputs, targets: F.cross_entropy(outputs, targets[:3]),  # raises
        lambda outputs, targets: F.cross_entropy(outputs.detach(), targets),  # has no gradient
    ],
)
def test_a_loss_without_a_minimum_has_none(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    assert best_constant(loss, SCORES, CLASSES, "scores") is None
