"""Gates: the inequalities that a claim stands or falls with, written down before any run that they judge.

What is measured has one number for each seed, and the same seed means the same start and the same order of the data in
all arms of a study, so that a ratio or a difference of two arms is a paired one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy.special import bdtrc

from unstuck.errors import InputError
from unstuck.numerics.statistics import Interval, mean

Verdict = Literal["agrees", "agrees with qualification", "does not reproduce here"]

Over = Literal["every seed", "four seeds of five", "mean", "median", "geometric mean"]
"""What of the seeds must lie within the bounds. A geometric mean, of ratios, asks besides that each seed's ratio lies
on the same side of 1 as the bound does."""

Role = Literal["claim", "control", "qualification"]
"""What a gate says about the claim: it is the claim, or a part of it; a control, without which nothing could be
concluded; or what has to be said against it, so that a gate that holds qualifies the claim."""

MOST = 0.8
"""Of the seeds, four in five."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One number for each seed.

    Attributes:
        name: in words; gates call it by this name.
        says: what it is, in a sentence.
        values: by seed; NaN where it could not be measured.
        unit: of the values, nothing for pure numbers.
    """

    name: str
    says: str
    values: Mapping[int, float]
    unit: str = ""

    def __post_init__(self) -> None:
        plain = {int(seed): float(value) for seed, value in self.values.items()}  # numpy's numbers are no JSON
        object.__setattr__(self, "values", plain)


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Bounds on a measurement.

    Attributes:
        measurement: its name.
        says: what is so where the gate holds, in a sentence.
        low: the lower bound, which may be reached.
        high: the upper one.
        over: what of the seeds must lie within.
        role: what it says about the claim.

    Raises:
        InputError: it has no bounds, or they cross, or there is no such role or rule.
    """

    measurement: str
    says: str
    low: float = -math.inf
    high: float = math.inf
    over: Over = "every seed"
    role: Role = "claim"

    def __post_init__(self) -> None:
        if math.isinf(self.low) and math.isinf(self.high):
            raise InputError(f"the gate on {self.measurement!r} has no bound; give `low`, `high`, or both")
        if not self.low <= self.high:
            raise InputError(f"the gate on {self.measurement!r}: its bounds {self.low} and {self.high} cross")
        for name, given, known in (("over", self.over, get_args(Over)), ("role", self.role, get_args(Role))):
            if given not in known:
                raise InputError(
                    f"the gate on {self.measurement!r}: `{name}` is one of {', '.join(known)}; got {given!r}"
                )

    @property
    def inequality(self) -> str:
        """As one reads it: ``0.5 ≤ minimum ratio ≤ 0.6, mean of the seeds``."""
        low = "" if math.isinf(self.low) else f"{self.low:g} ≤ "
        high = "" if math.isinf(self.high) else f" ≤ {self.high:g}"
        over = self.over if "seed" in self.over else f"{self.over} of the seeds"
        return f"{low}{self.measurement}{high}, {over}"

    def within(self, value: float) -> bool:
        """Whether a number lies within the bounds; NaN does not."""
        return self.low <= value <= self.high

    def check(self, measurement: Measurement) -> Checked:
        """Whether the seeds pass. Raises InputError where there is none."""
        values = list(measurement.values.values())
        if not values:
            raise InputError(f"{measurement.name!r} was measured for no seed, so its gate cannot be checked")
        agreeing = sum(map(self.within, values))
        value, holds = RULES[self.over](self, values)
        finite = len(values) > 1 and all(map(math.isfinite, values))
        return Checked(
            gate=self,
            holds=holds,
            value=value,
            interval=mean(values).interval() if finite else None,
            count=len(values),
            agreeing=agreeing,
            p_value=float(bdtrc(agreeing - 1, len(values), 0.5)) if agreeing else 1.0,
        )


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A gate, and what came out.

    Attributes:
        gate: the gate.
        holds: whether it is passed.
        value: the number that stands for all seeds: the one farthest from passing, or their mean or median.
        interval: of the mean, Student's at 95 %; None with one seed, or one that could not be measured.
        count: seeds.
        agreeing: seeds that lie within the bounds each by itself.
        p_value: the sign test's: the probability of so many or more, were a seed's side a coin's.
    """

    gate: Gate
    holds: bool
    value: float
    interval: Interval | None
    count: int
    agreeing: int
    p_value: float


def _worst(gate: Gate, values: Sequence[float]) -> float:
    """The value that is the farthest outside, or the nearest to a bound from inside."""
    if any(map(math.isnan, values)):
        return math.nan
    return max(values, key=lambda value: max(gate.low - value, value - gate.high))


def _every(gate: Gate, values: Sequence[float]) -> tuple[float, bool]:
    return _worst(gate, values), all(map(gate.within, values))


def _four_of_five(gate: Gate, values: Sequence[float]) -> tuple[float, bool]:
    enough = sum(map(gate.within, values)) >= math.ceil(MOST * len(values))
    measured = [value for value in values if not math.isnan(value)]  # the fifth may have none
    return float(np.median(measured if enough else values)), enough


def _mean(gate: Gate, values: Sequence[float]) -> tuple[float, bool]:
    value = float(np.mean(values))
    return value, gate.within(value)


def _median(gate: Gate, values: Sequence[float]) -> tuple[float, bool]:
    value = float(np.median(values))
    return value, gate.within(value)


def _geometric_mean(gate: Gate, values: Sequence[float]) -> tuple[float, bool]:
    if not all(value > 0 for value in values):
        return math.nan, False
    value = float(np.exp(np.mean(np.log(values))))
    sides = all((gate.low <= 1 or one > 1) and (gate.high >= 1 or one < 1) for one in values)
    return value, gate.within(value) and sides


RULES: Mapping[Over, Callable[[Gate, Sequence[float]], tuple[float, bool]]] = {
    "every seed": _every,
    "four seeds of five": _four_of_five,
    "mean": _mean,
    "median": _median,
    "geometric mean": _geometric_mean,
}


def verdict_of(checked: Sequence[Checked]) -> Verdict:
    """What the gates of a study say together.

    The first claim is the heart of the matter: where it fails, or a control does, nothing is reproduced. Where every
    claim holds and nothing qualifies them, the study agrees; anything between is an agreement with qualification.
    """
    claims = [one.holds for one in checked if one.gate.role == "claim"]
    controls = [one.holds for one in checked if one.gate.role == "control"]
    qualified = [one.holds for one in checked if one.gate.role == "qualification"]
    if not claims[0] or not all(controls):
        return "does not reproduce here"
    return "agrees" if all(claims) and not any(qualified) else "agrees with qualification"
