"""Networks whose hidden layers are normalized in one way or another, and may be shaken after it.

Lecture chapter 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

WIDTH = 64

EPSILON = 1e-5

NORMS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "l1": lambda values: values.abs().mean(0) + EPSILON,
    "l2": lambda values: values.square().mean(0).add(EPSILON).sqrt(),
    "l∞": lambda values: values.abs().amax(0) + EPSILON,
}
"""What the values of a unit over a batch are divided by in place of their deviation: a norm of theirs, as they are
before the mean is taken away (Santurkar et al. 2018, section 3.3)."""

MEANS, FACTORS, SINGLE = 0.5, 0.25, 0.1
"""Of the noise: a unit is shifted by up to 0.5 and stretched by up to 1.25, each value by 0.1 besides (appendix A)."""

DEEP, SHALLOW = 16, 6

ARMS: Mapping[str, tuple[str, int, bool]] = {
    "plain": ("plain", DEEP, False),
    "batch": ("batch", DEEP, False),
    **{norm: (norm, DEEP, False) for norm in NORMS},
    "default": ("default", DEEP, False),
    "plain, six layers": ("plain", SHALLOW, False),
    "batch, six layers": ("batch", SHALLOW, False),
    "plain, shaken": ("plain", DEEP, True),
    "batch, shaken": ("batch", DEEP, True),
}
"""Kind, hidden layers, and whether noise follows each."""


class Normalization(nn.Module):
    """γ (z − μ)/s + β over the batch, with one of :data:`NORMS` for s."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.size = NORMS[kind]
        self.scale, self.shift = nn.Parameter(torch.ones(WIDTH)), nn.Parameter(torch.zeros(WIDTH))

    def forward(self, values: Tensor) -> Tensor:
        return self.scale * (values - values.mean(0)) / self.size(values) + self.shift


class Shaken(nn.Module):
    """s z + m in training, with s and m drawn anew in each update.

    For each unit a mean is drawn from ±0.5 and a factor from 1 to 1.25, and around them m, within 0.1, and s, with the
    deviation 0.1, for each of its values (Santurkar et al. 2018, algorithm 1).
    """

    def forward(self, values: Tensor) -> Tensor:
        if not self.training:
            return values
        units = values[0]
        means = MEANS * (2.0 * torch.rand_like(units) - 1.0)
        factors = 1.0 + FACTORS * torch.rand_like(units)
        shifts = means + SINGLE * (2.0 * torch.rand_like(values) - 1.0)
        return (factors + SINGLE * torch.randn_like(values)) * values + shifts


def network(kind: str, depth: int, *, shaken: bool = False) -> nn.Sequential:
    """64 inputs, hidden layers with ReLU, 10 outputs; normalized before the activation as ``kind`` says.

    ``batch`` is batch normalization by the batch at hand, in testing too; others are the :data:`NORMS`; ``plain`` and
    ``default`` are not normalized. All but ``default``, which keeps torch's initialization, begin with
    He's: weights of variance 2/inputs and no biases, at which values neither grow nor shrink from layer to layer.
    """
    layers: list[nn.Module] = []
    for number in range(depth):
        layers.append(nn.Linear(WIDTH if number else 64, WIDTH))
        if kind == "batch":
            layers.append(nn.BatchNorm1d(WIDTH, track_running_stats=False))
        elif kind in NORMS:
            layers.append(Normalization(kind))
        if shaken:
            layers.append(Shaken())
        layers.append(nn.ReLU())
    model = nn.Sequential(*layers, nn.Linear(WIDTH, 10))
    if kind != "default":
        for layer in model:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
    return model
