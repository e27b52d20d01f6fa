"""How a trial decides, with ends made by hand: material, lasting, beyond the noise, significant."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from unstuck.decision import LEFT_BEHIND, MATERIAL, SIGNIFICANT, Decision, Ends, decide
from unstuck.numerics.statistics import paired_difference

START = 2.0
UNTOUCHED = (1.0, 1.01, 0.99)
AGAIN = (1.01, 1.0, 0.99)

WIDE = tuple(end - drop for end, drop in zip(UNTOUCHED, (0.17, 0.30, 0.43), strict=True))
"""0.3 below the untouched arm on the average, with a spread that three orders just bear: 0.025 < p < 0.05."""


def ends(full: Sequence[float], half: Sequence[float] | None = None) -> Ends:
    """Without ``half``, an arm that has got nowhere after H."""
    return Ends(half=tuple(half or [START] * len(full)), full=tuple(full))


def below(share: float, untouched: Sequence[float] = UNTOUCHED) -> tuple[float, ...]:
    """Ends that remove a share of the untouched arm's loss under every order."""
    return tuple(end * (1 - share) for end in untouched)


def decided(
    *treated: Ends,
    untouched: Sequence[float] = UNTOUCHED,
    again: Sequence[float] = AGAIN,
    start: float = START,
    lowers_rate: bool = False,
    idle: bool = False,
) -> tuple[Decision, ...]:
    lowers = [lowers_rate] * len(treated)
    return decide(ends(untouched), ends(again), treated, start=start, lowers_rate=lowers, idle=idle)


def verdict(full: Sequence[float], half: Sequence[float] | None = None, **given: object) -> str:
    return decided(ends(full, half), **given)[1].verdict  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("share", "expected"), [(1.2 * MATERIAL, "better"), (0.8 * MATERIAL, "same"), (0.0, "same"), (-0.3, "worse")]
)
def test_a_cure_is_material(share: float, expected: str) -> None:
    _, found = decided(ends(below(share)))
    assert found.verdict == expected
    assert found.gain == pytest.approx(share)
    assert found.because


def test_the_interval_is_that_of_the_paired_differences() -> None:
    _, found = decided(ends(WIDE))
    assert found.interval == paired_difference(UNTOUCHED, WIDE).interval
    assert found.interval.low < 0.3 < found.interval.high


def test_half_the_updates_are_a_cure_too() -> None:
    found = decided(ends(below(0.1), half=below(0.05)))[1]
    assert found.verdict == "better"
    assert "half the updates" in found.because
    assert verdict(below(0.1), half=below(-0.05)) == "same"


def test_there_is_no_being_faster_than_an_arm_that_stands_still() -> None:
    still = (START * 0.99, START, START * 0.98)
    assert verdict(below(0.1, still), half=below(0.05, still), untouched=still, again=still) == "same"


@pytest.mark.parametrize(
    ("full", "half", "expected"),
    [
        (1.2 * LEFT_BEHIND, 0.5 * LEFT_BEHIND, "better"),
        (1.2 * LEFT_BEHIND, 0.0, "same"),
        (0.8 * LEFT_BEHIND, 0.5 * LEFT_BEHIND, "same"),
    ],
)
def test_an_arm_that_learns_nothing_is_left_behind(full: float, half: float, expected: str) -> None:
    still = (START, START, START)
    given = {"untouched": still, "again": still, "idle": True}
    assert verdict(below(full, still), half=below(half, still), **given) == expected


@pytest.mark.parametrize(
    ("treated", "promising"),
    [
        (below(0.8 * MATERIAL), True),  # certain and little
        (below(0.8 * LEFT_BEHIND), False),  # certain and next to nothing
        ((0.95, 0.2, 0.8), True),  # much and uncertain
        ((1.0, 0.95, 1.1), False),
        (below(-0.3), False),
        (below(1.2 * MATERIAL), False),  # decided
    ],
)
def test_what_a_longer_walk_may_decide(treated: Sequence[float], promising: bool) -> None:
    assert decided(ends(treated))[1].promising is promising


def test_within_the_noise_between_data_orders_nothing_is_better() -> None:
    far_apart = (0.5, 1.5, 1.0)
    found = decided(ends(below(0.4)), again=far_apart)[1]
    assert found.verdict == "same"
    assert "noise" in found.because
    assert found.undecided  # more orders may tell
    assert not decided(ends(below(0.8 * MATERIAL)), again=far_apart)[1].undecided


def test_an_arm_that_is_below_every_untouched_run_is_beyond_the_noise() -> None:
    """Also where these lie so far apart that the interval of their difference holds its gain: C(9, 3) = 84."""
    untouched, again = (1.6, 0.6, 1.1), (0.7, 1.4, 1.0)
    apart = decided(ends((0.5, 0.1, 0.3)), untouched=untouched, again=again)
    assert apart[1].interval.low < apart[0].interval.high
    assert apart[1].verdict == "better"
    assert decided(ends((0.5, 0.1, 0.65)), untouched=untouched, again=again)[1].verdict == "same"
    nothing = [ends(untouched)] * 4
    several = decided(ends((0.5, 0.1, 0.3)), *nothing, untouched=untouched, again=again)[1]
    assert SIGNIFICANT < 5 / 84
    assert several.verdict == "same"


def test_the_arm_again_is_the_reference_of_the_noise() -> None:
    found = decided(ends(below(0.5)), again=(0.9, 1.1, 1.0))[0]
    assert found.verdict == "reference"
    assert found.interval.low < 0 < found.interval.high


def test_a_difference_by_chance_is_not_significant() -> None:
    found = decided(ends((0.1, 0.95, 0.9)))[1]
    assert found.gain > MATERIAL
    assert found.verdict == "same"
    assert "significant" in found.because
    assert found.undecided


def test_several_arms_have_several_chances() -> None:
    """Holm's correction: what is significant alone is not beside two arms that did nothing."""
    assert SIGNIFICANT / 2 < paired_difference(UNTOUCHED, WIDE).p_value < SIGNIFICANT
    nothing = ends(UNTOUCHED)
    assert decided(ends(WIDE))[1].verdict == "better"
    assert decided(ends(WIDE), nothing, nothing)[1].verdict == "same"
    assert decided(ends(below(0.3)), nothing, nothing)[1].verdict == "better"


def test_more_orders_decide() -> None:
    twice = UNTOUCHED + UNTOUCHED
    treated = ends((0.1, 0.95, 0.9, *below(0.5)))
    fewer = ends(below(0.3))
    found = decided(treated, fewer, untouched=twice, again=AGAIN + AGAIN)
    assert [each.verdict for each in found[1:]] == ["better", "better"]
    assert found[2].gain == pytest.approx(0.3)


@pytest.mark.parametrize("end", [math.inf, math.nan])
def test_an_arm_that_breaks_under_one_order_fails(end: float) -> None:
    assert verdict((0.01, 0.01, end), half=(0.01, 0.01, end)) == "failed"


@pytest.mark.parametrize("lost", [(1e13, 40.0, 3.0), (math.inf, 3.0, 1e300), (math.nan, math.inf, -math.inf)])
def test_a_diverged_untouched_arm_does_not_drown_the_comparison(lost: tuple[float, ...]) -> None:
    _, cure, nothing = decided(ends(below(0.5)), ends((1.9, 1.95, 2.2)), untouched=lost, again=lost[::-1])
    assert cure.verdict == "better"
    assert cure.gain == pytest.approx(1 - 0.5 / START)
    assert nothing.verdict == "same"


def test_a_start_that_is_not_finite_is_hopelessly_high() -> None:
    assert verdict(below(0.3), start=math.inf) == "better"
    assert verdict(below(0.3), start=math.nan, untouched=[math.inf] * 3, again=[math.inf] * 3) == "better"


def test_shorter_steps_look_better_for_a_while() -> None:
    """A gain that shrinks as the horizon doubles is that of less noise, not of a way down."""
    full, half = below(0.25), tuple(START * 0.3 for _ in UNTOUCHED)
    assert verdict(full, half) == "better"
    found = decided(ends(full, half), lowers_rate=True)[1]
    assert found.verdict == "same"
    assert "shrinks" in found.because
    lasting = tuple(START * 0.8 for _ in UNTOUCHED)
    assert verdict(full, lasting, lowers_rate=True) == "better"


def test_losses_below_zero_have_the_lowest_seen_for_a_floor() -> None:
    untouched = (-1.0, -1.01, -0.99)
    _, little, much = decided(
        ends((-1.1, -1.11, -1.09)), ends((-3.0, -3.01, -2.99)), untouched=untouched, again=untouched, start=1.0
    )
    assert much.verdict == "better"
    assert much.gain == pytest.approx(1.0, abs=0.01)
    assert little.verdict == "same"
    assert little.gain == pytest.approx(0.05, abs=0.005)
