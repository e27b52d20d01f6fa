"""Linear regression with more parameters than are computed whole, and a Hessian in closed form."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from unstuck.problem import Problem
from unstuck.untouched import seeded

SAMPLES, FEATURES, OUTPUTS = 200, 50, 45
DIMENSION = OUTPUTS * (FEATURES + 1)


def regression() -> Problem:
    """50 inputs of unequal scales to 45 outputs under the mean of squares, in double precision."""
    generator = torch.Generator().manual_seed(7)
    scales = torch.linspace(0.2, 3.0, FEATURES, dtype=torch.float64)
    inputs = scales * torch.randn(SAMPLES, FEATURES, generator=generator, dtype=torch.float64)
    targets = torch.randn(SAMPLES, OUTPUTS, generator=generator, dtype=torch.float64)
    with seeded(1):
        model = nn.Linear(FEATURES, OUTPUTS, dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    return Problem(model, nn.MSELoss(), DataLoader(TensorDataset(inputs, targets), batch_size=50), optimizer)


def second_moments(problem: Problem) -> Tensor:
    """2 / (N p) · Σ x̃ x̃ᵀ with x̃ = (x, 1), shape (51, 51): the Hessian is as many copies of it as outputs, p."""
    inputs = torch.cat([batch[0] for batch in problem.data.whole(chunk=SAMPLES)])
    seen = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], dim=1)
    return 2 / (len(inputs) * OUTPUTS) * seen.T @ seen
