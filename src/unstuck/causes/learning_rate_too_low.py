"""Learning rate too low: crawling, or a schedule that reached zero early.

What it means: every step goes the right way and is a fraction of what it could be. How it shows: along the real
update the loss keeps falling for many times its length; the stability limit is far away; longer steps would not drown
in the noise of their batches. What is mistaken for it: parameters that are not wired, a gradient that has vanished
(here it is of normal size), a loss that is flat where the model is wrong, or that has arrived; small batches, where
the loss falls far along one update, and the next one has other noise. What to do: raise the rate. References: the
lecture's chapter 3; diagnosis by the step along the update as in Schneider et al. 2021 (Cockpit); for the noise,
McCandlish et al. 2018, An empirical model of large-batch training, equation 2.4.
"""

from __future__ import annotations

import math

from unstuck.cause import Cause, Evidence, Judgement, Mediator
from unstuck.probes.direction import DirectionReading
from unstuck.probes.gradient import GradientReading
from unstuck.probes.noise import NoiseReading
from unstuck.probes.step import StepReading
from unstuck.reading import History
from unstuck.remedies.raise_learning_rate import RaiseLearningRate
from unstuck.specimens import bowl, healthy, rate_too_low

SHORT = 20.0
"""Best multiple of the present step from which it counts as too short. Healthy trainings tried while it was chosen lay
at 18 and below, those whose rate was planted too low at 400 and above; the trial decides."""

NOTHING = 1000.0
"""Best multiple of a step that is next to nothing: no training arrives by it, whatever its gradient's noise."""

WORTH = 0.005
"""Of the loss at the start: where the best step gains less, the training has arrived, and no step matters. A hundred
such steps would take off two fifths of it."""

FAR_FROM_LIMIT = 0.3
"""Sharpness over the stability limit: above it there is no room for a raise that would matter."""


def judge(
    step: History[StepReading],
    gradient: History[GradientReading],
    direction: History[DirectionReading],
    noise: History[NoiseReading] | None,
) -> Judgement:
    """At the last look, where the optimizer has its state and momentum its length, or at the first where it has it
    there already, whichever is clearer."""
    walk, started = direction.first, step.first.optimizer != "SGD" and step.first.sharpness_over_limit is not None
    looks = [step.latest, *([step.first] if started else [])]
    scored = [_score(look, gradient.at(look.update), walk, noise) for look in looks]
    score = max(scored)
    reading = looks[scored.index(score)]
    evidence = [
        Evidence(
            reading="step",
            update=reading.update,
            value=reading.best_multiple.value,
            unit="steps",
            expected=f"below {SHORT:g}",
            says=f"the loss falls until {reading.best_multiple.value:.3g} times the present step, by "
            f"{reading.best_drop.value:.2g}",
        ),
        Evidence(
            reading="direction",
            update=direction.first.update,
            value=direction.first.cosine,
            unit="",
            expected="well below 1",
            says=f"successive gradients have a cosine of {direction.first.cosine:.2g}: "
            + ("the walk hardly moves" if direction.first.cosine > 0.5 else "the surface changes under the walk"),
        ),
    ]
    if reading.sharpness_over_limit is not None:
        evidence.append(
            Evidence(
                reading="step",
                update=reading.update,
                value=reading.sharpness_over_limit,
                unit="of the limit",
                expected=f"above {FAR_FROM_LIMIT:g}",
                says=f"the sharpness is {reading.sharpness_over_limit:.2g} of what this rule and rate can walk",
            )
        )
    return Judgement(score=score, evidence=tuple(evidence))


def _score(
    step: StepReading, slope: GradientReading, walk: DirectionReading, noise: History[NoiseReading] | None
) -> float:
    room = step.sharpness_over_limit is None or step.sharpness_over_limit < FAR_FROM_LIMIT
    multiple = min(step.best_multiple.low, math.inf if noise is None else _within_noise(noise, step))
    alive = walk.broke_at is None and (multiple > NOTHING or not slope.negligible)
    if not (alive and room and step.best_drop.low > 0 and step.best_drop.value > WORTH * abs(walk.start)):
        return 0.1
    return 0.85 if multiple > 10 * SHORT else 0.65 if multiple > SHORT else 0.2


def _within_noise(noise: History[NoiseReading], step: StepReading) -> float:
    """The multiple of the rate at which the noise of an update takes back half of its gain, where it gains most.

    The gain of a multiple m is in proportion to m − m² t, with t what noise takes back at m = 1: highest at m = 1/2t.
    """
    if step.whole_rate is None:
        return math.inf  # for rules that divide by a σ there is no such formula
    taken = noise.at(step.update).taken_back(step.whole_rate).value
    return 1 / (2 * taken) if taken > 0 else math.inf


LEARNING_RATE_TOO_LOW = Cause(
    slug="learning-rate-too-low",
    means="every step is a fraction of what it could be",
    chapter=3,
    judge=judge,
    mediator=Mediator(
        says="the multiple of the present step at which the loss is lowest",
        reads=StepReading,
        value=lambda step: step.best_multiple.value,
        rises=False,
    ),
    remedies=(RaiseLearningRate,),
    sick=(rate_too_low,),
    well=(healthy, bowl),
)
