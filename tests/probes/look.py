"""One look of one probe at a problem as it stands."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from unstuck.budget import Budget
from unstuck.data import Batch
from unstuck.problem import Problem
from unstuck.reading import Probe
from unstuck.snapshot import Snapshot
from unstuck.view import View, view_of


def view(problem: Problem, *, seed: int = 0, suspect: Batch | None = None) -> View:
    return view_of(problem, Snapshot.of(problem), seed=seed, suspect=suspect)


def look(probe: Probe[Any], problem: Problem, *, seed: int = 0, suspect: Batch | None = None) -> Any:
    """The reading."""
    return probe.measure(view(problem, seed=seed, suspect=suspect), Budget())


class Weights(nn.Module):
    """A point without a network: outputs are the weights times the inputs, entry by entry."""

    def __init__(self, *weights: float) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights, dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.weights * inputs


def quadratic(curvature: list[float], start: list[float], optimizer: Any, samples: int = 1) -> Problem:
    """L(θ) = ½ Σ a_i θ_i², the same for every sample."""
    model = Weights(*start)
    scale = torch.tensor(curvature, dtype=torch.float64)
    ones = torch.ones(samples, len(start), dtype=torch.float64)
    return Problem(
        model,
        lambda outputs, targets: (scale * outputs.square()).sum(1).mean() / 2,
        DataLoader(TensorDataset(ones, ones), batch_size=1),
        optimizer(model.parameters()),
    )
