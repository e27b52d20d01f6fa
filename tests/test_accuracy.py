"""Accuracy: which answers count, and what an output stands for, by cases counted by hand."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unstuck.accuracy import accuracy
from unstuck.problem import Problem

NAN = math.nan
COUNTED = [[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 2.0], [4.0, 0.0, 1.0]]  # highest: 0, 1, 2, 0


class Identity(nn.Module):
    """Gives its inputs; one parameter, so that there is something to train."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.offset


def measured(outputs: Any, targets: Any, loss: Callable[[Any, Any], Tensor], batches: int = 1) -> float | None:
    """The accuracy of a model that gives these outputs, in so many batches."""
    model = Identity()
    pairs = list(zip(torch.as_tensor(outputs).chunk(batches), torch.as_tensor(targets).chunk(batches), strict=True))
    return accuracy(Problem(model, loss, pairs, torch.optim.SGD(model.parameters(), lr=0.1)), pairs)


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.flatten() - targets.flatten()).pow(2).mean()


@pytest.mark.parametrize("batches", [1, 2, 4])
def test_the_highest_of_several_outputs_is_the_answer(batches: int) -> None:
    assert measured(COUNTED, [0, 1, 1, 2], nn.CrossEntropyLoss(), batches) == 2 / 4


def test_classes_that_the_loss_ignores_are_left_out() -> None:
    assert measured(COUNTED, [0, -100, 1, 0], nn.CrossEntropyLoss()) == 2 / 3


def test_outputs_with_more_axes_are_counted_place_by_place() -> None:
    outputs = torch.tensor([[[5.0, 0.0], [0.0, 5.0]], [[0.0, 0.0], [5.0, 5.0]]])  # (N, K, length): 0 1 and 1 1
    assert measured(outputs, [[0, 1], [1, 0]], nn.CrossEntropyLoss()) == 3 / 4


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
@pytest.mark.parametrize("loss", [nn.BCEWithLogitsLoss(), nn.BCEWithLogitsLoss(pos_weight=torch.tensor(20.0))])
def test_scores_are_told_apart_at_zero(shape: tuple[int, ...], loss: nn.Module) -> None:
    outputs = torch.tensor([0.3, -0.2, 0.4, 0.1]).view(shape)
    assert measured(outputs, torch.tensor([1.0, 0.0, 1.0, 0.0]).view(shape), loss) == 3 / 4


@pytest.mark.parametrize("loss", [nn.BCELoss(), nn.MSELoss(), squared])
def test_probabilities_are_told_apart_at_one_half(loss: Callable[[Any, Any], Tensor]) -> None:
    assert measured([0.3, 0.6, 0.4, 0.9], [0.0, 1.0, 0.0, 0.0], loss) == 3 / 4


def test_an_output_that_is_no_number_is_no_answer() -> None:
    assert measured([[NAN, 1.0], [2.0, 1.0]], [1, 0], nn.CrossEntropyLoss()) == 1 / 2
    assert measured([NAN, 3.0], [0.0, 1.0], nn.BCEWithLogitsLoss()) == 1 / 2


@pytest.mark.parametrize(
    ("outputs", "targets", "loss"),
    [
        ([0.3, 0.6], [0.25, 1.5], nn.MSELoss()),  # a regression
        ([0.3, 0.6], [1.0, 1.0], nn.MSELoss()),  # one value alone
        ([[0.3, 0.6], [1.0, 2.0]], [[0.0, 1.0], [1.0, 0.0]], nn.MSELoss()),  # a regression of several numbers
        ([1.0, 2.0, 7.0], [1, 2, 5], squared),  # counts
    ],
)
def test_without_classes_there_is_no_accuracy(outputs: Any, targets: Any, loss: Callable[[Any, Any], Tensor]) -> None:
    assert measured(outputs, targets, loss) is None


def test_a_problem_that_computes_its_own_loss_has_none() -> None:
    model = nn.Linear(2, 2)
    batches = [(torch.ones(2, 2), torch.tensor([0, 1]))]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    problem = Problem(model, train=batches, optimizer=optimizer, step=lambda m, b: m(b[0]).mean())
    assert accuracy(problem, batches) is None
