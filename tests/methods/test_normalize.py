"""Normalization against torch's own, in outputs, gradients and moving averages, and in closed form."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import grad, jacrev, vmap

from unstuck.methods.normalize import (
    LARGEST,
    FeatureStatistics,
    batch_normalized,
    batch_renormalized,
    feature_normalized,
    group_normalized,
    instance_normalized,
    layer_normalized,
    moved_average,
    normalized_in_testing,
    spectral_normalized,
    weight_normalized,
)

CHANNELS, EPSILON = 6, 1e-5
SHAPES = [(7, CHANNELS), (7, CHANNELS, 3), (7, CHANNELS, 2, 4), (3, CHANNELS, 2, 2, 2)]
PLACES = SHAPES[1:]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SCALE, SHIFT = normal(CHANNELS, seed=1), normal(CHANNELS, seed=2)
AVERAGE, VARIANCE = normal(CHANNELS, seed=3), normal(CHANNELS, seed=4).exp()
IDENTITY = {"scale": torch.ones(CHANNELS).double(), "shift": torch.zeros(CHANNELS).double()}


def batch(values: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return batch_normalized(values, scale=scale, shift=shift, epsilon=EPSILON)[0]


def in_testing(values: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return normalized_in_testing(values, mean=AVERAGE, variance=VARIANCE, scale=scale, shift=shift, epsilon=EPSILON)


PAIRS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "batch, training": (batch, lambda z, g, b: F.batch_norm(z, None, None, g, b, training=True, eps=EPSILON)),
    "batch, testing": (in_testing, lambda z, g, b: F.batch_norm(z, AVERAGE, VARIANCE, g, b, eps=EPSILON)),
    "one group": (
        lambda z, g, b: group_normalized(z, groups=1, scale=g, shift=b, epsilon=EPSILON),
        lambda z, g, b: F.group_norm(z, 1, g, b, EPSILON),
    ),
    "three groups": (
        lambda z, g, b: group_normalized(z, groups=3, scale=g, shift=b, epsilon=EPSILON),
        lambda z, g, b: F.group_norm(z, 3, g, b, EPSILON),
    ),
}
"""Ours and torch's, of (values, scale, shift)."""


def assert_alike(ours: Callable[..., Tensor], torchs: Callable[..., Tensor], *given: Tensor) -> None:
    """The same output and the same gradients, to rounding."""
    leaves = [[tensor.clone().requires_grad_() for tensor in given] for _ in range(2)]
    outputs = [function(*own) for function, own in zip((ours, torchs), leaves, strict=True)]
    torch.testing.assert_close(*outputs, rtol=1e-12, atol=1e-12)
    weighing = normal(*outputs[0].shape, seed=9)
    slopes = [torch.autograd.grad((output * weighing).sum(), own) for output, own in zip(outputs, leaves, strict=True)]
    torch.testing.assert_close(*slopes, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", PAIRS)
def test_channels_agree_with_torch(kind: str, shape: tuple[int, ...]) -> None:
    assert_alike(*PAIRS[kind], 3 * normal(*shape) + 1, SCALE, SHIFT)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_layer_normalization_agrees_with_torch(shape: tuple[int, ...]) -> None:
    assert_alike(
        lambda z, g, b: layer_normalized(z, scale=g, shift=b, epsilon=EPSILON),
        lambda z, g, b: F.layer_norm(z, shape[1:], g, b, EPSILON),
        *(3 * normal(*shape) + 1, normal(*shape[1:], seed=1), normal(*shape[1:], seed=2)),
    )


@pytest.mark.parametrize("shape", PLACES, ids=str)
def test_instance_normalization_agrees_with_torch(shape: tuple[int, ...]) -> None:
    assert_alike(
        lambda z, g, b: instance_normalized(z, scale=g, shift=b, epsilon=EPSILON),
        lambda z, g, b: F.instance_norm(z, weight=g, bias=b, eps=EPSILON),
        *(3 * normal(*shape) + 1, SCALE, SHIFT),
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_moving_averages_agree_with_torch(shape: tuple[int, ...]) -> None:
    """The lecture's p is torch's 1 − momentum; the variance is the unbiased one (C25)."""
    torchs = AVERAGE.clone(), VARIANCE.clone()
    ours = AVERAGE, VARIANCE
    for seed in range(4):
        values = normal(*shape, seed=seed)
        F.batch_norm(values, *torchs, training=True, momentum=0.2)
        _, mean, variance = batch_normalized(values, **IDENTITY, epsilon=EPSILON)
        ours = moved_average(ours[0], mean, momentum=0.2), moved_average(ours[1], variance, momentum=0.2)
    torch.testing.assert_close(ours, torchs, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("size", [2, 3, 8])
def test_the_unbiased_variance_is_right_on_the_average(size: int) -> None:
    """C25, over every batch that can be drawn of the numbers ±1, whose variance is 1."""
    batches = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=size)), dtype=torch.float64)
    ones = torch.ones(1, dtype=torch.float64)
    variances = torch.stack(
        [batch_normalized(each[:, None], scale=ones, shift=ones, epsilon=0.0)[2] for each in batches]
    )
    assert float(variances.nan_to_num().mean()) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("shape", [(5, CHANNELS), (5, CHANNELS, 2)], ids=str)
def test_samples_are_coupled_in_training_and_not_in_testing(shape: tuple[int, ...]) -> None:
    def coupling(function: Callable[..., Tensor]) -> Tensor:
        """∂ẑ_j/∂z_i of every pair of samples, its largest entry, shape (samples, samples)."""
        slope = jacrev(lambda values: function(values, SCALE, SHIFT))(normal(*shape))
        return slope.abs().movedim(len(shape), 1).flatten(2).amax(2)  # type: ignore[no-any-return]

    off = ~torch.eye(5, dtype=torch.bool)
    assert coupling(batch)[off].min() > 1e-3
    assert coupling(in_testing)[off].max() == 0
    assert coupling(lambda z, g, b: layer_normalized(z, scale=1.0, shift=0.0, epsilon=EPSILON))[off].max() == 0  # type: ignore[arg-type]
    assert coupling(PAIRS["three groups"][0])[off].max() == 0


@pytest.mark.parametrize("shape", [(7, CHANNELS), (7, CHANNELS, 2)], ids=str)
def test_samples_that_weigh_nothing_do_not_count(shape: tuple[int, ...]) -> None:
    """A fleet of three members whose batches have 4, 7 and 1 samples; what fills up the others is no number."""
    sizes = [4, 7, 1]
    members = torch.stack([normal(*shape, seed=seed) for seed in range(3)])
    weights = torch.stack([(torch.arange(7) < size).double() for size in sizes])
    for member, size in zip(members, sizes, strict=True):
        member[size:] = torch.nan
    scales = normal(3, CHANNELS, seed=5)

    def forward(values: Tensor, scale: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return batch_normalized(values, scale=scale, shift=SHIFT, epsilon=EPSILON, weights=weights)

    def loss(values: Tensor, scale: Tensor, weights: Tensor) -> Tensor:
        return (forward(values, scale, weights)[0].flatten(1).sin().sum(1) * weights).sum()

    found = vmap(forward)(members, scales, weights)
    slopes = vmap(grad(loss, argnums=(0, 1)))(members, scales, weights)
    for number, size in enumerate(sizes):
        own, whole = members[number, :size], torch.ones(size)
        for ours, expected in zip(found, forward(own, scales[number], whole), strict=True):
            torch.testing.assert_close(ours[number][: len(expected)], expected, rtol=1e-12, atol=1e-12)
        values, scale = grad(loss, argnums=(0, 1))(own, scales[number], whole)
        torch.testing.assert_close(slopes[0][number, :size], values, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(slopes[1][number], scale, rtol=1e-11, atol=1e-11)
        assert torch.isfinite(found[0]).all()
        assert (slopes[0][number, size:] == 0).all()


def through_batch_norm(weight: Tensor) -> Tensor:
    """A loss of batch normalized units, ε = 0; the weight has one column per unit."""
    values = normal(16, len(weight), seed=6) @ weight
    return (batch_normalized(values, **IDENTITY, epsilon=0.0)[0] - normal(16, CHANNELS, seed=7)).pow(4).sum()


def test_the_gradient_is_orthogonal_to_each_units_weights() -> None:
    """C21: the length of a unit's weights does nothing, so it can only grow under gradient descent."""
    weight = normal(5, CHANNELS)
    slope = grad(through_batch_norm)(weight)
    assert ((weight * slope).sum(0) / (weight.norm(dim=0) * slope.norm(dim=0))).abs().max() < 1e-14
    torch.testing.assert_close(grad(through_batch_norm)(7 * weight), slope / 7, rtol=1e-10, atol=1e-12)
    moved = weight - 0.1 * slope
    torch.testing.assert_close(moved.square().sum(0), weight.square().sum(0) + 0.01 * slope.square().sum(0))


@pytest.mark.parametrize("epsilon", [0.0, 1e-3, 1.0])
def test_the_gradient_sums_to_nothing_over_a_batch(epsilon: float) -> None:
    """C22: Σ ∂L/∂z = 0, and Σ z̃ ∂L/∂z = (γ/σ) Σ z̃g · ε/(σ² + ε), which vanishes with ε."""
    values, upstream = normal(9, CHANNELS), normal(9, CHANNELS, seed=8)
    slope = grad(lambda z: (batch_normalized(z, scale=SCALE, shift=SHIFT, epsilon=epsilon)[0] * upstream).sum())(values)
    standard, _, variance = batch_normalized(values, **IDENTITY, epsilon=epsilon)
    biased = variance * 8 / 9
    remains = SCALE / (biased + epsilon).sqrt() * (standard * upstream).sum(0) * epsilon / (biased + epsilon)
    torch.testing.assert_close(slope.sum(0), torch.zeros_like(SCALE), rtol=0, atol=1e-13)
    torch.testing.assert_close((standard * slope).sum(0), remains, rtol=1e-11, atol=1e-13)


def test_what_small_batches_are_normalized_to() -> None:
    """C23: ±1 for two samples whatever they are, 0 for one, and never beyond √(m − 1)."""
    two = batch_normalized(normal(2, CHANNELS), **IDENTITY, epsilon=0.0)[0]
    torch.testing.assert_close(two.abs(), torch.ones_like(two), rtol=1e-14, atol=0)
    one, _, variance = batch_normalized(normal(1, CHANNELS), **IDENTITY, epsilon=EPSILON)
    assert (one == 0).all()
    assert (variance == 0).all()
    lonely = torch.zeros(10, CHANNELS, dtype=torch.float64)
    lonely[3] = 5.0
    assert float(batch_normalized(lonely, **IDENTITY, epsilon=0.0)[0].max()) == pytest.approx(3.0, rel=1e-14)


def test_how_much_smaller_batch_normalization_makes_the_gradient() -> None:
    """C24 (Santurkar et al. 2018, theorem 4.1, as an equality for one head)."""
    values = normal(12, CHANNELS)

    def head(outputs: Tensor) -> Tensor:
        return (outputs.sin() * normal(12, CHANNELS, seed=3)).sum()

    outputs, _, unbiased = batch_normalized(values, scale=SCALE, shift=SHIFT, epsilon=0.0)
    after = grad(head)(outputs)
    before = grad(lambda z: head(batch_normalized(z, scale=SCALE, shift=SHIFT, epsilon=0.0)[0]))(values)
    standard = batch_normalized(values, **IDENTITY, epsilon=0.0)[0]
    left = after.square().sum(0) - after.sum(0) ** 2 / 12 - (after * standard).sum(0) ** 2 / 12
    torch.testing.assert_close(before.square().sum(0), SCALE**2 / (unbiased * 11 / 12) * left, rtol=1e-12, atol=0)


def renormalized(values: Tensor, *, ratio: float, distance: float) -> Tensor:
    return batch_renormalized(
        values,
        running_mean=AVERAGE,
        running_variance=VARIANCE,
        scale=SCALE,
        shift=SHIFT,
        epsilon=EPSILON,
        largest_ratio=torch.tensor(ratio),
        largest_distance=torch.tensor(distance),
    )[0]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_renormalization_lies_between_training_and_testing(shape: tuple[int, ...]) -> None:
    """C26: unclipped it gives what testing gives; clipped to nothing, what batch normalization gives in training."""
    values = normal(*shape)
    torch.testing.assert_close(
        renormalized(values, ratio=1e9, distance=1e9), in_testing(values, SCALE, SHIFT), rtol=1e-13, atol=1e-13
    )
    torch.testing.assert_close(renormalized(values, ratio=1.0, distance=0.0), batch(values, SCALE, SHIFT))
    clipped = renormalized(values, ratio=1.1, distance=0.05)
    assert not torch.allclose(clipped, batch(values, SCALE, SHIFT))
    assert not torch.allclose(clipped, in_testing(values, SCALE, SHIFT))


def test_renormalization_sends_its_gradient_through_the_batch() -> None:
    """C26: r and d count as constants, so that the gradient is batch normalization's times r."""
    values, upstream = normal(9, CHANNELS), normal(9, CHANNELS, seed=8)
    slope = grad(lambda z: (renormalized(z, ratio=1e9, distance=1e9) * upstream).sum())(values)
    plain = grad(lambda z: (batch(z, SCALE, SHIFT) * upstream).sum())(values)
    ratio = ((values.var(0, correction=0) + EPSILON) / (VARIANCE + EPSILON)).sqrt()
    torch.testing.assert_close(slope, ratio * plain, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("shape", PLACES, ids=str)
def test_groups_lie_between_layer_and_instance(shape: tuple[int, ...]) -> None:
    """C27: one group is layer normalization, one channel per group instance normalization, as is a batch of one."""
    values = normal(*shape)
    own = {"scale": SCALE, "shift": SHIFT, "epsilon": EPSILON}
    everywhere = [tensor.view(-1, *[1] * (len(shape) - 2)).expand(shape[1:]) for tensor in (SCALE, SHIFT)]
    layer = layer_normalized(values, scale=everywhere[0], shift=everywhere[1], epsilon=EPSILON)
    torch.testing.assert_close(group_normalized(values, groups=1, **own), layer, rtol=1e-13, atol=1e-13)  # type: ignore[arg-type]
    instance = instance_normalized(values, **own)  # type: ignore[arg-type]
    alone = torch.cat([batch_normalized(each[None], **own)[0] for each in values])  # type: ignore[arg-type]
    torch.testing.assert_close(instance, alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2, 2)], ids=str)
def test_weight_normalization_agrees_with_torch(shape: tuple[int, ...]) -> None:
    assert_alike(
        lambda v, g: weight_normalized(v, g),
        lambda v, g: torch._weight_norm(v, g.view(-1, *[1] * (len(shape) - 1)), 0),
        *(normal(*shape), normal(4, seed=1)),
    )


def test_the_direction_of_a_weight_only_grows() -> None:
    """C28: v ⊥ ∂L/∂v, ∂L/∂g = ∂L/∂w · v/‖v‖."""
    direction, length = normal(4, 3), normal(4, seed=1)

    def loss(weight: Tensor) -> Tensor:
        return (weight @ normal(3, 8, seed=2)).tanh().pow(3).sum()

    slopes = grad(lambda v, g: loss(weight_normalized(v, g)), argnums=(0, 1))(direction, length)
    assert (direction * slopes[0]).sum(1).abs().max() < 1e-14
    whole = grad(loss)(weight_normalized(direction, length))
    torch.testing.assert_close(slopes[1], (whole * direction / direction.norm(dim=1, keepdim=True)).sum(1))
    assert ((direction - 0.1 * slopes[0]).norm(dim=1) > direction.norm(dim=1)).all()


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2, 2)], ids=str)
def test_spectral_normalization_agrees_with_torch(shape: tuple[int, ...]) -> None:
    """Update after update on the same u, which is torch's buffer."""
    layer: Any = (nn.Linear(3, 4) if len(shape) == 2 else nn.Conv2d(3, 4, 2)).double()
    weight = normal(*shape)
    with torch.no_grad():
        layer.weight.copy_(weight)
    torchs: Any = nn.utils.spectral_norm(layer)
    left = torchs.weight_u.clone()
    inputs = normal(2, 3, *[5] * (len(shape) - 2))
    for _ in range(3):
        leaf = weight.clone().requires_grad_()
        ours, left = spectral_normalized(leaf, left)
        torchs(inputs)
        torch.testing.assert_close(ours, torchs.weight, rtol=1e-12, atol=1e-12)
        (expected,) = torch.autograd.grad(torchs.weight.pow(3).sum(), torchs.weight_orig)
        torch.testing.assert_close(torch.autograd.grad(ours.pow(3).sum(), leaf)[0], expected, rtol=1e-11, atol=1e-11)


def with_singular_values(*values: float, seed: int = 0) -> Tensor:
    left, right = (torch.linalg.qr(normal(len(values), len(values), seed=seed + side))[0] for side in (0, 1))
    weight: Tensor = left * torch.tensor(values, dtype=torch.float64) @ right
    return weight


def test_power_iteration_finds_the_largest_singular_value() -> None:
    """C28, from whatever direction; the gradient of σ is uvᵀ."""
    weight = with_singular_values(3.0, 2.4, 1.0, 0.1)
    normalized, _ = spectral_normalized(weight, normal(4, seed=5), steps=50)
    assert float((weight / normalized)[0, 0]) == pytest.approx(3.0, rel=1e-10)
    assert float(torch.linalg.matrix_norm(normalized, 2)) == pytest.approx(1.0, rel=1e-10)


def test_a_network_of_spectrally_normalized_layers_stretches_nothing() -> None:
    layers = [spectral_normalized(normal(8, 8, seed=seed), normal(8, seed=9), steps=200)[0] for seed in range(3)]
    left, right = normal(500, 8, seed=11), normal(500, 8, seed=12)

    def network(inputs: Tensor) -> Tensor:
        for layer in layers:
            inputs = (inputs @ layer.mT).relu()
        return inputs

    stretched = (network(left) - network(right)).norm(dim=1) / (left - right).norm(dim=1)
    assert 0.1 < float(stretched.max()) <= 1 + 1e-10


def cut(values: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    return list(torch.split(values, list(sizes)))


@pytest.mark.parametrize("sizes", [(40,), (1, 39), (7,) * 5 + (5,), (1,) * 40], ids=str)
@pytest.mark.parametrize("axis", [1, 2, -1])
def test_statistics_of_features_do_not_depend_on_the_batches(axis: int, sizes: tuple[int, ...]) -> None:
    """Exact in double precision, far from zero as well, where Σx² − (Σx)²/n has no digit left."""
    values = normal(40, 3, 5) * torch.tensor([1e-3, 1.0, 1e3, 1.0, 1.0]) + 1e6
    found = FeatureStatistics.of(cut(values, sizes), axis=axis)
    others = [each for each in range(3) if each != axis % 3]
    assert found.count == values.numel() // values.shape[axis]
    near = values - 1e6  # no digit is lost here
    torch.testing.assert_close(found.mean, 1e6 + near.mean(others), rtol=1e-15, atol=0)
    torch.testing.assert_close(found.deviation, near.std(others, correction=0), rtol=1e-7, atol=0)
    torch.testing.assert_close(found.low, values.amin(others))
    torch.testing.assert_close(found.high, values.amax(others))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_features_that_never_or_hardly_ever_change(dtype: torch.dtype) -> None:
    values = torch.zeros(4_000, 3, dtype=dtype)
    values[:, 0] = torch.linspace(-1, 1, 4_000)
    values[:, 1] = 0.1
    values[17, 2] = 0.5
    found = FeatureStatistics.of(values.split(100), axis=1)
    divisor = found.divisor(dtype)
    assert float(divisor[1]) == 1.0
    seen = feature_normalized(values.double(), mean=found.mean, divisor=divisor)
    assert float(seen[:, 0].std(correction=0)) == pytest.approx(1.0, rel=1e-6)
    assert float(seen[17, 2]) == pytest.approx(LARGEST, rel=1e-6)


@pytest.mark.parametrize("function", [batch, PAIRS["three groups"][0]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_type_of_the_numbers_is_kept(function: Any, dtype: torch.dtype) -> None:
    given = [tensor.to(dtype) for tensor in (normal(4, CHANNELS), SCALE, SHIFT)]
    assert function(*given).dtype == dtype
