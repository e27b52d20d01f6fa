"""Optimizers: all methods of one equation at the same tuning budget, and what each of them buys."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch

from unstuck import plot
from unstuck.study import Gate, Measurement, Runs, Study
from unstuck.study.experiments.paired import intervals, log_ratios, told
from unstuck.study.experiments.today import exact_errors, muon_band, update_times
from unstuck.study.experiments.tuned import KINDS, METHODS, SETTINGS, Digits

UPDATES = 160
"""To the end of the schedule."""

QUICK_UPDATES, QUICK_SETTINGS = 48, 4

BASE = "gradient descent"
"""What all are compared with."""

FEW = ("Muon", "schedule-free", "SAM")
"""They are not tried on inputs that are only scaled apart."""

SURE = 0.95
"""Confidence that none of all intervals of one kind of inputs leaves out its true value."""


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """For each seed every method on every kind of inputs; then what is exact, and times."""
    size = {
        "updates": QUICK_UPDATES if quick else UPDATES,
        "settings": QUICK_SETTINGS if quick else SETTINGS,
    }
    parts: list[dict[str, Any]] = [{"part": kind} | size for kind in KINDS]
    return [{"seed": seed} | part for seed in seeds for part in [*parts, {"part": "exact"}]]


def run(seed: int, part: str, updates: int = UPDATES, settings: int = SETTINGS) -> dict[str, Any]:
    """One part of the study, for one seed."""
    if part == "exact":
        return _exact(seed)
    digits = Digits(seed, part, updates)
    found = {name: digits.tuned(name, settings) for name in METHODS if part != "apart" or name not in FEW}
    chosen = {name: chosen_of(own) for name, own in found.items()}
    lasted = {"chosen": chosen, "rates": {name: [own["rates"], own["chosen"]] for name, own in found.items()}}
    if part != "alike":
        return lasted
    half = chosen_of(digits.tuned("SAM", settings, updates // 2))
    rate = chosen["momentum"]["rates"]
    plain, aware = (digits.sharpness(digits.walked(name, rate, updates)) for name in ("momentum", "SAM"))
    numbers = {
        "curvature at the end of SAM over momentum": aware / plain,
        "SAM at equal gradients over momentum": half["held out"] / chosen["momentum"]["held out"],
    }
    return lasted | {"numbers": numbers}


def chosen_of(found: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """What a method reached at the rate whose loss was lowest on the part for validation."""
    best = int(np.argmin(found["chosen"]))
    return {name: values[best] for name, values in found.items()}


def _exact(seed: int) -> dict[str, Any]:
    generator = torch.Generator(device="cpu").manual_seed(seed)
    low, high = muon_band(generator)
    times = update_times(seed, list(METHODS))
    numbers = {f"time of an update of {name}": times[name] for name in ("Adam", "Muon", "SOAP", "SAM")}
    return {
        "times": times,
        "numbers": numbers
        | exact_errors(generator)
        | {"smallest singular value of Muon's step": low, "largest singular value of Muon's step": high},
    }


COMPARED: Mapping[str, tuple[str, str, str, str]] = {
    "Adam over gradient descent, inputs scaled apart": ("apart", "Adam", BASE, "held out"),
    "Adam over gradient descent, inputs turned": ("turned", "Adam", BASE, "held out"),
    "SOAP over Adam, inputs turned": ("turned", "SOAP", "Adam", "held out"),
    "SOAP over Adam, inputs scaled apart": ("apart", "SOAP", "Adam", "held out"),
    "training loss of Muon over gradient descent, inputs turned": ("turned", "Muon", BASE, "learned"),
    "Muon over gradient descent, inputs turned": ("turned", "Muon", BASE, "held out"),
    "momentum over gradient descent, inputs alike": ("alike", "momentum", BASE, "held out"),
    "AdamW over Adam, inputs alike": ("alike", "AdamW", "Adam", "held out"),
    "SOAP over gradient descent, inputs alike": ("alike", "SOAP", BASE, "held out"),
    "schedule-free over gradient descent, inputs alike": ("alike", "schedule-free", BASE, "held out"),
    "SAM over momentum, inputs alike": ("alike", "SAM", "momentum", "held out"),
}
"""Ratios of losses at the end: name → kind of inputs, method, the other method, and the part of the data."""

SAYS: Mapping[str, str] = {
    "SAM at equal gradients over momentum": "held-out loss, half the updates of two gradients each",
    "curvature at the end of SAM over momentum": "largest eigenvalue of the Hessian, both at momentum's rate",
    "time of an update of Adam": "over gradient descent, side by side; median of seven rounds",
    "time of an update of Muon": "the same",
    "time of an update of SOAP": "the same",
    "time of an update of SAM": "the same",
    "error of Adam as RMSProp with momentum": "m and σ, and the first step, largest share",
    "error of Shampoo's first step": "against U Vᵀ of the gradient, largest entry",
    "error of SAM's cycle": "on a quadratic, against ηλρ/(2 − ηλ), as a share",
    "smallest singular value of Muon's step": "for a matrix with singular values from 0.05 to 1",
    "largest singular value of Muon's step": "the same",
}
"""What the other numbers of a run are."""


def measure(runs: Runs) -> list[Measurement]:
    """What the gates are about."""
    part_says = {"held out": "held-out", "learned": "training"}
    compared = [
        Measurement(
            name=name,
            says=f"{part_says[part]} loss at the end, each at the rate that validation chose",
            values=dict(
                zip(runs.seeds, np.exp(log_ratios(_chosen(runs, kind), one, other, part)).tolist(), strict=True)
            ),
        )
        for name, (kind, one, other, part) in COMPARED.items()
    ]
    counted = [
        Measurement(
            name=f"methods that are better than gradient descent, inputs {_named(kind)}",
            says="their held-out loss is lower, beyond the paired intervals of all of them together",
            values={0: float(sum(high < 0 for _, _, high in intervals(_chosen(runs, kind), BASE, SURE).values()))},
        )
        for kind in KINDS
    ]
    return [*compared, *counted, *runs.measured(SAYS)]


def _named(kind: str) -> str:
    return "scaled apart" if kind == "apart" else kind


def _chosen(runs: Runs, kind: str) -> list[Mapping[str, Any]]:
    """Of each seed what the methods reached at the rates that validation chose."""
    return [run.result["chosen"] for run in runs.where(part=kind)]


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    """Every method against gradient descent, on each kind of inputs; times; and every rate."""
    return {"ends": _ends(runs), "table": _table(runs), "times": _times(runs), "rates": _rates(runs)}


def _ends(runs: Runs) -> go.Figure:
    found = {kind: intervals(_chosen(runs, kind), BASE, SURE) for kind in KINDS}
    lower = {kind: [name for name, (_, _, high) in own.items() if high < 0] for kind, own in found.items()}
    told_lower = "; ".join(f"inputs {_named(kind)}: {', '.join(own) or 'none'}" for kind, own in lower.items())
    figure = plot.figure(
        title=f"Held-out loss at the end over that of {BASE}, with intervals",
        x="ratio of held-out losses",
        y="",
        log_x=True,
        summary=f"Lower than {BASE} beyond the noise of {len(runs.seeds)} seeds are, {told_lower}. What reaches 1 is "
        f"not distinguishable from {BASE}, and no winner is named there.",
    )
    names = [name for name in METHODS if name != BASE]
    for offset, kind in zip((0.25, 0.0, -0.25), KINDS, strict=True):
        middle = np.exp([value for value, _, _ in found[kind].values()])
        low, high = np.exp([[max(own[1], -1.5), min(own[2], 1.5)] for own in found[kind].values()]).T
        places = [offset - names.index(name) for name in found[kind]]
        plot.points(figure, middle, places, name=f"inputs {_named(kind)}")
        figure.data[-1].update(
            error_x={"type": "data", "symmetric": False, "array": high - middle, "arrayminus": middle - low}
        )
    figure.update_yaxes(tickvals=[-place for place in range(len(names))], ticktext=names)
    return figure.add_vline(x=1.0)


def _table(runs: Runs) -> go.Figure:
    """Of each method, all that the end of its schedule cost and gave."""
    updates = next(iter(runs.where(part="turned"))).settings["updates"]
    times = [run.result["times"] for run in runs.where(part="exact")]
    rows = []
    for name in METHODS:
        row = [
            name,
            str(updates),
            str(2 * updates if name == "SAM" else updates),
            told([own[name] for own in times]),
        ]
        for kind in KINDS:
            found = [own[name]["held out"] for own in _chosen(runs, kind) if name in own]
            row.append(told([math.nan if loss is None else loss for loss in found]))
        rows.append(row)
    return plot.table(
        title="The end of the schedule: updates, gradients, time and held-out loss",
        header=("method", "updates", "gradients", f"time, {BASE} 1", *(f"loss, {_named(kind)}" for kind in KINDS)),
        rows=rows,
        widths=(1.5, 1, 1, 2, 2, 2, 2),
        summary="Means of the seeds with Student's 95 % intervals, which are those of a method by itself; pairs of "
        "methods, seed by seed, are told apart better than these.",
    )


def _times(runs: Runs) -> go.Figure:
    figure = plot.figure(
        title="What it costs: time to the end of the schedule, in as many updates",
        x=f"time of an update over that of {BASE}",
        y="held-out loss, inputs turned",
        summary="Methods that divide by σ of single parameters cost little more than gradient descent. Those that "
        "look at whole matrices, and SAM with its two gradients, cost about twice as much.",
    )
    times = [run.result["times"] for run in runs.where(part="exact")]
    for name in METHODS:
        losses = [run.result["chosen"][name]["held out"] or math.nan for run in runs.where(part="turned")]
        place = float(np.median([own[name] for own in times]))
        plot.points(figure, [place], [float(np.exp(np.mean(np.log(losses))))], name=name)
        figure.data[-1].update(mode="markers+text", text=[name], textposition="middle right", showlegend=False)
    return figure


def _rates(runs: Runs) -> go.Figure:
    figure = plot.figure(
        title="Validation loss at every rate, inputs turned",
        x="rate over the lowest that was tried",
        y="validation loss",
        log_x=True,
        log_y=True,
        summary="Every method tried as many rates, each twice the last; the lowest loss is seldom at an end.",
    )
    found = [run.result["rates"] for run in runs.where(part="turned")]
    for name in (BASE, "Adam", "Muon", "SOAP", "schedule-free", "SAM"):
        losses = np.array([own[name][1] for own in found], dtype=float)
        middle = np.median(np.where(np.isfinite(losses), losses, np.inf), axis=0)
        rates = np.array(found[0][name][0])
        plot.line(figure, rates / rates[0], np.minimum(middle, 10.0), name=name)
    return figure


STUDY = Study(
    name="optimizers",
    title="All methods side by side",
    chapter=3,
    claim="All methods are θ ← θ − (η/σ)·m: Adam is RMSProp with momentum, σ makes up for scales, and today's methods "
    "give whole matrices a σ.",
    source="Hung-yi Lee 2021, chapter 3; Gupta et al. 2018; Foret et al. 2021; Jordan et al. 2024; Vyas et al. 2024; "
    "Defazio et al. 2024; Wen et al. 2025",
    setting="Networks 64-64-64-10 on 1,000 digits in batches of 64, 160 updates along a cosine, schedule-free without "
    "one. Inputs standardized; scaled apart by factors from 1/30 to 30; and these turned by a random rotation. Each "
    "method has six rates, each twice the last; that with the lowest loss on 297 other digits counts, and what is "
    "compared is the loss on 500 held-out ones. SOAP and schedule-free: pip install 'unstuck[optim]'.",
    explains="The lecture ends with one equation, in which m is made of past gradients and σ of their squares. Adam is "
    "exactly RMSProp's σ, corrected for its start, with a mean of gradients for m. Every method here had the same "
    "number of rates to choose from, the same start, batches and schedule. A few pairs were fixed beforehand, and are "
    "compared seed by seed; their intervals are in the table. The picture compares all with gradient descent, by "
    "intervals so wide that all hold together. What reaches 1 there is not distinguishable by these seeds alone, "
    "though a pair that was fixed beforehand may be.\n\n"
    "On standardized inputs nothing is beyond these intervals: gradient descent at its best rate ends about where all "
    "others do. Momentum gains nothing there, since it is no more than a larger rate, and the cosine serves all. "
    "On inputs scaled apart, a rate for each parameter makes up for the scales, and Adam ends clearly lower. But σ "
    "belongs to single parameters. The third kind of inputs is the second one turned: the same valley, no longer along "
    "the axes. Gradient descent does not notice the turn, and Adam loses all that it had gained. Shampoo, SOAP and "
    "Muon look at the gradient of a layer as a matrix. Shampoo's first step is exactly U Vᵀ, all directions of the "
    "matrix at the same length, and Muon's is so within a band. SOAP runs Adam along the axes that Shampoo finds, and "
    "keeps its gain when the inputs are turned; where they are not, it has none over Adam. Muon has the lower "
    "training loss, but that need not show on held-out data.\n\n"
    "The others buy other things. SAM ends where the surface is flatter, at two gradients an update; against momentum "
    "with as many gradients it does not end lower. Schedule-free needs no horizon, and pays for that here, where "
    "gradients end without noise. AdamW differs from Adam by its decay alone. An update of SAM, SOAP or Muon takes "
    "about twice as long as one of gradient descent; on large networks that share is smaller. Wen et al. 2025 found in "
    "language models, tuned as fairly, that matrix methods save a tenth to a third of the updates.",
    gates=(
        Gate(
            measurement="Adam over gradient descent, inputs scaled apart",
            says="on inputs scaled apart Adam ends lower than gradient descent",
            high=0.92,
            over="mean",
        ),
        Gate(
            measurement="SOAP over Adam, inputs turned",
            says="once they are turned, a method with a scale for matrices ends lower than Adam",
            high=0.95,
            over="mean",
        ),
        Gate(
            measurement="training loss of Muon over gradient descent, inputs turned",
            says="so does Muon in training loss, against gradient descent",
            high=0.7,
            over="geometric mean",
        ),
        Gate(
            measurement="curvature at the end of SAM over momentum",
            says="training with SAM ends where the surface is flatter",
            high=0.95,
            over="mean",
        ),
        Gate(
            measurement="error of Adam as RMSProp with momentum",
            says="a mean of gradients and RMSProp's σ, corrected for its start, are Adam's m and σ",
            high=1e-9,
            role="control",
        ),
        Gate(
            measurement="error of Shampoo's first step",
            says="all singular values of Shampoo's first step are equal",
            high=1e-6,
            role="control",
        ),
        Gate(
            measurement="smallest singular value of Muon's step",
            says="those of Muon's are at least 0.6",
            low=0.6,
            role="control",
        ),
        Gate(
            measurement="largest singular value of Muon's step",
            says="and at most 1.2",
            high=1.2,
            role="control",
        ),
        Gate(
            measurement="error of SAM's cycle",
            says="on a quadratic SAM ends in the cycle that it must",
            high=1e-9,
            role="control",
        ),
        Gate(
            measurement="Adam over gradient descent, inputs turned",
            says="on inputs that are turned Adam gains next to nothing",
            low=0.85,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="SOAP over Adam, inputs scaled apart",
            says="where inputs are scaled along the axes, SOAP gains nothing over Adam",
            low=0.92,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="methods that are better than gradient descent, inputs alike",
            says="on standardized inputs at most two of nine methods end lower than gradient descent beyond the noise",
            high=2.0,
            role="qualification",
        ),
        Gate(
            measurement="momentum over gradient descent, inputs alike",
            says="momentum gains nothing where both are tuned",
            low=0.95,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="SAM at equal gradients over momentum",
            says="with as many gradients SAM does not end lower than momentum",
            low=0.95,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="schedule-free over gradient descent, inputs alike",
            says="schedule-free does not end lower than gradient descent with a cosine",
            low=1.0,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="time of an update of SOAP",
            says="updates of SOAP take a quarter longer than gradient descent's, or more",
            low=1.25,
            over="median",
            role="qualification",
        ),
        Gate(
            measurement="time of an update of SAM",
            says="so do SAM's",
            low=1.25,
            over="median",
            role="qualification",
        ),
    ),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(80, 12),
)
