"""The proof of a cause: what has to hold besides a remedy that works (docs/decisions/0012).

Each element is a question with an answer in numbers: does the specific remedy beat the untouched training; does its
opposite not help as much; does more of it do more, up to a best dose; does the quantity that the cause works through
move before the loss follows; does the fault, put back into the cured training, bring the failure back. All that can be
asked have to be answered with yes: a conjunction of tests at a level is itself a test at that level (Berger 1982,
"Multiparameter hypothesis testing and acceptance sampling").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from unstuck.budget import Cost
from unstuck.decision import MATERIAL, SIGNIFICANT
from unstuck.numerics.statistics import paired_difference

Element = Literal["control", "opposite", "dose-response", "mediator", "re-planting"]
Outcome = Literal["passed", "failed", "not applicable", "not run"]


@dataclass(frozen=True, kw_only=True)
class Proof:
    """One element of a proof.

    Attributes:
        expected: what it has to be, in a sentence.
        says: what was found, or why it was not looked for.
        numbers: what that rests on.
        cost: of measuring; walks are counted with the trials.
    """

    element: Element
    outcome: Outcome
    expected: str
    says: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)


def proves(proofs: Sequence[Proof]) -> bool:
    """Whether every element that applies has passed, and enough of them apply.

    The mediator has to: it alone is of the cause, the others are of the remedy, which other causes may share. And of
    dose-response and re-planting one: both show more than the trial did.
    """
    return not obstacle(proofs)


def refuted(proofs: Sequence[Proof]) -> bool:
    """Whether something that follows from the cause does not hold."""
    return any(proof.outcome == "failed" for proof in proofs)


def obstacle(proofs: Sequence[Proof]) -> str:
    """What stands in the way of a proof, in a few words; empty where nothing does."""
    outcomes = dict.fromkeys(get_args(Element), "not run") | {proof.element: proof.outcome for proof in proofs}
    for outcome, what in (("failed", "failed"), ("not run", "was not run")):
        if found := [element for element in outcomes if outcomes[element] == outcome]:
            return f"{' and '.join(found)} {what}"
    if outcomes["mediator"] == "not applicable":
        return "what it works through cannot be read"
    if outcomes["dose-response"] == outcomes["re-planting"] == "not applicable":
        return "neither dose-response nor re-planting applies"
    return ""


@dataclass(frozen=True, kw_only=True)
class Doses:
    """Where doses of one remedy end, weakest first, each under the same orders.

    Attributes:
        setting: what differs.
        values: of the setting.
        losses: own loss after H updates and the tail, shape (doses, orders).
        untouched: that of the untouched arm, shape (orders,).
        peaks: whether too much of it is predicted to be worse than the best dose.
    """

    setting: str
    values: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]
    untouched: tuple[float, ...]
    peaks: bool


def dose_response(doses: Doses) -> Proof:
    """More of a remedy does more, up to a best dose, and beyond it no more; with rates, clearly less.

    Comparisons of doses are paired over orders and one-sided, at 5 %.
    """
    means = [sum(losses) / len(losses) for losses in doses.losses]
    best = min(range(len(means)), key=means.__getitem__)

    def below(one: int, other: int) -> bool:
        """Whether one dose ends beyond noise below another."""
        return paired_difference(doses.losses[other], doses.losses[one]).p_value <= SIGNIFICANT

    reversals = [
        *(k for k in range(best) if below(k, k + 1)),
        *(k for k in range(best, len(means) - 1) if below(k + 1, k)),
    ]
    last = len(means) - 1
    rises, falls = best > 0 and below(best, 0), best < last and below(best, last)
    shaped = not reversals and (falls if doses.peaks else rises or falls)
    shape = "rises to a best dose and falls beyond it" if doses.peaks else "rises to a best dose"
    found = [f"the best of {len(means)} doses is {doses.setting} = {doses.values[best]:.3g}"]
    found += [_than(doses, means, end, worse) for end, worse in ((0, rises), (last, falls)) if end != best]
    found += ["between them the response turns back"] * bool(reversals)
    return Proof(
        element="dose-response",
        outcome="passed" if shaped else "failed",
        expected=f"the response {shape}",
        says="; ".join(found),
        numbers={
            "setting": doses.setting,
            "doses": doses.values,
            "losses": doses.losses,
            "untouched": doses.untouched,
        },
    )


def _than(doses: Doses, means: Sequence[float], dose: int, worse: bool) -> str:
    end = "weakest" if dose == 0 else "strongest"
    how = "is clearly worse" if worse else "is not clearly worse"
    return f"the {end}, {doses.values[dose]:.3g}, {how} ({means[dose]:.3g} against {min(means):.3g})"


@dataclass(frozen=True, kw_only=True)
class Point:
    """A mediator and the own loss at one place of a walk, and what it did cost to read them."""

    update: int
    value: float
    loss: float
    cost: Cost = field(default_factory=Cost)


@dataclass(frozen=True, kw_only=True)
class Course:
    """A mediator and the loss along two walks that start from one state.

    Attributes:
        says: what the mediator is.
        rises: whether a cure lets it rise, or fall.
        treated: places of the treated walk, the first right after the treatment.
        untouched: the same places of the untouched walk, as far as they were read; the first is before the treatment.
    """

    says: str
    rises: bool
    treated: Sequence[Point]
    untouched: Sequence[Point]

    def moved(self, points: Sequence[Point]) -> list[float]:
        """How far the mediator has moved at each place, the way that a cure moves it."""
        sign = 1 if self.rises else -1
        return [sign * (point.value - self.untouched[0].value) for point in points]

    @property
    def fallen(self) -> list[float]:
        """How far the loss of the treated walk has fallen at each place."""
        return [self.untouched[0].loss - point.loss for point in self.treated]

    @property
    def moved_at(self) -> int:
        """At which place the mediator of the treated walk has moved half of its way."""
        return _half(self.moved(self.treated))


def _half(way: Sequence[float]) -> int:
    """The first place at which half of the farthest is reached."""
    farthest = max(way)
    return next(place for place, far in enumerate(way) if far >= min(farthest, farthest / 2))


def _shares(way: Sequence[float]) -> list[float]:
    """Of the farthest that was reached; none where the way leads back."""
    return [far / max(way) for far in way] if max(way) > 0 else []


def mediator_first(course: Course) -> Proof:
    """The mediator makes half of its way at once, or before the loss half of its fall; and not by itself."""
    before, moved, first = course.untouched[0], course.moved(course.treated), course.moved_at
    follows = _half(course.fallen)
    by_itself = max(course.moved(course.untouched[: first + 1])) >= max(moved) / 2
    leads = first == 0 or first < follows
    passed = max(moved) > 0 and max(course.fallen) > 0 and leads and not by_itself
    farthest = course.treated[moved.index(max(moved))].value
    found = (
        f"{course.says} goes from {before.value:.3g} to {farthest:.3g}, half of the way by update "
        f"{course.treated[first].update}; the loss has made half of its fall by update {course.treated[follows].update}"
    )
    if by_itself:
        found += "; in the untouched training it moves as much by then"
    way = "rises" if course.rises else "falls"
    return Proof(
        element="mediator",
        outcome="passed" if passed else "failed",
        expected=f"{course.says} {way} before the loss falls, and only where it is treated",
        says=found,
        numbers={
            "updates": [point.update for point in course.treated],
            "treated": [point.value for point in course.treated],
            "untouched": [point.value for point in course.untouched],
            "loss": [point.loss for point in course.treated],
            "moved": _shares(moved),
            "fallen": _shares(course.fallen),
        },
        cost=sum((point.cost for point in (*course.treated, *course.untouched)), Cost()),
    )


@dataclass(frozen=True, kw_only=True)
class Replanting:
    """Where three arms end after 2H updates and the tail, under the same orders."""

    at: int
    untouched: tuple[float, ...]
    treated: tuple[float, ...]
    replanted: tuple[float, ...]


def fault_returns(ends: Replanting) -> Proof:
    """With the fault put back, a material part of what the cure had gained is lost again, beyond noise."""
    lost = paired_difference(ends.replanted, ends.treated)
    gained = sum(ends.untouched) / len(ends.untouched) - sum(ends.treated) / len(ends.treated)
    share = lost.mean / gained if gained > 0 else math.nan
    passed = lost.p_value <= SIGNIFICANT and share >= MATERIAL
    return Proof(
        element="re-planting",
        outcome="passed" if passed else "failed",
        expected=f"at least {MATERIAL:.0%} of the gain is lost where the fault is put back",
        says=f"put back after {ends.at} updates, it costs {share:.0%} of the gain: the loss ends "
        f"{lost.mean:.3g} higher than with the cure (p = {lost.p_value:.2g})",
        numbers={
            "at": ends.at,
            "untouched": ends.untouched,
            "treated": ends.treated,
            "replanted": ends.replanted,
            "interval": (lost.interval.low, lost.interval.high),
        },
    )
