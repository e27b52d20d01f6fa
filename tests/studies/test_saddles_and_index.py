"""The study of saddles and index: slices whose shares are known, and its results at a small size."""

import math

import pytest
import torch

from unstuck.studies.saddles_and_index import DIMENSIONS, look_like_minima, run


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_bowl_looks_like_a_minimum_and_a_dome_never_does() -> None:
    bowl = torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    assert look_like_minima(bowl, 2, 50, generator()) == 1.0
    assert look_like_minima(-bowl, 1, 50, generator()) == 0.0


def test_lines_through_a_saddle() -> None:
    """x² − r² y² goes up along a line at an angle below arctan(1/r) to the x axis: a share of 2 arctan(1/r)/π."""
    for steepness in (1.0, 3.0):
        saddle = torch.diag(torch.tensor([1.0, -(steepness**2)], dtype=torch.float64))
        share = look_like_minima(saddle, 1, 20_000, generator())
        assert share == pytest.approx(2.0 * math.atan(1.0 / steepness) / math.pi, abs=0.015)


def test_slices_hide_less_the_more_dimensions_they_have() -> None:
    result = run(seed=7, part="slices")
    assert result["wrong_counts"] == 0
    assert result["loss_error"] < 1e-9
    assert result["steps_error"] < 1e-12
    shares = result["share"]["10"]
    assert len(shares) == len(DIMENSIONS)
    assert shares[0] > 0.9
    assert shares[-1] < 0.1


def test_search_tells_ends_from_critical_points() -> None:
    result = run(seed=7, part="search", ends=[0, 10])
    assert result["ended"]["critical"] == [0.0, 0.0]
    assert all(0.0 < share < 1.0 for share in result["searched"]["index"])
