"""Overfitting: the training loss falls on, and the held-out loss has risen beyond chance and by much."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.readings import GENERALIZATION, GRADIENT, finding, only

from unstuck.causes.overfitting import CHANCE, LARGE, MATERIAL, OVERFITTING
from unstuck.probes.generalization import GeneralizationReading
from unstuck.reading import Estimate, Within

LOWEST = GENERALIZATION
VALID = LOWEST.valid_loss
assert VALID is not None


def after(rise: float, *, update: int = 100, scatter: float = 0.01, train: float = 0.2) -> GeneralizationReading:
    """The held-out loss higher by a share of what it was, give or take a scatter that its parts have."""
    assert VALID is not None
    higher = rise * VALID.value
    parts = zip(LOWEST.valid_losses, (1, -1, 1, -1), strict=True)
    return replace(
        LOWEST,
        update=update,
        train_loss=Estimate(train, 0.02),
        valid_loss=Estimate(VALID.value + higher, 0.02),
        valid_losses=tuple(loss + higher + sign * scatter for loss, sign in parts),
        valid_accuracy=Within(0.6, 0.55, 0.65),
    )


BLIND = replace(
    LOWEST, valid_loss=None, gap=None, valid_accuracy=None, constant=None, over_constant=None, valid_losses=()
)


@pytest.mark.parametrize(
    ("last", "signal"),
    [
        (after(2 * LARGE), True),
        (after(1.1 * MATERIAL), True),
        (replace(after(1.1 * MATERIAL), valid_accuracy=None), True),
        (replace(after(2 * LARGE), valid_accuracy=LOWEST.valid_accuracy), True),
        (after(0.0), False),
        (after(-0.2), False),
        (after(2 * LARGE, scatter=1.0), False),
        (after(2 * LARGE, train=1.0), False),
        (replace(after(1.1 * MATERIAL), valid_accuracy=LOWEST.valid_accuracy), False),
    ],
    ids=[
        "risen by much",
        "risen, and answers are worse",
        "risen, and answers are not known",
        "risen by much, though answers are as good",
        "a gap, and it stays",
        "falls",
        "risen within chance",
        "the training loss has risen, too",
        "risen a little, and answers are as good",
    ],
)
def test_the_held_out_loss_has_turned(last: GeneralizationReading, signal: bool) -> None:
    assert finding(OVERFITTING, LOWEST, last).signal is signal


@pytest.mark.parametrize(("times", "signal"), [(0.99, False), (1.01, True)])
def test_the_rise_is_material(times: float, signal: bool) -> None:
    assert finding(OVERFITTING, LOWEST, after(times * MATERIAL)).signal is signal
    as_good = replace(after(times * LARGE), valid_accuracy=LOWEST.valid_accuracy)
    assert finding(OVERFITTING, LOWEST, as_good).signal is signal


@pytest.mark.parametrize(("value", "signal"), [(0.699, True), (0.701, False)])
def test_answers_are_worse_beyond_chance(value: float, signal: bool) -> None:
    """The interval of the share of right answers began at 0.7."""
    before = replace(LOWEST, valid_accuracy=Within(0.72, 0.7, 0.77))
    unknown = replace(LOWEST, valid_accuracy=None)
    last = replace(after(1.1 * MATERIAL), valid_accuracy=Within(value, 0.6, 0.8))
    assert finding(OVERFITTING, before, last).signal is signal
    assert finding(OVERFITTING, unknown, last).signal


@pytest.mark.parametrize(("t", "signal"), [(4.6, True), (4.5, False)])
def test_chance_is_ruled_out(t: float, signal: bool) -> None:
    """One-sided, of four parts: P(T₃ ≥ 4.541) = 0.01."""
    assert CHANCE == 0.01
    rise = 2 * LARGE
    # Parts scatter by ± s, hence a standard error of s / √3.
    scatter = rise * 0.75 / t * 3**0.5
    assert finding(OVERFITTING, LOWEST, after(rise, scatter=scatter)).signal is signal


@pytest.mark.parametrize(("train", "signal"), [(0.655, True), (0.665, False)])
def test_the_training_goes_on_beyond_its_error(train: float, signal: bool) -> None:
    """From 0.7 ± 0.02 down to ± 0.02 of this."""
    assert finding(OVERFITTING, LOWEST, after(2 * LARGE, train=train)).signal is signal


def test_it_counts_from_the_lowest_look() -> None:
    """Trials branch there; where the last is the lowest nothing has turned."""
    early = after(1.0, update=0, train=1.0)
    found = finding(OVERFITTING, early, replace(LOWEST, update=50), after(2 * LARGE))
    assert found.signal
    assert found.judgement.from_update == 50
    assert not finding(OVERFITTING, early, replace(LOWEST, update=50)).signal
    assert not finding(OVERFITTING, LOWEST, after(2 * LARGE), after(0.0, update=200)).signal


def test_both_losses_and_the_answers_are_told() -> None:
    losses, answers = finding(OVERFITTING, LOWEST, after(1.0)).judgement.evidence
    assert losses.value == pytest.approx(1.0)
    assert losses.says == (
        "the held-out loss was lowest after 0 updates, 0.75 ± 0.02, and has come to 1.5 ± 0.02, while the training "
        "loss went from 0.7 to 0.2"
    )
    assert answers.says == "of held-out answers 60.0% are right, then 72.0%"
    for unknown in (
        (LOWEST, replace(after(1.0), valid_accuracy=None)),
        (replace(LOWEST, valid_accuracy=None), after(1.0)),
    ):
        assert len(finding(OVERFITTING, *unknown).judgement.evidence) == 1


def test_unknown_without_held_out_data() -> None:
    found = finding(OVERFITTING, BLIND, replace(BLIND, update=100))
    assert "no held-out data" in str(found.unknown_because)
    assert not found.signal
    assert finding(OVERFITTING, LOWEST, replace(after(1.0), valid_losses=())).unknown_because is not None
    assert "`generalization`" in str(OVERFITTING.finding(only(GRADIENT)).unknown_because)
