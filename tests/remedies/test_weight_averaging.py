"""Weight averaging: what is evaluated, kept and compared is the average, and the noise is gone from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import zoo
from tests.readings import DIRECTION, STEP, only
from torch import nn

from unstuck.accuracy import accuracy
from unstuck.judged import judged_weights
from unstuck.prescription import Gain, Prescription
from unstuck.problem import Problem
from unstuck.remedies.weight_averaging import WeightAveraging
from unstuck.training import save_weights, train
from unstuck.walk import walk


def noisy(**fields: Any) -> Problem:
    """Regression on few noisy samples at a time, at a rate near the limit."""
    generator = zoo.generator()
    inputs = torch.randn(200, 3, generator=generator, dtype=torch.float64)
    targets = inputs.sum(1, keepdim=True) + torch.randn(200, 1, generator=generator, dtype=torch.float64)
    return zoo.problem(
        lambda: nn.Linear(3, 1),
        loss=nn.MSELoss(),
        train=zoo.shuffled(inputs, targets, batch=2),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
        **fields,
    )


@pytest.mark.parametrize("remedy", [WeightAveraging(decay=0.99), WeightAveraging(decay=1.0, start=50)])
def test_the_average_is_nearer_to_the_bottom(remedy: WeightAveraging) -> None:
    problem = noisy()
    whole = list(problem.data.whole(chunk=200))
    inputs, targets = whole[0]
    table = torch.cat([inputs, torch.ones(200, 1, dtype=torch.float64)], 1)
    lowest = float((table @ torch.linalg.lstsq(table, targets).solution - targets).square().mean())
    plain, treated = problem.branch(), remedy.apply(problem.branch())
    for branch in (plain, treated):
        walk(branch, 400)
    assert treated.mean_loss(whole) - lowest < 0.2 * (plain.mean_loss(whole) - lowest)


def test_a_training_ends_at_the_average(tmp_path: Path) -> None:
    problem = zoo.problem(
        lambda: zoo.perceptron(nn.BatchNorm1d(5)), valid=zoo.loaders()["list"], optimizer=zoo.OPTIMIZERS["adam"]
    )
    step = WeightAveraging(decay=0.9)
    gain = Gain(fraction=0.5, interval=(0.1, 0.2), says="so it is")
    training = train(problem, updates=20, prescription=Prescription(from_update=4, steps=(step,), gain=gain))
    branch = training.problem
    saved = torch.load(save_weights(training, tmp_path), weights_only=True)
    with judged_weights(branch, statistics=True):
        average = {name: tensor.clone() for name, tensor in branch.model.state_dict().items()}
    assert saved.keys() == problem.model.state_dict().keys()
    assert all(torch.equal(tensor, average[name]) for name, tensor in saved.items())
    assert not torch.equal(saved["0.weight"], branch.model.state_dict()["0.weight"])

    again = zoo.problem(lambda: zoo.perceptron(nn.BatchNorm1d(5)), valid=zoo.loaders()["list"])
    again.model.load_state_dict(saved)
    whole = list(again.data.whole(chunk=24))
    assert training.final.train_loss == pytest.approx(again.mean_loss(whole, mode="evaluation"))
    assert training.final.valid_loss == pytest.approx(again.mean_loss(again.valid or (), mode="evaluation"))
    assert training.final.train_accuracy == accuracy(again, whole)


def test_the_last_hundred_updates_and_the_last_ten() -> None:
    assert [dose.decay for dose in WeightAveraging.propose(only(STEP))] == [0.99, 0.9]
    assert "the equal mean" in WeightAveraging(decay=1.0).says()


@pytest.mark.parametrize("optimizer", ["Averaged", "LBFGS", "SGDScheduleFree"])
def test_not_where_there_is_an_average_or_nothing_to_average(optimizer: str) -> None:
    assert WeightAveraging.propose(only(replace(STEP, optimizer=optimizer))) == ()
    assert WeightAveraging.propose(only(DIRECTION)) == ()
