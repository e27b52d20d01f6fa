"""What the figures are held against: the best rate of a grid, one answer for all, and remedies at random."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from unstuck.ledger import Row
from unstuck.ward.case import Case
from unstuck.ward.scores import CLOSED, Diagnosed, Share, done, grouped

NEAR_RATE, NEAR_END = 2.0, 1.05
"""A rate is right within this factor of the grid's best, or where its loss is within this factor of the best one's."""

RATE_REMEDIES = ("lower-learning-rate", "raise-learning-rate", "decay-learning-rate")


def rates_right(cases: Sequence[Diagnosed], rows: Iterable[Row]) -> Share:
    """Of prescriptions of a rate, how many are near the best of the grid, in rate or in loss."""
    grids = {_place(Case.of(row.settings["case"])): row.result for row in done(rows, "rates")}
    found = [
        near(case.result, grids[_place(case.case)])
        for case in grouped(cases, "faulty")
        if case.case.faults[0].rates
        and _place(case.case) in grids
        and any(step["remedy"] in RATE_REMEDIES for step in case.result["prescription"])
    ]
    return Share(count=sum(found), of=len(found))


def _place(case: Case) -> tuple[str, str, int]:
    return case.host, case.optimizer, case.seed


def near(result: Mapping[str, Any], grid: Mapping[str, Any]) -> bool:
    """Whether a prescribed rate is the grid's best, but for a factor, or gets as far."""
    apart = result["rate"] / grid["best_rate"]
    near_rate = 1 / NEAR_RATE <= apart <= NEAR_RATE
    return near_rate or (result["treated"] is not None and result["treated"] <= NEAR_END * grid["best_end"])


@dataclass(frozen=True, kw_only=True)
class Control:
    """What somebody reaches who does not look: right answers on faults, alarms on healthy trainings, cures."""

    name: str
    right: Share
    alarms: Share
    cures: Share | None = None


def controls(cases: Sequence[Diagnosed], others: Sequence[Diagnosed]) -> list[Control]:
    """One answer for all.

    Args:
        cases: that are answered.
        others: those whose planted causes are counted for the vote of the majority.
    """
    planted = Counter(case.case.faults[0].cause for case in grouped(others, "faulty"))
    majority = planted.most_common(1)[0][0] if planted else "learning-rate-too-high"
    answers = {
        "always learning-rate-too-high": "learning-rate-too-high",
        f"always {majority}, the most frequent": majority,
    }
    well = grouped(cases, "healthy")
    accepted = [case.case.accepted[0] for case in grouped(cases, "faulty")]
    return [
        Control(
            name=name,
            right=Share(count=sum(answer in each for each in accepted), of=len(accepted)),
            alarms=Share(count=len(well), of=len(well)),
        )
        for name, answer in answers.items()
    ]


@dataclass(frozen=True, kw_only=True)
class Search:
    """Remedies at random, without putting one back, against the diagnosis, on the same cases.

    Attributes:
        cases: how many.
        ours: the share of them that the prescription cures.
        our_updates: that our trials took on the average.
        equal: the share that a search at random cures with as many arms.
        updates: that it takes to cure as large a share, on the average; infinite where it never does.
    """

    cases: int
    ours: float
    our_updates: float
    equal: float
    updates: float


def search(cases: Sequence[Diagnosed], rows: Iterable[Row]) -> Search | None:
    """From the rows in which every remedy was tried; None where there are none."""
    tried = {Case.of(row.settings["case"]).name: row.result for row in done(rows, "search")}
    found = [case for case in cases if case.case.name in tried and case.twins is not None]
    if not found:
        return None
    cured = [_cures(case, tried[case.case.name]["ends"]) for case in found]
    all_of_them = [tried[case.case.name]["remedies"] for case in found]
    arms = [sum(trial["arm"] == "remedy" for trial in case.result["trials"]) for case in found]
    price = fmean(_price(case) for case in found)
    ours = fmean(case.closed >= CLOSED for case in found)
    pairs = list(zip(cured, all_of_them, strict=True))
    draws = next((n for n in range(max(all_of_them) + 1) if fmean(_hit(m, r, n) for m, r in pairs) >= ours), math.inf)
    return Search(
        cases=len(found),
        ours=ours,
        our_updates=fmean(case.trial_updates for case in found),
        equal=fmean(_hit(m, r, n) for (m, r), n in zip(pairs, arms, strict=True)),
        updates=draws * price,
    )


def _cures(case: Diagnosed, ends: Mapping[str, float | None]) -> int:
    """How many remedies alone close the gap."""
    assert case.twins is not None
    closed = [case.twins.closed(math.inf if end is None else end) for name, end in ends.items() if name != "non_finite"]
    return sum(part >= CLOSED for part in closed)


def _price(case: Diagnosed) -> float:
    """Updates of one arm of its trials, the share of the untouched and the A/A arm in it; 0 without any."""
    arms = sum(trial["arm"] == "remedy" for trial in case.result["trials"])
    return case.trial_updates / arms if arms else 0.0


def _hit(cures: int, remedies: int, draws: int) -> float:
    """The probability that ``draws`` of the remedies, none twice, hold one that cures (hypergeometric)."""
    draws = min(draws, remedies)
    return 1 - math.comb(remedies - cures, draws) / math.comb(remedies, draws)
