"""How a trial decides: from the ends of its arms, as plain numbers, to verdicts (docs/decisions/0001)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from unstuck.numerics.statistics import Interval, Paired, holm, paired_difference, pooled_difference

Verdict = Literal["better", "same", "worse", "failed", "reference"]

SIGNIFICANT = 0.05
"""Of one-sided paired tests, after Holm's correction over the remedy arms; shared out over the looks at them."""

MATERIAL = 0.2
"""Share of the untouched arm's excess loss that a cure removes at least."""

LEFT_BEHIND = MATERIAL / 4
"""Share of the excess loss that an arm has to remove of one that learns nothing: what a network that has to start anew
gets done within the few dozen updates of a trial is a small part of all there is to learn (5 to 8 % where it was tried,
weights of zero in a perceptron), and more than chance."""

EQUAL = 0.1
"""Share of the best gain within which another counts as equal."""

HOPELESS = 1e9
"""What a run scores that never had a finite loss."""


@dataclass(frozen=True, kw_only=True)
class Ends:
    """Where the runs of an arm ended, one per order: after H updates and after 2H, each with its tail."""

    half: tuple[float, ...]
    full: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is decided of one arm."""

    interval: Interval
    """Of the untouched arm's loss minus this one's: above zero this arm is better."""
    gain: float
    """Share of the untouched arm's excess loss that this arm removed; negative where it added."""
    verdict: Verdict
    because: str
    differences: tuple[float, ...] = ()
    """What the interval is of, order by order; a run that went astray counts as having stayed where it was."""
    undecided: bool = False
    """The gain is material, but not beyond noise: more orders may decide."""
    promising: bool = False
    """Undecided, or a gain of :data:`LEFT_BEHIND` that is no chance, and not material yet: a longer walk may decide."""


def failed(because: str) -> Decision:
    """What is decided of an arm that could not be walked."""
    nothing = Interval(low=-math.inf, high=math.inf, confidence=0.95)
    return Decision(interval=nothing, gain=math.nan, verdict="failed", because=because)


def level_of_look(look: int, looks: int) -> float:
    """The share of α, :data:`SIGNIFICANT`, that a look at the arms may spend: α/2ᵏ the k-th, the last all that is left.

    Whatever their number, they spend α together. So an arm that does nothing is called better at any of them with
    probability α at most: by Bonferroni's inequality over the looks, however they depend on each other, and Holm's
    procedure within each (alpha spending: Lan & DeMets 1983, "Discrete sequential boundaries for clinical trials").

    Args:
        look: k, from 1.
        looks: how many there are at most, settled before the first of them.
    """
    return SIGNIFICANT * 0.5 ** min(look, looks - 1)


def decide(
    untouched: Ends,
    again: Ends,
    treated: Sequence[Ends],
    *,
    start: float,
    lowers_rate: Sequence[bool],
    idle: bool = False,
    level: float = SIGNIFICANT,
) -> tuple[Decision, ...]:
    """Decide the A/A arm and every treated arm, in this order.

    Args:
        untouched, again, treated: the ends of the arms; an arm may have been run under fewer orders, the first.
        start: the loss where all arms began.
        lowers_rate: of each treated arm, whether its gain must not shrink as the horizon doubles.
        idle: whether the untouched arm has learned nothing: it does no better than a constant answer.
        level: what the corrected p-values have to be at or below; see :func:`level_of_look`.
    """
    start = start if math.isfinite(start) else HOPELESS
    capped = [_capped(ends, start) for ends in (untouched, again, *treated)]
    reference = capped[0]
    apart = pooled_difference(reference.full, capped[1].full)
    noise = max(abs(apart.low), abs(apart.high))
    paired = [_paired(reference, ends) for ends in capped[2:]]
    corrected = holm([each.p_value for each in paired])
    lowest = min(0.0, *(value for ends in capped for value in ends.full))
    decisions = [
        Decision(
            interval=apart,
            gain=share(_mean(reference.full), _mean(capped[1].full), lowest),
            verdict="reference",
            because="the same recipe under other data orders: the noise that a difference has to exceed",
            differences=_differences(reference, capped[1]),
        )
    ]
    for number, ends in enumerate(capped[2:]):
        arm = _Arm(
            untouched=reference,
            treated=ends,
            start=start,
            floor=lowest,
            noise=noise,
            clear=_clear(ends, (*reference.full, *capped[1].full), arms=len(treated), level=level),
            p_value=corrected[number],
            level=level,
            idle=idle,
            lowers_rate=lowers_rate[number],
        )
        decisions.append(arm.decision(paired[number], _ruined(untouched, treated[number], noise)))
    return tuple(decisions)


@dataclass(frozen=True, kw_only=True)
class _Arm:
    """A treated arm beside the untouched one, both capped at the start."""

    untouched: Ends
    treated: Ends
    start: float
    floor: float
    noise: float
    clear: bool
    p_value: float
    level: float
    idle: bool
    lowers_rate: bool

    @property
    def removed(self) -> float:
        """Share of the excess loss, after 2H."""
        return share(_mean(self.untouched.full), _mean(self.treated.full), self.floor)

    def decision(self, paired: Paired, ruined: tuple[Verdict, str, bool] | None) -> Decision:
        """What is decided of it, and whether it gains by itself, order by order, though it be little."""
        verdict, because, undecided = ruined or self.verdict()
        gains = paired.mean > 0 and paired.p_value <= SIGNIFICANT
        return Decision(
            interval=paired.interval,
            gain=self.removed,
            verdict=verdict,
            because=because,
            differences=_differences(self.untouched, self.treated),
            undecided=undecided,
            promising=verdict == "same" and (undecided or (gains and self.removed >= LEFT_BEHIND)),
        )

    def verdict(self) -> tuple[Verdict, str, bool]:
        """Better: material, lasting, beyond the noise, and significant."""
        before = _mean(self.untouched.full)
        gain = before - _mean(self.treated.full)
        removed_at_half = share(_mean(self.untouched.half), _mean(self.treated.half), self.floor)
        walked_down = share(self.start, before, self.floor) >= MATERIAL / 2
        ahead = before - _mean(self.treated.half)
        # Any arm gets sooner to where one without progress is. It leaves one behind that learns nothing at all.
        leaves_behind = self.idle and ahead > self.noise and self.removed >= LEFT_BEHIND
        twice_as_fast = ahead >= 0 if walked_down else leaves_behind
        if self.lowers_rate and removed_at_half > 0 and self.removed < removed_at_half / 2:
            says = f"the gain shrinks as the horizon doubles, from {removed_at_half:.0%} to {self.removed:.0%}"
            return "same", says, False
        material = self.removed >= MATERIAL or (gain > 0 and twice_as_fast)
        if gain <= self.noise and not self.clear:
            says = f"the difference of {gain:.3g} is within the noise of {self.noise:.3g} between data orders"
            return "same", says, material
        if not material:
            return "same", f"it removes {self.removed:.0%} of the excess loss, which is not material", False
        if self.p_value > self.level:
            says = f"the difference of {gain:.3g} is not significant (corrected p = {self.p_value:.2f})"
            return "same", says, True
        speed = "; it needs at most half the updates" if twice_as_fast else ""
        return "better", f"it removes {self.removed:.0%} of the excess loss{speed}", False


def _clear(treated: Ends, others: Sequence[float], *, arms: int, level: float) -> bool:
    """Whether every run of an arm ends below every untouched one, and that is no chance.

    What keeps a training from learning often scatters its ends as well, so that their own spread hides what its cure
    has gained, however even its ends are. Of runs that are alike, the n of one arm are the lowest of all N with
    probability 1 / C(N, n) (exact permutation test; Bonferroni's correction over the arms).
    """
    among_all = math.comb(len(treated.full) + len(others), len(treated.full))
    return max(treated.full) < min(others) and arms / among_all <= level


def _ruined(untouched: Ends, treated: Ends, noise: float) -> tuple[Verdict, str, bool] | None:
    """Failed or worse, judged without the cap."""
    if not all(math.isfinite(value) for value in treated.full):
        return "failed", "the loss stopped being finite", False
    lost = _mean(treated.full) - _mean(untouched.full)
    if min(treated.full) > max(untouched.full) and lost > noise:
        return "worse", f"{lost:.3g} above the untouched arm", False
    return None


def _capped(ends: Ends, start: float) -> Ends:
    """A run that broke or ended above its start counts as having stayed where it was.

    How far a diverging run has got says nothing, and would drown every difference in its spread.
    """

    def cap(value: float) -> float:
        return value if math.isfinite(value) and value < start else start

    return Ends(half=tuple(map(cap, ends.half)), full=tuple(map(cap, ends.full)))


def _differences(untouched: Ends, treated: Ends) -> tuple[float, ...]:
    return tuple(before - after for before, after in zip(untouched.full, treated.full, strict=False))


def _paired(untouched: Ends, treated: Ends) -> Paired:
    count = min(len(untouched.full), len(treated.full))
    return paired_difference(untouched.full[:count], treated.full[:count])


def share(before: float, after: float, floor: float) -> float:
    """The share of the excess loss before, over the floor, that is gone after."""
    return (before - after) / max(before - floor, 1e-300)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
