"""How a table's columns go together: the directions in which they vary, and how unequally."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

ROUNDING = 8.0
"""Singular values up to this times √(longer side) · ε of the largest one are taken to be rounding."""


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """Of the covariance of a table's columns.

    Attributes:
        rank: independent directions; at most the number of columns, and one less than that of rows.
        condition: variance along the widest of them over that along the narrowest; None where there is none.
        normalized_condition: the same of the correlations, each column divided by its deviation.
    """

    rank: int
    condition: float | None
    normalized_condition: float | None


def conditioning(table: Tensor, *, epsilon: float) -> Conditioning:
    """From the singular values s of the centred columns; variances go like s².

    The rank is taken of the normalized columns, where scales do not hide what is independent.

    Args:
        table: shape (rows, columns), none of them constant.
        epsilon: ε, the relative rounding error of the entries.
    """
    if table.numel() == 0:
        return Conditioning(rank=0, condition=None, normalized_condition=None)
    centred = table.double().cpu() - table.double().cpu().mean(0)
    normalized = torch.linalg.svdvals(centred / centred.square().mean(0).sqrt())
    resolved = normalized > ROUNDING * max(table.shape) ** 0.5 * epsilon * normalized[0]
    rank = int(resolved.sum())
    plain = torch.linalg.svdvals(centred)
    condition, normalized_condition = (float(s[0] / s[rank - 1]) ** 2 for s in (plain, normalized))
    return Conditioning(rank=rank, condition=condition, normalized_condition=normalized_condition)


def noise_condition(*, rows: int, columns: int) -> float | None:
    """The condition number that independent columns of equal deviation show in a sample: ((1 + √γ)/(1 − √γ))².

    γ = columns / rows, the edges of the spectrum of Marchenko & Pastur (1967) for large tables; None from γ = 1 on,
    where directions are missing.
    """
    if columns >= rows:
        return None
    root = math.sqrt(columns / rows)
    return ((1 + root) / (1 - root)) ** 2
