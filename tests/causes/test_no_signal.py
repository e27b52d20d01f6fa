"""No signal: gradients of samples have nothing in common, and answers elsewhere are a constant's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.readings import GENERALIZATION, INPUTS, NOISE, OUTPUTS, finding, only

from unstuck.causes.no_signal import ADVICE, DEPENDS, ERRORS, FAINT, NO_SIGNAL, TOLD
from unstuck.reading import Estimate, Reading, Within

DISAGREE = replace(NOISE, coherence=Estimate(0.0, FAINT / 10))
NOTHING_LEARNED = replace(
    GENERALIZATION,
    valid_loss=Estimate(1.45, 0.02),
    gap=Within(0.75, 0.7, 0.8),
    over_constant=Within(0.06, -0.01, 0.13),
)
NO_HELD_OUT = replace(
    GENERALIZATION, valid_loss=None, gap=None, valid_accuracy=None, constant=None, over_constant=None, valid_losses=()
)
LIKE_A_CONSTANT = replace(OUTPUTS, loss=Estimate(1.38, 0.02))
NOT_ASKED = replace(INPUTS, told=None)
SILENT = replace(INPUTS, told=Estimate(-0.01, 0.01))
"""Neighbours tell nothing."""


@pytest.mark.parametrize(
    ("readings", "signal"),
    [
        ((DISAGREE, NOTHING_LEARNED), True),
        ((replace(DISAGREE, coherence=Estimate(-0.01, FAINT / 10)), NOTHING_LEARNED), True),
        ((DISAGREE, NO_HELD_OUT, LIKE_A_CONSTANT), True),
        ((DISAGREE, replace(NO_HELD_OUT, valid_loss=Estimate(1.4, 0.1)), LIKE_A_CONSTANT), True),
        ((), False),
        ((NOTHING_LEARNED,), False),
        ((DISAGREE,), False),
        ((DISAGREE, NO_HELD_OUT), False),
        ((DISAGREE, NO_HELD_OUT, replace(LIKE_A_CONSTANT, constant=None)), False),
        ((DISAGREE, NOTHING_LEARNED, replace(OUTPUTS, input_dependence=None)), False),
    ],
    ids=[
        "nothing in common, nothing learned",
        "gradients against each other",
        "no held-out data, and training data are not learned either",
        "held-out data, and no constant",
        "well",
        "samples agree",
        "held-out answers are good",
        "no held-out data, and training data are learned",
        "no constant at all",
        "dependence on inputs unknown",
    ],
)
def test_nothing_in_common_and_nothing_learned(readings: tuple[Reading, ...], signal: bool) -> None:
    found = finding(NO_SIGNAL, NOT_ASKED, *readings)
    assert found.signal is signal
    assert found.judgement.advice == (ADVICE if signal else "")
    assert not found.judgement.treatable


@pytest.mark.parametrize(("times", "signal"), [(0.99, True), (1.01, False)])
def test_an_agreement_within_its_error_is_none(times: float, signal: bool) -> None:
    noise = replace(NOISE, coherence=Estimate(times * ERRORS * 0.001, 0.001))
    assert finding(NO_SIGNAL, NOT_ASKED, noise, NOTHING_LEARNED).signal is signal


@pytest.mark.parametrize(("times", "signal"), [(0.99, True), (1.01, False)])
def test_the_agreement_is_known_well_enough(times: float, signal: bool) -> None:
    noise = replace(NOISE, coherence=Estimate(0.0, times * FAINT / ERRORS))
    assert finding(NO_SIGNAL, NOT_ASKED, noise, NOTHING_LEARNED).signal is signal


@pytest.mark.parametrize(("times", "signal"), [(0.99, False), (1.01, True)])
def test_outputs_depend_on_the_inputs(times: float, signal: bool) -> None:
    outputs = replace(OUTPUTS, input_dependence=Estimate(times * DEPENDS + 0.001, 0.001))
    assert finding(NO_SIGNAL, NOT_ASKED, DISAGREE, NOTHING_LEARNED, outputs).signal is signal


@pytest.mark.parametrize(("high", "signal"), [(-0.001, False), (0.001, True)])
def test_held_out_answers_are_better_beyond_chance(high: float, signal: bool) -> None:
    reading = replace(NOTHING_LEARNED, over_constant=Within(-0.05, -0.1, high))
    assert finding(NO_SIGNAL, NOT_ASKED, DISAGREE, reading).signal is signal


def test_every_look_counts() -> None:
    """A training at its end no longer agrees; one that overfits was better for a while."""
    later = (replace(DISAGREE, update=100), replace(NOTHING_LEARNED, update=100))
    assert finding(NO_SIGNAL, NOT_ASKED, DISAGREE, NOTHING_LEARNED, *later).signal
    assert not finding(NO_SIGNAL, NOT_ASKED, NOISE, NOTHING_LEARNED, *later).signal
    assert not finding(NO_SIGNAL, NOT_ASKED, DISAGREE, GENERALIZATION, *later).signal
    vague = replace(NOISE, coherence=Estimate(0.0, FAINT), update=50)
    assert not finding(NO_SIGNAL, NOT_ASKED, DISAGREE, NOTHING_LEARNED, vague, *later).signal


def test_outputs_depend_at_the_start_and_are_like_a_constants_at_the_end() -> None:
    start, end = replace(OUTPUTS, update=0), replace(LIKE_A_CONSTANT, update=200)
    unmoved = replace(end, input_dependence=Estimate(0.0, 0.0))
    assert finding(NO_SIGNAL, NOT_ASKED, DISAGREE, NO_HELD_OUT, start, unmoved).signal
    assert not finding(NO_SIGNAL, NOT_ASKED, DISAGREE, NO_HELD_OUT, replace(unmoved, update=0), end).signal


def test_held_out_data_make_it_surer() -> None:
    blind = finding(NO_SIGNAL, NOT_ASKED, DISAGREE, NO_HELD_OUT, LIKE_A_CONSTANT)
    assert finding(NO_SIGNAL, NOT_ASKED, DISAGREE, NOTHING_LEARNED).score > blind.score


def test_agreement_and_losses_are_told() -> None:
    agreement, losses = finding(NO_SIGNAL, NOT_ASKED, DISAGREE, NOTHING_LEARNED).judgement.evidence
    assert agreement.says == (
        "of the mean square of the gradients of 512 samples, 0 ± 0.0005 is common to them; 0 is what noise gives"
    )
    assert losses.says == (
        "the held-out loss is 1.45 ± 0.02, that of the best constant answer 1.39; the training loss is 0.7"
    )
    later = replace(NOTHING_LEARNED, update=100)
    assert finding(NO_SIGNAL, NOT_ASKED, DISAGREE, NOTHING_LEARNED, later).judgement.evidence[1].update == 100
    batches = replace(DISAGREE, samples_each=32, compared=16)
    blind = finding(
        NO_SIGNAL, NOT_ASKED, batches, NO_HELD_OUT, replace(OUTPUTS, update=0), LIKE_A_CONSTANT
    ).judgement.evidence
    assert "gradients of 16 batches of 32," in blind[0].says
    assert blind[1].says == (
        "the training loss is 1.38, that of the best constant answer 1.39; of held-out answers nothing is known"
    )


def test_unknown_without_its_probes_but_for_held_out_data() -> None:
    assert "`noise`" in str(NO_SIGNAL.finding(only(OUTPUTS, NOTHING_LEARNED)).unknown_because)
    assert "`outputs`" in str(NO_SIGNAL.finding(only(DISAGREE, NOTHING_LEARNED)).unknown_because)
    found = NO_SIGNAL.finding(only(DISAGREE, LIKE_A_CONSTANT))
    assert found.signal
    assert found.score == finding(NO_SIGNAL, NOT_ASKED, DISAGREE, NO_HELD_OUT, LIKE_A_CONSTANT).score
    assert not NO_SIGNAL.finding(only(DISAGREE, OUTPUTS)).signal


def test_neighbours_that_tell_leave_no_doubt() -> None:
    """A local minimum has no slope, and is no better than a constant: its data are well."""
    limit = replace(INPUTS, told=Estimate(TOLD * 0.01, 0.01))
    beyond = replace(INPUTS, told=Estimate(1.01 * TOLD * 0.01, 0.01))
    assert finding(NO_SIGNAL, limit, DISAGREE, NOTHING_LEARNED).signal
    found = finding(NO_SIGNAL, beyond, DISAGREE, NOTHING_LEARNED)
    assert not found.signal
    assert found.judgement.evidence[-1].says == (
        "of what tells targets apart, samples with inputs nearby share 0.05 ± 0.01; 0 is what chance gives"
    )


@pytest.mark.parametrize("each", [1, 32])
def test_where_neighbours_tell_nothing_agreement_counts_at_the_end_alone(each: int) -> None:
    """At the start all samples agree on the way to the constant, and at the end on what is left of it."""

    def common(coherence: float, update: int) -> Reading:
        of_batches = each * coherence / (1 + (each - 1) * coherence)
        return replace(NOISE, update=update, samples_each=each, coherence=Estimate(of_batches, 1e-9))

    end = replace(NOTHING_LEARNED, update=100)
    for faint, signal in ((0.99 * FAINT, True), (1.01 * FAINT, False)):
        readings = (common(0.1, 0), NOTHING_LEARNED, common(faint, 100), end)
        assert finding(NO_SIGNAL, SILENT, *readings).signal is signal
        assert not finding(NO_SIGNAL, NOT_ASKED, *readings).signal
    assert not finding(NO_SIGNAL, SILENT, common(0.1, 0), GENERALIZATION, common(0.0, 100), end).signal


def test_inputs_that_are_all_the_same_are_a_fact() -> None:
    """Whatever else was read."""
    found = NO_SIGNAL.finding(only(replace(INPUTS, alike=True)))
    assert found.signal
    assert found.judgement.certain
    assert not found.judgement.treatable
    assert found.judgement.evidence[0].says == (
        "the inputs of all 512 samples looked at are the same: nothing tells them apart"
    )
