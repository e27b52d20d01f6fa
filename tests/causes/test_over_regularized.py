"""Over-regularized: decay as long as the rest of an update, or most units left out at a cost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.readings import DIRECTION, GRADIENT, MODES, finding, only

from unstuck.causes.over_regularized import BALANCE, ERRORS, MOST, OVER_REGULARIZED, SHRUNK
from unstuck.reading import Estimate, Reading

STANDS = replace(DIRECTION, end=1.4, slope=Estimate(0.0, 0.001))
PULLED = replace(GRADIENT, decay_over_rest=2.0)
LEFT_OUT = replace(MODES, dropout=0.8, dropout_gap=Estimate(-0.5, 0.05), batch=Estimate(0.9, 0.02))


@pytest.mark.parametrize(
    ("readings", "signal"),
    [
        ((PULLED, STANDS), True),
        ((PULLED,), True),
        ((LEFT_OUT,), True),
        ((PULLED, LEFT_OUT), True),
        ((), False),
        ((STANDS,), False),
        ((replace(GRADIENT, decay_over_rest=None), STANDS), False),
        ((replace(PULLED, norm=1e-6), STANDS), False),
        ((replace(PULLED, squared_norm=Estimate(0.01, 0.02)), STANDS), False),
        ((replace(LEFT_OUT, dropout_gap=Estimate(0.5, 0.05)),), False),
    ],
    ids=[
        "longer than the rest",
        "longer than the rest, and still falling",
        "most units left out",
        "both",
        "well",
        "stands without decay",
        "rule unknown",
        "arrived, both are small",
        "gradient below its noise",
        "dropout that costs nothing",
    ],
)
def test_more_than_the_data_pull(readings: tuple[Reading, ...], signal: bool) -> None:
    assert finding(OVER_REGULARIZED, *readings).signal is signal


@pytest.mark.parametrize(("times", "signal"), [(0.99, False), (1.01, True)])
def test_decay_beside_the_rest(times: float, signal: bool) -> None:
    gradient = replace(GRADIENT, decay_over_rest=times * BALANCE)
    assert finding(OVER_REGULARIZED, gradient, STANDS).signal is signal
    assert finding(OVER_REGULARIZED, gradient).signal is signal


@pytest.mark.parametrize(("times", "signal"), [(0.99, False), (1.01, True)])
def test_most_units(times: float, signal: bool) -> None:
    assert finding(OVER_REGULARIZED, replace(LEFT_OUT, dropout=times * MOST)).signal is signal


@pytest.mark.parametrize(("times", "signal"), [(0.99, False), (1.01, True)])
def test_dropout_costs_beyond_its_error(times: float, signal: bool) -> None:
    modes = replace(LEFT_OUT, dropout_gap=Estimate(-times * ERRORS * 0.05, 0.05))
    assert finding(OVER_REGULARIZED, modes).signal is signal


def test_what_makes_decay_surer() -> None:
    """It outweighs the rest; or the weights shrink; or the loss does not fall."""
    half = replace(GRADIENT, decay_over_rest=0.8)
    least = finding(OVER_REGULARIZED, half).score
    shrunk, held = (replace(half, update=100, size=times * SHRUNK * GRADIENT.size) for times in (0.99, 1.01))
    for surer in ((replace(half, decay_over_rest=1.01),), (half, STANDS), (half, shrunk)):
        assert finding(OVER_REGULARIZED, *surer).score > least
    stands_later = replace(STANDS, update=100)
    assert finding(OVER_REGULARIZED, half, DIRECTION, stands_later).score > least
    for no_surer in ((replace(half, decay_over_rest=0.99),), (half, held)):
        assert finding(OVER_REGULARIZED, *no_surer).score == least


def test_trials_branch_where_decay_pulls_hardest() -> None:
    later = replace(PULLED, update=100, decay_over_rest=3.0)
    found = finding(OVER_REGULARIZED, GRADIENT, later, STANDS).judgement
    assert (found.from_update, found.evidence[0].value) == (100, 3.0)
    assert finding(OVER_REGULARIZED, PULLED, replace(later, norm=1e-6), STANDS).judgement.from_update == 0
    assert finding(OVER_REGULARIZED, LEFT_OUT, later, STANDS).judgement.from_update is None


def test_dropout_is_that_of_the_last_look() -> None:
    assert finding(OVER_REGULARIZED, MODES, replace(LEFT_OUT, update=100)).signal
    assert not finding(OVER_REGULARIZED, LEFT_OUT, replace(MODES, update=100)).signal


def test_what_outweighs_the_data_is_told_first() -> None:
    shrunk = replace(PULLED, update=100, size=4.0)
    (decay,) = finding(OVER_REGULARIZED, PULLED, shrunk).judgement.evidence
    assert decay.says == (
        "what weight decay adds to an update is 2 times as long as the rest of it; the weights' norm went from 8 to 4"
    )
    dropout, _ = finding(OVER_REGULARIZED, LEFT_OUT).judgement.evidence
    assert dropout.says == (
        "80% of the units are left out in training; with all of them the loss is 0.9, as trained 1.4"
    )
    both = finding(OVER_REGULARIZED, PULLED, replace(LEFT_OUT, dropout=0.5)).judgement.evidence
    assert [each.reading for each in both] == ["gradient", "modes"]


def test_unknown_without_its_probes_but_for_the_modes() -> None:
    assert "`gradient`" in str(OVER_REGULARIZED.finding(only(DIRECTION, LEFT_OUT)).unknown_because)
    assert "`direction`" in str(OVER_REGULARIZED.finding(only(PULLED, LEFT_OUT)).unknown_because)
    assert OVER_REGULARIZED.finding(only(PULLED, STANDS)).signal
