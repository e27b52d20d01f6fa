"""Ten short curves that must be told apart wherever, however large and however tilted they are, and under noise.

Made on the spot in the spirit of MNIST-1D (S. Greydanus & D. Kobak, "Scaling down deep learning with MNIST-1D", 2020):
where the digits are easy for any network, these reward an architecture that shares weights between places.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from unstuck.datasets.classification import Classification, standardized

LENGTH, CLASSES, LEARNED, HELD_OUT = 40, 10, 4_000, 1_000

TEMPLATE = 12
"""Points of a curve before it is stretched."""

NOISE, SMOOTH = 0.25, 2.0
"""Deviation of the noise, and how many neighbouring points it is smeared over."""


@cache
def waves() -> Classification:
    """4,000 curves of 40 points to learn from, 1,000 held out, in ten classes."""
    generator = np.random.default_rng(0)
    templates = np.cumsum(generator.normal(size=(CLASSES, TEMPLATE)), axis=1)
    templates = (templates - templates.mean(1, keepdims=True)) / templates.std(1, keepdims=True)
    labels = np.arange(LEARNED + HELD_OUT) % CLASSES
    curves = np.stack([_curve(templates[label], generator) for label in labels])
    order = generator.permutation(len(labels))
    inputs = torch.from_numpy(curves[order].astype(np.float32))
    targets = torch.from_numpy(labels[order])
    learned, held_out = standardized(inputs[:LEARNED], inputs[LEARNED:])
    return Classification(
        name="waves",
        inputs=learned,
        targets=targets[:LEARNED],
        held_out_inputs=held_out,
        held_out_targets=targets[LEARNED:],
        classes=CLASSES,
        shape=(1, LENGTH),
    )


def _curve(template: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """The template stretched, scaled, tilted, put somewhere in the window, and seen through noise."""
    places = np.arange(LENGTH, dtype=np.float64)
    width = generator.uniform(0.35, 0.65) * LENGTH
    begin = generator.uniform(0.0, LENGTH - width)
    across = (places - begin) / width
    seen = np.interp(across, np.linspace(0.0, 1.0, TEMPLATE), template, left=0.0, right=0.0)
    tilted = generator.uniform(0.6, 1.4) * seen + generator.uniform(-0.5, 0.5) * (across - 0.5)
    window = np.exp(-0.5 * (np.arange(-6, 7) / SMOOTH) ** 2)
    smeared = np.convolve(generator.normal(size=LENGTH + 12), window / np.sqrt((window**2).sum()), mode="valid")
    noisy: NDArray[np.float64] = tilted + NOISE * smeared
    return noisy
