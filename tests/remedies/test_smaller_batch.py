"""Smaller batches: more updates for the same samples."""

from __future__ import annotations

import pytest
from tests import zoo
from tests.readings import only
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from unstuck.remedies.smaller_batch import SmallerBatch
from unstuck.walk import walk


def test_as_if_it_had_been_built_so() -> None:
    table = TensorDataset(*zoo.table())
    problem = zoo.problem(zoo.perceptron, train=DataLoader(table, batch_size=12))
    built = zoo.problem(zoo.perceptron, train=DataLoader(table, batch_size=3))
    treated = SmallerBatch(factor=4).apply(problem.branch())
    assert [row.loss for row in walk(treated, 11).curve] == [row.loss for row in walk(built.branch(), 11).curve]


def test_more_updates_for_an_epoch_at_the_same_rate() -> None:
    treated = SmallerBatch(factor=4).apply(zoo.problem(zoo.perceptron, **zoo.SCHEDULES["per epoch"]).branch())
    assert (treated.data.batch_size, treated.data.batches_per_epoch) == (1, 24)
    assert [row.rate for row in walk(treated, 26).curve] == [0.05] * 24 + [0.025] * 2


def test_batch_normalization_keeps_two_samples() -> None:
    treated = SmallerBatch(factor=16).apply(zoo.problem(lambda: zoo.perceptron(nn.BatchNorm1d(5))).branch())
    assert treated.data.batch_size == 2
    assert len(walk(treated, 14).curve) == 14


def test_the_rule_can_be_given() -> None:
    treated = SmallerBatch(factor=4, rule="linear").apply(
        zoo.problem(zoo.perceptron, train=zoo.shuffled(*zoo.table(), batch=24)).branch()
    )
    assert treated.optimizer.param_groups[0]["lr"] == pytest.approx(0.05 / 4)
    assert "linear rule" in SmallerBatch(factor=4, rule="linear").says()


def test_proposed_is_a_ladder() -> None:
    assert [dose.factor for dose in SmallerBatch.propose(only())] == [4, 16]
