"""From rows of the ledger to the figures that the tool is held to, each with its interval."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median
from typing import Any

from unstuck.ledger import Row
from unstuck.numerics.statistics import Interval, share_interval
from unstuck.ward import design
from unstuck.ward.case import Case
from unstuck.ward.outcome import Twins

CLOSED = 0.8
"""Share of the gap to the mended training from which a prescription counts as a cure."""

HARM = 1.05
"""A healthy training that ends above so many times its untouched loss was made worse."""

NO_ANSWER = "unknown"


@dataclass(frozen=True, kw_only=True)
class Diagnosed:
    """One diagnosis of one case.

    Attributes:
        case: what was diagnosed.
        result: its row, as :mod:`unstuck.ward.run` gives it.
        twins: where it ends as it is and mended; None where nothing is planted, or that is not known.
    """

    case: Case
    result: Mapping[str, Any]
    twins: Twins | None

    @property
    def answers(self) -> tuple[str, ...]:
        """The causes that are named, the diagnosis first."""
        cause = self.result["cause"]
        named = () if cause == NO_ANSWER else (cause,)
        return tuple(dict.fromkeys((*named, *self.result["candidates"])))

    @property
    def right(self) -> bool:
        """Whether the diagnosis is an accepted answer."""
        return any(self.result["cause"] in accepted for accepted in self.case.accepted)

    @property
    def right_in_two(self) -> bool:
        """Whether one of the first two answers is."""
        return any(answer in accepted for accepted in self.case.accepted for answer in self.answers[:2])

    @property
    def both_named(self) -> bool:
        """Of two faults, whether each is the diagnosis or the cause of a step of the prescription."""
        named = {self.result["cause"], *(step["cause"] for step in self.result["prescription"])}
        return all(named & set(accepted) for accepted in self.case.accepted)

    @property
    def unknown(self) -> bool:
        """Whether the diagnosis is that the evidence does not decide."""
        return bool(self.result["cause"] == NO_ANSWER)

    @property
    def false_alarm(self) -> bool:
        """Whether a fault is named where there is none."""
        return self.case.group == "healthy" and not self.right and not self.unknown

    @property
    def curable(self) -> bool:
        """Whether all that is planted can be mended by a remedy."""
        return self.case.group != "healthy" and all(fault.curable for fault in self.case.faults)

    @property
    def closed(self) -> float:
        """The share of the gap that the prescription closes; 0 without one."""
        if self.twins is None or "treated" not in self.result:
            return 0.0
        treated = self.result["treated"]
        return self.twins.closed(math.inf if treated is None else treated)

    @property
    def harmed(self) -> bool:
        """Whether a healthy training is worse off with what was prescribed."""
        if self.case.group != "healthy" or "treated" not in self.result:
            return False
        treated, untouched = self.result["treated"], self.result["untouched"]
        return untouched is not None and (treated is None or treated > HARM * untouched)

    @property
    def trial_updates(self) -> int:
        """That the arms of its trials have walked."""
        return sum(trial["updates"] for trial in self.result["trials"])


def diagnosed(rows: Iterable[Row]) -> list[Diagnosed]:
    """The diagnoses among the rows that are done."""
    known = design.twins()
    cases = [(Case.of(row.settings["case"]), row.result) for row in done(rows, "diagnosis")]
    return [Diagnosed(case=case, result=result, twins=known.get(case.name)) for case, result in cases]


def done(rows: Iterable[Row], kind: str) -> list[Row]:
    """The rows of one kind that are done."""
    return [row for row in rows if row.state == "done" and row.settings["run"] == kind]


@dataclass(frozen=True, kw_only=True)
class Share:
    """How many of how many, with Wilson's 95 % interval."""

    count: int
    of: int

    @property
    def value(self) -> float:
        """Their ratio; NaN of nothing."""
        return self.count / self.of if self.of else math.nan

    @property
    def interval(self) -> Interval:
        """Of the ratio, where there is one."""
        return share_interval(self.value, self.of)

    def __str__(self) -> str:
        if not self.of:
            return "–"
        return f"{self.value:.0%} ({self.count}/{self.of}; {self.interval.low:.0%}–{self.interval.high:.0%})"


def share(cases: Iterable[Diagnosed], holds: Callable[[Diagnosed], bool]) -> Share:
    """Of how many cases something holds."""
    found = [holds(case) for case in cases]
    return Share(count=sum(found), of=len(found))


def grouped(cases: Sequence[Diagnosed], *groups: str) -> list[Diagnosed]:
    """Those of some groups."""
    return [case for case in cases if case.case.group in groups]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One of the figures to reach.

    Attributes:
        name: what it is of.
        aim: what is asked for, in words.
        measure: what a set of diagnoses has reached, in words.
    """

    name: str
    aim: str
    measure: Callable[[Sequence[Diagnosed]], str]


FIGURES = (
    Figure(
        name="cause named first",
        aim="≥ 90 %",
        measure=lambda cases: str(share(grouped(cases, "faulty"), lambda case: case.right)),
    ),
    Figure(
        name="cause in the first two",
        aim="≥ 97 %",
        measure=lambda cases: str(share(grouped(cases, "faulty"), lambda case: case.right_in_two)),
    ),
    Figure(
        name="fault called healthy",
        aim="–",
        measure=lambda cases: str(share(grouped(cases, "faulty"), lambda case: case.result["cause"] == "healthy")),
    ),
    Figure(
        name="false alarms on healthy trainings",
        aim="≤ 2 %",
        measure=lambda cases: str(share(grouped(cases, "healthy"), lambda case: case.false_alarm)),
    ),
    Figure(
        name="unknown",
        aim="≤ 5 %",
        measure=lambda cases: str(share(grouped(cases, "faulty", "healthy"), lambda case: case.unknown)),
    ),
    Figure(
        name=f"prescription closes {CLOSED:.0%} of the gap, curable faults",
        aim="≥ 90 %",
        measure=lambda cases: str(share(_curable(cases), lambda case: case.closed >= CLOSED)),
    ),
    Figure(
        name="healthy trainings made worse",
        aim="none",
        measure=lambda cases: str(share(grouped(cases, "healthy"), lambda case: case.harmed)),
    ),
    Figure(
        name="both of two faults named",
        aim="≥ 70 %",
        measure=lambda cases: str(share(grouped(cases, "double"), lambda case: case.both_named)),
    ),
    Figure(
        name="processor seconds, median and most",
        aim="≤ 60, ≤ 180",
        measure=lambda cases: _median_and_most([case.result["cpu_seconds"] for case in cases]),
    ),
    Figure(
        name="updates, median and most",
        aim="≤ 2,000",
        measure=lambda cases: _median_and_most([case.result["updates"] for case in cases]),
    ),
)


def _curable(cases: Sequence[Diagnosed]) -> list[Diagnosed]:
    return [case for case in grouped(cases, "faulty") if case.curable]


def _median_and_most(values: Sequence[float]) -> str:
    return f"{median(values):,.0f}, {max(values):,.0f}" if values else "–"


def confusion(cases: Sequence[Diagnosed]) -> dict[tuple[str, str], int]:
    """(planted cause, named cause) → how often; where the answer is accepted it counts as the planted one."""
    found = [case for case in cases if case.case.group != "double"]
    return dict(Counter((_planted(case), _named(case)) for case in found))


def _planted(case: Diagnosed) -> str:
    return case.case.accepted[0][0]


def _named(case: Diagnosed) -> str:
    return _planted(case) if case.right else str(case.result["cause"])


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Diagnoses of about one confidence: how many of them are right."""

    confidence: float
    right: Share


EDGES = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.01)
"""Of the bins of confidence."""


def reliability(cases: Sequence[Diagnosed]) -> list[Bin]:
    """By confidence, how often the diagnosis is right; empty bins are left out."""
    found = []
    for low, high in pairwise(EDGES):
        inside = [case for case in cases if low <= case.result["confidence"] < high and case.case.group != "double"]
        if inside:
            mean = fmean(case.result["confidence"] for case in inside)
            found.append(Bin(confidence=mean, right=share(inside, lambda case: case.right)))
    return found


def calibration_error(bins: Sequence[Bin]) -> float:
    """Σ (nᵦ/n) |right − confidence|: the expected calibration error (Naeini et al. 2015); NaN of nothing."""
    total = sum(each.right.of for each in bins)
    return sum(each.right.of * abs(each.right.value - each.confidence) for each in bins) / total if total else math.nan
