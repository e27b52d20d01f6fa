"""The loss-landscape study: curvatures of a plane, and what does not depend on how a function is written."""

import numpy as np
import pytest

from unstuck.studies.loss_landscape import plane_curvatures, run


def test_curvatures_of_a_quadratic_plane() -> None:
    """3 x² − y² + 2 x y has the Hessian [[6, 2], [2, −2]], whose eigenvalues are 2 ± √20."""
    places = np.arange(-2.0, 3.0)
    x, y = np.meshgrid(places, places, indexing="ij")
    lowest, highest = plane_curvatures(3.0 * x**2 - y**2 + 2.0 * x * y)
    assert lowest == pytest.approx(np.full((3, 3), 2.0 - np.sqrt(20.0)))
    assert highest == pytest.approx(np.full((3, 3), 2.0 + np.sqrt(20.0)))


def test_filter_normalized_curves_do_not_depend_on_how_the_function_is_written() -> None:
    result = run(seed=3, arm="rescaled")
    assert result["filter_change"] < 1e-10
    assert result["raw_change"] > 2.0


def test_an_aimless_walk_lies_nearly_in_a_plane() -> None:
    """Of a random walk from its start the first two components hold (8/π²)(1 + 1/9) of the squares."""
    assert run(seed=4, arm="rescaled")["aimless"] == pytest.approx(8.0 / np.pi**2 * (1.0 + 1.0 / 9.0), abs=0.01)


def test_a_network_with_skip_connections() -> None:
    result = run(seed=5, arm="skip", points=5, rates=[0.01], updates=200)
    assert result["reached"] < 0.5
    assert result["heights"][2][2] == pytest.approx(min(map(min, result["heights"])))
    assert np.shape(result["heights"]) == np.shape(result["walk_heights"]) == (5, 5)
    assert result["walk"][0] == pytest.approx([0.0, 0.0], abs=1e-9)
    assert result["lowest"] <= result["shown_lowest"] <= result["shown_highest"] <= result["highest"]
    assert 0.9 < result["explained"] <= 1.0
