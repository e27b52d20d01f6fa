"""Statistics of testing that lag behind the weights become those of the weights."""

from __future__ import annotations

import pytest
import torch
from tests import zoo
from tests.untouched import assert_untouched
from torch import nn

from unstuck import specimens
from unstuck.classifier import CLASSES, FEATURES, classifier, loader, table
from unstuck.errors import InputError
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedies.recalibrate_batch_norm import RecalibrateBatchNorm
from unstuck.untouched import seeded
from unstuck.vector import flatten
from unstuck.walk import walk


def lagging() -> Problem:
    """A classifier on features far from zero, whose moving averages take up a thousandth of each batch."""
    inputs, targets = table()
    with seeded(0):
        model = nn.Sequential(
            *(nn.Linear(FEATURES, 32), nn.BatchNorm1d(32, momentum=0.001), nn.ReLU()),
            *(nn.Linear(32, 32), nn.BatchNorm1d(32, momentum=0.001), nn.ReLU()),
            nn.Linear(32, CLASSES),
        )
    problem = classifier("lagging averages", rate=0.05, model=model, train=loader(3 * inputs + 10, targets))
    branch = problem.branch()
    walk(branch, 200)
    return branch


def test_lagging_averages_are_cured() -> None:
    problem = lagging()
    sample = problem.data.sample(512, chunk=32, seed=1)
    with assert_untouched(problem):
        treated = RecalibrateBatchNorm().apply(problem.branch())
        as_trained = problem.mean_loss(sample, mode="measuring")
        before, after = (each.mean_loss(sample, mode="evaluation") for each in (problem, treated))
    assert as_trained < 0.8
    assert before > 1.0
    assert after < as_trained


def test_the_training_goes_on_as_if_nothing_had_been_done() -> None:
    problem = lagging()
    plain, treated = problem.branch(), RecalibrateBatchNorm().apply(problem.branch())
    for branch in (plain, treated):
        walk(branch, 10, order=3)
    assert torch.equal(flatten(plain.point()), flatten(treated.point()))


def test_a_model_without_batch_normalization_says_so() -> None:
    with pytest.raises(InputError, match="no batch normalization with running statistics"):
        RecalibrateBatchNorm().apply(specimens.healthy().branch())


def test_one_way_is_proposed() -> None:
    assert RecalibrateBatchNorm.propose(Readings()) == (RecalibrateBatchNorm(),)
    assert "update_bn" in RecalibrateBatchNorm().diff(zoo.MODELS["batch norm"](torch.float64))
