"""Problems that are odd and still are problems: a diagnosis, with what is not known marked; or one clear line."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from tests import zoo
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from unstuck.diagnosis import diagnose
from unstuck.errors import InputError
from unstuck.problem import Problem
from unstuck.report import Report


class Rule(torch.optim.Optimizer):
    """An optimizer of somebody's own: steps along the gradient's sign, at a rate of any name."""

    def __init__(self, parameters: Any, rate: float, name: str = "lr") -> None:
        super().__init__(parameters, {name: rate})
        self._name = name

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # torch declares two
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(parameter.grad.sign(), alpha=group[self._name])


class Drawn(IterableDataset[tuple[Tensor, int]]):
    """Other samples at every pass."""

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        for _ in range(24):
            sample = torch.randn(zoo.FEATURES, dtype=torch.float64)
            yield sample, int(sample[:3].argmax())


def weighted(outputs: Tensor, targets: Tensor, *, weights: Tensor) -> Tensor:
    """A loss that needs a keyword."""
    return nn.functional.cross_entropy(outputs, targets, weight=weights.to(outputs))


class Uncopied(nn.Module):
    """A model that deepcopy fails on."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = zoo.perceptron()

    def __deepcopy__(self, memo: Any) -> Uncopied:
        raise RuntimeError("there is but one of me")

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.inner(inputs)
        return outputs


def ruled(name: str = "lr") -> Problem:
    return zoo.problem(zoo.perceptron, optimizer=lambda parameters: Rule(parameters, 0.01, name))


def uncopied(*, fresh: bool) -> Problem:
    return zoo.problem(Uncopied, fresh=functools.partial(zoo.problem, Uncopied) if fresh else None)


def found(problem: Problem) -> Report:
    return diagnose(problem, budget=200)


@pytest.mark.parametrize(
    "made",
    [
        ruled,
        lambda: zoo.problem(zoo.perceptron, train=DataLoader(Drawn(), batch_size=8)),
        lambda: zoo.problem(zoo.perceptron, loss=functools.partial(weighted, weights=torch.ones(3))),
        lambda: zoo.problem(zoo.perceptron, train=zoo.shuffled(*zoo.table(), batch=1)),
        lambda: uncopied(fresh=True),
    ],
    ids=["own optimizer", "other data at each pass", "loss with a keyword", "batches of one", "uncopied, and fresh"],
)
def test_it_is_diagnosed(made: Callable[[], Problem]) -> None:
    report = found(made())
    assert report.cause
    assert report.document["readings"]


def test_what_is_not_known_is_marked() -> None:
    """Without held-out data nothing is said of generalization."""
    findings = {finding.cause: finding for finding in found(zoo.problem(zoo.perceptron)).findings}
    assert "valid" in str(findings["overfitting"].unknown_because)
    assert not findings["overfitting"].signal


def test_one_order_is_noted() -> None:
    report = found(zoo.problem(zoo.perceptron, train=DataLoader(Drawn(), batch_size=8)))
    assert any("one order" in note for note in report.document["notes"])


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (lambda: ruled("speed"), "`optimizer` (Rule) has a group without `lr`"),
        (lambda: zoo.problem(zoo.perceptron, loss=weighted), "functools.partial"),
        (lambda: uncopied(fresh=False), "give `fresh`"),
        (
            lambda: zoo.problem(
                lambda: nn.Sequential(nn.Linear(zoo.FEATURES, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)),
                train=zoo.shuffled(*zoo.table(), batch=1),
            ),
            "Expected more than 1 value per channel",
        ),
    ],
    ids=["no rate", "loss with a keyword", "uncopied", "batches of one under batch normalization"],
)
def test_it_is_told_in_one_line(made: Callable[[], Problem], line: str) -> None:
    with pytest.raises(InputError) as told:
        found(made())
    assert line in str(told.value)
    assert "\n" not in str(told.value)
