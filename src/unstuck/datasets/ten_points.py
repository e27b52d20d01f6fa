"""The lecturer's ten points: a line is to be laid through them, and no single learning rate gets there."""

from __future__ import annotations

import torch
from torch import Tensor

X = (338.0, 333.0, 328.0, 207.0, 226.0, 25.0, 179.0, 60.0, 208.0, 606.0)
Y = (640.0, 633.0, 619.0, 393.0, 428.0, 27.0, 193.0, 66.0, 226.0, 1591.0)

START = (-120.0, -4.0)
"""b and w in y = b + w·x, where the lecture's demonstration begins."""


def ten_points() -> tuple[Tensor, Tensor]:
    """x and y in double precision, shape (10,) each (Hung-yi Lee, the regression demonstration of his courses)."""
    x, y = (torch.tensor(values, dtype=torch.float64, device="cpu") for values in (X, Y))
    return x, y
