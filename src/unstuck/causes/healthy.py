"""Healthy: nothing is wrong, or nothing that a remedy improves.

What it means: the loss falls beyond its noise, or has arrived. How it shows: a trend below zero, a loss below that
of the best constant answer. What is mistaken for illness: the edge of stability; a gradient norm that grows while
the loss falls; sparse units; a plateau before a drop. What to do: go on. References: Cohen et al. 2021.
"""

from __future__ import annotations

import math

from unstuck.cause import Cause, Evidence, Judgement
from unstuck.probes.direction import DirectionReading
from unstuck.probes.outputs import OutputsReading
from unstuck.reading import History
from unstuck.specimens import bowl, rate_too_high
from unstuck.specimens import healthy as specimen


def judge(direction: History[DirectionReading], outputs: History[OutputsReading]) -> Judgement:
    """The loss falls, or lies below the reference with nothing left to say."""
    walk, last = direction.latest, outputs.latest
    arrived = last.constant is not None and math.isfinite(last.loss.value) and not last.above_constant
    score = 0.9 if walk.falls and arrived else 0.7 if walk.falls or arrived else 0.0
    if walk.broke_at is not None:
        score = 0.0
    end = "not a number" if walk.end is None else f"{walk.end:.4g}"
    evidence = [
        Evidence(
            reading="direction",
            update=walk.update,
            value=walk.slope.value,
            unit="loss / update",
            expected="below 0",
            says=f"in {walk.updates} updates the loss went from {walk.start:.4g} to {end}; "
            f"its trend is {walk.slope.value:.2g} ± {walk.slope.error:.1g} per update",
        )
    ]
    if last.constant is not None:
        evidence.append(
            Evidence(
                reading="outputs",
                update=last.update,
                value=last.loss.value,
                unit="loss",
                expected=f"below {last.constant:.4g}",
                says=f"the best constant answer has a loss of {last.constant:.4g}; the model {last.loss.value:.4g}",
            )
        )
    return Judgement(score=score, evidence=tuple(evidence))


HEALTHY = Cause(
    slug="healthy",
    means="nothing is wrong, or nothing that a remedy improves",
    chapter=0,
    judge=judge,
    fault=False,
    sick=(specimen, bowl),
    well=(rate_too_high,),
)
