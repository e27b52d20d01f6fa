"""The loss over a grid of points: against closed forms, and with and without the shortcut."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from tests import zoo
from tests.probes.look import quadratic
from tests.untouched import assert_untouched
from torch import Tensor, nn

from unstuck.data import Batch
from unstuck.directions import filter_normalized
from unstuck.landscape import Hoisted, Plane, grid_losses
from unstuck.problem import Problem
from unstuck.vector import Point, moved

ALPHAS, BETAS = (-0.5, 0.0, 0.25, 1.0), (-1.0, 0.0, 0.5)


def descent(parameters: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def drawn(point: Point, seed: int = 0) -> tuple[Point, Point]:
    generator = torch.Generator().manual_seed(seed)
    one, other = (
        {name: torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t) / 4 for name, t in point.items()}
        for _ in range(2)
    )
    return one, other


def one_by_one(problem: Problem, directions: tuple[Point, Point], batches: tuple[Batch, ...], seed: int = 0) -> Tensor:
    """Every point of the grid by itself, as a user writes it."""

    def at(point: Mapping[str, Tensor]) -> float:
        terms = [problem.terms(batch) for batch in batches]
        losses = [float(problem.loss_at(point, batch, seed=seed)) for batch in batches]
        return sum(term * loss for term, loss in zip(terms, losses, strict=True)) / sum(terms)

    one, other = directions
    with torch.no_grad():
        rows = [[at(moved(moved(problem.point(), one, a), other, b)) for b in BETAS] for a in ALPHAS]
    return torch.tensor(rows, dtype=torch.float64)


def calls_made_once(problem: Problem) -> int:
    one, other = drawn(problem.point())
    (batch,) = problem.data.sample(8, chunk=8, seed=0)[:1]
    plane = Plane(origin=problem.point(), across=one, up=other)
    return Hoisted(plane, lambda at: problem.loss_at(at, batch)).hoisted


def test_a_quadratic_is_its_formula() -> None:
    problem = quadratic([3.0, -1.0], [0.5, 2.0], descent)
    axes = ({"weights": torch.tensor([1.0, 0.0]).double()}, {"weights": torch.tensor([0.0, 1.0]).double()})
    losses = grid_losses(problem, problem.point(), axes, ALPHAS, BETAS, problem.data.sample(1, chunk=1, seed=0))
    expected = [[(3 * (0.5 + a) ** 2 - (2 + b) ** 2) / 2 for b in BETAS] for a in ALPHAS]
    torch.testing.assert_close(losses, torch.tensor(expected, dtype=torch.float64), rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", zoo.MODELS)
def test_the_shortcut_agrees_with_every_point_by_itself(name: str, dtype: torch.dtype) -> None:
    problem = zoo.MODELS[name](dtype)
    batches = problem.data.sample(12, chunk=7, seed=1)
    directions = drawn(problem.point())
    losses = grid_losses(problem, problem.point(), directions, ALPHAS, BETAS, batches, seed=4)
    expected = one_by_one(problem, directions, batches, seed=4)
    torch.testing.assert_close(losses, expected, rtol=2e-6 if dtype == torch.float32 else 1e-12, atol=0.0)


@pytest.mark.parametrize("name", zoo.MODELS)
def test_the_middle_is_the_loss_at_the_point_bit_for_bit(name: str) -> None:
    problem = zoo.MODELS[name](torch.float32)
    batch = problem.data.sample(5, chunk=5, seed=0)[0]
    losses = grid_losses(problem, problem.point(), drawn(problem.point()), ALPHAS, BETAS, [batch], seed=2)
    assert float(losses[1, 1]) == float(problem.loss_at(problem.point(), batch, seed=2))


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("perceptron", 1),
        ("batch norm", 1),
        ("batch norm of images", 1),
        ("two inputs", 2),
        ("embedding", 1),
        ("tied weights", 1),
        ("frozen layer", 1),
        ("weight norm", 0),
        ("lstm", 0),
    ],
)
def test_calls_on_the_data_are_made_once(name: str, calls: int) -> None:
    """A frozen first layer sees data alone too, and its outputs never change."""
    frozen = name == "frozen layer"
    assert calls_made_once(zoo.MODELS[name](torch.float64)) == calls + frozen


def shaped(forward: str) -> Problem:
    class Shaped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(zoo.FEATURES, 5), nn.Linear(5, zoo.CLASSES)

        def forward(self, inputs: Tensor) -> Tensor:
            outputs: Tensor = getattr(self, forward)(inputs)
            return outputs

        def pieces(self, inputs: Tensor) -> Tensor:
            """The first layer by a product with a view of its weights, in two parts."""
            halves = [inputs @ half.t() for half in self.first.weight.split([2, 3])]
            outputs: Tensor = self.second(torch.tanh(torch.cat(halves, 1) + self.first.bias))
            return outputs

        def in_place(self, inputs: Tensor) -> Tensor:
            outputs: Tensor = self.second(self.first(inputs).tanh_())
            return outputs

        def cut_off(self, inputs: Tensor) -> Tensor:
            """The second layer's input depends on the first layer's weights, and torch knows nothing of it."""
            outputs: Tensor = self.second(torch.tanh(self.first(inputs)).detach())
            return outputs

    return zoo.problem(Shaped)


@pytest.mark.parametrize("forward", ["pieces", "in_place", "cut_off"])
def test_however_a_model_is_written_the_losses_are_right(forward: str) -> None:
    problem = shaped(forward)
    batches = problem.data.sample(12, chunk=12, seed=1)
    directions = drawn(problem.point())
    losses = grid_losses(problem, problem.point(), directions, ALPHAS, BETAS, batches)
    torch.testing.assert_close(losses, one_by_one(problem, directions, batches), rtol=1e-12, atol=0)


def test_pieces_of_weights_are_known() -> None:
    assert calls_made_once(shaped("pieces")) == 2
    assert calls_made_once(shaped("in_place")) == 1


def test_a_loss_that_is_the_output_itself_is_kept_point_by_point() -> None:
    model = nn.Linear(zoo.FEATURES, 1).double()
    problem = zoo.problem(lambda: model, loss=lambda outputs, targets: outputs[0, 0], train=[zoo.table()])
    batches = problem.data.sample(24, chunk=24, seed=0)[:1]
    directions = drawn(problem.point())
    losses = grid_losses(problem, problem.point(), directions, ALPHAS, BETAS, batches)
    torch.testing.assert_close(losses, one_by_one(problem, directions, batches), rtol=1e-12, atol=0)
    assert len(losses.unique()) == losses.numel()


def test_what_is_not_finite_stays_so() -> None:
    problem = quadratic([1.0], [0.0], descent)
    steep = Problem(problem.model, lambda outputs, targets: outputs.exp().mean(), problem.train, problem.optimizer)
    axis = {"weights": torch.tensor([1000.0]).double()}
    losses = grid_losses(
        steep, steep.point(), (axis, axis), (-1.0, 0.0, 1.0), (0.0,), steep.data.sample(1, chunk=1, seed=0)
    )
    assert losses.flatten().tolist() == [0.0, 1.0, math.inf]


@pytest.mark.parametrize("name", ["batch norm", "dropout", "counting", "old weight norm"])
def test_nothing_of_the_callers_is_touched(name: str) -> None:
    problem = zoo.MODELS[name](torch.float64)
    batches = problem.data.sample(12, chunk=7, seed=1)
    directions = drawn(problem.point())
    with assert_untouched(problem):
        first = grid_losses(problem, problem.point(), directions, ALPHAS, BETAS, batches)
        second = grid_losses(problem, problem.point(), directions, ALPHAS, BETAS, batches)
    assert torch.equal(first, second)


def rescaled(factor: float) -> Problem:
    """A network of rectified units, its first layer times a factor and its last layer over it: the same function."""
    problem = zoo.problem(lambda: nn.Sequential(nn.Linear(zoo.FEATURES, 8), nn.ReLU(), nn.Linear(8, zoo.CLASSES)))
    with torch.no_grad():
        problem.model[0].weight.mul_(factor)  # type: ignore[index]
        problem.model[0].bias.mul_(factor)  # type: ignore[index]
        problem.model[2].weight.div_(factor)  # type: ignore[index]
    return problem


def curve(problem: Problem, direction: Point, lengths: tuple[float, ...]) -> Tensor:
    batches = problem.data.sample(24, chunk=24, seed=0)
    return grid_losses(problem, problem.point(), (direction, direction), lengths, (0.0,), batches)[:, 0]


def test_filter_normalized_curves_do_not_change_when_layers_are_rescaled() -> None:
    """Li et al. 2018, figure 3's point: without normalization the curve shows the scale of the weights."""
    lengths = tuple(step / 10 for step in range(-10, 11))
    before, after = (
        curve(problem, filter_normalized(problem.model, problem.point(), torch.Generator().manual_seed(5)), lengths)
        for problem in (rescaled(1.0), rescaled(10.0))
    )
    torch.testing.assert_close(before, after, rtol=1e-6, atol=0.0)
    raw = drawn(rescaled(1.0).point(), seed=5)[0]
    one, other = (curve(problem, raw, (-1e-3, 0.0, 1e-3)) for problem in (rescaled(1.0), rescaled(10.0)))
    bend, sharper = (float(losses[0] - 2 * losses[1] + losses[2]) for losses in (one, other))
    assert (sharper / bend) ** 0.5 > 5  # the width at a given height goes with one over the root of the curvature
