"""Whole Hessians of many networks, steps with them, and points at which units are copies."""

import pytest
import torch
from torch.func import grad

from unstuck.study.experiments import copies
from unstuck.study.experiments.copies import alike, decayed_loss, with_alike
from unstuck.study.experiments.curved import Curved, described, newton_step, saddle_free_step


def bumpy(row: torch.Tensor) -> torch.Tensor:
    """Minima at (±1, 0) with the loss −¼, and a saddle at (0, 0)."""
    return row[0] ** 4 / 4.0 - row[0] ** 2 / 2.0 + row[1] ** 2


def test_newton_goes_to_the_saddle_and_saddle_free_steps_away() -> None:
    curvature = torch.diag(torch.tensor([5.0, -1.0], dtype=torch.float64))
    place = torch.tensor([1.0, 0.01], dtype=torch.float64)
    torch.testing.assert_close(place + newton_step(curvature, curvature @ place), 0.0 * place)
    torch.testing.assert_close(
        place + saddle_free_step(curvature, curvature @ place), torch.tensor([0.0, 0.02], dtype=torch.float64)
    )


def test_the_search_for_rest_finds_the_saddle_and_downhill_the_minimum() -> None:
    surface = Curved(bumpy)
    rows = torch.tensor([[0.1, 0.3], [-0.1, -0.2]], dtype=torch.float64)
    torch.testing.assert_close(surface.nearer_to_rest(rows, 20), 0.0 * rows)
    ends = surface.downhill(rows, 30)
    torch.testing.assert_close(ends, torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64))
    found = described(surface, torch.cat([ends, 0.0 * rows[:1], rows[:1]]), torch.ones(4))
    assert found["index"] == [0.0, 0.0, 0.5, 0.5]
    assert found["critical"] == [1.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("units", [1, 2])
def test_copies_make_critical_points_of_the_whole_network(units: int) -> None:
    generator = torch.Generator().manual_seed(1)
    loss = decayed_loss(generator)
    (row,) = with_alike(loss, units, 1, generator)
    assert grad(loss)(row).norm() < 1e-3
    weights = row[: 16 * copies.HIDDEN].view(copies.HIDDEN, 16)
    torch.testing.assert_close(weights[units], weights[0])


def test_all_different_is_the_network_itself() -> None:
    size = (17 + copies.CLASSES) * copies.HIDDEN + copies.CLASSES
    row = torch.arange(float(size))
    assert torch.equal(alike(row, copies.HIDDEN), row)
