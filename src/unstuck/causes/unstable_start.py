"""Unstable start: the first updates throw the walk off, and the same rate would be walked after a warm-up.

What it means: where training starts the surface is steeper than where it goes on, so that a rate that is right later is
too high at first. How it shows: at the start the rate is beyond the limit of stability, or the first steps already
raise the loss, and the loss blows up; with the rate rising over the first updates it does not, and gets as far as with
a lower rate or farther. What is mistaken for it: a learning rate that is too high throughout, which a warm-up only puts
off (the readings are the same, so the trial decides: its warm-up comes to the whole rate and goes on there); inputs out
of scale; a bad batch. What to do: warm up. References: Goyal et al. 2017, Accurate, large minibatch SGD, §2.2; Gilmer
et al. 2021, A loss curvature perspective on training instability; the lecture's chapter 3.
"""

from __future__ import annotations

import math

from unstuck.cause import Cause, Evidence, Judgement, Mediator
from unstuck.probes.direction import BLOWN_UP, DirectionReading
from unstuck.probes.outputs import OutputsReading
from unstuck.probes.step import StepReading
from unstuck.reading import History
from unstuck.remedies.warm_up import WarmUp
from unstuck.specimens import bowl, healthy, steep_start


def judge(
    step: History[StepReading], direction: History[DirectionReading], outputs: History[OutputsReading] | None
) -> Judgement:
    """Beyond the limit at the start, and thrown off."""
    start, walk = step.first, direction.first
    over = start.sharpness_over_limit
    beyond = (over is not None and over > 1) or start.critical_multiple < 1
    thrown = walk.thrown(None if outputs is None else outputs.first.constant)
    learned = outputs is not None and outputs.first.constant is not None and not outputs.first.above_constant
    score = 0.1
    if beyond and thrown:
        # More than a rate that is too high, which shows the same: where a warm-up cures as well, the rate is not.
        score = 0.92
    elif beyond and not walk.falls and not learned:
        score = 0.55
    return Judgement(score=score, evidence=_evidence(start, walk), from_update=start.update)


def _evidence(start: StepReading, walk: DirectionReading) -> tuple[Evidence, ...]:
    place = max(range(len(walk.losses)), key=walk.losses.__getitem__, default=0)
    if walk.broke_at is not None:
        place = walk.broke_at - walk.update
    return (
        _steep(start),
        Evidence(
            reading="direction",
            update=walk.update,
            value=walk.largest,
            unit="loss",
            expected=f"below {BLOWN_UP * abs(walk.start):.3g}",
            says=f"the loss went from {walk.start:.3g} to {walk.largest:.3g} within {place} updates"
            + ("" if walk.broke_at is None else ", then it was not a number"),
        ),
    )


def _steep(start: StepReading) -> Evidence:
    """The sharpness, or where that is not known, or no sign while the first step itself is one, that step."""
    over = start.sharpness_over_limit
    if over is None or (over <= 1 and start.critical_multiple < 1):
        return Evidence(
            reading="step",
            update=start.update,
            value=start.critical_multiple,
            unit="steps",
            expected="above 1",
            says=f"at the start, beyond {start.critical_multiple:.2g} times the first step the loss is above where it "
            "was",
        )
    return Evidence(
        reading="step",
        update=start.update,
        value=over,
        unit="of the limit",
        expected="below 1",
        says=f"at the start the surface is {over:.2g} times as sharp as this rule and rate can walk",
    )


UNSTABLE_START = Cause(
    slug="unstable-start",
    means="the first updates throw the walk off; the same rate can be walked after a warm-up",
    chapter=3,
    judge=judge,
    mediator=Mediator(
        says="the sharpness over what this rule and rate can walk",
        reads=StepReading,
        value=lambda step: math.nan if step.sharpness_over_limit is None else step.sharpness_over_limit,
        rises=False,
    ),
    remedies=(WarmUp,),
    sick=(steep_start,),
    well=(healthy, bowl),
)
