"""Whole Hessians: layer by layer where that holds, and never where it does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests import by_hand, zoo
from torch import Tensor, nn

from unstuck.curvature.linear import NotLayerByLayer, layered_hessian
from unstuck.curvature.whole import whole_hessian
from unstuck.problem import Problem
from unstuck.vector import flatten

DOUBLE = torch.float64


def ragged(problem: Problem) -> tuple[object, ...]:
    return tuple(problem.data.sample(count, chunk=count, seed=count)[0] for count in (7, 2, 3))


def dense(problem: Problem) -> Tensor:
    """By torch's own function."""
    batches = ragged(problem)
    found: Tensor = torch.autograd.functional.hessian(
        lambda flat: by_hand.mean_loss(problem, batches, flat), flatten(problem.point())
    )
    return found


class Skipping(nn.Module):
    """Layers that branch, meet again and are called out of order; the second has no bias."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(6, zoo.CLASSES)
        self.first = nn.Linear(zoo.FEATURES, 6)
        self.second = nn.Linear(6, 6, bias=False)
        self.beside = nn.Linear(zoo.FEATURES, 6)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(inputs))
        outputs: Tensor = self.last(hidden * torch.sigmoid(self.beside(inputs)) + torch.relu(self.second(hidden)))
        return outputs


class Twice(nn.Module):
    """One layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = nn.Linear(zoo.FEATURES, zoo.FEATURES), nn.Linear(zoo.FEATURES, zoo.CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.last(torch.tanh(self.inner(torch.tanh(self.inner(inputs)))))
        return outputs


def shrunk() -> nn.Module:
    return nn.Sequential(nn.Linear(zoo.FEATURES, 5), nn.BatchNorm1d(5, affine=False), nn.Tanh(), nn.Linear(5, 3))


def deep() -> nn.Module:
    return nn.Sequential(
        nn.Linear(zoo.FEATURES, 5), nn.Tanh(), nn.Linear(5, 4), nn.Softplus(), nn.Linear(4, zoo.CLASSES)
    )


@pytest.mark.parametrize("build", [deep, Skipping, lambda: nn.Linear(zoo.FEATURES, zoo.CLASSES)])
def test_networks_of_linear_layers_layer_by_layer(build: Callable[[], nn.Module]) -> None:
    problem = zoo.problem(build)
    batches, expected = ragged(problem), dense(problem)
    torch.testing.assert_close(
        whole_hessian(problem.hessian_at(problem.point(), *batches)), expected, rtol=1e-9, atol=1e-12
    )
    total = torch.zeros_like(expected)
    for part in problem.parts(problem.loss_at, *batches):
        matrix, passes = layered_hessian(part.loss, problem.point())
        total += part.share * matrix
        assert passes == sum(sum(m.weight.shape) for m in problem.model.modules() if isinstance(m, nn.Linear))
    torch.testing.assert_close(total, expected, rtol=1e-9, atol=1e-12)


def test_frozen_parameters_take_no_part() -> None:
    problem = zoo.problem(deep)
    for name in ("0.bias", "2.weight"):
        dict(problem.model.named_parameters())[name].requires_grad_(False)
    matrix = whole_hessian(problem.hessian_at(problem.point(), *ragged(problem)))
    torch.testing.assert_close(matrix, dense(problem), rtol=1e-9, atol=1e-12)


def test_one_layers_block() -> None:
    problem = zoo.problem(deep)
    point = {name: tensor for name, tensor in problem.point().items() if name.startswith("2.")}
    places = torch.tensor([name.startswith("2.") for name, p in problem.point().items() for _ in range(p.numel())])
    matrix = whole_hessian(problem.hessian_at(point, *ragged(problem)))
    torch.testing.assert_close(matrix, dense(problem)[places][:, places], rtol=1e-9, atol=1e-12)


def test_samples_that_meet_are_noticed() -> None:
    """Batch statistics: every parameter is a linear layer's, and the sum over samples is wrong all the same."""
    problem = zoo.problem(shrunk)
    problem.model.train()
    batches = ragged(problem)
    matrix = whole_hessian(problem.hessian_at(problem.point(), *batches))
    torch.testing.assert_close(matrix, dense(problem), rtol=1e-9, atol=1e-12)
    by_layers, _ = layered_hessian(lambda point: problem.loss_at(point, batches[0]), problem.point())
    columns = whole_hessian(problem.hessian_at(problem.point(), batches[0]))
    assert float((by_layers - columns).norm() / columns.norm()) > 1e-3


@pytest.mark.parametrize(
    "build", [Twice, lambda: nn.Sequential(nn.Linear(zoo.FEATURES, 5), nn.LayerNorm(5), nn.Linear(5, 3))]
)
def test_other_networks_column_by_column(build: Callable[[], nn.Module]) -> None:
    problem = zoo.problem(build)
    batches = ragged(problem)
    with pytest.raises(NotLayerByLayer):
        layered_hessian(lambda point: problem.loss_at(point, batches[0]), problem.point())
    matrix = whole_hessian(problem.hessian_at(problem.point(), *batches))
    torch.testing.assert_close(matrix, dense(problem), rtol=1e-9, atol=1e-12)


def test_many_samples_are_taken_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = zoo.problem(deep)
    whole = whole_hessian(problem.hessian_at(problem.point(), *ragged(problem)))
    monkeypatch.setattr("unstuck.curvature.linear.ENTRIES", 64)
    monkeypatch.setattr("unstuck.curvature.linear.COLUMNS", 2)
    torch.testing.assert_close(whole_hessian(problem.hessian_at(problem.point(), *ragged(problem))), whole)
