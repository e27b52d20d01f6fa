"""What a step along the gradient does to the gradients of each layer, to the surface, and to what layers are given.

Lecture chapter 5; Santurkar et al. 2018, sections 2 and 3.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import grad

from unstuck.fleet_network import Network
from unstuck.methods.normalize import batch_normalized
from unstuck.study.experiments.curved import Curved, mean_loss
from unstuck.study.experiments.networks import cross_entropy
from unstuck.untouched import generators_kept, seed_all

STEPS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
"""Lengths at which the surface along the gradient is looked at, in units of the training's own step ηg."""

NOISE_SEED = 0


def layer_shifts(network: Network, surface: Curved, rows: Tensor, rate: float) -> tuple[Tensor, Tensor, Tensor]:
    """Internal covariate shift of a step, definition 2.1: what the layers before do to a layer's gradient.

    G is the gradient with respect to the layer's weights at θ, G' that with all layers before it already at θ − ηg,
    and it and those behind it still at θ, for the same batch.

    Args:
        network: a sequence of layers, the parameters of each behind those of the ones before.
        surface: its loss for a batch.
        rows: θ, shape (K, n).
        rate: η.

    Returns:
        ‖G − G'‖, ‖G‖, and cos(G, G') of each layer but the first, for which G' = G; shape (K, layers).
    """
    slopes = surface.gradients(rows)
    moved = rows - rate * slopes
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    start = 0
    for shape in network.shapes.values():
        end = start + shape.numel()
        if len(shape) == 2 and start:
            mixed = torch.cat([moved[:, :start], rows[:, start:]], dim=1)
            before, after = slopes[:, start:end], surface.gradients(mixed)[:, start:end]
            cosine = torch.cosine_similarity(before, after, dim=1)
            found.append(((after - before).norm(dim=1), before.norm(dim=1), cosine))
        start = end
    apart, before, cosine = (torch.stack(each, dim=1) for each in zip(*found, strict=True))
    return apart, before, cosine


def along_the_gradient(surface: Curved, rows: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    """The losses L(θ − aηg) and the changes ‖g(θ − aηg) − g(θ)‖/‖g(θ)‖ for each a of :data:`STEPS`.

    Args:
        surface: the loss for a batch.
        rows: θ, shape (K, n).
        rate: η.

    Returns:
        Both of shape (K, steps).
    """
    slopes = surface.gradients(rows)
    losses, changes = [], []
    for length in STEPS:
        there = rows - length * rate * slopes
        losses.append(surface.losses(there))
        changes.append((surface.gradients(there) - slopes).norm(dim=1) / slopes.norm(dim=1))
    return torch.stack(losses, dim=1), torch.stack(changes, dim=1)


def drifts(model: nn.Sequential, network: Network, pairs: tuple[Tensor, Tensor], inputs: Tensor, seed: int) -> Tensor:
    """How far the mean of what a unit's activation is given moves, in its own deviations: |μ' − μ|/σ.

    Args:
        model: in training mode; it is given away.
        network: that tells the names of its parameters.
        pairs: these before and after an update, each of shape (K, n).
        inputs: the batch, the same for both.
        seed: of the noise, where there is one.

    Returns:
        Its mean over all units of all hidden layers, shape (K,).
    """
    found = []
    with generators_kept(), torch.no_grad():
        seed_all(seed)
        for rows in zip(*pairs, strict=True):
            now, then = (_given(model, network, row, inputs) for row in rows)
            found.append(((then.mean(1) - now.mean(1)).abs() / now.std(1, correction=0)).mean())
    return torch.stack(found)


def _given(model: nn.Sequential, network: Network, row: Tensor, inputs: Tensor) -> Tensor:
    """What the activations of the hidden layers are given, shape (layers, samples, units)."""
    model.load_state_dict(network.named(row))
    values, given = inputs, []
    for layer in model:
        if isinstance(layer, nn.ReLU):
            given.append(values)
        values = layer(values)
    return torch.stack(given)


def steps(
    network: Network, rows: Tensor, rate: float, batch: tuple[Tensor, Tensor], *, noisy: nn.Sequential | None = None
) -> dict[str, list[Any]]:
    """What the next step of gradient descent would change at each of K places on the way of a classifier.

    Args:
        network: its model is put into eval mode, in which there is no noise.
        rows: the parameters, shape (K, n).
        rate: η.
        batch: inputs and targets.
        noisy: a model with noise, of which the drift alone is measured.

    Returns:
        Lists of K. ``drift``: see :func:`drifts`; ``shift``, ``relative``, ``cosine``: of :func:`layer_shifts`, mean
        over layers; ``along``: the changes of :func:`along_the_gradient`, ``once`` that after one step, and
        ``change`` the largest; ``range``: between the highest and the lowest loss there; ``beta``: the largest change
        for its length.
    """
    network.model.eval()
    surface = Curved(mean_loss(network, cross_entropy, *batch))
    moved = rows - rate * surface.gradients(rows)
    model = noisy or cast("nn.Sequential", copy.deepcopy(network.model))
    found = {"drift": drifts(model, network, (rows, moved), batch[0], NOISE_SEED)}
    if noisy is None:
        apart, before, cosines = layer_shifts(network, surface, rows, rate)
        heights, changes = along_the_gradient(surface, rows, rate)
        found |= {
            "shift": apart.mean(1),
            "relative": (apart / before).mean(1),
            "cosine": cosines.mean(1),
            "range": heights.amax(1) - heights.amin(1),
            "along": changes,
            "once": changes[:, STEPS.index(1.0)],
            "change": changes.amax(1),
            "beta": (changes / torch.tensor(STEPS, dtype=rows.dtype, device=rows.device)).amax(1) / rate,
        }
    return {name: values.tolist() for name, values in found.items()}


def at_loss(losses: Sequence[float], values: Sequence[float], level: float) -> float:
    """The value where the loss comes down to a level for the first time, logarithms in between; NaN if it does not."""
    lowest = np.minimum.accumulate(np.asarray(losses, dtype=float))
    if not lowest[-1] <= level <= lowest[0]:
        return math.nan
    return float(np.exp(np.interp(-math.log(level), -np.log(lowest), np.log(values))))


def at_equal_loss(
    one: Mapping[str, Any], other: Mapping[str, Any], name: str, *, rate: float, levels: Sequence[float]
) -> float:
    """One's value over the other's, the geometric mean over the levels that both come down to; NaN if there is none.

    Args:
        one: ``rates``, the ``losses`` of each, and the ``steps`` by rate, as :func:`steps` gives them.
        other: likewise.
        name: of the value.
        rate: at which both were trained.
        levels: of the loss.
    """
    found = [
        [at_loss(own["losses"][own["rates"].index(rate)], own["steps"][f"{rate:g}"][name], level) for level in levels]
        for own in (one, other)
    ]
    apart = np.log(found[0]) - np.log(found[1])
    return float(np.exp(apart[np.isfinite(apart)].mean())) if np.isfinite(apart).any() else math.nan


def theorem_error(seed: int) -> float:
    """How far the squared norm of a gradient before batch normalization is from what it has to be, as a share.

    ‖∇_z L‖² = γ²/σ² (‖∇_ẑ L‖² − ⟨1, ∇_ẑ L⟩²/m − ⟨∇_ẑ L, z̃⟩²/m) for each unit over the m samples of a batch (theorem
    4.1, an equality where the loss behind is the same); the largest of five units, in double precision.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    samples, units = 12, 5

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64, device="cpu")

    values, weights, scale, shift = draw(samples, units), draw(samples, units), draw(units), draw(units)

    def head(outputs: Tensor) -> Tensor:
        return (outputs.sin() * weights).sum()

    def normalized(own: Tensor) -> Tensor:
        return batch_normalized(own, scale=scale, shift=shift, epsilon=0.0)[0]

    standard = (values - values.mean(0)) / values.std(0, correction=0)
    after = grad(head)(normalized(values))
    before = grad(lambda own: head(normalized(own)))(values)
    left = after.square().sum(0) - (after.sum(0).square() + (after * standard).sum(0).square()) / samples
    known = scale.square() / values.var(0, correction=0) * left
    return float((before.square().sum(0) / known - 1.0).abs().max())
