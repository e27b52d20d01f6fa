"""Learning rate too high: bouncing across the valley, or thrown out of it.

What it means: the step is longer than the valley is wide. How it shows: the sharpness seen by the update rule is
beyond the stability limit of that rule, or the present step already raises the loss; successive gradients point
against each other; the loss does not fall. What is mistaken for it: the edge of stability, where sharpness hovers
at the limit and the loss falls all the same, which is healthy; noise of small batches; inputs out of scale. What to
do: lower the rate, or let it decay. References: Cohen et al. 2021, Gradient Descent on Neural Networks Typically
Occurs at the Edge of Stability; the lecture's chapter 3.
"""

from __future__ import annotations

import math

from unstuck.cause import Cause, Evidence, Judgement, Mediator
from unstuck.probes.direction import DirectionReading
from unstuck.probes.step import StepReading
from unstuck.reading import History
from unstuck.remedies.decay_learning_rate import DecayLearningRate
from unstuck.remedies.lower_learning_rate import LowerLearningRate
from unstuck.specimens import bowl, healthy, rate_too_high

TURNING_BACK = -0.1
"""Median cosine of successive gradients: noise alone gives zero."""

BLOWN_UP = 3.0
"""A batch loss this many times the loss at the start is no fluctuation."""


def judge(step: History[StepReading], direction: History[DirectionReading]) -> Judgement:
    """Beyond the limit and not falling; falling beyond the limit is the edge of stability."""
    walk = direction.first
    over = [reading.sharpness_over_limit or 0.0 for reading in step.readings]
    short = min(reading.critical_multiple for reading in step.readings)
    thrown = walk.broke_at is not None or walk.largest > BLOWN_UP * max(abs(walk.start), 1e-12)
    beyond = max(over) > 1 or short < 1
    score = 0.1
    if thrown and beyond:
        score = 0.9
    elif not walk.falls and max(over) > 1:
        score = 0.8
    elif not walk.falls and (short < 1 or (walk.cosine < TURNING_BACK and max(over) > 0.5)):
        score = 0.6  # a step made of noise also overshoots, as at the end of a good training
    elif thrown:
        score = 0.55
    return Judgement(score=score, evidence=_evidence(step, walk, short))


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
