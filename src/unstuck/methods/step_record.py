"""Steps of a walk, recorded: inner products over each parameter tensor, and some of its entries one by one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unstuck.methods.anatomy import Anatomy, Observed
from unstuck.numerics.statistics import Floats, weighted_quantiles

ENTRIES = 4096
"""Entries of a parameter tensor that are followed, at most; drawn at random where it has more."""


class Sums(NamedTuple):
    """Inner products over the entries of one tensor, or of several together."""

    along: float
    """⟨m, g⟩"""
    movement: float
    """|m|²"""
    gradient: float
    """|g|²"""
    carried: float
    """⟨(η/σ)c, (η/σ)m⟩; not a number where c is not known"""
    step: float
    """|(η/σ)m|²"""
    change: float
    """|Δθ|²"""
    weights: float
    """|θ|²"""

    @property
    def alignment(self) -> float:
        """The cosine between m and g."""
        return _over(self.along, math.sqrt(self.movement * self.gradient))

    @property
    def momentum(self) -> float:
        """The share of the step's squared length that its carried part makes: with that of the fresh part it is 1."""
        return _over(self.carried, self.step)

    @property
    def relative_step(self) -> float:
        """|Δθ| / |θ|."""
        return _over(math.sqrt(self.change), math.sqrt(self.weights))


def _over(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan


def together(sums: Iterable[Sums]) -> Sums:
    """Those of several tensors as of one."""
    return Sums(*map(sum, zip(*sums, strict=True)))


@dataclass(frozen=True, kw_only=True, eq=False)
class StepRecord:
    """One step: the sums of each tensor, and (η/σ, |m|/σ, sign g) of its followed entries, shape (3, k).

    The other two say how it was read (:class:`unstuck.methods.anatomy.Observed`).
    """

    sums: Mapping[str, Sums]
    entries: Mapping[str, Floats]
    from_state: bool
    mismatch: float

    @property
    def finite(self) -> bool:
        """Whether the step ended somewhere."""
        return math.isfinite(sum(sums.change for sums in self.sums.values()))


def places(point: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Which entries of each tensor are followed, by their places in its flat vector."""

    def drawn(tensor: Tensor) -> Tensor:
        count = tensor.numel()
        if count <= ENTRIES:
            return torch.arange(count, device=tensor.device)
        return torch.randint(count, (ENTRIES,), generator=generator, device="cpu").to(tensor.device)

    return {name: drawn(tensor) for name, tensor in point.items()}


@torch.no_grad()
def record(observed: Observed, named: Mapping[str, Tensor], followed: Mapping[str, Tensor]) -> StepRecord:
    """What is kept of a step.

    Args:
        observed: the step.
        named: θ by name, after it.
        followed: the places of the entries to be kept.
    """
    sums, entries = {}, {}
    for name, part in observed.parts.items():
        change = observed.change[name]
        gradient = observed.gradients.get(name, torch.full_like(change, math.nan))
        sums[name] = _sums(part, gradient, change, named[name].detach() - change)
        entries[name] = _entries(part, gradient, followed[name])
    return StepRecord(sums=sums, entries=entries, from_state=observed.from_state, mismatch=observed.mismatch)


def _sums(part: Anatomy, gradient: Tensor, change: Tensor, parameter: Tensor) -> Sums:
    step = part.effective_rate * part.movement
    carried = part.effective_rate * (math.nan if part.carried is None else part.carried) * torch.ones_like(step)
    pairs = (
        (part.movement, gradient),
        (part.movement, part.movement),
        (gradient, gradient),
        (carried, step),
        (step, step),
        (change, change),
        (parameter, parameter),
    )
    return Sums(*torch.stack([(left.double() * right.double()).sum() for left, right in pairs]).tolist())


def _entries(part: Anatomy, gradient: Tensor, followed: Tensor) -> Floats:
    strength = part.movement.abs() / part.scale if isinstance(part.scale, Tensor) else math.nan
    whole = torch.ones_like(gradient)
    rows = [part.effective_rate * whole, strength * whole, gradient.sign()]
    found: Floats = torch.stack([row.reshape(-1)[followed].double() for row in rows]).cpu().numpy()
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Entries:
    """Followed entries over all steps that were recorded.

    Attributes:
        rates: η/σ, shape (steps, k).
        strengths: |m|/σ, likewise; not numbers for rules that divide by nothing.
        signs: of the gradient, likewise.
        weights: how many parameters each entry stands for, shape (k,).
    """

    rates: Floats
    strengths: Floats
    signs: Floats
    weights: Floats

    @staticmethod
    def of(records: Sequence[StepRecord], sizes: Mapping[str, int]) -> Entries:
        """The entries of the named tensors; ``sizes`` says how many parameters each tensor has."""
        rows = np.concatenate([np.stack([r.entries[name] for r in records]) for name in sizes], axis=2)
        counts = [records[0].entries[name].shape[1] for name in sizes]
        weights = [np.full(count, size / count) for count, size in zip(counts, sizes.values(), strict=True)]
        return Entries(rates=rows[:, 0], strengths=rows[:, 1], signs=rows[:, 2], weights=np.concatenate(weights))

    def rate_quantiles(self, shares: Sequence[float]) -> Floats:
        """Of η/σ over the entries, shape (steps, shares)."""
        return self._quantiles(self.rates, shares)

    @property
    def strength(self) -> Floats:
        """The median of |m|/σ over the entries, shape (steps,)."""
        return self._quantiles(self.strengths, (0.5,))[:, 0]

    @property
    def agreement(self) -> list[float]:
        """The share of entries that keep the sign of the step before, of those that have both; from the second on."""
        same, counted = ((pairs * self.weights).sum(1) for pairs in self._pairs)
        return [_over(part, whole) for part, whole in zip(same.tolist(), counted.tolist(), strict=True)]

    @cached_property
    def agreements(self) -> Floats:
        """How often each entry kept its sign, shape (k,): a share of the steps; not a number where it once had none."""
        same, counted = self._pairs
        shares: Floats = np.where(counted.all(0) & (len(same) > 0), same.sum(0) / max(1, len(same)), math.nan)
        return shares

    def quartiles(self, chosen: NDArray[np.bool_]) -> tuple[float, tuple[float, ...]] | None:
        """Of some entries, shape (k,): their share of all parameters, and quartiles of |m|/σ in the last step."""
        if not chosen.any():
            return None
        weights = self.weights[chosen]
        found = weighted_quantiles(self.strengths[-1, chosen], weights, (0.25, 0.5, 0.75))
        return float(weights.sum() / self.weights.sum()), tuple(found.tolist())

    @property
    def _pairs(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether successive signs are the same, and whether there are two; shapes (steps − 1, k)."""
        product = self.signs[1:] * self.signs[:-1]
        return product > 0, np.abs(product) > 0

    def _quantiles(self, values: Floats, shares: Sequence[float]) -> Floats:
        return np.stack([weighted_quantiles(row, self.weights, shares) for row in values])
