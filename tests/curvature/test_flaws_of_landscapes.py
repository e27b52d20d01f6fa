"""What goes wrong in drawing landscapes, one flaw a test: each has been seen in a published tool."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable

import pytest
import torch
from tests import zoo
from tests.curvature import naive
from tests.probes.look import Weights, look, view
from torch import Tensor, nn

from unstuck.classifier import loader
from unstuck.data import Batch
from unstuck.directions import filter_normalized
from unstuck.landscape import grid_losses
from unstuck.probes.landscape import Landscape, LandscapeReading
from unstuck.problem import Problem
from unstuck.vector import Point, flatten

DOUBLE = torch.float64
ALPHAS, BETAS = (-1.0, -0.5, 0.0, 0.5, 1.0), (-0.6, 0.0, 0.6)
NAMES = ["perceptron", "batch norm", "batch norm of images", "attention", "tied weights"]


def two_directions(problem: Problem) -> tuple[Point, Point]:
    generator = torch.Generator().manual_seed(9)
    one, other = (filter_normalized(problem.model, problem.point(), generator) for _ in range(2))
    return one, other


def moved_by_hand(problem: Problem, offset: Tensor, batches: Iterable[Batch] | None = None) -> float:
    """The loss of a copy of the model whose weights were moved, over all data at once or batch by batch."""
    model = copy.deepcopy(problem.model).train()
    leaves = naive.trained(model)
    given = list(batches or problem.data.whole(chunk=10**6))
    assert problem.loss is not None
    with torch.no_grad():
        for leaf, piece in zip(leaves, offset.split([leaf.numel() for leaf in leaves]), strict=True):
            leaf.add_(piece.view_as(leaf))
        losses = [float(problem.loss(model(inputs), targets)) for inputs, targets in given]
    sizes = [len(targets) for _, targets in given]
    return sum(size * loss for size, loss in zip(sizes, losses, strict=True)) / sum(sizes)


@pytest.mark.parametrize("name", NAMES)
def test_every_point_is_visited(name: str) -> None:
    """Flaws: the copy that is evaluated is never moved, so that the surface is flat; or directions are overwritten."""
    problem = zoo.MODELS[name](DOUBLE)
    directions = two_directions(problem)
    before = [flatten(direction).clone() for direction in directions]
    losses = grid_losses(problem, problem.point(), directions, ALPHAS, BETAS, problem.data.whole(chunk=10**6))
    across, up = (flatten(direction) for direction in directions)
    assert torch.equal(across, before[0])
    assert torch.equal(up, before[1])
    expected = [[moved_by_hand(problem, alpha * across + beta * up) for beta in BETAS] for alpha in ALPHAS]
    torch.testing.assert_close(losses, torch.tensor(expected, dtype=DOUBLE), rtol=1e-10, atol=1e-12)
    assert float(losses.max() - losses.min()) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_the_trained_point_is_in_the_middle(name: str) -> None:
    """Flaw: the grid lies half a step off in both axes, and the trained point is never evaluated."""
    problem = zoo.MODELS[name](DOUBLE)
    reading: LandscapeReading = look(Landscape(points=5, updates=4), problem)
    assert (reading.plane.across[2], reading.plane.up[2]) == (0.0, 0.0)
    assert reading.plane.losses[2][2] == reading.loss
    unmoved = moved_by_hand(problem, torch.zeros(problem.dimension), view(problem).blocks)
    assert reading.loss == pytest.approx(unmoved, rel=1e-12)
    for profile in reading.profiles:
        assert profile.losses[2] == reading.loss


def test_the_callers_weights_stay_where_they_are() -> None:
    """Flaw: the last point of the grid is left in the caller's model, and its parameters ask for no gradient."""
    problem = zoo.MODELS["perceptron"](DOUBLE)
    before = {name: tensor.clone() for name, tensor in problem.model.state_dict().items()}
    look(Landscape(points=3, updates=2), problem)
    for name, parameter in problem.model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.requires_grad


def test_directions_are_random_around_zero_and_scaled_unit_by_unit() -> None:
    """Flaws: directions are drawn from [0, 1), all to one side; "filter normalization" scales whole tensors."""
    problem = zoo.problem(lambda: nn.Sequential(nn.Linear(4, 300), nn.ReLU(), nn.Linear(300, 3)))
    with torch.no_grad():
        next(problem.model.parameters()).mul_(torch.linspace(0.1, 10.0, 300)[:, None])
    across, _ = two_directions(problem)
    for name, tensor in problem.point().items():
        if tensor.dim() > 1:
            torch.testing.assert_close(across[name].norm(dim=1), tensor.norm(dim=1))
    signs = torch.sign(across["0.weight"])
    assert abs(float(signs.mean())) < 3 / math.sqrt(signs.numel())


def test_what_is_not_finite_is_shown_as_such() -> None:
    """Flaw: values that are not finite become the mean of the others, and noise is added, without a word."""
    model = Weights(2.0)
    ones = torch.ones(8, 1, dtype=DOUBLE)
    # log w exists to the right of zero alone.
    problem = Problem(
        model,
        lambda outputs, targets: (outputs.log() - targets).square().mean(),
        loader(ones, ones, batch=4),
        torch.optim.SGD(model.parameters(), lr=0.1),
    )
    line = {"weights": torch.tensor([1.0], dtype=DOUBLE)}
    losses = grid_losses(problem, problem.point(), (line, line), (-3.0, 0.0, 3.0), (0.0,), problem.data.whole(chunk=8))
    assert math.isnan(float(losses[0]))
    assert losses[1:, 0].tolist() == pytest.approx([(math.log(w) - 1) ** 2 for w in (2.0, 5.0)], rel=1e-14)
    reading: LandscapeReading = look(Landscape(points=5, span=4.0, updates=2), problem)
    assert reading.non_finite > 0
    assert any(math.isinf(loss) for row in reading.plane.losses for loss in row)
    again: LandscapeReading = look(Landscape(points=5, span=4.0, updates=2), problem)
    assert again.plane == reading.plane


def test_a_line_is_a_plane_of_one_row() -> None:
    """Flaw: the function that draws a line stops with an error of its own."""
    problem = zoo.MODELS["perceptron"](DOUBLE)
    directions = two_directions(problem)
    losses = grid_losses(problem, problem.point(), directions, ALPHAS, (0.0,), problem.data.whole(chunk=5))
    across = flatten(directions[0])
    assert losses[:, 0].tolist() == pytest.approx([moved_by_hand(problem, alpha * across) for alpha in ALPHAS])
