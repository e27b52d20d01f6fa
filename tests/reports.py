"""Reports to look at: one of hand-made parts, with whatever is not finite, and a real one."""

from __future__ import annotations

import dataclasses
import functools
import math

from tests import readings as made
from tests import zoo

from unstuck import specimens
from unstuck.budget import Cost
from unstuck.cause import Evidence, Finding, Judgement
from unstuck.diagnosis import diagnose
from unstuck.numerics.statistics import Interval
from unstuck.prescription import Gain, Prescription
from unstuck.reading import Estimate
from unstuck.remedies.lower_learning_rate import LowerLearningRate
from unstuck.remedies.normalize_inputs import NormalizeInputs
from unstuck.report import Diagnosis, Report, document_of
from unstuck.trial import Trial


def trial(arm: str, *ends: float) -> Trial:
    remedy = LowerLearningRate(factor=0.1) if arm == "remedy" else None
    return Trial(
        arm=arm,  # type: ignore[arg-type]
        remedy=None if remedy is None else remedy.slug,
        settings={} if remedy is None else dataclasses.asdict(remedy),
        cause=None if remedy is None else "learning-rate-too-high",
        from_update=0,
        updates=33,
        samples=528,
        gradient_evaluations=33,
        measure="train_loss",
        per_seed=ends,
        half_per_seed=ends,
        interval=Interval(low=-math.inf, high=math.inf, confidence=0.95),
        gain=0.5,
        gain_at_equal_cost=None,
        verdict="reference" if remedy is None else "better",
        because="so it is",
        curves=(((0, 1.0), (24, ends[0])),) * 3,
        treatment=() if remedy is None else (remedy,),
    )


@functools.cache
def by_hand() -> Report:
    """A report of hand-made parts, with numbers that are not finite where there may be such numbers."""
    broke = dataclasses.replace(
        made.DIRECTION, end=None, broke_at=3, largest=math.nan, slope=Estimate(0.0, math.inf), losses=(1.0, 2.0)
    )
    step = dataclasses.replace(made.STEP, critical_multiple=math.inf)
    evidence = Evidence(
        reading="step", update=0, value=math.inf, unit="steps", expected="above 1", says="for ever and ever"
    )
    judgement = Judgement(score=0.9, evidence=(evidence,), advice="walk on")
    high = Finding(cause="learning-rate-too-high", means="bounces", chapter=3, judgement=judgement)
    unknown = Finding(
        cause="healthy", means="well", chapter=0, judgement=Judgement(score=0.0), unknown_because="the probe is gone"
    )
    prescription = Prescription(
        from_update=0,
        steps=(LowerLearningRate(factor=0.1), NormalizeInputs(axis=1)),
        gain=Gain(fraction=0.5, interval=(-math.inf, math.inf), says="so it is"),
    )
    diagnosis = Diagnosis(
        cause="learning-rate-too-high",
        confidence=0.9,
        proof="likely",
        summary="It bounces.",
        candidates=("learning-rate-too-high",),
        decided_by="hand",
    )
    document = document_of(
        zoo.problem(zoo.perceptron),
        diagnosis,
        target=None,
        findings=[high, unknown],
        trials=[
            trial("untouched", math.inf, 2.0, math.nan),
            trial("a/a", 1.0, 1.0, 1.0),
            trial("remedy", 0.5, 0.4, 0.6),
        ],
        prescription=prescription,
        readings=made.well_but(broke, step),
        figures={},
        notes=["one note"],
        cost=Cost(gradient_evaluations=10, updates=5, seconds=0.1),
    )
    return Report(document)


@functools.cache
def real() -> Report:
    """A diagnosis of the lecture's saddle."""
    return diagnose(specimens.product_at_origin(), budget=600)
