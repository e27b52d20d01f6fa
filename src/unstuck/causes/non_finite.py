"""Non-finite: NaN or infinity, and the first place it appears.

What it means: one number that is not finite makes every number computed from it useless. How it shows: in the data, in
a parameter, in one module's output, in the loss or only in a gradient; the first of these is the place to look. It need
not be in every batch: one that breaks at the weights as they were handed over is a fact, too. What is mistaken for it:
a learning rate that is too high also ends in infinities, but its data and its start are finite and its limit is
exceeded before. What to do: mend the place; where steps are the source, clip or lower the rate. References:
pytorch/pytorch#160016; Hugging Face transformers#24562 on NaN that is hidden.
"""

from __future__ import annotations

import math

from unstuck.cause import Cause, Evidence, Judgement
from unstuck.probes.direction import DirectionReading
from unstuck.probes.finite import FiniteReading
from unstuck.probes.outputs import OutputsReading
from unstuck.reading import History
from unstuck.remedies.clip_gradient import ClipGradient
from unstuck.remedies.lower_learning_rate import LowerLearningRate
from unstuck.specimens import healthy, spoiled_data

ADVICE = {
    "data": "clean the data: drop or impute the samples that are not finite before they are batched",
    "parameter": "the weights were already not finite when handed over: load an earlier checkpoint or start afresh",
    "optimizer": "the optimizer's state is not finite: start it afresh from finite weights",
    "module": "look at that module: a division by zero, a logarithm or a root of nothing, an overflow",
    "loss": "look at the loss: a logarithm of zero or a division by a count that can be zero",
    "gradient": "look at the backward pass there: a root or a norm at zero has an infinite slope",
}


def judge(
    finite: History[FiniteReading],
    direction: History[DirectionReading] | None,
    outputs: History[OutputsReading] | None,
) -> Judgement:
    """Certain where the weights as they were handed over suffice; a suspicion where walking led to it."""
    start = finite.first
    found = next((reading for reading in finite.readings if not reading.finite), None)
    broke = direction is not None and direction.latest.broke_at is not None
    if found is None and not broke:
        return Judgement(score=0.0, evidence=(_evidence(start, "finite", "every number looked at is finite"),))
    before = (
        outputs is not None and outputs.first.update == start.update and not math.isfinite(outputs.first.loss.value)
    )
    if found is not None and (found.update == start.update or found.kind == "data" or before):
        says = f"the first NaN or infinity is in the {found.kind}: {found.place}"
        return Judgement(
            score=0.98,
            evidence=(_evidence(found, found.place, says),),
            advice=f"{found.place}: {ADVICE[found.kind]}",
            certain=True,
            treatable=False,
        )
    place = "the walk" if found is None else f"{found.kind}: {found.place}"
    says = f"the first look was finite; walking, NaN or infinity came up in {place}"
    return Judgement(score=0.5, evidence=(_evidence(found or start, place, says),), advice=f"look at {place}")


def _evidence(reading: FiniteReading, value: str, says: str) -> Evidence:
    return Evidence(reading="finite", update=reading.update, value=value, unit="", expected="finite", says=says)


NON_FINITE = Cause(
    slug="non-finite",
    means="NaN or infinity",
    chapter=0,
    judge=judge,
    remedies=(LowerLearningRate, ClipGradient),
    sick=(spoiled_data,),
    well=(healthy,),
)
