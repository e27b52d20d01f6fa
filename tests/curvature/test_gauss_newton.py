"""The generalized Gauss-Newton matrix against its definition."""

from __future__ import annotations

import pytest
import torch
from tests import zoo
from torch import Tensor, nn

from unstuck.errors import InputError
from unstuck.problem import Problem
from unstuck.vector import flatten, unflatten

DOUBLE = torch.float64


def by_definition(problem: Problem, batches: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Σ share · Jᵀ ∂²L/∂z² J, with dense Jacobians by torch's own functions."""
    point = problem.point()
    flat, total = flatten(point), sum(len(targets) for _, targets in batches)
    matrix = torch.zeros(len(flat), len(flat), dtype=DOUBLE)
    loss = problem.loss
    assert loss is not None
    for inputs, targets in batches:

        def outputs(at: Tensor, inputs: Tensor = inputs) -> Tensor:
            found: Tensor = torch.func.functional_call(problem.model, unflatten(at, point), (inputs,))
            return found

        given = outputs(flat).detach()
        jacobian = torch.autograd.functional.jacobian(outputs, flat).reshape(given.numel(), -1)
        inner = torch.autograd.functional.hessian(lambda z, targets=targets: loss(z, targets), given)
        matrix += len(targets) / total * jacobian.T @ inner.reshape(given.numel(), -1) @ jacobian
    return matrix


def test_agrees_with_its_definition() -> None:
    problem = zoo.MODELS["perceptron"](DOUBLE)
    batches = [problem.data.sample(count, chunk=count, seed=count)[0] for count in (7, 3)]
    operator = problem.gauss_newton_at(problem.point(), *batches)
    matrix = operator.block(torch.eye(operator.dimension, dtype=DOUBLE))
    torch.testing.assert_close(matrix, by_definition(problem, batches), rtol=1e-9, atol=1e-12)
    assert float(torch.linalg.eigvalsh(matrix)[0]) > -1e-12  # cross-entropy is convex in the outputs
    assert operator.products == operator.dimension


def test_is_the_hessian_of_a_linear_model() -> None:
    problem = zoo.problem(lambda: nn.Linear(zoo.FEATURES, zoo.CLASSES))
    (batch,) = problem.data.sample(9, chunk=9, seed=0)
    operator, hessian = problem.gauss_newton_at(problem.point(), batch), problem.hessian_at(problem.point(), batch)
    vector = torch.randn(hessian.dimension, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(operator @ vector, hessian @ vector, rtol=1e-10, atol=1e-13)


def test_a_loss_that_the_model_computes_itself_is_refused() -> None:
    whole = zoo.MODELS["perceptron"](DOUBLE)
    problem = Problem(
        whole.model,
        train=whole.train,
        optimizer=whole.optimizer,
        step=lambda model, batch: model(batch[0]).square().mean(),
    )
    with pytest.raises(InputError, match="Gauss-Newton"):
        problem.gauss_newton_at(problem.point(), *problem.data.sample(4, chunk=4, seed=0))
