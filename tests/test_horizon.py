"""Lengths of arms: as many samples each, and as long as the budget holds."""

from __future__ import annotations

import pytest

from unstuck.horizon import ORDERS, SHORTEST, Lengths, longest, own_updates, updates_of


@pytest.mark.parametrize(
    ("horizon", "pace", "half", "whole"),
    [
        (40, 1.0, 40 + 10, 80 + 10 + 20),
        (40, 4.0, 160 + 40, 320 + 40 + 80),
        (48, 1 / 4, 12 + 3, 24 + 3 + 6),
        (12, 1 / 16, 1 + 1, 2 + 1 + 1),  # at least one update, where half of one would see as many samples
    ],
)
def test_arms_walk_a_trunk_and_two_tails_at_their_own_pace(horizon: int, pace: float, half: int, whole: int) -> None:
    assert Lengths.of(horizon, pace) == Lengths(half=half, whole=whole)


def test_nothing_is_walked_for_nothing() -> None:
    assert own_updates(0, 1 / 16) == 0


def test_all_orders_of_all_arms_and_one_of_each_pilot() -> None:
    whole, half = Lengths.of(20).whole, Lengths.of(20).half
    assert updates_of(20, [1.0, 1.0]) == ORDERS * 2 * whole
    assert updates_of(20, [1.0], [1.0, 1.0]) == ORDERS * whole + 2 * half
    assert updates_of(20, [2.0]) == ORDERS * Lengths.of(20, 2.0).whole


PLANS = [([1.0] * 3, []), ([1.0] * 3, [1.0] * 3), ([1.0] * 6, [1.0] * 13), ([1.0, 1.0, 4.0], [4.0, 2.0])]


@pytest.mark.parametrize(("arms", "pilots"), PLANS)
@pytest.mark.parametrize("updates", [500, 1_330, 5_000, 1_000_000])
def test_the_horizon_is_the_longest_that_fits(updates: int, arms: list[float], pilots: list[float]) -> None:
    horizon = longest(updates, arms, pilots)
    assert updates_of(horizon + 1, arms, pilots) > updates
    assert horizon == SHORTEST or updates_of(horizon, arms, pilots) <= updates


def test_it_is_never_shorter_than_the_shortest() -> None:
    assert longest(10, [1.0] * 6) == SHORTEST


@pytest.mark.parametrize("pace", [1 / 4, 1 / 5, 1 / 16])
def test_an_arm_on_larger_batches_ends_where_the_samples_of_the_others_end(pace: float) -> None:
    for updates in (700, 1_000, 2_500):
        horizon = longest(updates, [1.0, 1.0, pace])
        assert own_updates(horizon, pace) / pace == pytest.approx(horizon)
        assert updates_of(horizon + round(1 / pace), [1.0, 1.0, pace]) > updates


def test_where_even_one_update_of_it_is_too_long_the_horizon_stays() -> None:
    assert longest(700, [1.0, 1.0, 1 / 500]) == longest(700, [1.0, 1.0, 1 / 300])
