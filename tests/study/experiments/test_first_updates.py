"""The spread of 1/σ against what is known of χ², and RAdam's factor."""

from __future__ import annotations

import pytest
import torch

from unstuck.study.experiments.first_updates import (
    COUNTS,
    first_rectified,
    original_error,
    rectification_error,
    rectified,
    spread_of_mean,
    spreads,
)


def test_the_closed_form_is_that_of_drawn_squares() -> None:
    drawn = torch.randn(40_000, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = float(drawn.square().mean(1).rsqrt().std())
    assert spread_of_mean(20) == pytest.approx(found, rel=0.05)


def test_the_spread_falls_and_the_factor_makes_up_for_it() -> None:
    found = spreads(7)
    assert found == sorted(found, reverse=True)
    assert found[COUNTS.index(100)] == pytest.approx(spread_of_mean(100), rel=0.1)
    evened = [r * spread for r, spread in zip(rectified(), found, strict=True)][1:]
    assert max(evened) < 4 / 3 * min(evened)


def test_known_values_of_factor_and_schedule() -> None:
    assert first_rectified() == (5, 6)
    assert rectification_error() < 0.01
    assert original_error() < 1e-4
