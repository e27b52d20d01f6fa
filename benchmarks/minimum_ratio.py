"""The study of the minimum ratio beside the same in plain loops: how many times faster a hundred networks are.

    python -m benchmarks.minimum_ratio

Both arms do what the study does for each network: 1-10-10-1 with tanh, Adam on all 128 points, then, in double
precision, two damped Newton steps on the squared gradient norm, two whole Hessians and their eigenvalues, one thread.
The loop is what anybody writes: a model, `torch.optim.Adam`, `torch.func.hessian`, one network after another. Times are
processor seconds; each ratio is taken of a hundred networks of the study between two rounds of loops, of which two are
run and their time is multiplied. The median of five is printed.
"""

from __future__ import annotations

import statistics

import numpy as np
import torch
from benchmarks.curvature.measure import ratio
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian

from unstuck.studies import minimum_ratio as study
from unstuck.study.experiments.networks import perceptron

NETWORKS = 100
LOOPS = 2
REPETITIONS = 5


def loop(number: int, rate: float) -> Tensor:
    """One network as anybody writes it; gives the eigenvalues at its end and after the search."""
    inputs, targets = (values.float() for values in study.curve())
    torch.manual_seed(number)
    model = perceptron(study.WIDTHS, nn.Tanh)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(study.UPDATES):
        optimizer.zero_grad()
        torch.autograd.backward((model(inputs) - targets).square().mean())
        optimizer.step()
    inputs, targets = study.curve()
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}

    def loss(row: Tensor) -> Tensor:
        parts = row.split([shape.numel() for shape in shapes.values()])
        named = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        mean: Tensor = (functional_call(model, named, (inputs,)) - targets).square().mean()
        return mean

    row = torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).double()
    found = [torch.linalg.eigvalsh(hessian(loss)(row))]
    damping = 1e-2
    for _ in range(study.STEPS):
        values, vectors = torch.linalg.eigh(hessian(loss)(row))
        slope = grad(loss)(row)
        step = vectors @ (values / (values**2 + (damping * values.abs().max()) ** 2) * (vectors.T @ slope))
        better = bool(grad(loss)(row - step).norm() < slope.norm())
        row, damping = (row - step, damping / 4) if better else (row, damping * 8)
    return torch.stack([*found, torch.linalg.eigvalsh(hessian(loss)(row))])


def fleets() -> None:
    """A hundred networks of the study."""
    study.run(seed=0, networks=NETWORKS)


def loops() -> None:
    """A few networks, spread as the study's are."""
    for number, rate in enumerate(np.geomspace(*study.RATES, LOOPS)):
        loop(number, float(rate))


def main() -> None:
    """Print the ratio."""
    torch.set_num_threads(1)
    measured = sorted(NETWORKS / LOOPS / ratio(fleets, loops) for _ in range(REPETITIONS))
    middle, low, high = statistics.median(measured), measured[0], measured[-1]
    print(f"a hundred networks: {middle:.1f} times faster ({low:.1f} to {high:.1f})")


if __name__ == "__main__":
    main()
