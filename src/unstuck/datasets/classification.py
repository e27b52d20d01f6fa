"""What is to be told apart: samples to learn from, and others that are held out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Classification:
    """Samples of known classes, on the processor.

    Attributes:
        name: what it is.
        inputs: to learn from, shape (n, features), each feature standardized over them.
        targets: class numbers from 0, shape (n,).
        held_out_inputs: shape (m, features), standardized by what ``inputs`` were.
        held_out_targets: shape (m,).
        classes: how many.
        shape: of one sample before it was laid out flat, channels first.
    """

    name: str
    inputs: Tensor
    targets: Tensor
    held_out_inputs: Tensor
    held_out_targets: Tensor
    classes: int
    shape: tuple[int, ...]

    @property
    def features(self) -> int:
        """Of one sample."""
        return self.inputs.shape[1]

    @property
    def fingerprint(self) -> str:
        """Of all that it holds."""
        digest = hashlib.sha256()
        for tensor in (self.inputs, self.targets, self.held_out_inputs, self.held_out_targets):
            digest.update(str(tuple(tensor.shape)).encode() + tensor.numpy().tobytes())
        return digest.hexdigest()[:16]


def standardized(inputs: Tensor, held_out: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the mean of ``inputs`` taken off and divided by their deviation; a constant feature becomes 0.

    Args:
        inputs: shape (n, features).
        held_out: shape (m, features).
    """
    mean, deviation = inputs.mean(0), inputs.std(0)
    divisor = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    return (inputs - mean) / divisor, (held_out - mean) / divisor
