"""The largest value in a box, against closed forms and against every corner."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from unstuck.numerics.box import BoxMaximum, largest_in_box

Floats = NDArray[np.float64]
RANDOM = np.random.default_rng(4)


def quadratic(matrix: Floats, slope: Floats, half: Floats, **settings: int) -> BoxMaximum:
    """½ zᵀAz + b·z in a box."""
    return largest_in_box(
        lambda z: float(z @ matrix @ z / 2 + slope @ z),
        lambda z: (float(z @ matrix @ z / 2 + slope @ z), matrix @ z + slope),
        half,
        generator=torch.Generator().manual_seed(0),
        **settings,
    )


def test_a_linear_function_is_largest_at_the_corner_it_points_to() -> None:
    slope, half = RANDOM.standard_normal(50), RANDOM.random(50)
    found = quadratic(np.zeros((50, 50)), slope, half, corners=0)
    assert found.value == pytest.approx(np.abs(slope) @ half, rel=1e-14)
    np.testing.assert_allclose(found.at, np.sign(slope) * half)


def test_a_bowl_is_largest_at_every_corner() -> None:
    found = quadratic(3.0 * np.eye(40), np.zeros(40), np.full(40, 1e-3))
    assert found.value == pytest.approx(0.5 * 3.0 * 1e-6 * 40, rel=1e-12)
    assert found.value == found.corner


@pytest.mark.parametrize("seed", range(5))
def test_it_is_never_below_what_was_tried_and_never_above_the_maximum(seed: int) -> None:
    random = np.random.default_rng(seed)
    half = random.random(8)
    matrix = random.standard_normal((8, 8))
    matrix, slope = matrix + matrix.T, 0.3 * random.standard_normal(8)
    found = quadratic(matrix, slope, half)
    corners = [half * signs for signs in itertools.product((-1.0, 1.0), repeat=8)]
    values = [z @ matrix @ z / 2 + slope @ z for z in corners]
    assert found.corner <= found.value
    assert found.value == pytest.approx(found.at @ matrix @ found.at / 2 + slope @ found.at)
    assert (np.abs(found.at) <= half * (1 + 1e-12)).all()
    convex = quadratic(matrix @ matrix, slope, half)
    best = max(z @ matrix @ matrix @ z / 2 + slope @ z for z in corners)
    assert 0.95 * best <= convex.value <= best * (1 + 1e-12)
    assert found.value >= 0.8 * max(values)


def test_a_peak_inside_is_found() -> None:
    """−½ ‖z − c‖² with c in the box, or beyond one of its walls."""
    centre = np.array([0.5, -0.2, 3.0])
    found = quadratic(-np.eye(3), centre, np.ones(3))
    np.testing.assert_allclose(found.at, [0.5, -0.2, 1.0], atol=1e-6)
    assert found.value > found.corner


def test_sides_of_no_width_are_kept() -> None:
    found = quadratic(np.eye(3), np.ones(3), np.array([1.0, 0.0, 2.0]))
    assert found.value == pytest.approx(0.5 + 1 + 2 + 2)
    assert quadratic(np.eye(2), np.ones(2), np.zeros(2)).value == 0.0


def test_what_is_not_finite_is_infinitely_high() -> None:
    found = largest_in_box(
        lambda z: float("nan") if z[0] > 0.5 else 0.0,
        lambda z: (0.0, np.ones(2)),
        np.ones(2),
        generator=torch.Generator().manual_seed(0),
    )
    assert found.value == math.inf
    assert found.at[0] > 0.5
