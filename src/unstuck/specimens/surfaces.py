"""Small problems that are sick in the shape of their surface: one minimum of many, a narrow valley, a steep start."""

from __future__ import annotations

from itertools import chain, pairwise

import torch
from torch import nn

from unstuck.classifier import loader
from unstuck.problem import Problem
from unstuck.untouched import seeded
from unstuck.walk import fixed_threads, walk

WALKED = 300
"""Updates after which the network that looks to one side has come to rest."""


def one_sided() -> Problem:
    """y = |x| by rectifiers that all look to the right: nothing tells them of what is on the left.

    Its minimum is y = x for x > 0 and 0 for x < 0, with a loss of 1/6; the best constant answer has 1/12.
    """
    inputs = torch.linspace(-1, 1, 256)[:, None]
    with seeded(0):
        model = nn.Sequential(nn.Linear(1, 8, bias=False), nn.ReLU(), nn.Linear(8, 1, bias=False))
    with torch.no_grad():
        model.get_parameter("0.weight").abs_()
    problem = Problem(
        model,
        nn.MSELoss(),
        loader(inputs, inputs.abs()),
        torch.optim.SGD(model.parameters(), lr=0.3),
        name="|x| by units that look to one side",
    )
    branch = problem.branch()
    with fixed_threads(1):
        walk(branch, WALKED, order=WALKED)
    return branch


def correlated_features() -> Problem:
    """Linear regression on features that nearly follow from their neighbours; as much of the loss in each direction.

    Features xᵢ with correlation 0.98^|i − j|: all have the same scale, and no normalization changes it. The rate is
    two thirds of what the widest direction bears.
    """
    generator = torch.Generator().manual_seed(5)
    places = torch.arange(20, device="cpu")
    covariance = 0.98 ** (places[:, None] - places[None, :]).abs().double()
    variances, directions = torch.linalg.eigh(covariance)
    normal = torch.randn(512, 20, generator=generator, dtype=torch.float64)
    inputs = normal @ torch.linalg.cholesky(covariance).T
    weights = directions @ (torch.randn(20, 1, generator=generator, dtype=torch.float64) / variances.sqrt()[:, None])
    with seeded(0):
        model = nn.Linear(20, 1)
    return Problem(
        model,
        nn.MSELoss(),
        loader(inputs.float(), (inputs @ weights).float(), batch=64),
        torch.optim.SGD(model.parameters(), lr=0.7 / float(variances[-1])),
        name="regression on correlated features",
    )


class Doubled(nn.Linear):
    """A linear layer that starts with an orthogonal matrix times two."""

    def reset_parameters(self) -> None:
        """Called by torch as it is built, and by whoever initializes it anew."""
        nn.init.orthogonal_(self.weight, gain=2.0)


def steep_start() -> Problem:
    """Five layers of tanh that start with twice the weights they should, at a rate that suits where they come to.

    The targets are a linear function with as much as ten times the weight in one direction as in another: with a low
    rate, what is small is learned slowly.
    """
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(1024, 8, generator=generator)
    left, right = (torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q for _ in range(2))
    targets = inputs @ left @ torch.diag(torch.logspace(0, -1, 8)) @ right
    with seeded(1):
        layers = [Doubled(inward, outward, bias=False) for inward, outward in pairwise((8, 16, 16, 16, 16, 8))]
    model = nn.Sequential(*chain.from_iterable((layer, nn.Tanh()) for layer in layers[:-1]), layers[-1])
    return Problem(
        model,
        nn.MSELoss(),
        loader(inputs, targets, batch=64),
        torch.optim.SGD(model.parameters(), lr=3.0),
        name="five layers with a steep start",
    )
