"""Decorrelation: over the training data the features' covariance is one, and what never varies stays so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests import zoo
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from unstuck.errors import InputError
from unstuck.problem import Problem
from unstuck.surgery.decorrelation import Decorrelated, decorrelation, with_decorrelated_inputs
from unstuck.walk import walk

NUMBERS = [torch.float32, torch.float64]


def table(dtype: torch.dtype, *, features: int = 5) -> Tensor:
    """Features that go together, of unequal scale, off zero."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(400, features, generator=generator, dtype=torch.float64)
    mixing = torch.randn(features, features, generator=generator, dtype=torch.float64)
    return (drawn @ mixing * torch.logspace(-2, 2, features, dtype=torch.float64) + 3).to(dtype)


def of(inputs: Tensor) -> Problem:
    model = nn.Linear(inputs.shape[1], 1).to(inputs.dtype)
    data = TensorDataset(inputs, torch.zeros(len(inputs), 1, dtype=inputs.dtype))
    train: Any = DataLoader(data, batch_size=16, shuffle=True)
    return Problem(model, nn.MSELoss(), train, torch.optim.SGD(model.parameters(), lr=0.01))


def decorrelated(inputs: Tensor) -> Tensor:
    mean, mixing = decorrelation(inputs)
    return (inputs.double() - mean) @ mixing


@pytest.mark.parametrize("dtype", NUMBERS)
def test_the_covariance_is_one(dtype: torch.dtype) -> None:
    assert torch.allclose(torch.cov(decorrelated(table(dtype)).T, correction=0), torch.eye(5).double(), atol=1e-6)


def test_it_is_the_inverse_root_of_the_correlations() -> None:
    """W = D^(−½) C^(−½), by the eigenvectors of C."""
    inputs = table(torch.float64)
    values, vectors = torch.linalg.eigh(torch.corrcoef(inputs.T))
    expected = (vectors / values.sqrt()) @ vectors.T / inputs.std(0, correction=0)[:, None]
    assert torch.allclose(decorrelation(inputs)[1], expected, rtol=1e-6)


def test_features_on_their_own_are_standardized_alone() -> None:
    inputs = torch.tensor([[1.0, 10.0], [1.0, -10.0], [-1.0, 10.0], [-1.0, -10.0]])
    assert torch.allclose(decorrelation(inputs)[1], torch.diag(torch.tensor([1.0, 0.1])).double())


@pytest.mark.parametrize("dtype", NUMBERS)
def test_what_never_varies_does_not_get_huge(dtype: torch.dtype) -> None:
    inputs = table(dtype)
    inputs[:, 1], inputs[:, 3] = 0.1, inputs[:, 0]
    seen = decorrelated(inputs)
    assert seen[:, 1].abs().max() < 1e-3
    assert seen.abs().max() < 10


@pytest.mark.parametrize("name", ["perceptron", "batch norm", "two inputs", "named inputs", "adam"])
def test_the_model_behind_it_is_trained(name: str) -> None:
    problem = zoo.ZOO[name](torch.float64)
    treated = with_decorrelated_inputs(problem.branch())
    assert isinstance(treated.model, Decorrelated)
    before = treated.point()
    assert walk(treated, 12).broke_at is None
    assert any(not torch.equal(before[part], tensor) for part, tensor in treated.point().items())
    assert before.keys() == {f"model.{part}" for part in problem.point()}


def test_the_first_of_several_inputs_is_decorrelated() -> None:
    problem = zoo.ZOO["two inputs"](torch.float64)
    treated = with_decorrelated_inputs(problem.branch())
    ((left, right, _),) = problem.data.sample(24, chunk=24, seed=0)
    standard = decorrelated(left)
    assert torch.allclose(treated.model(left, right), problem.model(standard, right))
    assert torch.allclose(treated.model(left=left, right=right), problem.model(standard, right))


def test_images_are_refused() -> None:
    problem = of(torch.zeros(32, 2))
    inputs = torch.randn(32, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    data: Any = DataLoader(TensorDataset(inputs, torch.zeros(32)), batch_size=16)
    images = Problem(problem.model, nn.MSELoss(), data, torch.optim.SGD(problem.model.parameters(), lr=0.1))
    with pytest.raises(InputError, match="no table"):
        with_decorrelated_inputs(images.branch())


def test_a_narrow_valley_becomes_round() -> None:
    """On a linear model the loss's Hessian is twice the inputs' second moment."""
    treated = with_decorrelated_inputs(of(table(torch.float64)).branch())
    ((inputs, _),) = treated.data.sample(400, chunk=400, seed=0)
    seen = (inputs - treated.model.mean) @ treated.model.mixing
    assert torch.allclose(seen.T @ seen / len(seen), torch.eye(5).double(), atol=1e-6)
