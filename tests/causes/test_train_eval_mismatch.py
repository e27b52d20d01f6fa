"""Train-eval mismatch: a gap that statistics taken anew close."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from tests.readings import DIRECTION, MODES, finding, only

from unstuck.causes.train_eval_mismatch import FAR, MATERIAL, MOST, TRAIN_EVAL_MISMATCH
from unstuck.probes.modes import ModesReading
from unstuck.reading import Estimate

STALE = replace(
    MODES,
    evaluation=Estimate(2.0, 0.02),
    recomputed=Estimate(1.0, 0.02),
    trained=Estimate(1.0, 0.02),
    gap=Estimate(1.0, 0.03),
    averages_gap=Estimate(1.0, 0.03),
    layer_distance=(4 * FAR,),
)


@pytest.mark.parametrize(
    ("modes", "signal"),
    [
        (STALE, True),
        (replace(STALE, layer_distance=(FAR / 2,)), True),
        (MODES, False),
        (replace(STALE, averages_gap=Estimate(MATERIAL, 0.03)), False),
        (replace(STALE, averages_gap=Estimate(1.0, 0.8)), False),
        (replace(STALE, averages_gap=Estimate(0.0, 0.02), batches_gap=Estimate(1.0, 0.03)), False),
        (replace(STALE, averages_gap=Estimate(-1.0, 0.03)), False),
        (replace(STALE, recomputed=None, averages_gap=None, batches_gap=None, layers=(), layer_distance=()), False),
    ],
    ids=[
        "stale",
        "near, and the gap is there",
        "well",
        "averages that lag a little",
        "within its error",
        "due to small batches",
        "better in evaluation",
        "no moving averages",
    ],
)
def test_a_gap_that_statistics_taken_anew_close(modes: ModesReading, signal: bool) -> None:
    assert finding(TRAIN_EVAL_MISMATCH, modes).signal is signal


def test_it_is_read_after_the_walk() -> None:
    """Before it, averages may not have moved yet."""
    assert not finding(TRAIN_EVAL_MISMATCH, STALE, replace(MODES, update=100)).signal
    assert finding(TRAIN_EVAL_MISMATCH, MODES, replace(STALE, update=100)).signal


def test_far_off_averages_make_it_surer() -> None:
    near = replace(STALE, layer_distance=(FAR / 2,))
    assert finding(TRAIN_EVAL_MISMATCH, STALE).score > finding(TRAIN_EVAL_MISMATCH, near).score


@pytest.mark.parametrize(("times", "fact"), [(1.01, True), (0.99, False)])
def test_averages_that_are_most_of_the_loss_are_a_fact(times: float, fact: bool) -> None:
    """However near they are."""
    near = replace(STALE, layer_distance=(FAR / 2,), averages_gap=Estimate(times * MOST * 2.0, 0.03))
    found = finding(TRAIN_EVAL_MISMATCH, near)
    assert found.signal
    assert found.judgement.certain is fact
    assert found.score == (0.9 if fact else 0.6)
    assert not finding(TRAIN_EVAL_MISMATCH, replace(near, averages_gap=Estimate(1.3, 1.0))).judgement.certain


def test_all_three_losses_are_told() -> None:
    evidence = finding(TRAIN_EVAL_MISMATCH, STALE).judgement.evidence
    assert evidence[0].says == "in evaluation the loss is 2, with statistics taken anew 1; as trained it is 1"
    assert evidence[1].value == 4 * FAR


def test_unknown_without_its_probe() -> None:
    assert "modes" in str(TRAIN_EVAL_MISMATCH.finding(only(DIRECTION)).unknown_because)


def test_statistics_taken_anew_move_what_it_works_through() -> None:
    mediator = TRAIN_EVAL_MISMATCH.mediator
    assert mediator is not None
    assert not mediator.rises
    assert mediator.value(replace(MODES, layers=("1", "4"), layer_distance=(0.3, 2.5))) == 2.5
    assert math.isnan(mediator.value(replace(MODES, layers=(), layer_distance=())))
