"""Unnormalized inputs: features on very different scales, or far from zero.

What it means: the curvature along a weight grows with the square of its feature, so one large feature sets the
rate for all and the others crawl. How it shows: deviations that differ by orders of magnitude, a size or an offset
far from one. What is mistaken for it: a learning rate that is too high (lowering it calms the large feature and
leaves the small ones standing). What to do: standardize. References: LeCun et al. 1998, Efficient BackProp, §4.3
and §5.3; the lecture's chapter 5.
"""

from __future__ import annotations

from unstuck.cause import Cause, Evidence, Judgement, Mediator
from unstuck.probes.inputs import InputsReading
from unstuck.probes.spectrum import SpectrumReading
from unstuck.reading import History
from unstuck.remedies.normalize_inputs import NormalizeInputs
from unstuck.specimens import bowl, healthy, unnormalized

LARGE, SMALL = 10.0, 0.03
"""Size of the inputs: one is ideal; first layers are initialized for it."""

UNEVEN = 20.0
"""Deviation of the widest feature over the typical one: its square is the ratio of curvatures, 400."""

BOTH = 10.0
"""The same where the narrowest twentieth lies as far below the typical one: curvatures differ by 10⁴ from end to end.
Narrow features alone, as pixels at a border, are no sign: the rate may suit all others."""

FAR = 5.0
"""Typical |mean| over deviation: adds d · 25 to a curvature of one (closed form: λ_max = 1 + d·s²)."""


def judge(inputs: History[InputsReading]) -> Judgement:
    """By how many times the worst of these measures is out of its range."""
    reading = inputs.first
    if not reading.features:
        return Judgement(score=0.0)
    both = min(reading.largest_over_typical, reading.typical_over_smallest)
    measures = (
        (reading.size / LARGE, reading.size, f"below {LARGE:g}", "the inputs are large: their root mean square"),
        (SMALL / max(reading.size, 1e-30), reading.size, f"above {SMALL:g}", "the inputs are small: their size"),
        (
            reading.largest_over_typical / UNEVEN,
            reading.largest_over_typical,
            f"below {UNEVEN:g}",
            "features differ in scale: the widest over the typical one",
        ),
        (
            both / BOTH,
            both,
            f"below {BOTH:g}",
            "features differ in scale on both sides of the typical one: the smaller ratio",
        ),
        (reading.offset / FAR, reading.offset, f"below {FAR:g}", "features lie far from zero: |mean| over deviation"),
    )
    # A constant input has no deviation to be far in; there is nothing to standardize.
    excess = 0.0 if reading.constant == 1.0 else max(measure[0] for measure in measures)
    evidence = tuple(
        Evidence(
            reading="inputs",
            update=reading.update,
            value=value,
            unit="",
            expected=expected,
            says=f"{says} is {value:.3g}",
        )
        for over, value, expected, says in measures
        if over == max(measure[0] for measure in measures) or over > 1
    )
    if excess <= 1:
        return Judgement(score=0.4 * excess, evidence=evidence)
    return Judgement(score=0.9 if excess > 3 else 0.7, evidence=evidence, certain=True)


UNNORMALIZED_INPUTS = Cause(
    slug="unnormalized-inputs",
    means="features on very different scales or far from zero",
    chapter=5,
    judge=judge,
    mediator=Mediator(
        says="the largest curvature",
        reads=SpectrumReading,
        value=lambda spectrum: spectrum.largest.value,
        rises=False,
    ),
    remedies=(NormalizeInputs,),
    sick=(unnormalized,),
    well=(healthy, bowl),
)
