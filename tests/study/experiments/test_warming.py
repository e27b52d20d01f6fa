"""Trainings with and without a warm-up."""

from __future__ import annotations

import math

import pytest

from unstuck.study.experiments.warming import (
    LEARNED,
    LOOKED_AT,
    REMEDIES,
    RISE,
    Standing,
    finite,
    largest_rate,
    residual,
    transformers,
)


def test_standing_still_lasts_so_many_updates() -> None:
    assert [Standing(2)(update) for update in range(4)] == [0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((0.1, 0.5 * LEARNED, None), 0.2),
        ((0.1, math.inf, LEARNED / 2), 0.4),
        ((2.0, None, LEARNED), 0.05),
    ],
)
def test_the_largest_rate_that_learns(losses: tuple[float | None, ...], expected: float) -> None:
    assert largest_rate(losses, (0.1, 0.2, 0.4)) == expected


def test_what_diverged_is_infinite() -> None:
    assert finite(None) == math.inf
    assert finite(0.5) == 0.5


def test_a_residual_network_is_walked_with_and_without() -> None:
    result = residual(100, RISE, (LOOKED_AT,))
    assert result["without"] == [math.inf]
    assert result["with warm-up"][0] < 2.0
    assert result["curvature"][0] > 3.0 * result["curvature"][1]


def test_only_what_normalizes_last_needs_other_remedies() -> None:
    post, pre = (transformers(0, kind, 31, (0.01,)) for kind in ("post-norm", "pre-norm"))
    assert set(post) - set(pre) == set(REMEDIES)
    assert all(math.isfinite(own["loss"]) for own in (*post.values(), *pre.values()))
