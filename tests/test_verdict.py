"""The verdict from hand-made findings and trials: signal and trial decide together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import pytest

from unstuck import causes
from unstuck.cause import Evidence, Finding, Judgement
from unstuck.decision import Verdict
from unstuck.exam import Patience
from unstuck.numerics.statistics import Interval
from unstuck.proof import Element, Outcome, Proof
from unstuck.remedies.adaptive_optimizer import AdaptiveOptimizer
from unstuck.remedies.add_momentum import AddMomentum
from unstuck.remedies.add_normalization import AddNormalization
from unstuck.remedies.cross_entropy import CrossEntropy
from unstuck.remedies.decay_learning_rate import DecayLearningRate
from unstuck.remedies.lower_learning_rate import LowerLearningRate
from unstuck.remedies.normalize_inputs import NormalizeInputs
from unstuck.remedies.raise_learning_rate import RaiseLearningRate
from unstuck.remedies.reinitialize import Reinitialize
from unstuck.remedies.train_all_parameters import TrainAllParameters
from unstuck.report import Diagnosis
from unstuck.trial import ArmName, Trial
from unstuck.verdict import prescription_of, verdict_of, winner

CAUSE_OF: dict[type[Any], str] = {
    TrainAllParameters: "broken-wiring",
    NormalizeInputs: "unnormalized-inputs",
    CrossEntropy: "loss-mismatch",
    LowerLearningRate: "learning-rate-too-high",
    DecayLearningRate: "learning-rate-too-high",
    RaiseLearningRate: "learning-rate-too-low",
    AddMomentum: "saddle-point",
    Reinitialize: "saddle-point",
    AdaptiveOptimizer: "ill-conditioned",
    AddNormalization: "vanishing-gradient",
}

START = 1.0
"""Where the untouched arm stays."""


def trial(remedy: Any = None, end: float = START, verdict: Verdict | None = None, arm: ArmName = "remedy") -> Trial:
    """A remedy's arm; without one, the untouched arm. Better where it ends at half the start or below."""
    said: Verdict = verdict or ("reference" if remedy is None else "better" if end <= START / 2 else "same")
    gone = START - min(START, end)
    return Trial(
        arm=arm if remedy is not None else "untouched",
        remedy=None if remedy is None else remedy.slug,
        settings={},
        cause=None if remedy is None else CAUSE_OF[type(remedy)],
        from_update=0 if remedy is None else 7,
        updates=33,
        samples=528,
        gradient_evaluations=33,
        measure="train_loss",
        per_seed=(end, end, end),
        half_per_seed=(end, end, end),
        interval=Interval(low=gone - 0.01, high=gone + 0.01, confidence=0.95),
        gain=gone / START,
        gain_at_equal_cost=None,
        verdict=said,
        because="it removes what it removes",
        curves=(),
        treatment=() if remedy is None else (remedy,),
    )


def opposite(remedy: Any, end: float) -> Trial:
    """The arm of a remedy's opposite."""
    verdict: Verdict = "better" if end <= START / 2 else "same" if end <= START else "worse"
    return trial(remedy, end, verdict, arm="opposite")


def finding(cause: str, score: float, **judged: Any) -> Finding:
    evidence = Evidence(reading="step", update=0, value=1.0, unit="", expected="", says=f"a sign of {cause}")
    judgement = Judgement(score=score, evidence=(evidence,), **judged)
    return Finding(cause=cause, means=f"what {cause} means", chapter=0, judgement=judgement)


def elements(outcomes: Mapping[Element, Outcome]) -> list[Proof]:
    return [Proof(element=element, outcome=outcome, expected="", says="") for element, outcome in outcomes.items()]


def diagnosis(
    findings: Sequence[Finding],
    trials: Sequence[Trial] = (),
    won: Sequence[Trial] = (),
    *,
    stuck: bool = False,
    patience: Patience | None = None,
    finished: bool = True,
    proofs: Sequence[Proof] = (),
) -> Diagnosis:
    return verdict_of(
        findings, trials, won, stuck=stuck, patience=patience, finished=finished, causes=causes.ALL, proofs=proofs
    )


LOWER, DECAY, RAISE = LowerLearningRate(factor=0.1), DecayLearningRate(over=10), RaiseLearningRate(factor=10.0)
MOMENTUM, AGAIN = AddMomentum(momentum=0.9), Reinitialize()
PANACEAS = (AdaptiveOptimizer(rate=1e-3), AddNormalization())
TRAIN, NORMALIZE, ENTROPY = TrainAllParameters(), NormalizeInputs(axis=1), CrossEntropy(outputs="probabilities")

WELL = finding("healthy", 0.9)
NOT_WELL = finding("healthy", 0.0)
HIGH, LOW = finding("learning-rate-too-high", 0.8), finding("learning-rate-too-low", 0.2)


class TestWinner:
    """Which arm of a trial is prescribed."""

    def test_a_cure_whose_cause_shows_its_own_signal(self) -> None:
        cure = trial(LOWER, 0.2)
        assert winner([trial(), cure], signalled={"learning-rate-too-high"}, stuck=False) is cure

    def test_a_better_arm_of_a_training_that_is_not_stuck_is_none(self) -> None:
        assert winner([trial(), trial(RAISE, 0.2)], signalled={"learning-rate-too-high"}, stuck=False) is None

    def test_any_cure_of_a_training_that_is_stuck(self) -> None:
        cure = trial(RAISE, 0.2)
        assert winner([trial(), cure], signalled=set(), stuck=True) is cure

    def test_the_own_signal_outranks_a_better_result(self) -> None:
        own, better = trial(LOWER, 0.4), trial(RAISE, 0.1)
        assert winner([trial(), better, own], signalled={"learning-rate-too-high"}, stuck=True) is own

    @pytest.mark.parametrize("verdict", ["same", "worse", "failed"])
    def test_what_did_not_help_is_not_prescribed(self, verdict: Verdict) -> None:
        arms = [trial(), trial(LOWER, 0.2, verdict)]
        assert winner(arms, signalled={"learning-rate-too-high"}, stuck=True) is None

    def test_the_best_of_unequal_cures(self) -> None:
        good, best = trial(TRAIN, 0.45), trial(RAISE, 0.05)
        signalled = {"broken-wiring", "learning-rate-too-low"}
        assert winner([trial(), good, best], signalled=signalled, stuck=False) is best

    @pytest.mark.parametrize("lesser", [TRAIN, NORMALIZE, ENTROPY])
    def test_the_least_intervention_of_equal_cures(self, lesser: Any) -> None:
        best, least = trial(AGAIN, 0.052), trial(lesser, 0.06)
        signalled = {"saddle-point", CAUSE_OF[type(lesser)]}
        for arms in ([trial(), best, least], [trial(), least, best]):
            assert winner(arms, signalled=signalled, stuck=False) is least

    def test_a_cure_that_leaves_much_more_is_not_equal(self) -> None:
        """Also where both remove nearly all, as where the untouched training ends far up."""
        best, least = trial(AGAIN, 0.02), trial(NORMALIZE, 0.06)
        assert winner([trial(), best, least], signalled={"saddle-point", "unnormalized-inputs"}, stuck=False) is best

    def test_of_one_cause_the_first_remedy_that_is_equal(self) -> None:
        """Remedies of a cause stand in the order in which they should be taken."""
        first, second = trial(AGAIN, 0.06), trial(MOMENTUM, 0.02)
        assert winner([trial(), first, second], signalled={"saddle-point"}, stuck=False) is first

    @pytest.mark.parametrize("panacea", PANACEAS)
    @pytest.mark.parametrize("stuck", [True, False])
    def test_a_panacea_that_also_wins_does_not_name_the_cause(self, panacea: Any, stuck: bool) -> None:
        specific, far_better = trial(LOWER, 0.5), trial(panacea, 0.01)
        signalled = set() if stuck else {"learning-rate-too-high", CAUSE_OF[type(panacea)]}
        for arms in ([trial(), specific, far_better], [trial(), far_better, specific]):
            assert winner(arms, signalled=signalled, stuck=stuck) is specific

    @pytest.mark.parametrize("panacea", PANACEAS)
    def test_a_panacea_is_prescribed_where_nothing_else_cures(self, panacea: Any) -> None:
        cure = trial(panacea, 0.2)
        arms = [trial(), trial(LOWER, 0.9), cure]
        assert winner(arms, signalled={CAUSE_OF[type(panacea)]}, stuck=False) is cure

    def test_an_opposite_is_never_the_winner(self) -> None:
        cure, other_way = trial(LOWER, 0.4), opposite(LOWER, 0.1)
        assert winner([trial(), cure, other_way], signalled={"learning-rate-too-high"}, stuck=True) is cure
        assert winner([trial(), other_way], signalled={"learning-rate-too-high"}, stuck=True) is None

    @pytest.mark.parametrize("lost", [1e13, math.inf])
    def test_cures_of_a_diverging_training_are_compared_with_its_start(self, lost: float) -> None:
        good, best = trial(LOWER, 0.45), trial(AGAIN, 0.01)
        signalled = {"learning-rate-too-high", "saddle-point"}
        assert winner([trial(end=lost), good, best], signalled=signalled, stuck=True) is best

    def test_losses_below_zero(self) -> None:
        good, best = trial(LOWER, -1.0, "better"), trial(AGAIN, -8.0, "better")
        signalled = {"learning-rate-too-high", "saddle-point"}
        assert winner([trial(), good, best], signalled=signalled, stuck=True) is best


class TestVerdict:
    """The one diagnosis."""

    def test_signal_and_cure_make_it_likely(self) -> None:
        cure = trial(LOWER, 0.2)
        found = diagnosis([HIGH, LOW, NOT_WELL], [trial(), cure], [cure], stuck=True)
        assert found.cause == "learning-rate-too-high"
        assert found.proof == "likely"
        assert found.confidence > 0.5
        assert LOWER.says() in found.summary
        assert "sign of learning-rate-too-high" in found.summary

    def test_a_cure_without_a_signal_works_unproved(self) -> None:
        cure = trial(RAISE, 0.2)
        found = diagnosis([LOW, NOT_WELL], [trial(), cure], [cure], stuck=True)
        assert found.cause == "learning-rate-too-low"
        assert found.proof == "works-unproved"
        assert found.confidence <= 0.5

    @pytest.mark.parametrize(
        ("end", "proof"), [(1.3, "likely"), (0.9, "likely"), (0.5, "likely"), (0.25, "works-unproved")]
    )
    def test_a_cure_whose_opposite_helps_as_much_is_no_evidence_for_its_cause(self, end: float, proof: str) -> None:
        cure = trial(LOWER, 0.2)
        found = diagnosis([HIGH], [trial(), cure, opposite(LOWER, end)], [cure], stuck=True)
        assert found.cause == "learning-rate-too-high"
        assert found.proof == proof
        assert ("opposite" in found.decided_by) is (proof == "works-unproved")
        assert (found.confidence > 0.5) is (proof == "likely")

    def test_the_opposite_of_another_remedy_says_nothing_of_this_one(self) -> None:
        first, second = trial(NORMALIZE, 0.4), trial(LOWER, 0.1)
        trials = [trial(), first, trial(), second, opposite(LOWER, 0.1)]
        found = diagnosis([finding("unnormalized-inputs", 0.9, certain=True), HIGH], trials, [first, second])
        assert found.proof == "likely"

    def test_an_opposite_that_failed_did_not_help(self) -> None:
        cure = trial(LOWER, 0.2)
        failed = dataclasses.replace(opposite(LOWER, 0.2), verdict="failed")
        assert diagnosis([HIGH], [trial(), cure, failed], [cure]).proof == "likely"

    @pytest.mark.parametrize(
        ("outcomes", "proof", "because"),
        [
            (("passed", "passed"), "proved", "what else follows from the cause"),
            (("failed", "passed"), "works-unproved", "not proved: mediator failed"),
            (("passed", "not run"), "likely", "not proved: re-planting was not run"),
            (("passed", "not applicable"), "likely", "neither dose-response nor re-planting"),
        ],
    )
    def test_the_elements_of_a_proof_say_how_far_it_got(
        self, outcomes: tuple[Outcome, Outcome], proof: str, because: str
    ) -> None:
        made: dict[Element, Outcome] = {"control": "passed", "opposite": "passed", "dose-response": "not applicable"}
        made |= {"mediator": outcomes[0], "re-planting": outcomes[1]}
        proofs = elements(made)
        cure = trial(LOWER, 0.2)
        found = diagnosis([HIGH], [trial(), cure], [cure], proofs=proofs)
        assert found.proof == proof
        assert because in found.decided_by
        assert found.proofs == tuple(proofs)
        assert (found.confidence > 0.9) is (proof == "proved")
        assert (found.confidence <= 0.5) is (proof == "works-unproved")

    def test_nothing_is_proved_of_a_cause_without_a_signal_of_its_own(self) -> None:
        proofs = elements(dict.fromkeys(get_args(Element), "passed"))
        cure = trial(LOWER, 0.2)
        silent = finding("learning-rate-too-high", 0.1)
        found = diagnosis([silent], [trial(), cure], [cure], stuck=True, proofs=proofs)
        assert found.proof == "works-unproved"
        assert found.decided_by.endswith("without a signal of its own")
        assert diagnosis([HIGH], [trial(), cure], [cure], stuck=True, proofs=proofs).proof == "proved"

    def test_a_certain_sign_that_is_not_acted_on_is_told(self) -> None:
        cure = trial(NORMALIZE, 0.2)
        findings = [finding("unnormalized-inputs", 0.9, certain=True), finding("loss-mismatch", 0.9, certain=True)]
        assert diagnosis(findings, [trial(), cure], [cure]).summary.endswith(
            "look all the same: a sign of loss-mismatch."
        )
        alone = diagnosis(findings[:1], [trial(), cure], [cure])
        assert "all the same" not in alone.summary

    def test_a_stronger_signal_makes_it_surer(self) -> None:
        cure = trial(LOWER, 0.2)
        weak = finding("learning-rate-too-high", 0.55)
        assert diagnosis([HIGH], [cure], [cure]).confidence > diagnosis([weak], [cure], [cure]).confidence
        assert diagnosis([finding("learning-rate-too-high", 1.0)], [cure], [cure]).confidence <= 1

    def test_two_steps_are_both_told(self) -> None:
        won = [trial(NORMALIZE, 0.4), trial(LOWER, 0.1)]
        found = diagnosis([finding("unnormalized-inputs", 0.9, certain=True), HIGH], won, won)
        assert found.cause == "unnormalized-inputs"
        assert NORMALIZE.says() in found.summary
        assert LOWER.says() in found.summary

    def test_better_but_neither_stuck_nor_signalled_is_healthy(self) -> None:
        """And what helped all the same is not prescribed: nothing has won."""
        found = diagnosis([WELL, LOW], [trial(), trial(RAISE, 0.2)])
        assert found.cause == "healthy"
        assert found.proof == "likely"

    def test_a_signal_whose_remedies_gain_nothing_is_healthy(self) -> None:
        found = diagnosis([HIGH, WELL], [trial(), trial(LOWER, 0.95)])
        assert found.cause == "healthy"
        assert "learning-rate-too-high" in found.summary
        assert "lower-learning-rate" in found.summary
        assert found.confidence < diagnosis([WELL, LOW]).confidence

    def test_a_signal_that_was_not_put_to_a_trial_is_not_passed_over(self) -> None:
        """The budget may have been too small."""
        found = diagnosis([HIGH, WELL])
        assert found.cause == "healthy"
        assert "learning-rate-too-high" in found.summary
        assert "no remedy was tried" in found.summary
        assert found.confidence <= 0.5
        assert "no cause shows a signal" not in found.decided_by

    def test_a_certain_sign_says_why_there_was_no_trial(self) -> None:
        wired = diagnosis([finding("broken-wiring", 0.95, certain=True), WELL])
        spoiled = diagnosis([finding("non-finite", 0.98, certain=True, treatable=False), WELL])
        assert (wired.cause, spoiled.cause) == ("broken-wiring", "non-finite")
        assert "budget" in wired.decided_by
        assert "code or data" in spoiled.decided_by

    def test_a_certain_sign_without_a_remedy_is_the_cause_with_advice(self) -> None:
        fact = finding("non-finite", 0.98, certain=True, treatable=False, advice="clean the data")
        found = diagnosis([fact, NOT_WELL], stuck=True)
        assert found.cause == "non-finite"
        assert "lean the data" in found.summary

    def test_a_certain_sign_whose_remedy_gained_nothing_is_not_the_cause(self) -> None:
        fact = finding("loss-mismatch", 0.9, certain=True)
        assert diagnosis([fact, WELL], [trial(), trial(ENTROPY, 0.95)]).cause == "healthy"

    def test_where_the_training_is_stuck_a_certain_sign_is_named_and_nothing_prescribed(self) -> None:
        fact = finding("loss-mismatch", 0.9, certain=True, advice="hand the loss what it expects")
        unpaid, paid = (Patience(updates=500, before=1.0, after=after) for after in (0.99, 0.5))
        trials, shown = [trial(), trial(ENTROPY, 0.95)], diagnosis([fact], won=[trial(ENTROPY, 0.1)])
        for patience in (None, unpaid):
            found = diagnosis([fact, HIGH, NOT_WELL], trials, stuck=True, patience=patience)
            assert (found.cause, found.proof) == ("loss-mismatch", "likely")
            assert found.confidence < shown.confidence
            told = ("too short", "sign of loss", "33 updates", "cross-entropy", "it expects")
            assert all(words in f"{found.decided_by} {found.summary}" for words in told)
        assert diagnosis([fact, NOT_WELL], trials, stuck=True, patience=paid).cause == "healthy"
        assert diagnosis([fact], [trial(), trial(ENTROPY, 1.5, "worse")], stuck=True).cause == "unknown"

    def test_a_certain_sign_is_not_refuted_by_a_remedy_that_failed(self) -> None:
        fact = finding("broken-wiring", 0.95, certain=True)
        failed = dataclasses.replace(trial(TRAIN, verdict="failed"), because="no parameters are left")
        found = diagnosis([fact, WELL], [failed])
        assert found.cause == "broken-wiring"
        assert "train-all-parameters failed: no parameters are left" in found.decided_by

    def test_a_gain_that_is_undecided_is_named(self) -> None:
        unsure = dataclasses.replace(trial(LOWER, 0.6), undecided=True)
        well = diagnosis([HIGH, WELL], [trial(), unsure])
        stuck = diagnosis([HIGH, NOT_WELL], [trial(), unsure], stuck=True)
        assert (well.cause, stuck.cause) == ("healthy", "unknown")
        for found in (well, stuck):
            assert "lower-learning-rate (40% of the excess loss)" in found.summary
        assert well.confidence < diagnosis([HIGH, WELL], [trial(), trial(LOWER, 0.95)]).confidence

    def test_nothing_helps_is_unknown_and_names_two_candidates(self) -> None:
        findings = [HIGH, LOW, finding("saddle-point", 0.1), NOT_WELL]
        found = diagnosis(findings, [trial(), trial(LOWER, 0.95), trial(RAISE, 0.97)], stuck=True)
        assert found.cause == "unknown"
        assert found.proof == "unknown"
        assert found.candidates == ("learning-rate-too-high", "learning-rate-too-low")
        for word in (*found.candidates, "lower-learning-rate", "raise-learning-rate"):
            assert word in found.summary

    def test_being_well_is_no_candidate(self) -> None:
        assert diagnosis([WELL, HIGH, LOW], stuck=True).candidates == (
            "learning-rate-too-high",
            "learning-rate-too-low",
        )

    def test_interrupted_before_a_verdict(self) -> None:
        found = diagnosis([HIGH, NOT_WELL], stuck=True, finished=False)
        assert found.cause == "unknown"
        assert "nterrupted" in found.summary

    def test_interrupted_after_a_cure_keeps_it(self) -> None:
        cure = trial(LOWER, 0.2)
        assert diagnosis([HIGH], [trial(), cure], [cure], finished=False).cause == "learning-rate-too-high"

    @pytest.mark.parametrize("stuck", [True, False])
    @pytest.mark.parametrize("finished", [True, False])
    def test_without_any_finding(self, stuck: bool, finished: bool) -> None:
        found = diagnosis([], stuck=stuck, finished=finished)
        assert found.candidates == ()
        assert found.summary


class TestPrescription:
    """What winners prescribe."""

    def test_nothing_where_nothing_won(self) -> None:
        assert prescription_of([]) is None

    def test_each_winners_treatment_in_turn_and_the_first_ones_gain(self) -> None:
        found = prescription_of([trial(NORMALIZE, 0.4), trial(LOWER, 0.1)])
        assert found is not None
        assert found.steps == (NORMALIZE, LOWER)
        assert found.remedy == "normalize-inputs"
        assert found.from_update == 7
        assert found.gain.fraction == pytest.approx(0.6)
        assert found.gain.interval == pytest.approx((0.59, 0.61))
