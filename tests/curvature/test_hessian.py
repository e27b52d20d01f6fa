"""The Hessian as an operator, against torch's own dense one and against differences of gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests import by_hand, zoo
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from unstuck.curvature.hessian import Hessian
from unstuck.curvature.loss import gradient_of
from unstuck.curvature.scaled import Scaled, preconditioned
from unstuck.problem import Problem
from unstuck.vector import flatten, unflatten

DOUBLE = torch.float64
WRONG_IN_TORCH = ["weight norm", "old weight norm"]
"""Torch's second derivative of weight norm is not symmetric on the CPU; `torch.autograd.gradgradcheck` fails."""

SPARSE = "sparse embedding"
"""Torch cannot differentiate sparse gradients again."""

RIGHT_IN_TORCH = [name for name in zoo.MODELS if name not in (*WRONG_IN_TORCH, SPARSE)]


def ragged(problem: Problem) -> tuple[Any, ...]:
    """Batches of seven, two and three samples."""
    return tuple(problem.data.sample(count, chunk=count, seed=count)[0] for count in (7, 2, 3))


def dense(hessian: Hessian | Scaled) -> Tensor:
    return torch.stack([hessian @ column for column in torch.eye(hessian.dimension, dtype=hessian.dtype)])


@pytest.mark.parametrize("name", RIGHT_IN_TORCH)
def test_agrees_with_the_dense_hessian(name: str) -> None:
    problem, by_user = zoo.MODELS[name](DOUBLE), zoo.MODELS[name](DOUBLE)
    batches, point = ragged(problem), problem.point()
    hessian = problem.hessian_at(point, *batches)
    directions = torch.randn(6, hessian.dimension, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    products = torch.stack([hessian @ direction for direction in directions])
    assert hessian.rung == "double backward"
    assert hessian.products == 6
    by_user.model.train()
    flat = flatten(point).requires_grad_()
    (gradient,) = torch.autograd.grad(by_hand.mean_loss(by_user, batches, flat), flat, create_graph=True)
    expected = [torch.autograd.grad(gradient, flat, direction, retain_graph=True)[0] for direction in directions]
    torch.testing.assert_close(products, torch.stack(expected), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(products @ directions.T, directions @ products.T, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", RIGHT_IN_TORCH)
def test_agrees_with_differences_of_gradients(name: str) -> None:
    problem = zoo.MODELS[name](DOUBLE)
    batches, point = ragged(problem)[:2], problem.point()
    hessian = problem.hessian_at(point, *batches, seed=3)
    direction = torch.randn(hessian.dimension, dtype=DOUBLE, generator=torch.Generator().manual_seed(2))
    flat, step = flatten(point), 1e-5

    def gradient(at: Tensor) -> Tensor:
        pieces = [flatten(problem.gradient_at(unflatten(at, point), batch, seed=3)) for batch in batches]
        return (7 * pieces[0] + 2 * pieces[1]) / 9

    expected = (gradient(flat + step * direction) - gradient(flat - step * direction)) / (2 * step)
    torch.testing.assert_close(hessian @ direction, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["perceptron", "tied weights", "lstm", "attention", "batch norm", "two inputs"])
def test_agrees_with_torchs_functional_hessian(name: str) -> None:
    problem = zoo.MODELS[name](DOUBLE)
    batches, point = ragged(problem), problem.point()
    matrix = dense(problem.hessian_at(point, *batches))
    expected = torch.autograd.functional.hessian(lambda flat: by_hand.mean_loss(problem, batches, flat), flatten(point))
    torch.testing.assert_close(matrix, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(matrix, matrix.T, rtol=1e-9, atol=1e-12)


def test_what_the_loss_does_not_reach_has_no_curvature() -> None:
    problem = zoo.MODELS["two inputs"](DOUBLE)
    matrix = dense(problem.hessian_at(problem.point(), *ragged(problem)))
    names = [name for name, tensor in problem.point().items() for _ in range(tensor.numel())]
    unused = torch.tensor([name == "unused" for name in names])
    assert int(unused.sum()) == 2
    assert not matrix[unused].any()
    assert not matrix[:, unused].any()
    assert matrix[~unused].any()


def test_a_loss_without_a_slope_has_a_zero_hessian() -> None:
    problem = zoo.problem(zoo.perceptron, loss=lambda outputs, targets: outputs.detach().sum())
    hessian = problem.hessian_at(problem.point(), *ragged(problem))
    assert not (hessian @ torch.ones(hessian.dimension, dtype=DOUBLE)).any()
    value, gradient = gradient_of(lambda point: torch.tensor(3.0), problem.point())
    assert value == 3.0
    assert not flatten(gradient).any()


class Normalized(nn.Module):
    """Weight norm written out: w = g·v/‖v‖ row by row. Its parameters stand in the order of those given."""

    def __init__(self, point: dict[str, Tensor]) -> None:
        super().__init__()
        self.values = nn.ParameterList([nn.Parameter(tensor.clone()) for tensor in point.values()])
        self.names = list(point)

    def forward(self, inputs: Tensor) -> Tensor:
        values = dict(zip(self.names, self.values, strict=True))
        (size,) = (tensor for name, tensor in values.items() if name.endswith(("original0", "_g")))
        (direction,) = (tensor for name, tensor in values.items() if name.endswith(("original1", "_v")))
        weight = size * direction / direction.norm(dim=1, keepdim=True)
        outputs: Tensor = torch.tanh(inputs @ weight.T + values["0.bias"]) @ values["2.weight"].T + values["2.bias"]
        return outputs


@pytest.mark.parametrize("name", WRONG_IN_TORCH)
def test_a_second_derivative_that_is_not_symmetric_is_not_used(name: str) -> None:
    problem = zoo.MODELS[name](DOUBLE)
    hessian = problem.hessian_at(problem.point(), *ragged(problem))
    assert hessian.rung == "finite difference"
    written_out = zoo.problem(lambda: Normalized(problem.point()))
    expected = written_out.hessian_at(written_out.point(), *ragged(problem))
    assert expected.rung == "double backward"
    torch.testing.assert_close(dense(hessian), dense(expected), rtol=1e-6, atol=1e-8)


def test_sparse_gradients_are_subtracted() -> None:
    sparse, dense_gradients = zoo.MODELS[SPARSE](DOUBLE), zoo.MODELS["embedding"](DOUBLE)
    hessian = sparse.hessian_at(sparse.point(), *ragged(sparse))
    expected = dense_gradients.hessian_at(dense_gradients.point(), *ragged(dense_gradients))
    assert (hessian.rung, expected.rung) == ("finite difference", "double backward")
    torch.testing.assert_close(dense(hessian), dense(expected), rtol=1e-6, atol=1e-8)


class Cube(torch.autograd.Function):
    """x³ with a derivative that torch refuses to differentiate again."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        ctx.save_for_backward(inputs)
        return inputs**3

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        inputs: Tensor = ctx.saved_tensors[0]
        return 3 * inputs**2 * slope


class Once(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))

    def forward(self, inputs: Tensor) -> Tensor:
        cubes: Any = Cube.apply  # torch declares it without types
        outputs: Tensor = inputs[:, :3] * cubes(self.weight)
        return outputs


@pytest.mark.parametrize(("dtype", "tolerance"), [(DOUBLE, 1e-8), (torch.float32, 2e-3)])
def test_where_torch_cannot_differentiate_twice_gradients_are_subtracted(dtype: torch.dtype, tolerance: float) -> None:
    problem = zoo.problem(Once, dtype, loss=lambda outputs, targets: outputs.sum(1).square().mean() / 2)
    batch = problem.data.sample(6, chunk=6, seed=0)[0]
    hessian = problem.hessian_at(problem.point(), batch)
    assert hessian.rung == "finite difference"
    # L = ½ mean c² with c = Σ x_j w_j³: H = 9 mean(x xᵀ) ∘ (w² w²ᵀ) + diag(6 mean(c x) w).
    inputs, weight = batch[0][:, :3], problem.point()["weight"]
    correlation = (inputs @ weight**3) @ inputs / len(inputs)
    expected = 9 * (inputs.T @ inputs / len(inputs)) * torch.outer(weight**2, weight**2)
    expected += torch.diag(6 * correlation * weight)
    torch.testing.assert_close(dense(hessian), expected, rtol=tolerance, atol=tolerance)
    assert not (hessian @ torch.zeros(3, dtype=dtype)).any()


def test_memory_that_has_run_out_is_no_reason_for_differences() -> None:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        raise RuntimeError("CUDA out of memory")

    problem = zoo.problem(zoo.perceptron, loss=loss)
    with pytest.raises(RuntimeError, match="out of memory"):
        problem.hessian_at(problem.point(), *ragged(problem))


class Mixed(nn.Module):
    """A body in single precision under a head in double."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(zoo.FEATURES, 3), nn.Linear(3, zoo.CLASSES)

    def to(self, *args: Any, **kwargs: Any) -> Any:
        self.body.float()
        self.head.double()
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.head(torch.tanh(self.body(inputs.float())).double())
        return outputs


def test_parameters_of_several_types() -> None:
    problem = zoo.problem(Mixed)
    hessian = problem.hessian_at(problem.point(), *ragged(problem))
    assert hessian.rung == "double backward"
    matrix = dense(hessian)
    torch.testing.assert_close(matrix, matrix.T, rtol=1e-4, atol=1e-6)
    pieces = unflatten(flatten(problem.point()), problem.point())
    assert {name: tensor.dtype for name, tensor in pieces.items()} == {
        name: tensor.dtype for name, tensor in problem.point().items()
    }


def test_preconditioned() -> None:
    problem = zoo.MODELS["perceptron"](DOUBLE)
    hessian = problem.hessian_at(problem.point(), *ragged(problem))
    sigma = torch.rand(hessian.dimension, dtype=DOUBLE, generator=torch.Generator().manual_seed(0)) + 0.1
    root = torch.diag(sigma**-0.5)
    expected = root @ dense(hessian) @ root
    torch.testing.assert_close(dense(preconditioned(hessian, sigma)), expected, rtol=1e-9, atol=1e-12)
