"""Warm-up: first raise the rate, then lower it; where that is needed, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import plotly.graph_objects as go

from unstuck import plot
from unstuck.study import Gate, Measurement, Runs, Study
from unstuck.study.experiments.first_updates import (
    COUNTS,
    first_rectified,
    original_error,
    rectification_error,
    rectified,
    spread_of_mean,
    spreads,
)
from unstuck.study.experiments.transformer import last_gradient
from unstuck.study.experiments.warming import (
    KINDS,
    LOOKED_AT,
    RATE,
    REMEDIES,
    RESIDUAL_RATES,
    WAYS,
    finite,
    largest_rate,
    residual,
    transformers,
)

UPDATES, RATES = 200, (3e-3, 1e-2, 3e-2)
"""Of Transformers; all rates are tried in every arm."""

DEPTHS, WIDE, STARTS = (2, 4, 8, 16), 64, 4
"""Layers and width of untrained Transformers, and how many of each a seed has."""


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """For each seed Transformers of both kinds, a residual network, and what is known before any training."""
    rates = {"post-norm": RATES[:2] if quick else RATES, "pre-norm": (RATE,) if quick else RATES}
    updates = 3 * UPDATES // 5 if quick else UPDATES
    parts: list[tuple[str, int, Sequence[float]]] = [
        *((kind, updates, rates[kind]) for kind in KINDS),
        ("residual", UPDATES, RESIDUAL_RATES[1::2] if quick else RESIDUAL_RATES),
        ("start", 0, ()),
    ]
    return [
        {"seed": seed, "part": part, "updates": length, "rates": list(own)}
        for seed in seeds
        for part, length, own in parts
    ]


def run(seed: int, part: str, updates: int, rates: Sequence[float]) -> dict[str, Any]:
    """One part of the study, for one seed."""
    match part:
        case "start":
            return _untrained(seed)
        case "residual":
            return residual(seed, updates, rates)
        case _:
            return transformers(seed, part, updates, rates)


def _untrained(seed: int) -> dict[str, Any]:
    """Gradients of untrained Transformers by depth, and the spread of 1/σ by the count of updates."""
    first_seeds = [STARTS * seed + number for number in range(STARTS)]
    return {
        "spread": spreads(seed),
        **{
            kind: [
                float(
                    np.mean([last_gradient(depth, pre=kind == "pre-norm", seed=own, width=WIDE) for own in first_seeds])
                )
                for depth in DEPTHS
            ]
            for kind in KINDS
        },
    }


def best(result: Mapping[str, Any], way: str) -> float:
    """The lowest loss over all rates."""
    return min(finite(own["loss"]) for name, own in result.items() if name.startswith(f"{way}, "))


def _at_best(result: Mapping[str, Any]) -> float:
    return best(result, "without") - best(result, "with warm-up")


def _gained(result: Mapping[str, Any], arm: str, over: str = f"without, {RATE:g}") -> float:
    return finite(result[over]["loss"]) - finite(result[arm]["loss"])


def _rates(result: Mapping[str, Any]) -> float:
    without, warmed = (largest_rate(result[way], result["rates"]) for way in WAYS)
    return warmed / without


def _losses(result: Mapping[str, Any]) -> float:
    without, warmed = (min(map(finite, result[way])) for way in WAYS)
    return without / warmed


def _flatter(result: Mapping[str, Any]) -> float:
    return float(result["curvature"][0] / result["curvature"][1])


def _deeper(result: Mapping[str, Any], kind: str) -> float:
    return float(result[kind][-1] / result[kind][0])


def _variance(result: Mapping[str, Any]) -> float:
    return float(result["spread"][0] / result["spread"][-1]) ** 2


def _unevenness(result: Mapping[str, Any]) -> float:
    products = np.multiply(result["spread"], rectified())[1:]
    return float(products.max() / products.min())


def _over_closed_form(result: Mapping[str, Any]) -> float:
    return float(result["spread"][COUNTS.index(100)] / spread_of_mean(100))


def measure(runs: Runs) -> list[Measurement]:
    """What the gates are about."""
    post, pre, deep, start = (runs.where(part=part) for part in (*KINDS, "residual", "start"))
    warm, flat = f"with warm-up, {RATE:g}", f"largest eigenvalue of the Hessian, at rate {LOOKED_AT:g}"
    nats = f"nats that the loss at the end is lower than without, at rate {RATE:g}"
    table: tuple[tuple[str, str, Runs, Callable[[Mapping[str, Any]], float]], ...] = (
        *(
            (f"gain of a warm-up, {kind}", nats, found, partial(_gained, arm=warm))
            for kind, found in zip(KINDS, (post, pre), strict=True)
        ),
        ("gain of a warm-up, post-norm, at best rates", "nats, each at the best of all rates", post, _at_best),
        *((f"gain of {name}, post-norm", nats, post, partial(_gained, arm=name)) for name in REMEDIES),
        (
            "gain of a warm-up over RAdam",
            "nats, over 2/(1 − β₂) updates",
            post,
            partial(_gained, arm=warm, over="RAdam"),
        ),
        ("largest rate of a residual network, with over without", f"of {RESIDUAL_RATES}", deep, _rates),
        ("loss of a residual network, without over with", "each at its best rate", deep, _losses),
        ("curvature at the start over that after a warm-up", flat, deep, _flatter),
        *(
            (
                f"gradient at depth {DEPTHS[-1]} over {DEPTHS[0]}, {kind}",
                "untrained",
                start,
                partial(_deeper, kind=kind),
            )
            for kind in KINDS
        ),
        ("variance of 1/σ, 5 updates over 1,000", "Adam's, gradients from N(0, 1)", start, _variance),
        ("unevenness of r × spread", "largest over smallest, from 10 updates on", start, _unevenness),
        ("spread over the closed form", "of 1/σ after 100 updates", start, _over_closed_form),
    )
    return [
        *(Measurement(name=a, says=b, values={run.seed: of(run.result) for run in found}) for a, b, found, of in table),
        *_exact(),
    ]


def _exact() -> list[Measurement]:
    """What hangs on no seed."""
    by_formula, by_rule = first_rectified()
    table = (
        ("first update with a rectification", "ρ_t > 4", by_formula),
        ("first update that is rectified in practice", "ρ_t > 5, as in torch", by_rule),
        ("error of the rectification", "r_t, relative, to three digits", rectification_error()),
        ("error of Vaswani's schedule", "relative, at three updates", original_error()),
    )
    return [Measurement(name=name, says=says, values={0: value}) for name, says, value in table]


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    """Curves and ends of the Transformers, ends of the residual network, gradients by depth, and the spread of 1/σ."""
    results = {run.settings["part"]: run.result for run in runs.where(seed=runs.seeds[0])}
    curves = plot.figure(
        title=f"Transformers at rate {RATE:g}",
        x="updates",
        y="training loss, nats per letter",
        summary="Without a warm-up, the post-norm Transformer stays at the loss of one who knows nothing but how "
        "frequent letters are. With a warm-up it learns, and the pre-norm one learns with and without.",
    )
    ends = plot.figure(
        title="All rates that were tried",
        x="rate",
        y="training loss at the end, nats per letter",
        log_x=True,
        summary="Post-norm learns at the lowest rate without a warm-up, at the middle one with it alone, and at the "
        "highest not at all. Pre-norm learns at all rates.",
    )
    for kind in KINDS:
        own = results[kind]
        rates = [rate for rate in RATES if f"{WAYS[0]}, {rate:g}" in own]
        for way in WAYS:
            curve = own[f"{way}, {RATE:g}"]["curve"]
            plot.line(curves, 10 + 5 * np.arange(len(curve)), curve, name=f"{kind}, {way}")
            plot.line(ends, rates, [own[f"{way}, {rate:g}"]["loss"] for rate in rates], name=f"{kind}, {way}")
    for name in REMEDIES:
        plot.points(ends, [RATE], [results["post-norm"][name]["loss"]], name=f"post-norm, {name}")
    slope = plot.figure(
        title="A residual network, by gradient descent",
        x="rate",
        y="training loss at the end",
        log_x=True,
        log_y=True,
        summary="Without a warm-up training diverges at all but low rates. With one, higher rates work and end lower.",
    )
    for way in WAYS:
        plot.line(slope, results["residual"]["rates"], results["residual"][way], name=way)
    slope.update_traces(mode="lines+markers")
    depths = plot.figure(
        title="Gradients before any training",
        x="layers",
        y="gradient norm of the last feed-forward matrix",
        log_x=True,
        log_y=True,
        summary="With post-norm the gradient is no smaller in deeper networks, with pre-norm it is.",
    )
    for kind in KINDS:
        plot.line(depths, DEPTHS, results["start"][kind], name=kind)
    spread = plot.figure(
        title="How exact 1/σ is",
        x="updates",
        y="standard deviation of 1/σ",
        log_x=True,
        log_y=True,
        summary="The spread of 1/σ falls with every update. Multiplied by RAdam's r it hardly changes after ten.",
    )
    plot.line(spread, COUNTS, results["start"]["spread"], name="Adam")
    plot.line(spread, COUNTS, np.multiply(results["start"]["spread"], rectified()), name="times RAdam's r")
    return {"curves": curves, "rates": ends, "residual": slope, "depths": depths, "spread": spread}


STUDY = Study(
    name="warm-up",
    title="Warm-up",
    chapter=3,
    claim="After a warm-up, Transformers and residual networks learn at rates at which they otherwise learn nothing.",
    source="Hung-yi Lee 2021, chapter 3; Vaswani 2017; He 2016; Liu 2020 (RAdam); Xiong 2020; Ma & Yarats 2021",
    setting="Transformers of 4 layers, 32 wide, on 32 letters of English; Adam with β₂ = 0.98, 200 updates on 8 "
    "pieces of text each, a warm-up of 2/(1 − β₂) = 100. Residual networks of 32 blocks without normalization on "
    "digits; gradient descent, the same lengths.",
    explains="Adam divides by σ, a mean of squared gradients. The last picture shows what the lecture says: after "
    "a few updates σ is a statistic of a few samples, and 1/σ is nowhere near its later value. RAdam multiplies each "
    "step by a factor r that makes up for just that, and r rises from 0 to 1 as a warm-up does. In the first two "
    "pictures a Transformer that normalizes behind each sum (post-norm, the original) learns nothing but how frequent "
    "letters are, at a rate at which it learns well after a warm-up. RAdam helps it, too, and a warm-up that nobody "
    "tuned helps as much or more.\n\n"
    "The reason is not σ alone. To stand still for half of all updates, in which Adam only learns σ, is no remedy "
    "here, nor is a larger ε, though both were for a larger network (Liu 2020). A Transformer that normalizes before "
    "each part (pre-norm), walked by the same Adam with the same σ, needs no warm-up at all. What differs is the "
    "surface: the fourth picture shows that with post-norm the gradient at the end is large whatever the depth. And "
    "the residual network, the other example of the lecture, is walked here by plain gradient descent, which has no "
    "σ. There the largest curvature at the start is many times what the rate allows; a warm-up walks, in small steps, "
    "to where the surface is flat enough for the full rate (Gilmer 2022).\n\n"
    "How much that is worth depends on the rate. The Transformer at a third of the rate needs no warm-up and ends as "
    "low: there, a warm-up widens the range of rates, and does not find a better end. The residual network does end "
    "lower with it, as rates several times as large become possible.",
    gates=(
        Gate(
            measurement="gain of a warm-up, post-norm",
            says="a post-norm Transformer ends lower by a quarter of a nat per letter, or more, with a warm-up",
            low=0.25,
            over="mean",
        ),
        Gate(
            measurement="largest rate of a residual network, with over without",
            says="a residual network learns at a rate twice as large, or more, with a warm-up",
            low=2.0,
            over="four seeds of five",
        ),
        Gate(
            measurement="loss of a residual network, without over with",
            says="and its loss, each at its best rate, is lower with it by a quarter or more",
            low=4 / 3,
            over="median",
        ),
        Gate(
            measurement="variance of 1/σ, 5 updates over 1,000",
            says="after five updates 1/σ varies fifty times as much as after a thousand, or more",
            low=50.0,
        ),
        Gate(
            measurement="gain of RAdam, post-norm",
            says="with RAdam, whose first steps wait for σ, it ends lower by a tenth of a nat or more",
            low=0.1,
            over="mean",
        ),
        Gate(
            measurement="gradient at depth 16 over 2, post-norm",
            says="gradients at the end of an untrained post-norm Transformer do not fall with its depth",
            low=1.0,
            over="mean",
        ),
        Gate(
            measurement="gradient at depth 16 over 2, pre-norm",
            says="those of a pre-norm one do",
            high=0.7,
            over="mean",
        ),
        Gate(
            measurement="unevenness of r × spread",
            says="the factor of RAdam makes the spread of 1/σ the same from ten updates on, within a third",
            high=4 / 3,
            role="control",
        ),
        Gate(
            measurement="spread over the closed form",
            says="the spread is that of a mean of independent squares",
            low=0.9,
            high=1.1,
            role="control",
        ),
        Gate(
            measurement="first update with a rectification",
            says="the formula rectifies from the fifth update on",
            low=5.0,
            high=5.0,
            role="control",
        ),
        Gate(
            measurement="first update that is rectified in practice",
            says="torch's test does from the sixth on",
            low=6.0,
            high=6.0,
            role="control",
        ),
        Gate(
            measurement="error of the rectification",
            says="its factor is the paper's",
            high=0.01,
            role="control",
        ),
        Gate(
            measurement="error of Vaswani's schedule",
            says="the schedule of the first Transformer is the paper's",
            high=1e-4,
            role="control",
        ),
        Gate(
            measurement="gain of a warm-up, pre-norm",
            says="a pre-norm Transformer needs no warm-up: it changes the end by a tenth of a nat at most",
            low=-0.1,
            high=0.1,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="gain of a warm-up, post-norm, at best rates",
            says="nor does a post-norm one at a rate of its own, which is lower",
            high=0.1,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="gain of σ first, post-norm",
            says="half of all updates, in which Adam learns σ alone, are no remedy here",
            high=0.1,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="gain of larger ε, post-norm",
            says="nor is an ε of 0.001",
            high=0.1,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="gain of a warm-up over RAdam",
            says="an untuned warm-up does as well as RAdam, or better",
            low=-0.05,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="curvature at the start over that after a warm-up",
            says="in a residual network the warm-up leads to where the surface is ten times flatter, or more",
            low=10.0,
            over="geometric mean",
            role="qualification",
        ),
    ),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(70, 14),
)
