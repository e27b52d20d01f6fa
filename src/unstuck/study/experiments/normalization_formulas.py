"""What is known exactly of normalizations: how far the computation is from it.

Lecture chapter 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import grad, jacrev

from unstuck.methods.normalize import (
    batch_normalized,
    batch_renormalized,
    group_normalized,
    instance_normalized,
    layer_normalized,
    normalized_in_testing,
    spectral_normalized,
    weight_normalized,
)
from unstuck.study.experiments.normalizations import EPSILON, GROUPS, OF_SAMPLES, Normalization, one_hot

SAMPLES, CHANNELS, SIDE = 6, 8, 3

ITERATIONS = 300
"""Of the power method, where its limit is wanted."""


def _drawn(seed: int) -> Callable[..., Tensor]:
    generator = torch.Generator(device="cpu").manual_seed(seed)
    return partial(torch.randn, generator=generator, dtype=torch.float64, device="cpu")


def errors(seed: int) -> dict[str, float]:
    """Of each formula the largest absolute difference, in double precision; ``layer`` and so on are the networks' own.

    ``instance``: instance normalization, batch normalization of one sample, and group normalization with a channel in
    each group are the same. ``layer``: so are layer normalization and group normalization with one group.
    ``renormalization``: not clipped it is what batch normalization does in testing; all clipped, in training.
    ``weight``: the gradient is orthogonal to v, so that ‖v − ηg‖² = ‖v‖² + η²‖g‖². ``spectral``: the power method
    finds the largest singular value σ, and ∂σ/∂W = uvᵀ.
    """
    draw = _drawn(seed)
    values = 2.0 * draw(SAMPLES, CHANNELS, SIDE, SIDE) + 1.0
    scale, shift = draw(CHANNELS), draw(CHANNELS)
    affine = partial(_with, scale=scale, shift=shift)
    single = torch.cat([affine(batch_normalized, each[None])[0] for each in values])
    whole = {name: each[:, None, None].expand_as(values[0]) for name, each in (("scale", scale), ("shift", shift))}
    averages = {"mean": shift, "variance": scale.square()}
    own = partial(_own, values=values, scale=scale, shift=shift)
    instance, layer = affine(instance_normalized, values), _with(layer_normalized, values, **whole)
    found = {
        "instance": [single - instance, own("instance") - instance],
        "layer": [affine(group_normalized, values, groups=1) - layer, own("layer") - layer],
        "group": [own("group") - affine(group_normalized, values, groups=GROUPS)],
        "batch": [own("batch") - affine(batch_normalized, values)[0]],
        "renormalization": [
            _renormalized(values, scale, shift, 1e9, 1e9) - affine(normalized_in_testing, values, **averages),
            _renormalized(values, scale, shift, 1.0, 0.0) - affine(batch_normalized, values)[0],
        ],
        "weight": _of_weights(draw),
        "spectral": _of_spectrum(draw),
    }
    return {name: max(float(each.abs().max()) for each in parts) for name, parts in found.items()}


def _with(function: Callable[..., Any], values: Tensor, **settings: Tensor | int) -> Any:
    return function(values, epsilon=EPSILON, **settings)


@torch.no_grad()
def _own(kind: str, values: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
    """What the networks' own layer gives in training."""
    layer = Normalization(values.shape[1], 1).double()
    given: Mapping[str, Tensor | None] = {"kind": one_hot(kind), "weight": scale, "bias": shift}
    layer.load_state_dict({name: each for name, each in given.items() if each is not None}, strict=False)
    outputs: Tensor = layer(values)
    return outputs


def _renormalized(values: Tensor, scale: Tensor, shift: Tensor, ratio: float, distance: float) -> Tensor:
    """With β as μ̄ and γ² as σ̄²."""
    limits = [torch.tensor(limit, dtype=values.dtype, device="cpu") for limit in (ratio, distance)]
    return batch_renormalized(
        values,
        running_mean=shift,
        running_variance=scale.square(),
        scale=scale,
        shift=shift,
        epsilon=EPSILON,
        largest_ratio=limits[0],
        largest_distance=limits[1],
    )[0]


def _of_weights(draw: Callable[..., Tensor]) -> list[Tensor]:
    direction, length, goal = draw(5, 7), draw(5), draw(5, 7)
    slope = grad(lambda own: (weight_normalized(own, length) - goal).square().sum())(direction)
    after = (direction - 0.1 * slope).square().sum(1)
    return [
        (direction * slope).sum(1),
        after - direction.square().sum(1) - (0.1 * slope).square().sum(1),
        weight_normalized(direction, length).norm(dim=1) - length.abs(),
    ]


def _of_spectrum(draw: Callable[..., Tensor]) -> list[Tensor]:
    """Of a matrix whose singular values are 1, 0.8, 0.8² …"""
    left, _, right = torch.linalg.svd(draw(5, 7), full_matrices=False)
    weight = 2.0 * left @ torch.diag(0.8 ** torch.arange(5, dtype=torch.float64, device="cpu")) @ right
    _, stored = spectral_normalized(weight, draw(5), steps=ITERATIONS)

    def largest(own: Tensor) -> Tensor:
        return own[0, 0] / spectral_normalized(own, stored)[0][0, 0]

    return [largest(weight) - 2.0, grad(largest)(weight) - left[:, :1] @ right[:1]]


def dependence(kind: str, seed: int) -> float:
    """The largest change of a sample's output, in training, where the others of its batch are replaced."""
    draw = _drawn(seed)
    values, others = draw(SAMPLES, CHANNELS, SIDE, SIDE), draw(SAMPLES, CHANNELS, SIDE, SIDE)
    others[0] = values[0]
    return float((_own(kind, values)[0] - _own(kind, others)[0]).abs().max())


def stretch_of_layers(seed: int) -> float:
    """The largest ‖f(x) − f(y)‖ / ‖x − y‖ and the largest singular value of f's Jacobian that are found.

    f is three linear layers W/σ(W) with ReLU, and should have no more than 1.
    """
    draw = _drawn(seed)
    weights = [spectral_normalized(draw(9, 9), draw(9), steps=ITERATIONS)[0] for _ in range(3)]

    def function(inputs: Tensor) -> Tensor:
        for weight in weights:
            inputs = torch.relu(inputs @ weight.mT)
        return inputs

    one, other = draw(1000, 9), draw(1000, 9)
    apart = (function(one) - function(other)).norm(dim=1) / (one - other).norm(dim=1)
    slopes = torch.stack([jacrev(function)(each) for each in one[:20]])
    first = torch.linalg.matrix_norm(weights[0], 2)  # the layers one by one reach the bound
    return float(torch.stack([apart.max(), torch.linalg.matrix_norm(slopes, 2).max(), first]).max())


def stretch_of_convolution(seed: int) -> float:
    """The largest singular value of a convolution of 16 channels on 8 × 8 places whose kernel is W/σ(W)."""
    draw = _drawn(seed)
    kernel = spectral_normalized(draw(16, 16, 3, 3), draw(16), steps=ITERATIONS)[0]
    values = F.normalize(draw(1, 16 * 64))
    for _ in range(ITERATIONS):  # the power method on the convolution itself
        outputs = F.conv2d(values.view(1, 16, 8, 8), kernel, padding=1)
        values = F.normalize(F.conv_transpose2d(outputs, kernel, padding=1).flatten(1))
    return float(F.conv2d(values.view(1, 16, 8, 8), kernel, padding=1).norm())


def known(seed: int) -> dict[str, float]:
    """The largest of the :func:`errors`, and dependences on other samples and stretches by their names."""
    return {
        "error": max(errors(seed).values()),
        "batch": dependence("batch", seed),
        "others": max(dependence(kind, seed) for kind in OF_SAMPLES),
        "layers": stretch_of_layers(seed),
        "convolution": stretch_of_convolution(seed),
    }
