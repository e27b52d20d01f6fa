"""Local minimum: the walk has come to rest where every way leads up, above what can be reached.

What it means: the gradient is negligible and the surface bends up, or is flat, in every direction; from elsewhere the
same training gets lower. How it shows: a gradient below its noise, no eigenvalue below zero beyond its error (zero ones
are allowed: at the lecture's own minima, w₁w₂ = 1, half are zero), and a loss that is no better than that of a constant
answer, or not much. What is mistaken for it: a model that has finished, or whose targets are noise, which ends where it
ends from anywhere; a saddle point, which has a way down; dead or saturated units, where outputs do not depend on the
inputs. It is rare in wide networks, and is proved by a start from elsewhere alone. What to do: initialize anew; where
that ends at the same loss, give the network more units. References: Dauphin et al. 2014; Swirszcz, Czarnecki and
Pascanu 2016, Local minima in training of neural networks; Safran and Shamir 2018; the lecture's chapter 1.
"""

from __future__ import annotations

from unstuck.cause import Cause, Evidence, Judgement
from unstuck.probes.direction import DirectionReading
from unstuck.probes.gradient import GradientReading
from unstuck.probes.outputs import OutputsReading
from unstuck.probes.spectrum import SpectrumReading
from unstuck.reading import History
from unstuck.remedies.reinitialize import Reinitialize
from unstuck.specimens import bowl, healthy, one_sided

NOT_MUCH = 0.5
"""Of the constant answer's loss: a model that still has more has not got far, unless its targets are noise."""

FLAT = 1e-3
"""Of the largest eigenvalue: curvature below zero that is nearer to it is no way down that could be walked."""

DEPENDS = 0.01
"""Share of the outputs' size that depends on the inputs: below it units are dead or alike, which is another cause."""

ADVICE = "where a fresh start ends at the same loss, the network may be too small: give it more units or layers"


def judge(
    gradient: History[GradientReading],
    spectrum: History[SpectrumReading],
    outputs: History[OutputsReading],
    direction: History[DirectionReading],
) -> Judgement:
    """By exclusion, at the last look; that it is a minimum among others is for the trial to show."""
    slope, last = gradient.latest, outputs.latest
    curvature = spectrum.at(slope.update)
    down = curvature.negative and curvature.lowest.high < -FLAT * abs(curvature.largest.value)
    rests = slope.negligible and not down and not direction.latest.falls
    dependence = last.input_dependence
    alive = dependence is None or dependence.high > DEPENDS
    score = 0.1
    if rests and alive and last.constant is not None:
        high = last.loss.low > NOT_MUCH * last.constant
        score = 0.7 if last.above_constant else 0.55 if high else 0.2
    return Judgement(
        score=score,
        evidence=_evidence(slope, curvature, last),
        advice=ADVICE if score > 0.2 else "",
        from_update=slope.update,
    )


def _evidence(slope: GradientReading, curvature: SpectrumReading, last: OutputsReading) -> tuple[Evidence, ...]:
    found = [
        Evidence(
            reading="gradient",
            update=slope.update,
            value=slope.norm,
            unit="loss / unit",
            expected=f"about {slope.typical:.2g}",
            says=f"the gradient's norm is {slope.norm:.3g} ± {slope.noise:.2g}; {slope.typical:.2g} is typical for "
            "this network",
        ),
        Evidence(
            reading="spectrum",
            update=curvature.update,
            value=curvature.lowest.value,
            unit="loss / unit²",
            expected="below 0 at a saddle point",
            says=f"the lowest eigenvalue is {curvature.lowest.value:.3g} ± {curvature.lowest.error:.1g}, the largest "
            f"{curvature.largest.value:.3g}; minimum ratio {curvature.minimum_ratio.value:.2f}",
        ),
    ]
    if last.constant is not None:
        found.append(
            Evidence(
                reading="outputs",
                update=last.update,
                value=last.loss.value,
                unit="loss",
                expected=f"well below {last.constant:.4g}",
                says=f"the loss is {last.loss.value:.4g}, that of the best constant answer {last.constant:.4g}",
            )
        )
    return tuple(found)


LOCAL_MINIMUM = Cause(
    slug="local-minimum",
    means="the walk has come to rest at a minimum above what can be reached",
    chapter=1,
    judge=judge,
    remedies=(Reinitialize,),
    sick=(one_sided,),
    well=(healthy, bowl),
)
