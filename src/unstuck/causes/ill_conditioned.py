"""Ill-conditioned: no single rate suits all directions.

What it means: the steepest direction sets the rate that can be walked, and along the flat ones, where the loss still
is, such steps hardly move. How it shows: the rate is near the limit of stability, so that it cannot be raised, while
the best step along the gradient gains but a small share of what a step would gain that were scaled by the curvature of
each direction; the ratio of largest to typical eigenvalue alone says little, as it is large in every network. Or the
inputs vary thousands of times as much along one direction as along another, whatever the scale of each feature: such
a valley lies across parameters, so that rates of their own do not suit it either. What is mistaken for it: a learning
rate that is too low, which has room to be raised; features on different scales, which normalization cures; narrow
directions that say nothing of the targets; gradient noise. What to do: decorrelate the inputs, give every parameter a
rate of its own, or add momentum, which walks along flat valleys (by √κ instead of κ updates). References: LeCun et
al. 1998, Efficient BackProp, §4.3 and 5; Nocedal and Wright 2006, Numerical Optimization, §3.3; Goh 2017, Why momentum
really works; the lecture's chapter 3.
"""

from __future__ import annotations

from unstuck.cause import Cause, Evidence, Judgement
from unstuck.probes.gradient import GradientReading
from unstuck.probes.inputs import InputsReading
from unstuck.probes.spectrum import SpectrumReading
from unstuck.probes.step import StepReading
from unstuck.reading import History
from unstuck.remedies.adaptive_optimizer import AdaptiveOptimizer
from unstuck.remedies.add_momentum import AddMomentum
from unstuck.remedies.decorrelate_inputs import DecorrelateInputs
from unstuck.specimens import bowl, correlated_features, healthy

SMALL_SHARE = 0.03
"""Of a Newton step's gain: below it thirty best gradient steps gain no more than that one. While it was chosen, healthy
trainings lay at 0.5 and above at their start and at 0.13 and above later, at the edge of stability at 0.05."""

TOGETHER = 3000.0
"""Variance of the normalized inputs along their widest direction over that along their narrowest: gradient descent
takes that many updates along the narrowest (with momentum the root of it, 55) for one along the widest. Trainings that
go well lay at 1,400 and below, with inputs that are three-dimensional but for noise; planted ones at 10,000."""

NO_ROOM = 0.3
"""Sharpness over the stability limit, above which the rate cannot be raised by a factor that would matter."""


def judge(
    spectrum: History[SpectrumReading],
    step: History[StepReading],
    gradient: History[GradientReading],
    inputs: History[InputsReading] | None,
) -> Judgement:
    """At the last look, when what is steep has been walked down, of rules that share one rate; or by the inputs."""
    curvature, pace = spectrum.latest, step.latest
    slope, near = gradient.at(curvature.update), pace.sharpness_over_limit
    score = 0.1
    if pace.optimizer == "SGD" and not slope.negligible and curvature.descent_share < SMALL_SHARE:
        score = 0.75 if near is not None and near > NO_ROOM else 0.3
    condition = None if inputs is None else inputs.first.normalized_condition
    if condition is not None and condition > TOGETHER:
        score = max(score, 0.6)
    evidence = [
        Evidence(
            reading="spectrum",
            update=curvature.update,
            value=curvature.descent_share,
            unit="of a Newton step's gain",
            expected=f"above {SMALL_SHARE:g}",
            says=f"the best step along the gradient gains {curvature.descent_share:.2g} of what a step would that is "
            "scaled by the curvature of each direction",
        )
    ]
    if near is not None:
        evidence.append(
            Evidence(
                reading="step",
                update=pace.update,
                value=near,
                unit="of the limit",
                expected=f"below {NO_ROOM:g}",
                says=f"the sharpness is {near:.2g} of what this rule and rate can walk"
                + (": the steepest direction leaves no room for a higher rate" if near > NO_ROOM else ""),
            )
        )
    if inputs is not None and condition is not None:
        evidence.insert(0 if condition > TOGETHER else len(evidence), _evidence(inputs.first, condition))
    return Judgement(score=score, evidence=tuple(evidence))


def _evidence(inputs: InputsReading, condition: float) -> Evidence:
    noise = inputs.noise_condition
    return Evidence(
        reading="inputs",
        update=inputs.update,
        value=condition,
        unit="",
        expected="near 1" if noise is None else f"about {noise:.2g}",
        says=f"with every feature at the same scale, the inputs vary {condition:.3g} times as much along their widest "
        "direction as along their narrowest",
    )


ILL_CONDITIONED = Cause(
    slug="ill-conditioned",
    means="no single rate suits all directions",
    chapter=3,
    judge=judge,
    remedies=(DecorrelateInputs, AdaptiveOptimizer, AddMomentum),
    sick=(correlated_features,),
    well=(healthy, bowl),
)
