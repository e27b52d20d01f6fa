"""First steps and cycles of today's methods where they are known exactly, and how long their updates take.

Lecture chapter 3.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from unstuck.errors import InputError
from unstuck.methods.muon import MuonWithAdamW
from unstuck.methods.sharpness_aware import SharpnessAware
from unstuck.methods.update import Rule, State, adam, look, rmsprop, start, step
from unstuck.study.experiments.tuned import METHODS, Digits
from unstuck.walk import walk

RATE = 0.01

ROUNDS, TIMED, WARM = 7, 10, 15
"""Rounds in which every method makes so many updates in turn, after as many in which it starts."""

FLATTEST = 0.05
"""The smallest singular value, next to a largest of 1, of the matrix that Muon is given."""


def exact_errors(generator: torch.Generator) -> dict[str, float]:
    """How far methods are from what is known of them."""
    return {
        "error of Adam as RMSProp with momentum": adam_in_parts(generator),
        "error of Shampoo's first step": shampoo_step(generator),
        "error of SAM's cycle": sam_cycle(),
    }


def adam_in_parts(generator: torch.Generator) -> float:
    """The largest relative difference of Adam's m and σ from a mean of gradients and from RMSProp's σ.

    RMSProp's V starts at zero, which Adam corrects by 1 − β₂ᵗ. Its first step is η towards −sign(g).
    """
    gradients = torch.randn(20, 1, 8, generator=generator, dtype=torch.float64, device="cpu")
    rules = adam(RATE, 0.9, 0.99, epsilon=0.0), rmsprop(RATE, 0.99, epsilon=0.0)
    at = torch.zeros_like(gradients[0])
    states = [start(rule, at) for rule in rules]
    moved, apart = torch.zeros_like(at), []
    for update, gradient in enumerate(gradients, 1):
        seen = [look(rule, state, at, gradient) for rule, state in zip(rules, states, strict=True)]
        moved = 0.9 * moved + 0.1 * gradient
        apart.append(seen[0].movement / (moved / (1 - 0.9**update)) - 1)
        apart.append(seen[0].scale / (torch.as_tensor(seen[1].scale) / (1 - 0.99**update) ** 0.5) - 1)
        if update == 1:
            apart.append(seen[0].movement / seen[0].scale - gradient.sign())
        states = [_advanced(rule, state, at, gradient) for rule, state in zip(rules, states, strict=True)]
    return float(torch.stack(apart).abs().max())


def _advanced(rule: Rule, state: State, at: Tensor, gradient: Tensor) -> State:
    return step(rule, state, at.clone(), gradient.clone())[1]


def shampoo_step(generator: torch.Generator) -> float:
    """How far the first step (GGᵀ)^(−1/4) G (GᵀG)^(−1/4) is from UVᵀ. Gupta et al. 2018, "Shampoo"."""
    try:
        from pytorch_optimizer import Shampoo
    except ModuleNotFoundError as error:
        raise InputError('Shampoo is in a package that is not installed: pip install "unstuck[optim]"') from error
    weight = nn.Parameter(torch.zeros(6, 6, dtype=torch.float64, device="cpu"))
    slope = torch.randn(6, 6, generator=generator, dtype=torch.float64, device="cpu")
    weight.grad = slope.clone()
    Shampoo([weight], lr=RATE, matrix_eps=0.0).step()
    left, _, right = torch.linalg.svd(slope)
    return float((weight.detach() / -RATE - left @ right).abs().max())


def sam_cycle(rate: float = 0.1, curvature: float = 3.0, radius: float = 0.05) -> float:
    """How far SAM on λw²/2 is, after many updates, from jumping between ± ηλρ/(2 − ηλ), as a share."""
    weight = nn.Parameter(torch.ones(1, dtype=torch.float64, device="cpu"))
    optimizer = SharpnessAware(torch.optim.SGD([weight], lr=rate), radius=radius)

    def closure() -> float:
        weight.grad = curvature * weight.detach()
        return 0.0

    for _ in range(200):
        optimizer.step(closure)
    known = rate * curvature * radius / (2 - rate * curvature)
    return abs(abs(float(weight.detach())) / known - 1)


def muon_band(generator: torch.Generator) -> tuple[float, float]:
    """The smallest and the largest singular value of Muon's step for a matrix of singular values of FLATTEST to 1."""
    size = 32
    drawn = torch.randn(2, size, size, generator=generator, dtype=torch.float64, device="cpu")
    left, right = torch.linalg.qr(drawn)[0]
    values = torch.linspace(FLATTEST, 1.0, size, dtype=torch.float64, device="cpu")
    weight = nn.Parameter(torch.zeros(size, size, device="cpu"))
    weight.grad = (left * values @ right).float()
    MuonWithAdamW([{"params": [weight], "lr": RATE, "weight_decay": 0.0}], [weight], momentum=0.0).step()
    found = torch.linalg.svdvals(weight.detach().double() / (0.2 * RATE * size**0.5))
    return float(found.min()), float(found.max())


def update_times(seed: int, names: Sequence[str]) -> Mapping[str, float]:
    """Seconds of an update of each method over those of gradient descent: the median of rounds, side by side."""
    digits = Digits(seed, "alike", WARM + ROUNDS * TIMED)
    branches = {name: digits.walker(name, METHODS[name].lowest) for name in names}
    for branch in branches.values():
        walk(branch, WARM)
    rounds = []
    for number in range(ROUNDS):
        taken = []
        for branch in branches.values():
            before = time.perf_counter()
            walk(branch, TIMED, order=number)
            taken.append(time.perf_counter() - before)
        rounds.append(np.array(taken) / taken[0])
    return dict(zip(branches, np.median(rounds, axis=0).tolist(), strict=True))
