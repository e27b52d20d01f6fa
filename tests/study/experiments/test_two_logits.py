"""The surface over two logits, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from unstuck.study.experiments.two_logits import ENTROPY, SQUARES, closed_forms, heights, slope, steeper, steepest


@pytest.mark.parametrize(
    ("loss", "height", "size"),
    [(ENTROPY, math.log(1 + math.e**4), 1 - 1 / (1 + math.e**4)), (SQUARES, None, None)],
)
def test_height_and_slope_at_a_point(loss: object, height: float | None, size: float | None) -> None:
    share = 1 / (1 + math.e**4)
    at = torch.tensor([[-1.0, 3.0]], dtype=torch.float64)
    height = 2 * (1 - share) ** 2 if height is None else height
    size = 4 * share * (1 - share) ** 2 if size is None else size
    assert heights(loss, at).item() == pytest.approx(height, rel=1e-12)  # type: ignore[arg-type]
    assert slope(loss, at)[0].tolist() == pytest.approx([-size, size], rel=1e-12)  # type: ignore[arg-type]


def test_the_lectures_corner_and_the_steepest_place() -> None:
    assert steeper(-10.0, 10.0) == pytest.approx(1.2129e8, rel=1e-4)
    assert steepest() == pytest.approx(16 / 27, rel=1e-6)


def test_autograd_agrees() -> None:
    assert closed_forms(torch.Generator().manual_seed(3)) < 1e-14
