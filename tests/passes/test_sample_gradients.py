"""Gradients of single samples against torch's own, one sample at a time; and which way each kind of model allows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests import by_hand, zoo
from tests.closed_forms.made import DOUBLE, normal, of, set_to
from torch import Tensor, nn

from unstuck.data import samples_at, samples_in
from unstuck.passes.sample_gradients import sample_gradients, way_for
from unstuck.problem import Problem
from unstuck.vector import flatten

WAYS = {
    **dict.fromkeys(zoo.MODELS, "vmap"),
    **dict.fromkeys(["batch norm", "batch norm of images", "not to be copied"]),  # samples meet in its layers
    **dict.fromkeys(["lstm", "gru", "sparse embedding"], "one by one"),
}


def batch_of(problem: Problem, count: int = 5) -> tuple[Tensor, ...]:
    (batch,) = problem.data.sample(count, chunk=count, seed=0)
    return tuple(batch)


@pytest.mark.parametrize("name", zoo.MODELS)
def test_every_kind_of_model_has_its_way(name: str) -> None:
    problem = zoo.MODELS[name](DOUBLE).branch()
    assert way_for(problem, problem.point(), batch_of(problem)) == WAYS[name]


@pytest.mark.parametrize(
    "name", [name for name, way in WAYS.items() if way and name not in ("dropout", "transformer", "sparse embedding")]
)
def test_each_is_the_gradient_of_its_sample(name: str) -> None:
    problem = zoo.MODELS[name](DOUBLE).branch()
    batch, point = batch_of(problem), problem.point()
    found = sample_gradients(problem, point, batch, way=str(WAYS[name]), seed=0)
    rows = torch.cat([piece.reshape(samples_in(batch), -1) for piece in found.values()], dim=1)
    flat = flatten(point)
    for place, row in enumerate(rows):
        alone = samples_at(batch, slice(place, place + 1))
        at = flat.clone().requires_grad_()
        (expected,) = torch.autograd.grad(by_hand.mean_loss(problem, [alone], at), at)
        torch.testing.assert_close(row, expected.to_dense(), rtol=1e-9, atol=1e-12)


def test_sparse_gradients_are_those_of_dense_ones() -> None:
    dense, sparse = (zoo.MODELS[name](DOUBLE).branch() for name in ("embedding", "sparse embedding"))
    batch = batch_of(dense)
    one = sample_gradients(dense, dense.point(), batch, way="vmap", seed=0)
    other = sample_gradients(sparse, sparse.point(), batch, way="one by one", seed=0)
    torch.testing.assert_close(other, one)


@pytest.mark.parametrize("way", ["vmap", "one by one"])
def test_each_sample_has_masks_of_its_own(way: str) -> None:
    """Half of the outputs of a linear layer are dropped, which shows in its gradient: the same sample, four times."""
    inputs = torch.ones(4, 64, dtype=DOUBLE)
    model = nn.Sequential(nn.Linear(64, 32, bias=False, dtype=DOUBLE), nn.Dropout(0.5))
    problem = of(
        model, lambda outputs, targets: outputs.sum(1).mean(), inputs, inputs, lambda p: torch.optim.SGD(p, 0.1)
    )
    (rows,) = sample_gradients(problem, problem.point(), (inputs, inputs), way=way, seed=1).values()
    masks = rows[:, :, 0] != 0
    assert way_for(problem, problem.point(), (inputs, inputs)) == "vmap"
    assert 0.3 < float(masks.double().mean()) < 0.7
    assert len({tuple(mask.tolist()) for mask in masks}) == 4
    (again,) = sample_gradients(problem, problem.point(), (inputs, inputs), way=way, seed=1).values()
    assert torch.equal(rows, again)


def weighted(outputs: Tensor, targets: Tensor) -> Tensor:
    """A mean over the batch that gives its samples unequal weights."""
    return nn.functional.cross_entropy(outputs, targets, weight=outputs.new_tensor([1.0, 5.0, 20.0]))


def contrasting(outputs: Tensor, targets: Tensor) -> Tensor:
    """Every sample against the others of its batch."""
    return nn.functional.cross_entropy(outputs @ outputs.T, torch.arange(len(outputs)))


def summed(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, targets, reduction="sum")


@pytest.mark.parametrize("loss", [weighted, contrasting, summed])
def test_a_loss_that_is_no_mean_over_samples_has_none(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    problem = zoo.problem(zoo.perceptron, loss=loss)
    assert way_for(problem, problem.point(), batch_of(problem)) is None


def test_what_is_not_of_each_sample_is_given_to_all() -> None:
    """A number beside the inputs, and a table that is as long for every batch."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(3, 2, generator=generator, dtype=DOUBLE)

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2, dtype=DOUBLE))

        def forward(self, inputs: Tensor, table: Tensor, power: int) -> Tensor:
            return (inputs @ table).pow(power) @ self.weight

    inputs, targets = normal(5, 3), normal(5)
    batch = (inputs, matrix, 2, targets)
    problem = zoo.problem(Mixed, loss=nn.MSELoss(), train=[batch])
    (rows,) = sample_gradients(problem, problem.point(), batch, way="vmap", seed=0).values()
    features = (inputs @ matrix).square()
    torch.testing.assert_close(rows, 2 * (features.sum(1) - targets)[:, None] * features)


def test_low_precision_is_no_disagreement() -> None:
    for problem in (zoo.problem(zoo.perceptron, torch.bfloat16), zoo.ZOO["mixed precision"](torch.float32)):
        assert way_for(problem, problem.point(), batch_of(problem)) == "vmap"


def test_where_all_gradients_are_zero_they_agree() -> None:
    model = nn.Linear(2, 1, bias=False, dtype=DOUBLE)
    problem = set_to(
        of(model, nn.MSELoss(), normal(6, 2), torch.zeros(6, 1, dtype=DOUBLE), lambda p: torch.optim.SGD(p, 0.1)),
        torch.zeros(1, 2, dtype=DOUBLE),
    )
    assert way_for(problem, problem.point(), batch_of(problem)) == "vmap"
