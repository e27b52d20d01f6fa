"""Dead units: most units of a layer give no slope, or hardly ever.

What it means: a rectifier that is off for all samples, or a sigmoid at its bounds, lets no gradient through; once
most of a layer are, the layers before it do not learn and those after it see nothing. How it shows: units off or
saturated for every sample, in most of a layer; a layer of rectifiers of which hardly one is ever on; or most of a
layer's activations at their bounds. Where they were born so, what learns is the rest of the network. Where they died
on the walk, something else did it, and it counts if the model has become no better than a constant answer. What is
mistaken for it: sparseness, units that are off for many samples and on for some; a confident network, some of whose
units saturate as it learns; deep rectifier networks, whose activations collapse to a point, so that half of a
layer's units are off there by chance (the gradient vanishes instead); units that are all alike, as with weights of
zero, where being off is a consequence (a saddle point). What to do: initialize anew, lower the rate
that killed them, or normalize what comes in. References: Lu et al. 2019, Dying ReLU and initialization; Glorot and
Bengio 2010, §3; the lecture's chapter 5.
"""

from __future__ import annotations

from collections.abc import Sequence

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
"""Share of a layer's units. Where all samples come to one point, half of the rectifiers are off by chance; of 32 units
four fifths are so once in three thousand layers."""

BOUND = 0.5
"""Share of a layer's activations at their bounds at the start: of those of tanh as many are where their arguments are
spread by four, seven times as far as usual. The ward's healthy trainings start below 0.03, saturated ones above 0.8."""

SILENT = 0.998
"""Share of a layer's activations that are off: units then learn from one sample in five hundred. The sparse ones of the
ward's healthy trainings are off 0.976 of the time, those kept off by their biases 0.9999."""

ALIKE = 0.5
"""Share of a layer's units that get what another one gets: beyond it, that they are off says nothing of each."""


def judge(
    activations: History[ActivationsReading], outputs: History[OutputsReading], direction: History[DirectionReading]
) -> Judgement:
    """So at the start is the cause, whatever is learned all the same; so only later is what something else has done."""
    last = outputs.latest
    useless = last.above_constant if last.constant is not None else not direction.latest.falls
    born, now = activations.first, activations.latest
    dead = _largest(born, born.layer_dead) > MOST
    score = 0.0
    if dead or _off(born):
        score = (0.95 if dead else 0.7) if useless else 0.6
    elif useless and (_worst(now) > MOST or _off(now)):
        score = 0.55
    shown = born if dead or _off(born) else now
    return Judgement(
        score=score or 0.3 * _worst(now),
        evidence=(_evidence(shown, died=shown is now and shown is not born),),
        from_update=born.update,
    )


def _off(reading: ActivationsReading) -> bool:
    """Whether most of a layer's activations are at their bounds, or nearly all of a layer's rectifiers always off."""
    return _largest(reading, reading.layer_saturated) > BOUND or _largest(reading, reading.layer_off) > SILENT


def _worst(reading: ActivationsReading) -> float:
    """The larger share, of dead units or of saturated activations, in the layer where it is largest."""
    return max(_largest(reading, reading.layer_dead), _largest(reading, reading.layer_saturated))


def _largest(reading: ActivationsReading, shares: Sequence[float | None]) -> float:
    """Over the layers whose units are not alike."""
    pairs = zip(shares, reading.layer_twins, strict=True)
    return max((share for share, twins in pairs if share is not None and twins <= ALIKE), default=0.0)


def _evidence(reading: ActivationsReading, *, died: bool) -> Evidence:
    dead, saturated, off = (
        _largest(reading, shares) for shares in (reading.layer_dead, reading.layer_saturated, reading.layer_off)
    )
    value, expected = max(dead, saturated), MOST
    if saturated > dead:
        expected = BOUND
        says = f"{saturated:.0%} of a layer's activations are at a bound"
    elif off > SILENT and dead <= MOST:
        value, expected = off, SILENT
        says = f"a layer's units are on for {1 - off:.2g} of the time, {dead:.0%} of them never"
    else:
        says = f"{dead:.0%} of a layer's units are off or saturated for all {reading.samples} samples"
        says += f" ({reading.layers[reading.layer_dead.index(dead)]})" if dead else ""
    before = reading.initial_worst_saturated if saturated > dead else reading.initial_worst_dead
    if before is not None:
        says += f"; at initialization, {before:.0%}"
    return Evidence(
        reading="activations",
        update=reading.update,
        value=value,
        unit="",
        expected=f"below {expected:g}",
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
