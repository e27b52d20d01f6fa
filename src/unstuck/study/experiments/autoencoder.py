"""The linear autoencoder with one hidden unit, whose critical points are known in closed form.

It gives a (b·x) for x, and its loss is the mean of ‖x − a (b·x)‖². In the axes in which the second moments of the data
are diagonal, s_1 ≥ s_2 ≥ …, it has a critical point at a = b = e_k for each k, where the loss is Σ s − s_k: the k-th
component is learned, and nothing else. k − 1 of its curvatures are negative, one for each component that is larger
(Baldi and Hornik 1989, "Neural networks and principal component analysis").

Lecture chapter 1.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Autoencoder:
    """The loss over (b, a), one network a row of shape (2 d,).

    Attributes:
        inputs: the data in its own axes, shape (samples, d), double precision.
        moments: s, from the largest, shape (d,).
    """

    def __init__(self, inputs: Tensor) -> None:
        samples = inputs.double()
        axes = torch.linalg.eigh(samples.T @ samples).eigenvectors.flip(1)
        self.inputs = samples @ axes
        self.moments = self.inputs.square().mean(0)

    def losses(self, rows: Tensor) -> Tensor:
        """‖a‖² bᵀSb − 2 aᵀSb + Σ s of each row, over all data, shape (...)."""
        inward, outward = rows.chunk(2, dim=-1)
        seen = self.moments * inward
        overlap = outward.square().sum(-1) * (inward * seen).sum(-1) - 2.0 * (outward * seen).sum(-1)
        losses: Tensor = overlap + self.moments.sum()
        return losses

    def gradients(self, rows: Tensor, inputs: Tensor) -> Tensor:
        """Of the loss over some of the data, shape (n, d), for each of K rows, shape (K, 2 d)."""
        inward, outward = rows.chunk(2, dim=-1)
        hidden = inward @ inputs.T
        wrong = hidden[:, :, None] * outward[:, None] - inputs
        back = (wrong * outward[:, None]).sum(-1)
        along = torch.cat([back @ inputs, (wrong * hidden[:, :, None]).sum(1)], dim=-1)
        return 2.0 / len(inputs) * along

    def critical_point(self, component: int) -> Tensor:
        """Where the k-th component is learned, k from 1, shape (2 d,)."""
        unit = torch.zeros_like(self.moments)
        unit[component - 1] = 1.0
        return torch.cat([unit, unit])

    def lowest_curvature(self, component: int) -> float:
        """The most negative one at the k-th critical point, k > 1: s_k + s_1 − √((s_k − s_1)² + 4 s_1²)."""
        own, largest = self.moments[component - 1], self.moments[0]
        return float(own + largest - ((own - largest).square() + 4.0 * largest.square()).sqrt())
