"""Batch normalization in a convolutional network: how many updates it takes to match the network without."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from numpy.typing import NDArray

from unstuck import datasets, plot
from unstuck.fleet import Member, train_fleet
from unstuck.methods.update import heavy_ball
from unstuck.study import Gate, Measurement, Runs, Study
from unstuck.study.experiments.convolutional import KINDS, channel_error, network
from unstuck.study.experiments.matching import Arm
from unstuck.study.experiments.networks import accuracy, cross_entropy

BATCH, UPDATES = 32, 700

BASE = 0.03

RATES = (BASE, 2 * BASE, 5 * BASE, 10 * BASE, 30 * BASE)
"""Of momentum 0.9; the base, five times and thirty times as much are the paper's three."""

LOOKS = 60
"""Times at which held-out accuracy is looked at, each 8 % later than the last."""

LOOKED_AT = 500
"""Held-out samples."""

LEARNED = 0.9
"""Of the held-out samples: where rates are compared."""


IN_FULL: Mapping[str, Sequence[float]] = {
    **dict.fromkeys(("plain", "BN", "sigmoid", "plain, He"), RATES),
    "BN, sigmoid": (RATES[0], RATES[2], RATES[4]),
    "sigmoid, careful": RATES[2:],
}

QUICK: Mapping[str, Sequence[float]] = {
    "plain": (RATES[0], RATES[2]),
    "BN": (RATES[0], RATES[2], RATES[4]),
    "sigmoid": RATES[:1],
    "BN, sigmoid": RATES[2:3],
    "plain, He": RATES[:1],
    "sigmoid, careful": RATES[3:4],
}

ROWS: Mapping[str, tuple[str, float, tuple[str, str, str]]] = {
    "plain": ("plain", BASE, ("0.0015", "31.0", "72.2")),
    "BN": ("BN", BASE, ("0.0015", "13.3", "72.7")),
    "BN ×5": ("BN", 5 * BASE, ("0.0075", "2.1", "73.0")),
    "BN ×30": ("BN", 30 * BASE, ("0.045", "2.7", "74.8")),
    "BN ×5, sigmoid": ("BN, sigmoid", 5 * BASE, ("0.0075", "never", "69.8")),
    "sigmoid": ("sigmoid", BASE, ("0.0015", "never", "0.1")),
}
"""The curves of the paper's figure: kind, rate, and what the paper has for the rate, million updates and accuracy."""


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """For each seed a fleet of each kind, a network for each rate."""
    arms, updates = (QUICK, 5 * UPDATES // 7) if quick else (IN_FULL, UPDATES)
    return [
        {"seed": seed, "kind": kind, "rates": list(rates), "updates": updates}
        for seed in seeds
        for kind, rates in arms.items()
    ]


def run(seed: int, kind: str, rates: Sequence[float], updates: int, data: str = datasets.DEFAULT) -> dict[str, Any]:
    """Train one kind at each rate, and look at its held-out accuracy again and again."""
    known = datasets.load(data)
    looks = _looks(updates)
    members = [Member(rule=heavy_ball(rate), batch_size=BATCH, seed=seed) for rate in rates]
    build = partial(network, KINDS[kind], known.shape, known.classes)
    fleet = train_fleet(build, cross_entropy, known.inputs, known.targets, members, updates, keep=looks)
    inputs, targets = known.held_out_inputs[:LOOKED_AT], known.held_out_targets[:LOOKED_AT]
    seen = torch.stack([accuracy(fleet.at(look).outputs(inputs), targets) for look in looks], dim=1)
    losses = fleet.losses.nan_to_num(math.inf).mean(1)
    return {"looks": looks, "accuracy": seen.tolist(), "best": int(losses.argmin())}


def _looks(updates: int) -> list[int]:
    return sorted({round(look) for look in np.geomspace(min(5, updates), updates, LOOKS).tolist()})


Arms = Mapping[str, Arm]


def arms_of(runs: Runs, seed: int) -> Arms:
    """What one seed's runs gave, by kind."""
    return {
        run.settings["kind"]: Arm(
            rates=run.settings["rates"],
            looks=run.result["looks"],
            accuracy=np.array(run.result["accuracy"]),
            best=run.result["best"],
        )
        for run in runs
        if run.seed == seed
    }


def _curve(arms: Arms, row: str) -> NDArray[np.float64]:
    kind, rate, _ = ROWS[row]
    return arms[kind].at(rate)


def goal(arms: Arms) -> float:
    """The most that the plain network reaches at the base rate, which the others are to match."""
    return float(_curve(arms, "plain").max())


def to_match(arms: Arms, row: str) -> float:
    """Updates until a row of the table has matched the plain network; NaN where it never did."""
    return arms[ROWS[row][0]].updates(_curve(arms, row), goal(arms))


def _gain(arms: Arms) -> float:
    return _highest("BN ×30", arms) - _highest("plain", arms)


def _at_five_times(arms: Arms) -> float:
    return _points(arms["plain"].at(5 * BASE)[-1])


def _error(_: Arms) -> float:
    return channel_error(0)


def _points(share: float) -> float:
    return 100.0 * float(share)


def _saved(row: str, arms: Arms, than: str = "plain") -> float:
    return to_match(arms, than) / to_match(arms, row)


def _best_over(one: str, other: str, arms: Arms) -> float:
    return arms[one].updates_at_best(LEARNED) / arms[other].updates_at_best(LEARNED)


def _highest(row: str, arms: Arms) -> float:
    return _points(_curve(arms, row).max())


def _highest_at_any(kind: str, arms: Arms) -> float:
    return _points(arms[kind].accuracy.max())


def measure(runs: Runs) -> list[Measurement]:
    """What the gates are about."""
    match = "to match the plain network's highest held-out accuracy at the base rate; the paper has"
    best = "to 90 % of held-out samples, each at the rate with the lowest mean training loss"
    ratios: tuple[tuple[str, str, Callable[[Arms], float]], ...] = (
        ("updates of plain over BN, same rate", f"{match} 2.3", partial(_saved, "BN")),
        ("updates of plain over BN ×5", f"{match} 14.8", partial(_saved, "BN ×5")),
        ("updates of plain over BN ×30", f"{match} 11.5", partial(_saved, "BN ×30")),
        ("updates of BN over BN ×5", f"{match} 6.3", partial(_saved, "BN ×5", than="BN")),
        ("updates of BN ×30 over BN ×5", f"{match} 1.3", partial(_saved, "BN ×5", than="BN ×30")),
        ("updates of plain over BN, best rates", best, partial(_best_over, "plain", "BN")),
        (
            "updates of plain over BN, best rates, He",
            f"{best}, plain from He's",
            partial(_best_over, "plain, He", "BN"),
        ),
        ("updates of plain, default over He", best, partial(_best_over, "plain", "plain, He")),
        ("error of the statistics of a channel", "largest, over samples and places, in double precision", _error),
    )
    shares: tuple[tuple[str, str, Callable[[Arms], float]], ...] = (
        ("highest accuracy of plain", "held-out, at the base rate", partial(_highest, "plain")),
        ("gain of BN ×30 in highest accuracy", "over plain at the base rate; the paper has 2.6", _gain),
        ("accuracy of plain ×5 at the end", "held-out; the paper's parameters reach infinity", _at_five_times),
        ("highest accuracy of sigmoid at any rate", "guessing gives 10", partial(_highest_at_any, "sigmoid")),
        ("highest accuracy of BN ×5 with sigmoid", "held-out", partial(_highest, "BN ×5, sigmoid")),
        (
            "highest accuracy of sigmoid, careful start",
            "without batch normalization, weights of deviation 4/√fan-in, at any of its rates",
            partial(_highest_at_any, "sigmoid, careful"),
        ),
    )
    arms = {seed: arms_of(runs, seed) for seed in runs.seeds}
    return [
        Measurement(name=name, says=says, values={seed: value(own) for seed, own in arms.items()}, unit=unit)
        for unit, table in (("", ratios), ("%", shares))
        for name, says, value in table
    ]


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    """The paper's figure and its table, and what all rates do."""
    arms = arms_of(runs, runs.seeds[0])
    curves = plot.figure(
        title="Held-out accuracy, and when the plain network is matched",
        x="updates",
        y="held-out accuracy",
        summary="With batch normalization the accuracy that the plain network reaches at its end, the dotted line, is "
        "reached in a fraction of the updates (diamonds). With sigmoids and without it, nothing is learned.",
    )
    for row in ROWS:
        plot.line(curves, arms[ROWS[row][0]].looks, _curve(arms, row), name=row)
    curves.add_hline(y=goal(arms), line={"dash": "dot", "width": 1})
    matched = [(to_match(arms, row), goal(arms)) for row in ROWS if not math.isnan(to_match(arms, row))]
    plot.points(curves, *zip(*matched, strict=True), name="matched", role="neutral")
    curves.data[-1].marker.update(symbol="diamond", size=10, opacity=1.0)
    needed = plot.figure(
        title=f"Updates until {LEARNED:.0%} of held-out samples are known",
        x="rate",
        y="updates",
        log_x=True,
        log_y=True,
        summary="With batch normalization all rates work. Without it only the lowest do, and with sigmoids none; from "
        "a careful start they do sooner, and with sigmoids, too. No point: never reached.",
    )
    ends = plot.figure(
        title="How much is known at the end",
        x="rate",
        y="held-out accuracy",
        log_x=True,
        summary="The plain network falls back to guessing from five times the base rate on, from either start; with "
        "batch normalization every rate ends near the top. Sigmoids without it guess, but from a careful start learn.",
    )
    for kind, own in arms.items():
        plot.line(needed, own.rates, [own.updates(curve, LEARNED) for curve in own.accuracy], name=kind)
        needed.data[-1].mode = "lines+markers"
        plot.line(ends, own.rates, own.accuracy[:, -1], name=kind)
        ends.data[-1].mode = "lines+markers"
    return {"steps-to-match": curves, "table": _table(runs), "updates": needed, "rates": ends}


def _table(runs: Runs) -> go.Figure:
    """The paper's table, ours beside it."""
    all_arms = [arms_of(runs, seed) for seed in runs.seeds]
    rows = []
    for row, (_, rate, paper) in ROWS.items():
        updates = [to_match(arms, row) for arms in all_arms]
        reached = [count for count in updates if not math.isnan(count)]
        often = "" if len(reached) == len(updates) else f" ({len(reached)} of {len(updates)} seeds)"
        middle = f"{np.median(reached):.0f}{often}" if reached else "never"
        most = np.mean([_curve(arms, row).max() for arms in all_arms])
        rows.append((row, f"{rate:g}", middle, f"{_points(float(most)):.1f}", *paper))
    return plot.table(
        title="Updates to match the plain network, beside the paper's",
        header=("network", "rate", "updates", "highest", "paper: rate", "million updates", "highest"),
        rows=rows,
        widths=(2, 1, 2, 1, 1, 1, 1),
        summary="Ours: median of updates and mean of the highest held-out accuracies (%). The paper's: millions of "
        "updates to 72.2 %, and the highest accuracy (%), on ImageNet (Ioffe & Szegedy 2015, figure 3).",
    )


STUDY = Study(
    name="batch-normalization-cnn",
    title="Batch normalization in a convolutional network",
    chapter=5,
    claim="With batch normalization a network matches the one without it in a fraction of the updates.",
    source="Ioffe & Szegedy 2015, figures 2 and 3; Hung-yi Lee 2021, chapter 5",
    setting="Digits of 8 × 8 pixels, five convolutions of 8 to 16 channels with ReLU or sigmoid, momentum 0.9 in "
    "batches of 32, 700 updates at up to five rates from 0.03, the base, to thirty times as much. Weights as torch "
    "makes them.",
    explains="In a convolutional network a channel is one feature, seen at every place. Its mean and deviation are "
    "therefore taken over all samples of the batch and all places of the image. The first picture is the paper's: "
    "the dotted line is the most that the plain network reaches in its whole training, and a diamond marks where "
    "another network was first as good. The table has the paper's numbers beside ours. Normalized, the network needs "
    "a fraction of the updates at the same rate. Five times that rate leaves the plain network guessing; thirty "
    "times as much still trains the normalized one, more slowly, and to a higher accuracy than the plain one's. With "
    "sigmoids the plain network learns nothing at any rate, and the normalized one does.\n\nIt is not the same in "
    "everything. The paper's higher rate saves most of the updates; here nearly all are saved at the base rate. In "
    "the paper the networks with higher rates also had less weight decay, no dropout and a faster decay of the rate. "
    "And to compare at one rate favours one side, so the third picture gives each network all rates.\n\nThen there "
    "is the start. Torch's own weights are about 0.4 of what would carry a signal through layers of ReLU "
    "undiminished: at first next to nothing arrives at the end, and the plain network waits. Batch normalization "
    "brings each channel to deviation 1 whatever the weights are. So does a careful start: from He's weights the "
    "plain network saves most of these updates without normalization, and a network of sigmoids learns where its "
    "weights make up for the sigmoid's slope of 1/4. What is left for batch normalization is less than the table "
    "says; above all it is the range of rates, which He's start does not widen.",
    gates=(
        Gate(
            measurement="updates of plain over BN, same rate",
            says="at the same rate it matches the plain network in half of the updates, or fewer",
            low=2.0,
            over="geometric mean",
        ),
        Gate(
            measurement="updates of plain over BN ×5",
            says="at five times the rate it matches it in a third of the updates, or fewer",
            low=3.0,
            over="geometric mean",
        ),
        Gate(
            measurement="updates of plain over BN, best rates",
            says="each at its best rate, the plain network needs half as many updates again, or more",
            low=1.5,
            over="geometric mean",
        ),
        Gate(
            measurement="accuracy of plain ×5 at the end",
            says="at five times the rate the plain network ends near guessing",
            high=25.0,
            over="four seeds of five",
        ),
        Gate(
            measurement="updates of BN ×30 over BN ×5",
            says="thirty times the rate is slower than five times, and still matches the plain network",
            low=1.0,
            over="four seeds of five",
        ),
        Gate(
            measurement="gain of BN ×30 in highest accuracy",
            says="at thirty times the rate the highest accuracy is above the plain network's",
            low=0.5,
            over="mean",
        ),
        Gate(
            measurement="highest accuracy of sigmoid at any rate",
            says="with sigmoids and without batch normalization no rate leads beyond guessing",
            high=25.0,
        ),
        Gate(
            measurement="highest accuracy of BN ×5 with sigmoid",
            says="with sigmoids and batch normalization it knows nine in ten",
            low=90.0,
            over="four seeds of five",
        ),
        Gate(
            measurement="highest accuracy of plain",
            says="the plain network learns, so that there is something to match",
            low=80.0,
            over="four seeds of five",
            role="control",
        ),
        Gate(
            measurement="error of the statistics of a channel",
            says="means and deviations are taken over samples and places",
            high=1e-12,
            role="control",
        ),
        Gate(
            measurement="updates of BN over BN ×5",
            says="here five times the rate saves less than half of the updates",
            high=2.0,
            over="geometric mean",
            role="qualification",
        ),
        Gate(
            measurement="updates of plain, default over He",
            says="a careful start alone, He's, saves the plain network nearly half of its updates, or more",
            low=1.8,
            over="geometric mean",
            role="qualification",
        ),
        Gate(
            measurement="highest accuracy of sigmoid, careful start",
            says="with sigmoids, a careful start does without batch normalization",
            low=85.0,
            over="four seeds of five",
            role="qualification",
        ),
    ),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(60, 10),
    data=True,
)
