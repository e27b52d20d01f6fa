"""The gain of a gradient step beside that of a Newton step, against the steps themselves."""

from __future__ import annotations

import numpy as np
import pytest

from unstuck.numerics.descent import DAMPING, descent_share

CURVATURES = np.array([4.0, 1.0, 0.3, 0.02])
SLOPE = np.array([1.0, -2.0, 0.5, 0.1])


def gain(step: np.ndarray) -> float:
    """Of a step down the quadratic ½ Σ h x² + c x from the origin."""
    return float(-(SLOPE @ step + 0.5 * CURVATURES @ step**2))


def test_against_the_steps_made() -> None:
    along = SLOPE @ SLOPE / (CURVATURES @ SLOPE**2)
    tried = [gain(-length * SLOPE) for length in np.linspace(0.5 * along, 1.5 * along, 101)]
    assert descent_share(CURVATURES, SLOPE**2) == pytest.approx(max(tried) / gain(-SLOPE / CURVATURES))


@pytest.mark.parametrize("condition", [1.0, 3.0, 100.0])
def test_the_worst_gradient_is_kantorovichs(condition: float) -> None:
    """Half of the gradient along either end: 4κ/(1 + κ)², and no less for any other."""
    ends = np.array([1.0, condition])
    worst = 4 * condition / (1 + condition) ** 2
    assert descent_share(ends, np.ones(2)) == pytest.approx(worst)
    drawn = np.random.default_rng(0).random((50, 2))
    assert min(descent_share(ends, squares) for squares in drawn) >= worst * (1 - 1e-12)


def test_scales_do_not_matter_nor_which_way_the_surface_bends() -> None:
    share = descent_share(CURVATURES, SLOPE**2)
    assert descent_share(1e-6 * CURVATURES, 1e8 * SLOPE**2) == pytest.approx(share)
    assert descent_share(CURVATURES * [1, -1, 1, -1], SLOPE**2) == pytest.approx(share)


def test_what_is_flatter_than_can_be_walked_counts_as_so_steep() -> None:
    squares = np.array([1.0, 1.0])
    floor = descent_share(np.array([1.0, DAMPING]), squares)
    assert descent_share(np.array([1.0, 0.0]), squares) == floor
    assert descent_share(np.array([1.0, DAMPING / 50]), squares) == floor


@pytest.mark.parametrize(("curvatures", "squares"), [([1.0, 2.0], [0.0, 0.0]), ([0.0, 0.0], [1.0, 1.0])])
def test_nothing_to_compare_is_no_sign(curvatures: list[float], squares: list[float]) -> None:
    assert descent_share(np.array(curvatures), np.array(squares)) == 1.0
