"""Weight decay and dropout: set, scaled, and as if the training had been built so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests import zoo
from torch import nn

from unstuck.errors import InputError
from unstuck.methods.regularization import dropout, scale_dropout, scale_weight_decay, weight_decay, with_weight_decay
from unstuck.walk import walk

BUILT: dict[str, tuple[Any, Any]] = {
    "momentum": (
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.3),
    ),
    "adam": (
        lambda p: torch.optim.Adam(p, lr=0.01),
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.3),
    ),
    "adamw": (
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.01),
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.3),
    ),
}


@pytest.mark.parametrize("name", BUILT)
def test_as_if_it_had_been_built_with_the_decay(name: str) -> None:
    plain, built = (zoo.problem(zoo.perceptron, optimizer=optimizer).branch() for optimizer in BUILT[name])
    treated = with_weight_decay(plain, 0.3)
    assert [row.loss for row in walk(treated, 6).curve] == [row.loss for row in walk(built, 6).curve]
    assert weight_decay(treated.optimizer) == 0.3


def groups(*decays: float) -> Any:
    """An optimizer of two parameter groups of these decays."""
    return lambda p: torch.optim.SGD(
        [{"params": p[:2], "weight_decay": decays[0]}, {"params": p[2:], "weight_decay": decays[1]}], lr=0.1
    )


@pytest.mark.parametrize(("before", "after"), [((0.1, 0.0), [0.5, 0.0]), ((0.0, 0.0), [0.5, 0.5])])
def test_groups_that_do_not_decay_by_intention_go_on_so(before: tuple[float, float], after: list[float]) -> None:
    treated = with_weight_decay(zoo.problem(zoo.perceptron, optimizer=groups(*before)).branch(), 0.5)
    assert [group["weight_decay"] for group in treated.optimizer.param_groups] == after


def test_decay_is_scaled_in_every_group() -> None:
    branch = zoo.problem(zoo.perceptron, optimizer=groups(0.1, 0.4)).branch()
    scale_weight_decay(branch.optimizer, 0.5)
    assert [group["weight_decay"] for group in branch.optimizer.param_groups] == [0.05, 0.2]
    assert weight_decay(branch.optimizer) == 0.2


def test_an_optimizer_without_decay_is_told() -> None:
    with pytest.raises(InputError, match="LBFGS has no weight decay"):
        with_weight_decay(zoo.problem(zoo.perceptron, optimizer=zoo.OPTIMIZERS["lbfgs"]).branch(), 0.1)
    assert weight_decay(zoo.problem(zoo.perceptron, optimizer=zoo.OPTIMIZERS["lbfgs"]).optimizer) == 0


@pytest.mark.parametrize(
    "made",
    [
        lambda: nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.4)),
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Dropout2d(0.4), nn.Dropout(0.1)),
        lambda: nn.GRU(3, 3, num_layers=2, dropout=0.4),
        lambda: nn.TransformerEncoderLayer(4, 2, 6, dropout=0.4),
        lambda: nn.MultiheadAttention(4, 2, dropout=0.4),
    ],
    ids=["units", "channels", "recurrence", "transformer", "attention"],
)
def test_every_kind_of_dropout(made: Any) -> None:
    model = made()
    assert dropout(model) == 0.4
    scale_dropout(model, 0.5)
    assert dropout(model) == 0.2
    scale_dropout(model, 0.0)
    assert dropout(model) == 0.0


def test_dropout_of_none_is_none() -> None:
    """Outputs in training mode are then those of evaluation."""
    model = zoo.perceptron(nn.Dropout(0.9)).double()
    inputs = zoo.table()[0]
    scale_dropout(model, 0.0)
    assert torch.equal(model.train()(inputs), model.eval()(inputs))
    assert dropout(zoo.perceptron()) == 0.0
