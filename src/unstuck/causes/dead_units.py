"""Dead units: most units of a layer give no slope for any sample.

What it means: a rectifier that is off for all samples, or a sigmoid at its bounds, lets no gradient through; once
most of a layer are, the layers before it do not learn and those after it see nothing. How it shows: units off or
saturated for every sample, in most of a layer, and a model no better than a constant answer. Whether they were born
dead or died on the walk tells where to look: at the initialization, or at the rate and the inputs. What is mistaken
for it: sparseness, units that are off for many samples and on for some; a confident network, which learns though
some of its units saturate; deep rectifier networks, whose activations collapse to a point, so that half of a
layer's units are off there by chance (the gradient vanishes instead). What to do: initialize anew, lower the rate
that killed them, or normalize what comes in. References: Lu et al. 2019, Dying ReLU and initialization; Glorot and
Bengio 2010, §3; the lecture's chapter 5.
"""

from __future__ import annotations

from unstuck.cause import Cause, Evidence, Judgement, Mediator
from unstuck.probes.activations import ActivationsReading
from unstuck.probes.direction import DirectionReading
from unstuck.probes.outputs import OutputsReading
from unstuck.reading import History
from unstuck.remedies.add_normalization import AddNormalization
from unstuck.remedies.lower_learning_rate import LowerLearningRate
from unstuck.remedies.reinitialize import Reinitialize
from unstuck.specimens import bowl, dead_by_bias, healthy

MOST = 0.8
"""Share of a layer. Where all samples come to one point, half of the rectifiers are off by chance; of 32 units four
fifths are so once in three thousand layers."""


def judge(
    activations: History[ActivationsReading], outputs: History[OutputsReading], direction: History[DirectionReading]
) -> Judgement:
    """Dead at the start is the cause; dead only later is what something else has done."""
    last = outputs.latest
    useless = last.above_constant if last.constant is not None else not direction.latest.falls
    born, now = activations.first, activations.latest
    score = 0.0
    if not useless:
        score = 0.3 * _worst(now)
    elif born.worst_dead > MOST:
        score = 0.95
    elif _worst(born) > MOST:
        score = 0.7
    elif _worst(now) > MOST:
        score = 0.55
    shown = born if _worst(born) > MOST else now
    return Judgement(score=score, evidence=(_evidence(shown, died=shown is now and shown is not born),))


def _worst(reading: ActivationsReading) -> float:
    """The larger share, of dead units or of saturated activations, in the layer where it is largest."""
    return max(reading.worst_dead, reading.worst_saturated or 0.0)


def _evidence(reading: ActivationsReading, *, died: bool) -> Evidence:
    saturated = reading.worst_saturated or 0.0
    if saturated > reading.worst_dead:
        says = f"{saturated:.0%} of a layer's activations are at a bound"
    else:
        says = f"{reading.worst_dead:.0%} of a layer's units are off or saturated for all {reading.samples} samples"
        place = reading.layer_dead.index(reading.worst_dead) if reading.worst_dead in reading.layer_dead else None
        says += "" if place is None or not reading.worst_dead else f" ({reading.layers[place]})"
    if reading.initial_worst_dead is not None:
        says += f"; at initialization, {reading.initial_worst_dead:.0%}"
    return Evidence(
        reading="activations",
        update=reading.update,
        value=_worst(reading),
        unit="",
        expected=f"below {MOST:g}",
        says=says + ("; the walk did it" if died and _worst(reading) > MOST else ""),
    )


DEAD_UNITS = Cause(
    slug="dead-units",
    means="most units of a layer are off or saturated, whatever the input",
    chapter=5,
    judge=judge,
    mediator=Mediator(
        says="the largest share of a layer that is dead or saturated",
        reads=ActivationsReading,
        value=_worst,
        rises=False,
    ),
    remedies=(Reinitialize, LowerLearningRate, AddNormalization),
    sick=(dead_by_bias,),
    well=(healthy, bowl),
)
