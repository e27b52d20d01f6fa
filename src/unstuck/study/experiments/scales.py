"""Linear layers on inputs of unequal scale or far from zero: their curvature, and walks on the lecture's surface.

Lecture chapter 5.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unstuck.methods.normalize import FeatureStatistics, feature_normalized
from unstuck.methods.update import gradient_descent
from unstuck.study.experiments.walks import Slope, walked
from unstuck.surgery.decorrelation import decorrelation

POINTS, SCALES, SHOWN = 100, (1.0, 3.0, 10.0, 30.0), 10.0
"""Samples of the lecture's two features; how many times as wide the second one is; and in the picture."""

REMAINS, LONGEST = 1e-3, 20_000
"""A walk on the lecture's surface has arrived when this share of the loss is left; updates at most."""


def shift_error(seed: int, features: int = 10) -> float:
    """How far λ_max is from 1 + d s² where d features of mean s are uncorrelated and have the variance 1."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    drawn = torch.randn(POINTS, features, generator=generator, dtype=torch.float64, device="cpu")
    mean, mixing = decorrelation(drawn)
    wrong = [
        highest((drawn - mean) @ mixing + shift) / (1.0 + features * shift**2) - 1.0 for shift in (0.0, 1.0, 5.0, 100.0)
    ]
    return max(map(abs, wrong))


def highest(inputs: Tensor) -> float:
    """The largest eigenvalue of Σ x xᵀ / n, inputs (n, features): the sharpest curvature of a linear layer."""
    return float(torch.linalg.matrix_norm(inputs, 2)) ** 2 / len(inputs)


def surfaces(seed: int, most: int) -> dict[str, Any]:
    """Gradient descent at its best rate 2/(L + μ) on ½ mean (wᵀx − y)² with the second feature ever wider."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    drawn = torch.randn(POINTS, 2, generator=generator, dtype=torch.float64, device="cpu")
    statistics = FeatureStatistics.of([drawn], axis=1)
    alike = feature_normalized(drawn, mean=statistics.mean, divisor=statistics.deviation)
    found: dict[str, Any] = {"correlation": float((alike[:, 0] * alike[:, 1]).mean()), "updates": []}
    for scale in SCALES:
        inputs = alike * alike.new_tensor([1.0, scale])
        curvature = inputs.T @ inputs / POINTS
        low, high = torch.linalg.eigvalsh(curvature).tolist()
        away = 1.0 / inputs.new_tensor([1.0, scale])  # both features matter alike for y = x1 + x2 / scale
        path = []
        for at in walked(
            gradient_descent(2.0 / (low + high)), torch.zeros_like(away)[None], _slope(curvature, away), most
        ):
            path.append(at[0].tolist())
            apart = at[0] - away
            if float(apart @ curvature @ apart) <= REMAINS * float(away @ curvature @ away):
                break
        found["updates"].append(len(path) - 1)
        if scale in (1.0, SHOWN):
            found[f"{scale:g}"] = {"condition": high / low, "curvature": curvature.tolist(), "path": path[:60]}
    return found


def _slope(curvature: Tensor, goal: Tensor) -> Slope:
    return lambda at: (at - goal) @ curvature
