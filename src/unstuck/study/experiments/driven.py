"""Steps that given gradients lead to, by methods with a rate for each parameter.

Lecture chapter 3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unstuck.methods.update import Rule, adagrad, adagrad_mean, adam, look, rmsprop, start, step
from unstuck.study.experiments.walks import path, uniform

RATE = 0.01
"""Of the walks by given gradients."""

STRETCH, SMALL, LARGE = 100, 0.1, 1.0
"""Updates with small, then with large, then with small gradients again, and how large they are."""

SPIKE, ONLINE_UPDATES, ONLINE_LAST = 3.0, 30_000, 1_000
"""C of Reddi's problem, how long it goes on, and over how many updates at its end θ is averaged."""


def driven(rule: Rule, gradients: Tensor) -> Tensor:
    """The steps that given gradients lead to, both of shape (updates, n)."""
    following = iter(gradients)
    return path(rule, torch.zeros_like(gradients[:1]), lambda _: next(following)[None], len(gradients))[:, 0].diff(
        dim=0
    )


def closed_forms(generator: torch.Generator) -> float:
    """How far first steps, steps by a constant gradient, and steps by scaled gradients are from what they must be."""
    gradients = torch.randn(50, 8, generator=generator, dtype=torch.float64, device="cpu")
    scales = 10.0 ** uniform(-3.0, 3.0, 8, generator)[:, 0]
    towards = -gradients[0].sign()
    count = torch.arange(1, 51, dtype=torch.float64, device="cpu")[:, None]
    constant = torch.ones_like(gradients[:, :1])
    exact = adam(RATE, epsilon=0.0)
    apart = [
        driven(exact, gradients)[0] - RATE * towards,
        driven(rmsprop(RATE, 0.99, epsilon=0.0), gradients)[0] - 10.0 * RATE * towards,
        driven(adagrad(RATE, epsilon=0.0), constant) + RATE / count.sqrt(),
        driven(adagrad_mean(RATE), constant) + RATE,
        driven(exact, gradients) - driven(exact, scales * gradients),
    ]
    return max(float(each.abs().max()) for each in apart)


def two_scales(generator: torch.Generator) -> dict[str, float]:
    """Two parameters, one with gradients 1,000 times those of the other: their rates and their steps."""
    gradients = torch.randn(500, 2, generator=generator, dtype=torch.float64, device="cpu")
    gradients[:, 0] *= 1_000.0
    steps = driven(adagrad_mean(RATE), gradients).square().mean(0).sqrt()
    rates = RATE / gradients.square().mean(0).sqrt()
    return {
        "rate where gradients are 1,000 times smaller": float(rates[1] / rates[0]),
        "step where gradients are 1,000 times smaller": float(steps[1] / steps[0]),
    }


def stream(generator: torch.Generator) -> tuple[dict[str, float], dict[str, list[float]]]:
    """η/σ of one parameter whose gradients are small, large, and small again."""
    sizes = torch.tensor([SMALL] * STRETCH + [LARGE] * STRETCH + [SMALL] * STRETCH, dtype=torch.float64, device="cpu")
    noise = torch.randn(len(sizes), generator=generator, dtype=torch.float64, device="cpu")
    rates: dict[str, list[float]] = {}
    for name, rule in (("Adagrad of the lecture", adagrad_mean(RATE)), ("RMSProp", rmsprop(RATE, 0.9))):
        at = torch.zeros(1, 1, dtype=torch.float64, device="cpu")
        state, rates[name] = start(rule, at), []
        for gradient in (sizes * (1.0 + 0.1 * noise))[:, None, None]:
            seen = look(rule, state, at, gradient)
            rates[name].append(float(RATE / torch.as_tensor(seen.scale)))
            at, state = step(rule, state, at, gradient.clone())
    return {f"rate after a steep stretch, {name}": own[-1] / own[STRETCH - 1] for name, own in rates.items()}, rates


def online(method: str, place: float, phase: int) -> float:
    """θ at the end, where the loss is C θ in every third update and −θ in the others, θ in [−1, 1]; best is −1.

    Adam without momentum, with β₂ = 1/(1 + C²) and η_t = 0.5/√t; AMSGrad keeps the largest mean of squares. Reddi, Kale
    and Kumar 2018, "On the convergence of Adam and beyond", theorem 1 and section 5.
    """
    memory, squares, largest, total = 1.0 / (1.0 + SPIKE**2), 0.0, 0.0, 0.0
    for update in range(1, ONLINE_UPDATES + 1):
        gradient = SPIKE if (update + phase) % 3 == 1 else -1.0
        squares = memory * squares + (1.0 - memory) * gradient**2
        largest = max(largest, squares)
        scale = {"Adam": math.sqrt(squares), "AMSGrad": math.sqrt(largest), "SGD": 1.0}[method]
        place = min(1.0, max(-1.0, place - 0.5 / math.sqrt(update) * gradient / scale))
        total += place if update > ONLINE_UPDATES - ONLINE_LAST else 0.0
    return total / ONLINE_LAST
