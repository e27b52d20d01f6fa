"""Small problems, each sick in one known way, or well. Defaults, tests and documentation use them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from unstuck.classifier import CLASSES, FEATURES, classifier, loader, perceptron, stacked, table
from unstuck.problem import Problem
from unstuck.untouched import seeded


def healthy() -> Problem:
    """A tuned classifier under SGD with momentum."""
    return classifier("healthy classifier", rate=0.05)


def zero_initialized() -> Problem:
    """Every weight starts at zero: no unit differs from its neighbour, and the gradient is all but zero."""
    model = perceptron(hidden=16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return classifier("classifier with all weights zero", rate=0.2, model=model)


def rate_too_high() -> Problem:
    """A rate far beyond the stability limit."""
    return classifier("classifier, rate too high", rate=20.0, momentum=0.0)


def rate_too_low() -> Problem:
    """A rate a thousand times too small."""
    return classifier("classifier, rate too low", rate=1e-4, momentum=0.0)


def unnormalized() -> Problem:
    """One feature in other units: a thousand times larger."""
    inputs, targets = table()
    scaled = inputs.clone()
    scaled[:, ::4] *= 1_000
    return classifier("classifier on features of different scale", rate=0.05, train=loader(scaled, targets))


def softmax_twice() -> Problem:
    """The model ends in softmax, and the loss applies it again."""
    return classifier("classifier with softmax twice", rate=0.05, model=perceptron(nn.Softmax(dim=1)))


def half_wired() -> Problem:
    """The optimizer was given the biases alone."""
    model = perceptron()
    biases = [parameter for name, parameter in model.named_parameters() if name.endswith("bias")]
    return classifier("classifier half wired", model=model, optimizer=torch.optim.SGD(biases, lr=0.1, momentum=0.9))


def spoiled_data() -> Problem:
    """One sample in a hundred has a feature that is no number."""
    inputs, targets = table()
    spoiled = inputs.clone()
    spoiled[::100, 3] = float("nan")
    return classifier("classifier on spoiled data", rate=0.05, train=loader(spoiled, targets))


def deep_sigmoid() -> Problem:
    """Ten layers of sigmoids, whose slope is a quarter at most: each lets about a seventh of the gradient through."""
    return classifier("ten layers of sigmoids", model=stacked(nn.Sigmoid, layers=10))


def deep_exploding() -> Problem:
    """Six layers of rectifiers, weights five times torch's own: each about doubles what goes through, and back."""
    model = stacked(nn.ReLU, layers=6)
    with torch.no_grad():
        for module in model:
            if isinstance(module, nn.Linear):
                module.weight.mul_(5.0)
    return classifier("six layers that multiply", rate=0.3, model=model)


def dead_by_bias() -> Problem:
    """Rectifiers whose biases keep all of the first layer off."""
    model = stacked(nn.ReLU, layers=3)
    with torch.no_grad():
        for module in model:
            if isinstance(module, nn.Linear):
                module.bias.fill_(-20.0)
                break
    return classifier("rectifiers dead by their bias", model=model)


def normalized(momentum: float = 0.1, name: str = "classifier with batch normalization") -> Problem:
    """A classifier with batch normalization, which goes well."""
    with seeded(0):
        model = nn.Sequential(
            nn.Linear(FEATURES, 32),
            nn.BatchNorm1d(32, momentum=momentum),
            nn.ReLU(),
            nn.Linear(32, CLASSES),
        )
    return classifier(name, rate=0.05, model=model)


def stale_statistics() -> Problem:
    """The same with moving averages from elsewhere, which all but stand still."""
    problem = normalized(momentum=1e-3, name="batch normalization with stale statistics")
    for name, buffer in problem.model.named_buffers():
        if name.endswith("running_mean"):
            buffer.fill_(3.0)
    return problem


class Product(nn.Module):
    """y = w1 · w2 · … · x, the lecture's smallest network with a saddle."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(torch.zeros(())) for _ in range(layers)])

    def forward(self, inputs: Tensor) -> Tensor:
        """The product of all weights and the inputs."""
        product = torch.ones((), device=inputs.device)
        for weight in self.weights:
            product = product * weight
        return product * inputs


def product_at_origin(layers: int = 2) -> Problem:
    """The lecture's example: y = w1·w2·x, the point (1, 1), started at the origin."""
    model = Product(layers)
    return Problem(
        model,
        nn.MSELoss(),
        DataLoader(TensorDataset(torch.ones(1, 1), torch.ones(1, 1))),
        torch.optim.SGD(model.parameters(), lr=0.05),
        name=f"y = {'·'.join(f'w{i + 1}' for i in range(layers))}·x at the origin",
    )


def deep_product_at_origin() -> Problem:
    """Three linear layers at the origin, where the Hessian vanishes too."""
    return product_at_origin(3)


def bowl() -> Problem:
    """Linear regression on standardized inputs, at a good rate: a quadratic bowl."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(256, 4, generator=generator)
    targets = inputs @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]]) + 0.1 * torch.randn(256, 1, generator=generator)
    with seeded(0):
        model = nn.Linear(4, 1)
    return Problem(
        model,
        nn.MSELoss(),
        loader(inputs, targets),
        torch.optim.SGD(model.parameters(), lr=0.1),
        name="linear regression",
    )


DEFAULT: Callable[[], Problem] = zero_initialized
"""What is diagnosed when no target is given."""
