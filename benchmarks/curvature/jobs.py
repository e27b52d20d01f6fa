"""The questions that every tool is asked, where, and how its answers are judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from benchmarks.curvature import reference
from benchmarks.curvature.workloads import Workload, load
from torch import Tensor

GRID = 25
"""Points along each side of a landscape."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a tool found; the job says what is in it.

    Attributes:
        found: the numbers asked for.
        bounds: the errors that the tool itself states, in the shape of ``found``.
        products: Hessian-vector products that it took.
        plane: of a landscape, the two steps from its centre to its border, each of shape (dimension,).
    """

    found: Tensor
    bounds: Tensor | None = None
    products: int | None = None
    plane: tuple[Tensor, Tensor] | None = None


Solve = Callable[[int], Answer]
"""Seed → answer: what is timed."""

Adapter = Callable[[Workload], Solve]
"""A tool's way to do a job; what it prepares before the first answer counts for products apart."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """An answer against the truth: a relative error, and what else is worth a word."""

    error: float
    note: str = ""


@dataclass(frozen=True, order=True)
class Place:
    """A workload, or its first samples alone."""

    workload: str
    samples: int | None = None

    def load(self) -> Workload:
        """The workload, cut to the samples."""
        whole = load(self.workload)
        return whole if self.samples is None else whole.part(self.samples)

    def __str__(self) -> str:
        return self.workload if self.samples is None else f"{self.workload} ({self.samples})"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One question.

    Attributes:
        title: of its table.
        places: where it is asked.
        judge: the verdict on an answer.
        of_passes: forward passes that one unit of the cost is; None: the unit is one gradient.
    """

    title: str
    places: tuple[Place, ...]
    judge: Callable[[Place, Answer], Verdict]
    of_passes: int | None = None


def relative(found: Tensor, true: Tensor) -> Tensor:
    """|found − true| / |true|, entry by entry."""
    return (found.double() - true).abs() / true.abs()


def bounds_note(answer: Answer, true: Tensor) -> str:
    """Whether the truth lies within the stated bounds; rounding of float32 is granted."""
    if answer.bounds is None:
        return "none"
    gap = (answer.found.double() - true).abs() - answer.bounds.double()
    return "hold" if bool((gap <= 1e-5 * true.abs().max()).all()) else "broken"


def judge_product(place: Place, answer: Answer) -> Verdict:
    """‖found − Hv‖ / ‖Hv‖."""
    true = reference.product(place.workload, place.samples)
    return Verdict(error=float((answer.found.double() - true).norm() / true.norm()))


def judge_largest(place: Place, answer: Answer) -> Verdict:
    """The worst of ten relative errors; both sides are sorted by magnitude."""
    true = reference.largest(place.workload)
    return Verdict(error=float(relative(answer.found, true).max()), note=bounds_note(answer, true))


def judge_lowest(place: Place, answer: Answer) -> Verdict:
    """The relative error of the most negative eigenvalue."""
    true = reference.spectrum(place.workload)[:1]
    return Verdict(error=float(relative(answer.found, true)), note=bounds_note(answer, true))


def judge_density(place: Place, answer: Answer) -> Verdict:
    """Nodes and weights, shape (2, runs, steps): the worst of the ten largest nodes of each run."""
    nodes, weights = answer.found.double()
    true = reference.largest(place.workload)
    tops = [run[run.abs().argsort(descending=True)[: len(true)]] for run in nodes]
    heaviest = float((weights.sum(1) - 1).abs().max())
    return Verdict(
        error=max(float(relative(top, true).max()) for top in tops),
        note="sum to 1" if heaviest < 1e-3 else f"off by {heaviest:.0e}",
    )


def judge_trace(place: Place, answer: Answer) -> Verdict:
    """The deviation from the mean of very many probes; most of it is the chance of the few."""
    true, _ = reference.trace(place.workload)
    error = abs(float(answer.found) - true) / abs(true)
    stated = "none" if answer.bounds is None else f"{float(answer.bounds) / abs(true):.1%}".replace("%", " %")
    return Verdict(error=error, note=stated)


def judge_whole(place: Place, answer: Answer) -> Verdict:
    """The worst error of all eigenvalues, ascending, by the largest of them."""
    true = reference.spectrum(place.workload)
    return Verdict(error=float((answer.found.double() - true).abs().max() / true.abs().max()))


def judge_landscape(place: Place, answer: Answer) -> Verdict:
    """Losses at the centre, the corners and the middles of the sides; the centre alone where the plane is unknown."""
    ends = (-1, 0, 1) if answer.plane is not None else (0,)
    zero = torch.zeros(place.load().dimension)
    first, second = answer.plane or (zero, zero)
    true = reference.losses(place.workload, [a * first + b * second for a in ends for b in ends])
    middle = GRID // 2
    found = torch.stack([answer.found[middle + a * middle, middle + b * middle] for a in ends for b in ends])
    return Verdict(
        error=float(relative(found, true).max()), note="9 points" if answer.plane is not None else "the centre"
    )


W1, W2, W3, W4 = Place("W1"), Place("W2", 256), Place("W3", 48), Place("W4")

JOBS = {
    "product": Job(title="One Hessian-vector product", places=(W1, W2, W3, W4), judge=judge_product),
    "top10": Job(title="The ten eigenvalues of largest magnitude to 1e-3", places=(W1, W4), judge=judge_largest),
    "saddle": Job(title="The most negative eigenvalue", places=(W1,), judge=judge_lowest),
    "density": Job(title="Spectral density, 3 runs of 80 steps", places=(W1,), judge=judge_density),
    "trace": Job(title="Trace, 20 probes", places=(W1,), judge=judge_trace),
    "whole": Job(title="The whole Hessian and all its eigenvalues", places=(W4,), judge=judge_whole),
    "landscape": Job(
        title=f"Loss landscape, {GRID} × {GRID}", places=(W1,), judge=judge_landscape, of_passes=GRID * GRID
    ),
}
"""Name → job, in the order of the tables."""

MEMORY = {"product": (Place("W1"), Place("W2", 512), Place("W3", 64)), "top10": (Place("W1"),)}
"""Job → where its peak memory is measured."""
