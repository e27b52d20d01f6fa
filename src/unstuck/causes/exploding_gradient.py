"""Exploding gradient: it grows on its way back through the layers, or all at once where the surface is steep.

What it means: every layer multiplies what the loss sends back, and mostly what the inputs send forward as well; a
step that suits the last layer throws the first ones away. How it shows: the gradient along depth is a line on a
logarithmic scale that rises towards the inputs, by ten times and more; the loss starts far above that of a constant
answer, the walk is thrown out or gets nowhere. Or single batches have gradients many times as long as those before
and after them, from samples far out: one of their steps undoes many. What is mistaken for it: residual networks, whose
activations grow along depth and their gradient accordingly, gently and without harm; a learning rate that is too high
(the profile is flat); large inputs. What to do: clip; initialize anew, where the weights start too large
(docs/decisions/0013); or normalize what hidden layers give. References: Pascanu et al. 2013, On the
difficulty of training recurrent neural networks, §2.2 and §3.2; Glorot and Bengio 2010, §4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from unstuck.cause import Cause, Evidence, Judgement, Mediator
from unstuck.probes.direction import DirectionReading
from unstuck.probes.layers import LayersReading
from unstuck.probes.outputs import OutputsReading
from unstuck.probes.step import StepReading
from unstuck.reading import History
from unstuck.remedies.add_normalization import AddNormalization
from unstuck.remedies.clip_gradient import ClipGradient
from unstuck.remedies.reinitialize import Reinitialize
from unstuck.specimens import bowl, deep_exploding, healthy

LARGE = 10.0
"""Gradient of the first layer over the last one's: residual networks with batch normalization come up to it."""

CERTAIN = 2.0
"""Standard errors that a slope has to be from zero."""

FAR = 3.0
"""A loss this many times as high as a constant answer's, or as at the start, is no fluctuation."""


SPIKE = 8.0
"""Times the median of its neighbours: the fifth-longest of a hundred gradients is no fluctuation. In the ward's healthy
trainings it is 1.9 times at most, with other faults on features that are not wildly scaled 6.7, and 28 times where one
sample in a hundred is far out: of this one case alone, so that the value is a guess between them."""

NEIGHBOURS = 8
"""Updates before and after one that say what is usual there."""

RARE = 0.05
"""Share of the gradients that may be longer."""


def judge(
    layers: History[LayersReading], outputs: History[OutputsReading], direction: History[DirectionReading]
) -> Judgement:
    """It grows where the training was handed over, and does harm; or comes in spikes."""
    reading, walk, first, last = layers.first, direction.latest, outputs.first, outputs.latest
    far = first.constant is not None and first.loss.low > FAR * abs(first.constant)
    thrown = walk.broke_at is not None or walk.largest > FAR * max(abs(walk.start), 1e-12)
    nowhere = last.above_constant if last.constant is not None else not walk.falls
    harm = (far or thrown) and nowhere
    score = (0.95 if harm else 0.6 if thrown or nowhere else 0.3) if _grows(reading) else 0.0
    spikes = spikiness(walk.norms)
    if spikes <= SPIKE:
        return Judgement(score=score, evidence=_evidence(reading, first, walk))
    found = (_spikes(walk, spikes), *_evidence(reading, first, walk))
    return Judgement(score=max(score, 0.7), evidence=found if score < 0.7 else found[1:])


def spikiness(norms: Sequence[float]) -> float:
    """How many times as long as usual in its neighbourhood a gradient is, which :data:`RARE` of them exceed."""
    if len(norms) < 2 * NEIGHBOURS:
        return 0.0
    usual = [median(norms[max(0, at - NEIGHBOURS) : at + NEIGHBOURS + 1]) for at in range(len(norms))]
    times = sorted(norm / max(level, 1e-30) for norm, level in zip(norms, usual, strict=True))
    return times[-1 - int(RARE * (len(times) - 1))]


def _grows(reading: LayersReading) -> bool:
    trend, ratio = reading.gradient_trend, reading.gradient_ratio
    if trend is None or ratio is None:
        return False
    return trend.value + CERTAIN * trend.error < 0 and ratio.low > LARGE


def _spikes(walk: DirectionReading, times: float) -> Evidence:
    return Evidence(
        reading="direction",
        update=walk.update,
        value=times,
        unit="",
        expected=f"below {SPIKE:g}",
        says=f"one gradient in {1 / RARE:.0f} is {times:.3g} times as long as those before and after it, or longer",
    )


def _evidence(reading: LayersReading, first: OutputsReading, walk: DirectionReading) -> tuple[Evidence, ...]:
    found = []
    if reading.gradient_trend is not None and reading.gradient_ratio is not None:
        ratio, slope = reading.gradient_ratio.value, -reading.gradient_trend.value
        found.append(
            Evidence(
                reading="layers",
                update=reading.update,
                value=ratio,
                unit="",
                expected=f"below {LARGE:g}",
                says=f"on its way back through {reading.depth} layers the gradient becomes {ratio:.3g} times as large; "
                f"its logarithm rises by {slope:.2g} ± {reading.gradient_trend.error:.1g} per layer",
            )
        )
    if first.constant is not None:
        found.append(
            Evidence(
                reading="outputs",
                update=first.update,
                value=first.loss.value,
                unit="loss",
                expected=f"about {first.constant:.4g}",
                says=f"the loss starts at {first.loss.value:.4g}, where a constant answer has {first.constant:.4g}",
            )
        )
    found.append(
        Evidence(
            reading="direction",
            update=walk.update,
            value=walk.largest,
            unit="loss",
            expected=f"about {walk.start:.4g}",
            says=f"the highest loss on the way was {walk.largest:.3g}, from {walk.start:.3g}"
            + ("" if walk.broke_at is None else ", then not a number"),
        )
    )
    return tuple(found)


EXPLODING_GRADIENT = Cause(
    slug="exploding-gradient",
    means="the gradient grows on its way back through the layers, or is now and then many times as long as usual",
    chapter=5,
    judge=judge,
    mediator=Mediator(
        says="the length of a step over that of the parameters",
        reads=StepReading,
        value=lambda step: step.relative_step,
        rises=False,
    ),
    remedies=(ClipGradient, Reinitialize, AddNormalization),
    sick=(deep_exploding,),
    well=(healthy, bowl),
)
