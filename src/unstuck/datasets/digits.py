"""1,797 handwritten digits of 8 × 8 pixels, as scikit-learn brings them along."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from unstuck.datasets.classification import Classification, standardized

LEARNED = 1_297
"""Samples to learn from; the other 500 are held out."""


@cache
def pixels() -> tuple[Tensor, Tensor]:
    """All of them as they are, from 0 to 16, shape (1,797, 64), and their classes, in a fixed order drawn at random."""
    from sklearn.datasets import load_digits  # takes a second

    given, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator(device="cpu").manual_seed(0), device="cpu")
    inputs = torch.as_tensor(given, dtype=torch.float32, device="cpu")[order]
    return inputs, torch.as_tensor(labels, dtype=torch.int64, device="cpu")[order]


@cache
def digits() -> Classification:
    """The digits (E. Alpaydin & C. Kaynak, UCI Machine Learning Repository 1998), split by a fixed permutation."""
    inputs, targets = pixels()
    learned, held_out = standardized(inputs[:LEARNED], inputs[LEARNED:])
    return Classification(
        name="digits",
        inputs=learned,
        targets=targets[:LEARNED],
        held_out_inputs=held_out,
        held_out_targets=targets[LEARNED:],
        classes=10,
        shape=(1, 8, 8),
    )
