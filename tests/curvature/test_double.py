"""Curvature along one direction, in double precision."""

from __future__ import annotations

import pytest
import torch
from tests import zoo
from torch import Tensor

from unstuck.curvature.double import Curvature, curvature_along
from unstuck.problem import Problem
from unstuck.vector import widened

DOUBLE = torch.float64


def along(problem: Problem, direction: Tensor) -> Curvature:
    batches = [problem.data.sample(count, chunk=count, seed=count)[0] for count in (7, 3)]
    point = {name: widened(tensor) for name, tensor in problem.point().items()}
    parts = problem.parts(lambda at, batch: problem.loss_at(at, batch, precise=True), *batches)
    return curvature_along(parts, point, direction, scale=1.0)


@pytest.mark.parametrize("name", ["perceptron", "batch norm", "attention", "lstm", "layer norm", "tied weights"])
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_agrees_with_a_product(name: str, dtype: torch.dtype) -> None:
    """Also where a part of the model knows no forward mode (the LSTM)."""
    problem = zoo.MODELS[name](dtype)
    batches = [problem.data.sample(count, chunk=count, seed=count)[0] for count in (7, 3)]
    hessian = problem.hessian_at(problem.point(), *batches, precise=True)
    direction = torch.randn(hessian.dimension, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    unit = direction / direction.norm()
    found = along(problem, direction.to(dtype))
    assert found.value == pytest.approx(float(unit @ (hessian @ unit)), rel=1e-5 if dtype == torch.float32 else 1e-9)
    assert found.rounding < 1e-13


def test_a_sign_within_rounding_proves_nothing() -> None:
    assert not Curvature(value=-1e-15, rounding=1e-14).negative
    assert Curvature(value=-1e-13, rounding=1e-14).negative


def test_a_loss_in_single_precision_is_refused() -> None:
    problem = zoo.problem(zoo.perceptron, torch.float32)
    point = {name: widened(tensor) for name, tensor in problem.point().items()}
    batch = problem.data.sample(4, chunk=4, seed=0)[0]
    single = problem.parts(lambda at, batch: problem.loss_at(at, batch, precise=True).float(), batch)
    with pytest.raises(TypeError, match="float32"):
        curvature_along(single, point, torch.ones(problem.dimension), scale=1.0)
