"""The landscape probe, against closed forms and its own ingredients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests import zoo
from tests.probes.look import look, quadratic, view
from tests.untouched import assert_untouched
from torch import Tensor

from unstuck.errors import InputError
from unstuck.measuring import measure
from unstuck.probes.landscape import Landscape, LandscapeReading, Surface, slice_curvatures, walk_from
from unstuck.problem import Problem
from unstuck.specimens import healthy, product_at_origin, zero_initialized

SMALL = Landscape(points=5, updates=6)


def read(problem: Problem, seed: int = 0, probe: Landscape = SMALL) -> LandscapeReading:
    reading: LandscapeReading = look(probe, problem, seed=seed)
    return reading


def descent(parameters: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def test_a_bowl_shows_its_own_curvature() -> None:
    """L = ½ Σ a θ²: two directions in two dimensions span it all, and second differences of a parabola are exact."""
    reading = read(quadratic([3.0, 1.0], [1.0, 2.0], descent))
    assert reading.loss == pytest.approx(3.5)
    assert (reading.slice_lowest, reading.slice_largest) == pytest.approx((1.0, 3.0), rel=1e-6)
    assert (reading.lowest.value, reading.largest.value) == pytest.approx((1.0, 3.0))
    assert reading.lowest_over_largest == pytest.approx(1 / 3)
    assert reading.directions == "filter-normalized"
    assert reading.non_finite == 0.0


def test_curvature_of_a_slice_lies_within_the_hessians_own() -> None:
    reading = read(healthy())
    assert reading.lowest.value < reading.slice_lowest < reading.slice_largest < reading.largest.value
    assert any("hides negative curvature" in note for note in reading.notes)


def test_slices_of_saddles_and_of_one_parameter() -> None:
    axis = (-0.5, 0.0, 0.5)
    saddle = Surface(across=axis, up=axis, losses=tuple(tuple(x * y for y in axis) for x in axis))
    one, other = ({"w": torch.tensor(row)} for row in ([2.0, 0.0], [0.0, 1.0]))
    assert slice_curvatures(saddle, (one, other)) == pytest.approx((-0.5, 0.5))
    bowl = Surface(across=axis, up=axis, losses=tuple(tuple((x + y) ** 2 for y in axis) for x in axis))
    alone = {"w": torch.tensor([2.0])}
    assert slice_curvatures(bowl, (alone, alone)) == pytest.approx((0.5, 0.5))
    broken = Surface(across=axis, up=axis, losses=((0.0, math.inf, 0.0), (0.0,) * 3, (0.0,) * 3))
    assert all(math.isnan(value) for value in slice_curvatures(broken, (one, other)))


@pytest.mark.parametrize("made", [healthy, zero_initialized, product_at_origin])
def test_the_middle_of_every_picture_is_here(made: type[Problem]) -> None:
    reading = read(made())
    here = view(made())
    assert reading.loss == pytest.approx(here.loss_at(here.point), rel=1e-7)
    assert reading.plane.across[2] == reading.plane.up[2] == 0.0
    assert {profile.losses[2] for profile in reading.profiles} == {reading.loss}
    if reading.walk_plane is not None:
        assert reading.walk_plane.losses[2][2] == reading.loss
        assert reading.walked[0] == (0.0, 0.0)


def test_where_all_weights_are_zero_directions_have_the_size_of_a_start() -> None:
    reading = read(product_at_origin())
    assert reading.directions == "of the size of an ordinary initialization"
    assert reading.plane_lowest < 1.0
    assert reading.walk_explained is None
    assert reading.walk_length == 0.0
    assert "walk" not in reading.pictures()


def test_lines_along_eigenvectors_follow_the_lectures_saddle() -> None:
    """Along (1, ±1)/√2 the loss (1 − w1 w2)² is (1 ∓ s²/2)²."""
    lines = {profile.name: profile for profile in read(product_at_origin()).profiles}
    for name, sign in (("lowest eigenvector", -1), ("largest eigenvector", 1)):
        line = lines[name]
        lengths = line.span * np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
        np.testing.assert_allclose(line.losses, (1 + sign * lengths**2 / 2) ** 2, rtol=1e-5)


def test_the_walk_is_that_of_the_optimizer_and_its_end_is_projected() -> None:
    """Gradient descent on ½ Σ a θ²: θ_t = (1 − η a)^t θ_0, in two dimensions, so that the plane holds it whole."""
    problem = quadratic([3.0, 1.0], [1.0, 2.0], descent)
    expected = [[0.7**t - 1, 2 * 0.9**t - 2] for t in range(7)]
    np.testing.assert_allclose(torch.stack(walk_from(view(problem), 6)), expected, atol=1e-12)
    reading = read(problem)
    assert reading.walk_updates == 6
    assert reading.walk_explained == pytest.approx(1.0)
    assert reading.walk_length == pytest.approx(math.hypot(*expected[-1]))
    np.testing.assert_allclose(np.linalg.norm(reading.walked, axis=1), np.linalg.norm(expected, axis=1), atol=1e-9)


def test_a_walk_that_breaks_is_drawn_until_there() -> None:
    def steep(parameters: list[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=1e200)

    problem = quadratic([3.0, 1.0], [1.0, 2.0], steep)
    reading = read(problem)
    assert reading.walk_updates < 6
    assert any("broke after" in note for note in reading.notes)
    assert reading.non_finite > 0.0


@pytest.mark.parametrize("name", ["batch norm of images", "dropout", "own step", "weight norm", "tied weights"])
def test_every_kind_of_model_has_its_pictures(name: str) -> None:
    problem = zoo.MODELS[name](torch.float64)
    with assert_untouched(problem):
        first, second = (measure(problem, SMALL, seed=1) for _ in range(2))
    assert first == second
    assert measure(problem, SMALL, seed=2) != first
    pictures = first.pictures()
    assert list(pictures) == ["surface", "contours", "walk", "profiles"]
    assert all(picture.layout.meta["summary"] for picture in pictures.values())
    (surface,) = pictures["surface"].data
    assert surface.z[1][3] == first.plane.losses[3][1]


@pytest.mark.parametrize("points", [1, 4, 24])
def test_a_grid_without_a_middle_is_refused(points: int) -> None:
    with pytest.raises(InputError, match="must be odd"):
        Landscape(points=points)
