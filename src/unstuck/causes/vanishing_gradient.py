"""Vanishing gradient: it dies on its way back through the layers.

What it means: every layer takes a factor off what the loss sends back, so that the first ones learn nothing; and
off what the inputs send forward, so that the outputs do not depend on them. How it shows: the gradient along depth
is a line on a logarithmic scale, that on the parameters as well; first over last is a hundredth or less; the outputs
ignore the inputs, or the model is no better than a constant answer. All of these together: torch's own initialization
gives deep rectifier networks such a slope, and they may learn all the same. The start shows it best: a rule that
divides by a σ, as Adam does, mends the profile in a while, and the time is lost. What is mistaken for it: a learning
rate that is too low (the gradient is of one size in all layers), a loss that sends nothing back (likewise), dead units
and weights all zero (exactly no gradient comes through). What to do: normalize what hidden layers give, or initialize
for the depth. References: Hochreiter 1991; Glorot and Bengio 2010, §4.2; He et al. 2015, §2.2; the lecture's chapter 5.
"""

from __future__ import annotations

import math

from unstuck.cause import Cause, Evidence, Judgement, Mediator
from unstuck.probes.direction import DirectionReading
from unstuck.probes.layers import LayersReading
from unstuck.probes.outputs import OutputsReading
from unstuck.reading import Estimate, History
from unstuck.remedies.add_normalization import AddNormalization
from unstuck.remedies.reinitialize import Reinitialize
from unstuck.specimens import bowl, deep_sigmoid, healthy

FAINT = 1e-2
"""Gradient of the first layer over the last one's: at one rate, it learns a hundred times slower. In the ward's healthy
trainings it starts at 0.03 or more, where layers take too much off at 6e-4 or less."""

CERTAIN = 2.0
"""Standard errors that a slope has to be from zero."""

BLIND = 1e-3
"""Of the outputs' mean square what depends on the inputs: less, and they are ignored. In the ward's healthy trainings
it starts at 0.016 or more, where layers take too much off at 1e-6 or less."""


def judge(
    layers: History[LayersReading], outputs: History[OutputsReading], direction: History[DirectionReading]
) -> Judgement:
    """At the start, which tells it from what a walk has ruined: also where the walk has mended part of it."""
    first, last = outputs.first, outputs.latest
    useless = last.above_constant if last.constant is not None else not direction.latest.falls
    score = 0.0
    if _fades(layers.first):
        stays = useless and _fades(layers.latest)
        score = 0.9 if _blind(first) else 0.6 if stays else 0.3
    return Judgement(score=score, evidence=_evidence(layers.first, first), from_update=layers.first.update)


def _blind(reading: OutputsReading) -> bool:
    """Whether the outputs ignore the inputs; of targets far off a small part that depends is all there is to learn."""
    constant = reading.above_constant or reading.constant is None
    return constant and reading.input_dependence is not None and reading.input_dependence.high < BLIND


def _fades(reading: LayersReading) -> bool:
    """Both on the activations and on the parameters, which no scaling of activations along depth explains."""
    ratios = (reading.gradient_ratio, reading.parameter_ratio)
    return (
        _rises(reading.gradient_trend)
        and _rises(reading.parameter_trend)
        and all(ratio is not None and ratio.high < FAINT for ratio in ratios)
    )


def _rises(trend: Estimate | None) -> bool:
    return trend is not None and trend.value > CERTAIN * trend.error


def _evidence(reading: LayersReading, outputs: OutputsReading) -> tuple[Evidence, ...]:
    found = []
    if reading.gradient_ratio is not None:
        found.append(
            Evidence(
                reading="layers",
                update=reading.update,
                value=reading.gradient_ratio.value,
                unit="",
                expected=f"above {FAINT:g}",
                says=f"of the gradient on the last of {reading.depth} layers, {reading.gradient_ratio.value:.2g} "
                "is left at the first",
            )
        )
    if reading.gradient_trend is not None:
        found.append(
            Evidence(
                reading="layers",
                update=reading.update,
                value=reading.gradient_trend.value,
                unit="1 / layer",
                expected="about 0",
                says=f"its logarithm falls by {reading.gradient_trend.value:.2g} ± {reading.gradient_trend.error:.1g} "
                "per layer on the way back",
            )
        )
    if outputs.input_dependence is not None:
        found.append(
            Evidence(
                reading="outputs",
                update=outputs.update,
                value=outputs.input_dependence.value,
                unit="",
                expected=f"above {BLIND:g}",
                says=f"a share of {outputs.input_dependence.value:.2g} of the outputs depends on the inputs",
            )
        )
    return tuple(found)


VANISHING_GRADIENT = Cause(
    slug="vanishing-gradient",
    means="the gradient dies on its way back through the layers",
    chapter=5,
    judge=judge,
    mediator=Mediator(
        says="what the logarithm of the gradient on the parameters loses per layer on the way back",
        reads=LayersReading,
        value=lambda layers: math.nan if layers.parameter_trend is None else layers.parameter_trend.value,
        rises=False,
    ),
    remedies=(AddNormalization, Reinitialize),
    sick=(deep_sigmoid,),
    well=(healthy, bowl),
)
