"""Shuffling: batches of data that were sorted become samples of the whole."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from tests import zoo
from tests.readings import only
from torch.utils.data import DataLoader, TensorDataset

from unstuck.problem import Problem
from unstuck.remedies.shuffle import Shuffle


def by_class(kind: str) -> Problem:
    """Batches of eight samples of one class."""
    targets = torch.arange(3).repeat_interleave(8)
    data = TensorDataset(zoo.table()[0], targets)
    loaders: dict[str, Any] = {
        "loader": DataLoader(data, batch_size=8),
        "list": [data[start : start + 8] for start in (0, 8, 16)],
    }
    return zoo.problem(zoo.perceptron, train=loaders[kind])


def classes(problem: Problem) -> list[int]:
    """How many classes each batch of two epochs holds."""
    return [len(batch[1].unique()) for batch in itertools.islice(problem.data.order(1), 6)]


@pytest.mark.parametrize("kind", ["loader", "list"])
def test_batches_of_one_class_are_mixed(kind: str) -> None:
    problem = by_class(kind)
    assert classes(problem) == [1] * 6
    treated = Shuffle().apply(problem.branch())
    assert min(classes(treated)) > 1
    assert treated.data.samples == problem.data.samples
    assert [len(batch[1]) for batch in itertools.islice(treated.data.order(1), 3)] == [8, 8, 8]


def test_proposed_is_the_one_way() -> None:
    assert Shuffle.propose(only()) == (Shuffle(),)
