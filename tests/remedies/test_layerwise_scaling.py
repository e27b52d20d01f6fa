"""Layerwise scaling: every layer moves by the same share of its weights, however its gradient compares."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest
import torch
from tests import zoo
from tests.readings import DIRECTION, STEP, only
from torch import nn

from unstuck.problem import Problem
from unstuck.reading import Estimate
from unstuck.remedies.layerwise_scaling import LayerwiseScaling
from unstuck.walk import walk


def uneven() -> Problem:
    """A network of homogeneous layers whose scales differ a thousandfold, so that gradients do so the other way."""
    problem = zoo.problem(
        lambda: nn.Sequential(nn.Linear(zoo.FEATURES, 6, bias=False), nn.ReLU(), nn.Linear(6, 3, bias=False)),
        train=zoo.shuffled(*zoo.table(), batch=zoo.SAMPLES),
    )
    with torch.no_grad():
        problem.model.get_parameter("0.weight").mul_(1e3**0.5)
        problem.model.get_parameter("2.weight").div_(1e3**0.5)
    return problem


@pytest.mark.parametrize(("optimizer", "steady"), [("lars", 0.1), ("lamb", 1.0)])
def test_layers_move_by_the_same_share_of_their_weights(optimizer: str, steady: float) -> None:
    """The first step of LARS is a tenth of a steady movement."""
    problem = uneven()
    treated = LayerwiseScaling(optimizer=optimizer, share=0.02).apply(problem.branch())
    walk(treated, 1)
    for name, before in problem.point().items():
        moved = float((treated.point()[name] - before).norm())
        size = min(float(before.norm()), 10.0) if optimizer == "lamb" else float(before.norm())
        assert moved == pytest.approx(0.02 * steady * size, rel=2e-2)


@pytest.mark.parametrize("optimizer", ["lars", "lamb"])
def test_uneven_layers_learn(optimizer: str) -> None:
    problem = uneven()
    plain, treated = problem.branch(), LayerwiseScaling(optimizer=optimizer, share=0.02).apply(problem.branch())
    whole = list(problem.data.whole(chunk=24))
    ends = []
    for branch in (plain, treated):
        walk(branch, 100)
        ends.append(branch.mean_loss(whole))
    assert ends[1] < 0.5 * ends[0] or not torch.isfinite(torch.tensor(ends[0]))


def test_the_share_is_that_of_the_best_step() -> None:
    step = replace(STEP, relative_step=0.003, best_multiple=Estimate(5.0, 1.0))
    assert LayerwiseScaling.propose(only(step)) == (
        LayerwiseScaling(optimizer="lars", share=0.015),
        LayerwiseScaling(optimizer="lamb", share=0.015),
    )
    wild = replace(step, optimizer="Adam", relative_step=7.0)
    assert LayerwiseScaling.propose(only(wild)) == (LayerwiseScaling(optimizer="lamb", share=0.1),)


def test_not_without_the_package_or_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LayerwiseScaling.propose(only(DIRECTION)) == ()
    monkeypatch.setattr("unstuck.remedies.layerwise_scaling.find_spec", lambda name: None)
    assert importlib.util.find_spec("pytorch_optimizer") is not None
    assert LayerwiseScaling.propose(only(STEP)) == ()
