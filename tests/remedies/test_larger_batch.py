"""Larger batches: the same samples in fewer, quieter updates."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests import zoo
from tests.readings import only
from torch.utils.data import DataLoader, TensorDataset

from unstuck.problem import Problem
from unstuck.remedies.larger_batch import LargerBatch
from unstuck.walk import walk


def test_as_if_it_had_been_built_so() -> None:
    table = TensorDataset(*zoo.table())
    problem = zoo.problem(zoo.perceptron, train=DataLoader(table, batch_size=3))
    built = zoo.problem(zoo.perceptron, train=DataLoader(table, batch_size=12))
    treated = LargerBatch(factor=4).apply(problem.branch())
    assert [row.loss for row in walk(treated, 7).curve] == [row.loss for row in walk(built.branch(), 7).curve]


@pytest.mark.parametrize(("rule", "rate"), [("none", 0.05), ("linear", 0.2), ("square-root", 0.1)])
def test_the_rate_follows_the_rule(rule: str, rate: float) -> None:
    problem = zoo.problem(zoo.perceptron, train=zoo.shuffled(*zoo.table(), batch=6))
    treated = LargerBatch(factor=4, rule=rule).apply(problem.branch())
    assert [row.rate for row in walk(treated, 3).curve] == pytest.approx([rate] * 3)


def test_all_there_is_at_most() -> None:
    treated = LargerBatch(factor=16).apply(zoo.problem(zoo.perceptron).branch())
    assert (treated.data.batch_size, treated.data.batches_per_epoch) == (zoo.SAMPLES, 1)


def spread(problem: Problem) -> float:
    """The mean squared distance of batches' gradients from that of all samples."""
    point = problem.point()
    (whole,) = problem.data.sample(960, chunk=960, seed=0)
    centre = problem.gradient_at(point, whole)["weight"]
    batches = [batch for batch, _ in zip(problem.data.order(1), range(1200), strict=False)]
    slopes = [problem.gradient_at(point, batch)["weight"] for batch in batches]
    return float(torch.stack([(slope - centre).square().sum() for slope in slopes]).mean())


def test_noise_falls_as_the_number_of_samples() -> None:
    """The variance of a mean over B of N samples without replacement is (N − B)/(N − 1) of 1/B."""
    generator = zoo.generator()
    inputs, targets = (torch.randn(960, width, generator=generator, dtype=torch.float64) for width in (2, 1))
    problem = zoo.problem(
        lambda: torch.nn.Linear(2, 1, bias=False),
        loss=torch.nn.MSELoss(),
        train=zoo.shuffled(inputs, targets, batch=10),
    )
    ratio = spread(problem) / spread(LargerBatch(factor=16).apply(problem.branch()))
    assert ratio == pytest.approx(16 * (960 - 10) / (960 - 160), rel=0.15)


def test_proposed_is_a_ladder() -> None:
    doses = LargerBatch.propose(only())
    assert [dose.factor for dose in doses] == [4, 16]
    assert {dose.rule for dose in doses} == {"none"}
    assert "square-root rule" in replace(doses[0], rule="square-root").says()
