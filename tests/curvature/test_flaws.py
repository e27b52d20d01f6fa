"""What goes wrong in measuring curvature, one flaw a test: each has been seen in a published tool."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tests import zoo
from tests.curvature import naive
from torch import Tensor, nn
from torch.nn import functional as F

from unstuck import measure, probes
from unstuck.curvature.choice import PLAIN_ATTENTION
from unstuck.curvature.engines import Differences, KeptGraph, Linearized
from unstuck.probes.spectrum import Spectrum
from unstuck.problem import Problem
from unstuck.vector import flatten, unflatten

DOUBLE = torch.float64
CURVED = [probe for probe in probes.ALL if probe.curvature]
"""Every probe that looks at second derivatives."""


def direction(problem: Problem, seed: int = 1, dtype: torch.dtype = DOUBLE) -> Tensor:
    """A random vector of the problem's dimension."""
    return torch.randn(problem.dimension, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def all_data(problem: Problem) -> tuple[Any, ...]:
    return tuple(problem.data.whole(chunk=10**6))


def matches(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> bool:
    """Whether two vectors are the same to a relative error."""
    return float((found - expected).norm()) <= tolerance * float(expected.norm())


# The model's mode, gradients and the random generators


@pytest.mark.parametrize("probe", CURVED)
@pytest.mark.parametrize("training", [True, False])
def test_modes_stay(probe: type[Any], training: bool) -> None:
    """Flaw: the model is put into evaluation mode for the measurement, and left there."""
    problem = zoo.MODELS["batch norm"](DOUBLE)
    problem.model.train(training)
    list(problem.model.modules())[1].train(not training)
    before = [module.training for module in problem.model.modules()]
    measure(problem, probe())
    assert [module.training for module in problem.model.modules()] == before


@pytest.mark.parametrize("probe", CURVED)
def test_gradients_stay(probe: type[Any]) -> None:
    """Flaw: the caller's gradients are overwritten, and then hold the graph of the measurement in memory."""
    problem = zoo.MODELS["perceptron"](DOUBLE)
    first, *others = problem.model.parameters()
    kept = {parameter: torch.full_like(parameter, 0.5) for parameter in others}
    for parameter, gradient in kept.items():
        parameter.grad = gradient
    measure(problem, probe())
    assert first.grad is None
    for parameter, gradient in kept.items():
        assert parameter.grad is gradient
        assert bool((gradient == 0.5).all())
        assert gradient.grad_fn is None
        assert not gradient.requires_grad


@pytest.mark.parametrize("probe", CURVED)
@pytest.mark.parametrize("name", ["perceptron", "dropout"])
def test_generators_stay(probe: type[Any], name: str) -> None:
    """Flaw: the random vectors of a trace are drawn from the process-wide generator, so measuring changes training."""
    problem = zoo.MODELS[name](DOUBLE)
    torch.manual_seed(4)
    np.random.seed(4)  # noqa: NPY002 - the caller's own
    random.seed(4)
    before = torch.get_rng_state(), str(np.random.get_state()), random.getstate()  # noqa: NPY002
    measure(problem, probe(), seed=3)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (str(np.random.get_state()), random.getstate()) == before[1:]  # noqa: NPY002


# Layers whose training and evaluation differ


@pytest.mark.parametrize("name", ["batch norm", "batch norm of images"])
def test_batch_normalization_is_differentiated_as_it_trains(name: str) -> None:
    """Flaws: the Hessian of evaluation mode is given instead, or running statistics move with every product."""
    problem = zoo.MODELS[name](DOUBLE)
    problem.model(zoo.table()[0])  # so that the running statistics are not those of a new layer
    buffers = {key: buffer.clone() for key, buffer in problem.model.named_buffers()}
    batches, vector = problem.data.sample(24, chunk=12, seed=0), direction(problem)
    hessian = problem.hessian_at(problem.point(), *batches)
    products = torch.stack([hessian @ vector for _ in range(20)])
    block = hessian.block(torch.stack([vector] * 20))
    for key, buffer in problem.model.named_buffers():
        assert torch.equal(buffer, buffers[key])
    expected = naive.product(problem, batches, vector)
    assert bool((products == products[0]).all())
    assert matches(products[0], expected)
    assert matches(block[-1], expected)
    assert matches(products[0], naive.difference(problem, batches, vector), 1e-6)
    frozen = problem.hessian_at(problem.point(), *batches, mode="evaluation") @ vector
    assert not matches(frozen, expected, 0.05)


def subtracted(problem: Problem, batch: Any, seed: int = 0) -> Differences:
    """Our own differences of gradients."""
    point = problem.point()

    def gradient(flat: Tensor) -> Tensor:
        return flatten(problem.gradient_at(unflatten(flat, point), batch, seed=seed))

    return Differences(gradient, flatten(point), torch.finfo(DOUBLE).eps)


@pytest.mark.parametrize("name", ["batch norm", "dropout", "transformer"])
def test_subtracted_gradients_are_of_the_same_function(name: str) -> None:
    """Flaw: statistics or masks that change between the two gradients are taken for curvature (150 % off)."""
    problem = zoo.MODELS[name](DOUBLE)
    (batch,), vector = all_data(problem), direction(problem)
    found = subtracted(problem, batch, seed=5).product(vector)
    assert matches(found, naive.product(problem, [batch], vector, seed=5), 1e-6)


@pytest.mark.parametrize("name", ["dropout", "transformer"])
def test_dropout_is_one_function(name: str) -> None:
    """Flaw: masks are drawn anew for each product, so that the same vector gives two results 95 % apart."""
    problem = zoo.MODELS[name](DOUBLE)
    batches, vector = problem.data.sample(24, chunk=7, seed=0), direction(problem)
    hessian = problem.hessian_at(problem.point(), *batches, seed=5)
    once = hessian @ vector
    torch.rand(3)  # whatever else is drawn in between
    assert torch.equal(hessian @ vector, once)
    assert torch.equal(problem.hessian_at(problem.point(), *batches, seed=5) @ vector, once)
    assert matches(once, naive.product(problem, batches, vector, seed=5))
    assert matches(once, naive.difference(problem, batches, vector, seed=5), 1e-6)
    assert not matches(problem.hessian_at(problem.point(), *batches, seed=6) @ vector, once, 0.01)


# Data and parameters


def ragged() -> Problem:
    """Batches of 40 and of 10 samples that have little in common."""
    generator = torch.Generator().manual_seed(8)
    inputs = torch.randn(50, zoo.FEATURES, dtype=DOUBLE, generator=generator)
    inputs[40:] *= 3
    targets = torch.randint(0, zoo.CLASSES, (50,), generator=generator)
    return zoo.problem(zoo.perceptron, train=[(inputs[:40], targets[:40]), (inputs[40:], targets[40:])])


def test_a_ragged_batch_weighs_by_its_samples() -> None:
    """Flaw: the mean over batches of 40 and 10 samples counts the small one's samples four times (57 % off)."""
    problem = ragged()
    (large, small), vector = problem.data.whole(chunk=50), direction(problem)
    together = tuple(torch.cat([one, other]) for one, other in zip(large, small, strict=True))
    expected = naive.product(problem, [together], vector)
    assert matches(problem.hessian_at(problem.point(), large, small) @ vector, expected)
    parts = [problem.hessian_at(problem.point(), batch) @ vector for batch in (large, small)]
    assert not matches((parts[0] + parts[1]) / 2, expected, 0.2)
    values = np.linalg.eigvalsh(
        np.stack(
            [naive.product(problem, [together], row).numpy() for row in torch.eye(problem.dimension, dtype=DOUBLE)]
        )
    )
    np.testing.assert_allclose(measure(problem, Spectrum()).nodes, values, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("probe", CURVED)
def test_an_unused_parameter_has_no_curvature(probe: type[Any]) -> None:
    """Flaw: a parameter that the loss does not use makes the whole measurement fail."""
    problem = zoo.MODELS["two inputs"](DOUBLE)
    (batch,) = all_data(problem)
    hessian, vector = problem.hessian_at(problem.point(), batch), direction(problem)
    names = [name for name, tensor in problem.point().items() for _ in range(tensor.numel())]
    unused = torch.tensor([name == "unused" for name in names])
    for product in (hessian @ vector, hessian.block(torch.stack([vector, vector]))[1]):
        assert not product[unused].any()
        assert matches(product, naive.product(problem, [batch], vector))
    assert isinstance(measure(problem, probe()), probe.reads)


@pytest.mark.parametrize("name", ["tied weights", "frozen layer"])
def test_tied_and_frozen_weights(name: str) -> None:
    """Flaw: weights used in two places are counted once or twice (0.5 to 9.5 % off), frozen ones are measured."""
    problem = zoo.MODELS[name](DOUBLE)
    (batch,), vector = all_data(problem), direction(problem)
    distinct = {id(parameter): parameter for parameter in problem.model.parameters() if parameter.requires_grad}
    hessian = problem.hessian_at(problem.point(), batch)
    assert hessian.dimension == sum(parameter.numel() for parameter in distinct.values())
    assert matches(hessian @ vector, naive.product(problem, [batch], vector))
    assert matches(hessian @ vector, naive.difference(problem, [batch], vector), 1e-6)


# Layers and losses that torch's ways to differentiate stumble over


class FusedAttention(nn.Module):
    """Attention by torch's own function."""

    def __init__(self, causal: bool = False) -> None:
        super().__init__()
        self.project, self.head = nn.Linear(zoo.FEATURES, 3 * zoo.FEATURES), nn.Linear(zoo.FEATURES, zoo.CLASSES)
        self.causal = causal

    def forward(self, inputs: Tensor) -> Tensor:
        query, key, value = self.project(zoo.sequence(inputs)).unsqueeze(1).chunk(3, -1)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        outputs: Tensor = self.head(mixed.flatten(1, 2).mean(1))
        return outputs


ATTENTION: dict[str, Callable[[torch.dtype], Problem]] = {
    "function": zoo.of(FusedAttention),
    "causal": zoo.of(lambda: FusedAttention(causal=True)),
    "multihead": zoo.MODELS["attention"],
    "encoder layer": zoo.MODELS["transformer"],
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_is_differentiated_twice(name: str) -> None:
    """Flaw: torch's fused attention kernel has no second derivative, and the measurement fails on the CPU."""
    problem = ATTENTION[name](DOUBLE)
    batches, vector = problem.data.sample(24, chunk=9, seed=0), direction(problem)
    hessian = problem.hessian_at(problem.point(), *batches, seed=2)
    assert hessian.rung == "double backward"
    assert matches(hessian @ vector, naive.difference(problem, batches, vector, seed=2), 1e-6)
    single = ATTENTION[name](torch.float32)
    rough = single.hessian_at(single.point(), *single.data.sample(24, chunk=9, seed=0), seed=2) @ vector.float()
    assert matches(rough.double(), hessian @ vector, 1e-4)


@pytest.mark.parametrize("probe", CURVED)
@pytest.mark.parametrize("name", ATTENTION)
def test_attention_by_the_plain_kernel_is_said(name: str, probe: type[Any]) -> None:
    """Flaw: another kernel than the model's own is measured, and nobody is told."""
    assert PLAIN_ATTENTION in measure(ATTENTION[name](DOUBLE), probe()).notes


class Weighing(nn.Module):
    """Attention whose weights are asked for, which torch computes by the plain kernel itself."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(zoo.FEATURES, 2), nn.Linear(zoo.FEATURES, zoo.CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        steps = zoo.sequence(inputs).transpose(0, 1)
        outputs: Tensor = self.head(self.attention(steps, steps, steps, need_weights=True)[0].mean(0))
        return outputs


@pytest.mark.parametrize("model", [zoo.perceptron, Weighing])
def test_nothing_is_said_where_no_other_kernel_is_used(model: Callable[[], nn.Module]) -> None:
    """The counterpart: a notice for everybody is a notice for nobody."""
    assert measure(zoo.problem(model), Spectrum()).notes == ()


@pytest.mark.parametrize("size", [1.0, 3e-3, 1e-4])
def test_layer_normalization(size: float) -> None:
    """Flaw: a vectorized backward of layer norm is up to 1 % off in double precision where the variance is near eps."""
    inputs, targets = zoo.table()
    problem = zoo.problem(
        lambda: nn.Sequential(nn.Linear(zoo.FEATURES, 6, bias=False), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3)),
        train=zoo.shuffled(size * inputs, targets),
    )
    (batch,), vector = all_data(problem), direction(problem)
    point = problem.point()
    expected = naive.product(problem, [batch], vector)
    assert matches(expected, naive.difference(problem, [batch], vector, step=1e-6 * size), 1e-5)

    def loss(flat: Tensor) -> Tensor:
        return problem.loss_at(unflatten(flat, point), batch)

    rows = torch.stack([vector, -2 * vector])
    flat = flatten(point)
    for engine in (KeptGraph(loss, flat), KeptGraph(loss, flat, batched=True), Linearized(loss, flat)):
        assert matches(engine.product(vector), expected, 1e-8)
        assert matches(engine.block(rows)[1], -2 * expected, 1e-8)
    assert matches(problem.hessian_at(point, batch).block(rows)[0], expected, 1e-8)


@pytest.mark.parametrize("tune", [False, True])
def test_mean_squared_error(tune: bool) -> None:
    """Flaw: forward over reverse breaks off at torch's own mean squared error, or takes the whole process along."""
    generator = torch.Generator().manual_seed(6)
    inputs = torch.randn(30, 5, dtype=DOUBLE, generator=generator)
    targets = torch.randn(30, 1, dtype=DOUBLE, generator=generator)
    problem = zoo.problem(
        lambda: nn.Linear(5, 1, bias=False), loss=F.mse_loss, train=zoo.shuffled(inputs, targets, batch=10)
    )
    hessian = problem.hessian_at(problem.point(), (inputs, targets), tune=tune)
    vector = direction(problem)
    assert matches(hessian @ vector, 2 / 30 * inputs.T @ (inputs @ vector), 1e-12)
    deep = zoo.problem(
        lambda: nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)), loss=F.mse_loss, train=problem.train
    )
    vector, batch = direction(deep), (inputs, targets)
    with pytest.raises(NotImplementedError, match="MseLoss"):
        Linearized(lambda flat: deep.loss_at(unflatten(flat, deep.point()), batch), flatten(deep.point()))
    assert matches(deep.hessian_at(deep.point(), batch, tune=tune) @ vector, naive.product(deep, [batch], vector))
