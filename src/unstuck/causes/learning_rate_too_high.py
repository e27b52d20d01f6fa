"""Learning rate too high: bouncing across the valley, or thrown out of it.

What it means: the step is longer than the valley is wide. How it shows: the sharpness seen by the update rule is
beyond the stability limit of that rule, or the present step already raises the loss; successive gradients point
against each other; the loss does not fall. Or it falls, and the first steps are so long that nothing is left of the
initial weights after a few. What is mistaken for it: the edge of stability, where sharpness hovers at the limit and
the loss falls all the same, which is healthy; noise of small batches, in which a training that has arrived stands
still as well; inputs out of scale. Momentum that lasts for hundreds of updates bounces at rates far below the limit: a
step has hardly any other say than the many before it, and the loss swings for as long. What to do: lower the rate, or
let it decay. References: Cohen et al. 2021, Gradient Descent on Neural Networks Typically Occurs at the Edge of
Stability; Goh 2017, Why momentum really works; the lecture's chapter 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from unstuck.cause import SIGNAL, Cause, Evidence, Judgement, Mediator
from unstuck.probes.direction import DirectionReading
from unstuck.probes.gradient import GradientReading
from unstuck.probes.outputs import OutputsReading
from unstuck.probes.step import StepReading
from unstuck.reading import History
from unstuck.remedies.decay_learning_rate import DecayLearningRate
from unstuck.remedies.lower_learning_rate import LowerLearningRate
from unstuck.specimens import bowl, healthy, rate_too_high

TURNING_BACK = -0.1
"""Median cosine of successive gradients: noise alone gives zero."""


FAR_OVER = 2.0
"""Sharpness over the stability limit that is no edge: there it hovers about 1 (in healthy trainings, up to 1.15)."""

STRIDE = 0.2
"""Of the norm of the weights: after five first steps of that length nothing is left of the initial ones. Healthy
trainings tried while it was chosen lay at 0.14 and below, those of ten and more times their rate at 0.23 and above."""

LONG_ENOUGH = 2.0
"""Best multiple of the first step up to which the loss itself does not ask for longer ones, as it does where weights
are tiny."""

RINGS = 10.0
"""Swings along the sharpest direction that momentum makes before they have fallen by a factor e: momentum of 0.9 makes
9.5 at the limit of stability and less below it, in the ward's healthy trainings 3 at most."""


def judge(
    step: History[StepReading],
    direction: History[DirectionReading],
    gradient: History[GradientReading],
    outputs: History[OutputsReading] | None,
) -> Judgement:
    """Beyond the limit and not falling, or far beyond it; falling at the limit is the edge of stability.

    Momentum shows at the last look, and trials branch there: at the start it has not come to its length. So do those of
    a training that had learned and whose loss has risen: what ends above its start is not told apart by a trial.
    """
    walk, first, last = direction.first, step.first, step.latest
    over = [reading.sharpness_over_limit or 0.0 for reading in step.readings]
    short = min(reading.critical_multiple for reading in step.readings)
    goes_on = [r.critical_multiple for r in step.readings if not gradient.at(r.update).negligible]
    overshoots = min(goes_on, default=math.inf) < 1
    learned = outputs is not None and outputs.latest.constant is not None and not outputs.latest.above_constant
    strides = first.relative_step > STRIDE and first.best_multiple.value <= LONG_ENOUGH
    thrown = walk.thrown(None if outputs is None else outputs.first.constant)
    beyond = max(over) > 1 or short < 1
    score = 0.1
    if thrown and beyond:
        score = 0.9
    elif not walk.falls and max(over) > 1:
        score = 0.8
    elif max(over) > FAR_OVER:
        score = 0.7
    elif strides or (not walk.falls and not learned and (overshoots or _turns_back(walk, over))):
        score = 0.6  # a step made of noise also overshoots, as at the end of a good training
    elif thrown:
        score = 0.55
    evidence = _evidence(step, walk, short)
    if score < SIGNAL and last.ringing is not None and last.ringing > RINGS:
        return Judgement(score=0.6, evidence=(_swings(last, last.ringing), *evidence), from_update=last.update)
    if score < SIGNAL and overshoots and outputs is not None and outputs.latest.risen_since(outputs.first):
        return Judgement(score=0.6, evidence=evidence, from_update=last.update)
    return Judgement(score=score, evidence=evidence)


def _swings(step: StepReading, ringing: float) -> Evidence:
    return Evidence(
        reading="step",
        update=step.update,
        value=ringing,
        unit="swings",
        expected=f"below {RINGS:g}",
        says=f"with momentum {step.momentum:g} the walk swings {ringing:.2g} times to and fro along the sharpest "
        "direction before the swing has fallen to a third",
    )


def _turns_back(walk: DirectionReading, over: Sequence[float]) -> bool:
    return walk.cosine < TURNING_BACK and max(over) > 0.5


def _evidence(step: History[StepReading], walk: DirectionReading, short: float) -> tuple[Evidence, ...]:
    found = [
        Evidence(
            reading="step",
            update=reading.update,
            value=reading.sharpness_over_limit,
            unit="of the limit",
            expected="below 1",
            says=f"the surface is {reading.sharpness_over_limit:.2g} times as sharp as this rule and rate can walk",
        )
        for reading in step.readings
        if reading.sharpness_over_limit is not None
    ]
    found.sort(key=lambda evidence: -float(evidence.value))
    found.insert(
        len(found) if found and float(found[0].value) > 1 else 0,
        Evidence(
            reading="step",
            update=step.latest.update,
            value=short,
            unit="steps",
            expected="above 1",
            says=f"beyond {short:.2g} times the present step the loss is above where it started",
        ),
    )
    found.append(
        Evidence(
            reading="direction",
            update=walk.update,
            value=walk.cosine,
            unit="",
            expected="0 or above",
            says=f"successive gradients have a cosine of {walk.cosine:.2g}; the highest loss on the way was "
            f"{walk.largest:.3g}, from {walk.start:.3g}" + ("" if walk.broke_at is None else ", then not a number"),
        )
    )
    if step.first.relative_step > STRIDE:
        found.insert(
            0,
            Evidence(
                reading="step",
                update=step.first.update,
                value=step.first.relative_step,
                unit="of the weights",
                expected=f"below {STRIDE:g}",
                says=f"the first step is {step.first.relative_step:.2g} times as long as the weights themselves",
            ),
        )
    return tuple(found)


LEARNING_RATE_TOO_HIGH = Cause(
    slug="learning-rate-too-high",
    means="the steps bounce across the valley",
    chapter=3,
    judge=judge,
    mediator=Mediator(
        says="the largest curvature over what the rule and rate can walk",
        reads=StepReading,
        value=lambda step: math.nan if step.sharpness_over_limit is None else step.sharpness_over_limit,
        rises=False,
    ),
    remedies=(LowerLearningRate, DecayLearningRate),
    sick=(rate_too_high,),
    well=(healthy, bowl),
)
