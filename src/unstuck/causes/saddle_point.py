"""Saddle point: the gradient is negligible and the surface still falls along some direction.

What it means: the walk stands still at a point that is no minimum. How it shows: the gradient is below its noise,
the quadratic model has a critical point here (Frye's residual), the Hessian has an eigenvalue below zero beyond its
error, and a step along its eigenvector lowers the loss where steps along the gradient do not. At a degenerate
saddle the Hessian vanishes as well (three layers and more at zero): there units are identical or zero, and the loss
falls once that symmetry is broken. Units that are all alike stay alike: whatever the gradient is elsewhere, along
the directions that would make them differ it is exactly zero, so the walk can only come to rest on a saddle. Near
such a point, with all weights much smaller than usual, a gradient is left, mostly the last biases', that leads to the
constant answer and no farther: from an ordinary start the same steps get several times as far. What is mistaken for
it: a plateau with a small but usable gradient; a local minimum; dead units, which zero weights look like. What to do:
escape, or initialize so that units differ. References: Dauphin et al. 2014; Frye et al. 2021; the lecture's chapter 1.
"""

from __future__ import annotations

from unstuck.cause import SIGNAL, Cause, Evidence, Judgement, Mediator
from unstuck.probes.escape import EscapeReading
from unstuck.probes.gradient import GradientReading
from unstuck.probes.spectrum import SpectrumReading
from unstuck.reading import History
from unstuck.remedies.add_momentum import AddMomentum
from unstuck.remedies.escape_saddle import EscapeSaddle
from unstuck.remedies.reinitialize import Reinitialize
from unstuck.specimens import bowl, deep_product_at_origin, healthy, product_at_origin, zero_initialized

CRITICAL = 0.1
"""Frye's residual below which there is a critical point to speak of (papers: 0.9 and above is gradient-flat)."""

MATERIAL = 0.02
"""Share of the loss that a way down has to remove to count as one."""

NEAR = 0.2
"""Of the typical gradient: one that is below its noise but larger than this was not resolved by the sample."""

ADVANTAGE = 3.0
"""How much farther down than the gradient's own way a way out has to lead. Where the ward's healthy trainings start, a
perturbation of the size of an ordinary initialization leads 2.3 times as far at most, near the origin 5 or more."""

MOST = 0.5
"""Share of units that are alike, weights and gradient: in healthy trainings it is zero, of zero or equal weights the
outputs' units alone are left out, if any."""


def judge(
    gradient: History[GradientReading], spectrum: History[SpectrumReading], escape: History[EscapeReading]
) -> Judgement:
    """At the point where the signs are clearest; trials branch from the first that shows them."""
    scored = {ways.update: _score(gradient.at(ways.update), spectrum.at(ways.update), ways) for ways in escape.readings}
    if _near_the_origin(spectrum.at(escape.first.update), escape.first):
        scored[escape.first.update] = max(scored[escape.first.update], 0.6)
    clearest = max(scored, key=lambda update: scored[update])
    ways, slope, curvature = escape.at(clearest), gradient.at(clearest), spectrum.at(clearest)
    return Judgement(
        score=scored[clearest],
        evidence=_evidence(slope, curvature, ways),
        from_update=next((update for update, score in scored.items() if score >= SIGNAL), clearest),
    )


def _score(slope: GradientReading, curvature: SpectrumReading, ways: EscapeReading) -> float:
    """Alike stays alike, whatever else is seen; a gradient that is not negligible leaves room for less of a sign."""
    if ways.symmetric > MOST:
        return 0.96
    near = slope.negligible and slope.norm <= NEAR * slope.typical
    if near and _critical(curvature) and ways.curvature_drop > _needed(ways):
        return 0.9
    if slope.negligible and ways.symmetric > 0 and ways.perturbed_drop > _needed(ways):
        return 0.8
    return 0.2 if slope.negligible else 0.1


def _needed(ways: EscapeReading) -> float:
    return max(ADVANTAGE * ways.gradient_drop, MATERIAL * abs(ways.loss))


def _critical(curvature: SpectrumReading) -> bool:
    return curvature.negative and curvature.newton_residual < CRITICAL


def _near_the_origin(curvature: SpectrumReading, ways: EscapeReading) -> bool:
    """Where the training starts: one whose weights shrink on the walk is driven there, as by weight decay."""
    return _critical(curvature) and ways.perturbed_drop > _needed(ways)


def _evidence(slope: GradientReading, curvature: SpectrumReading, ways: EscapeReading) -> tuple[Evidence, ...]:
    """What decided it first: units that are alike, or else the gradient and the curvature."""
    ratio = curvature.minimum_ratio
    alike = Evidence(
        reading="escape",
        update=ways.update,
        value=ways.perturbed_drop,
        unit="loss",
        expected=f"about {ways.gradient_drop:.2g}",
        says=f"{ways.symmetric:.0%} of the units have the weights and the gradient of another one; with the symmetry "
        f"broken the loss falls by {ways.perturbed_drop:.3g}",
    )
    others = (
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
            expected="not below 0",
            says=f"eigenvalues from {curvature.lowest.value:.3g} ± {curvature.lowest.error:.1g} to "
            f"{curvature.largest.value:.3g} ± {curvature.largest.error:.1g}; minimum ratio {ratio.value:.2f} ± "
            f"{ratio.error:.2f}",
        ),
        Evidence(
            reading="spectrum",
            update=curvature.update,
            value=curvature.newton_residual,
            unit="",
            expected=f"below {CRITICAL:g} at a critical point",
            says=f"Frye's residual is {curvature.newton_residual:.2g}",
        ),
        Evidence(
            reading="escape",
            update=ways.update,
            value=ways.curvature_drop,
            unit="loss",
            expected="0 at a minimum",
            says=f"along the most negative curvature the loss falls by {ways.curvature_drop:.3g}, "
            f"along the gradient by {ways.gradient_drop:.2g}",
        ),
    )
    return (alike, *others) if ways.symmetric > MOST else (*others, alike)


SADDLE_POINT = Cause(
    slug="saddle-point",
    means="the walk stands still at a saddle point: the gradient is negligible, and a way down exists",
    chapter=1,
    judge=judge,
    mediator=Mediator(
        says="the gradient's norm",
        reads=GradientReading,
        value=lambda gradient: gradient.norm,
        rises=True,
    ),
    remedies=(EscapeSaddle, Reinitialize, AddMomentum),
    sick=(product_at_origin, deep_product_at_origin, zero_initialized),
    well=(healthy, bowl),
)
