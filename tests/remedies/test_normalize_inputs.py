"""Standardization: over the training data every feature has mean 0 and deviation 1, and constant ones survive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests import zoo
from tests.readings import FINITE, INPUTS, only
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from unstuck.methods.normalize import LARGEST
from unstuck.problem import Problem
from unstuck.remedies.normalize_inputs import NormalizeInputs
from unstuck.surgery.normalization_layers import Standardized
from unstuck.walk import walk

NUMBERS = [torch.float32, torch.float64]


class Seen(nn.Module):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.inputs: Tensor | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        self.inputs = inputs
        return self.weight * inputs.flatten(1).sum(1)


def standardized(inputs: Tensor, axis: int = 1, shown: Tensor | None = None) -> Tensor:
    """What the model gets to see of inputs, or of others, after a treatment over these."""
    model = Seen().to(inputs.dtype)
    data = TensorDataset(inputs, torch.zeros(len(inputs)))
    train: Iterable[Any] = DataLoader(data, batch_size=16, shuffle=True)
    problem = Problem(model, nn.MSELoss(), train, torch.optim.SGD(model.parameters(), lr=0.1))
    treated = NormalizeInputs(axis=axis).apply(problem.branch())
    treated.model(inputs if shown is None else shown)
    (seen,) = (module for module in treated.model.modules() if isinstance(module, Seen))
    assert seen.inputs is not None
    return seen.inputs


def table(dtype: torch.dtype) -> Tensor:
    """Features of very different scale and offset, shape (200, 4)."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(200, 4, generator=generator, dtype=torch.float64)
    return (drawn * torch.tensor([1e-4, 1.0, 1e4, 3.0]) + torch.tensor([0.0, -5.0, 100.0, 30.0])).to(dtype)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_mean_zero_and_deviation_one(dtype: torch.dtype) -> None:
    seen = standardized(table(dtype))
    assert seen.dtype == dtype
    assert torch.allclose(seen.mean(0), torch.zeros(4, dtype=dtype), atol=1e-5)
    assert torch.allclose(seen.std(0, correction=0), torch.ones(4, dtype=dtype), atol=1e-5)


@pytest.mark.parametrize("axis", [1, 2])
def test_features_along_any_axis(axis: int) -> None:
    images = table(torch.float64).view(10, 20, 2, 2) if axis == 2 else table(torch.float64).view(50, 4, 2, 2)
    seen = standardized(images, axis=axis)
    others = [each for each in range(4) if each != axis]
    assert torch.allclose(seen.mean(others), torch.zeros(seen.shape[axis]).double(), atol=1e-8)
    assert torch.allclose(seen.std(others, correction=0), torch.ones(seen.shape[axis]).double(), atol=1e-8)


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 123.456, 1e6 + 0.1])
def test_a_constant_feature_survives(value: float, dtype: torch.dtype) -> None:
    inputs = table(dtype)
    inputs[:, 1] = value
    assert standardized(inputs)[:, 1].abs().max() < 1e-6 * max(1.0, value)
    held_out = inputs.clone()
    held_out[:, 1] += 0.5
    assert torch.allclose(
        standardized(inputs, shown=held_out)[:, 1], torch.full((200,), 0.5, dtype=dtype), atol=1e-6 * max(1.0, value)
    )


def test_a_feature_that_hardly_ever_changes_does_not_get_huge() -> None:
    """A pixel at the border, which one image in thousands has touched."""
    inputs = torch.zeros(4_000, 2)
    inputs[:, 0] = torch.linspace(-1, 1, 4_000)
    inputs[17, 1] = 0.5
    seen = standardized(inputs)
    assert seen.abs().max() <= LARGEST * (1 + 1e-5)
    assert seen[17, 1] > 1


def test_held_out_data_is_standardized_by_the_same_numbers() -> None:
    inputs = table(torch.float64)
    shifted = standardized(inputs, shown=inputs + 7)
    assert torch.allclose(shifted, standardized(inputs) + 7 / inputs.std(0, correction=0), rtol=1e-6)


@pytest.mark.parametrize("name", ["perceptron", "batch norm", "two inputs", "named inputs", "adam"])
def test_the_model_behind_it_is_trained(name: str) -> None:
    problem = zoo.ZOO[name](torch.float64)
    treated = NormalizeInputs(axis=1).apply(problem.branch())
    assert isinstance(treated.model, Standardized)
    before = treated.point()
    run = walk(treated, 12)
    assert run.broke_at is None
    assert any(not torch.equal(before[part], tensor) for part, tensor in treated.point().items())
    assert before.keys() == {f"model.{part}" for part in problem.point()}
    assert not isinstance(problem.model, Standardized)


def test_the_first_of_several_inputs_is_standardized() -> None:
    problem = zoo.ZOO["two inputs"](torch.float64)
    treated = NormalizeInputs(axis=1).apply(problem.branch())
    ((left, right, _),) = problem.data.sample(24, chunk=24, seed=0)
    standard = (left - left.mean(0)) / left.std(0, correction=0)
    assert torch.allclose(treated.model(left, right), problem.model(standard, right))
    assert torch.allclose(treated.model(left=left, right=right), problem.model(standard, right))


def test_a_model_in_eval_mode_stays_in_eval_mode() -> None:
    problem = zoo.ZOO["batch norm"](torch.float64)
    problem.model.eval()
    treated = NormalizeInputs(axis=1).apply(problem.branch())
    assert not any(module.training for module in treated.model.modules())


def test_proposed_along_the_axis_of_the_features() -> None:
    assert NormalizeInputs.propose(only(replace(INPUTS, axis=2))) == (NormalizeInputs(axis=2),)
    assert NormalizeInputs.propose(only(replace(INPUTS, axis=0, features=0))) == ()
    assert NormalizeInputs.propose(only(FINITE)) == ()
