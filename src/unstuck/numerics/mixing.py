"""Are batches a random sample of their data? Shares of a kind within batches, against all ways to fill them.

Let n_jk be the number of samples of kind k in batch j, b_j its samples, n_k and n the totals. Of the variance of the
kinds' indicators, n − Σ_k n_k²/n,

    Σ_jk n_jk²/b_j − Σ_k n_k²/n

lies between batches. Filled at random, m batches have the share (m − 1)/(n − 1) of it between them on the average,
whatever the kinds and sizes; each batch of one kind has all. For two kinds the share is Pearson's χ² over n. What
chance makes is learned by filling the batches anew, again and again (a permutation test, exact for any statistic:
Fisher 1935, *The Design of Experiments*, section 21). Whether a batch tells of the next one is learned likewise, by
bringing the batches, as they are filled, into another order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

TRIES, TOGETHER = 999, 27
"""Random fillings and orders, so that a probability can be as low as one in a thousand; so many are made at once."""

ROUNDING = 1e-12
"""Statistics that differ by less are equal."""


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """How the kinds of samples are spread over batches; of several ways to tell kinds, the mean.

    Attributes:
        share: of the variance, that between batches.
        expected: the same where batches are filled at random.
        share_p: probability, at random, of a share as large.
        memory: correlation of what neighbouring batches hold.
        memory_p: probability, of the same batches in a random order, of one as large.
    """

    share: float
    expected: float
    share_p: float
    memory: float
    memory_p: float


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Samples in a row, cut into batches.

    Attributes:
        batches: the batch of each sample, from 0 and never falling, shape (n,).
        neighbours: pairs of batches that follow each other, shape (pairs, 2).
    """

    batches: Integers
    neighbours: Integers

    @property
    def sizes(self) -> Floats:
        """Samples of each batch, shape (m,)."""
        return np.bincount(self.batches).astype(np.float64)

    def counts(self, kinds: Integers) -> Floats:
        """n_jk of each of several fillings.

        Args:
            kinds: the kind of each sample, from 0, shape (fillings, n).

        Returns:
            Shape (fillings, m, K).
        """
        shape = (len(kinds), int(self.batches[-1]) + 1, int(kinds.max()) + 1)
        cells = (np.arange(shape[0])[:, None] * shape[1] + self.batches) * shape[2] + kinds
        return np.bincount(cells.ravel(), minlength=math.prod(shape)).reshape(shape).astype(np.float64)


def mixing(columns: Sequence[Integers], cut: Cut, generator: np.random.Generator) -> Mixing | None:
    """How the samples' kinds are spread over batches; None where there is one batch or nothing that differs.

    Args:
        columns: ways to tell kinds: for each, the kind of each sample, from 0, shape (n,).
        cut: two batches or more.
        generator: fills the batches anew.
    """
    telling = [kinds for kinds in columns if kinds.max() > kinds.min()]
    samples, batches = len(cut.batches), int(cut.batches[-1]) + 1
    if not telling or batches < 2 or samples == batches:
        return None
    share = _mean([_share(kinds[None], cut) for kinds in telling])[0]
    gaps = [_gaps(kinds, cut) for kinds in telling]
    memory = _mean([_memory(part[None], cut) for part in gaps])[0]
    shares, memories = [], []
    for _ in range(TRIES // TOGETHER):
        fillings, orders = _orders(samples, generator), _orders(batches, generator)
        shares.append(_mean([_share(kinds[fillings], cut) for kinds in telling]))
        memories.append(_mean([_memory(part[orders], cut) for part in gaps]))
    return Mixing(
        share=float(share),
        expected=(batches - 1) / (samples - 1),
        share_p=_as_large(np.concatenate(shares), share),
        memory=float(memory),
        memory_p=_as_large(np.concatenate(memories), memory),
    )


def _mean(parts: Sequence[Floats]) -> Floats:
    mean: Floats = np.mean(parts, axis=0)
    return mean


def _orders(count: int, generator: np.random.Generator) -> Integers:
    """Random orders, shape (TOGETHER, count)."""
    return generator.permuted(np.tile(np.arange(count), (TOGETHER, 1)), axis=1)


def _as_large(tried: Floats, seen: float) -> float:
    """The probability of a statistic as large as the one that was seen, which counts as one of those tried."""
    return (1 + int((tried >= seen - ROUNDING).sum())) / (len(tried) + 1)


def _share(kinds: Integers, cut: Cut) -> Floats:
    """Of the variance of the kinds' indicators, that between batches; of each filling, shapes (fillings, n)."""
    counts, samples = cut.counts(kinds), kinds.shape[1]
    chance = (counts.sum(1) ** 2).sum(1) / samples
    share: Floats = ((counts**2 / cut.sizes[:, None]).sum((1, 2)) - chance) / (samples - chance)
    return share


def _gaps(kinds: Integers, cut: Cut) -> Floats:
    """How far the shares of kinds in each batch lie from those of all, shape (m, K), over their deviation."""
    (counts,) = cut.counts(kinds[None])
    gaps: Floats = counts / cut.sizes[:, None] - counts.sum(0) / len(kinds)
    spread = float((gaps**2).sum()) / len(gaps)
    return gaps / math.sqrt(spread) if spread > ROUNDING else np.zeros_like(gaps)


def _memory(gaps: Floats, cut: Cut) -> Floats:
    """The correlation of neighbouring batches in each of several orders, shape (orders, m, K)."""
    if len(cut.neighbours) == 0:
        return np.zeros(len(gaps))
    one, other = cut.neighbours.T
    memory: Floats = (gaps[:, one] * gaps[:, other]).sum(2).mean(1)
    return memory


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """Samples that occur more than once.

    Attributes:
        share: of all samples, those equal to an earlier one.
        together: those equal to an earlier one of their own batch.
        expected: the same where batches are filled at random.
        p_value: probability, at random, of as many.
    """

    share: float
    together: float
    expected: float
    p_value: float


def repeats(identities: Integers, cut: Cut, generator: np.random.Generator) -> Repeats:
    """How often samples come again, and whether they come together.

    Args:
        identities: equal for equal samples, from 0, shape (n,).
        cut: the batches.
        generator: fills the batches anew.
    """
    samples, different = len(identities), len(np.unique(identities))
    if different == samples:
        return Repeats(share=0.0, together=0.0, expected=0.0, p_value=1.0)
    together = _together(identities[None], cut)[0]
    tried = np.concatenate([_together(identities[_orders(samples, generator)], cut) for _ in range(TRIES // TOGETHER)])
    return Repeats(
        share=1.0 - different / samples,
        together=float(together),
        expected=float(tried.mean()),
        p_value=_as_large(tried, together),
    )


def _together(identities: Integers, cut: Cut) -> Floats:
    """The share of samples that equal an earlier one of their batch; of each filling, shapes (fillings, n)."""
    cells = np.sort(cut.batches * (int(identities.max()) + 1) + identities, axis=1)
    together: Floats = (np.diff(cells, axis=1) == 0).sum(1) / identities.shape[1]
    return together
