"""The gradient's norm and noise, against plain autograd and against what sampling really does."""

from __future__ import annotations

import statistics
from typing import Any

import pytest
import torch
from tests import by_hand, zoo
from tests.probes.look import Weights, look, quadratic
from torch import Tensor, nn

from unstuck.classifier import classifier, loader, table
from unstuck.probes.gradient import Gradient, GradientReading
from unstuck.problem import Problem
from unstuck.specimens import healthy, product_at_origin, rate_too_low
from unstuck.vector import flatten
from unstuck.view import PARTS, SAMPLE


def whole_gradient(problem: Problem) -> dict[str, Tensor]:
    """By torch, over all data."""
    (everything,) = problem.data.whole(chunk=10**6)
    torch.autograd.backward(by_hand.loss_of(problem, everything))
    return {name: p.grad.clone() for name, p in problem.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["perceptron", "layer norm", "lstm", "attention", "tied weights", "full batch loader"])
def test_norm_and_loss_of_data_that_are_all_looked_at(name: str) -> None:
    reading: GradientReading = look(Gradient(), zoo.ZOO[name](torch.float64))
    problem = zoo.ZOO[name](torch.float64)
    expected = whole_gradient(problem)
    assert reading.norm == pytest.approx(float(flatten(expected).norm()), rel=1e-9)
    assert dict(reading.layers) == pytest.approx({n: float(g.norm()) for n, g in expected.items()}, rel=1e-9)
    loss = by_hand.loss_of(problem, next(problem.data.whole(chunk=99))).item()
    assert reading.loss.value == pytest.approx(loss)
    assert (reading.noise, reading.loss.error, reading.squared_norm.error) == (0.0, 0.0, 0.0)
    assert reading.squared_norm.value == pytest.approx(reading.norm**2)
    assert not reading.negligible
    assert reading.draw() is not None


def one_weight(mean: float, train: Any = None, *, batch: int = 64) -> Problem:
    """L = ½ (w − t)² at w = 0, t of deviation one: a sample's gradient is −t, the whole gradient −mean."""
    noise = torch.randn(4_000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    targets = (noise - noise.mean()) / noise.std() + mean
    model = Weights(0.0)
    return Problem(
        model,
        lambda outputs, wanted: (outputs - wanted).square().mean() / 2,
        train(targets) if train else loader(torch.ones_like(targets), targets, batch),
        torch.optim.SGD(model.parameters(), lr=0.1),
    )


@pytest.fixture(scope="module")
def readings() -> dict[float, list[GradientReading]]:
    """Thirty samples each of a gradient that is zero and one that is not."""
    problems = {mean: one_weight(mean) for mean in (0.0, 0.3)}
    return {mean: [look(Gradient(), problem, seed=seed) for seed in range(30)] for mean, problem in problems.items()}


def test_noise_is_what_sampling_makes(readings: dict[float, list[GradientReading]]) -> None:
    norms = [reading.norm for reading in readings[0.3]]
    standard_error = (1 / SAMPLE) ** 0.5
    assert statistics.mean(reading.noise**2 for reading in readings[0.3]) == pytest.approx(1 / SAMPLE, rel=0.15)
    assert statistics.stdev(norms) == pytest.approx(standard_error, rel=0.4)
    assert statistics.mean(norms) == pytest.approx(0.3, abs=4 * standard_error / 30**0.5)


@pytest.mark.parametrize("mean", [0.0, 0.3])
def test_the_squared_norm_has_no_bias_and_an_honest_error(
    mean: float, readings: dict[float, list[GradientReading]]
) -> None:
    estimates = [reading.squared_norm for reading in readings[mean]]
    values = [estimate.value for estimate in estimates]
    assert statistics.mean(values) == pytest.approx(mean**2, abs=4 * statistics.stdev(values) / 30**0.5)
    covered = sum(abs(estimate.value - mean**2) <= 2 * estimate.error for estimate in estimates)
    assert covered >= 24  # of thirty; two standard errors of a normal estimate would cover 28.6
    # The plain square is biased by the noise, which is many standard errors here.
    if mean == 0.0:
        assert statistics.mean(reading.norm**2 for reading in readings[mean]) > 0.5 / SAMPLE


def test_a_gradient_is_negligible_when_it_cannot_be_told_from_zero(
    readings: dict[float, list[GradientReading]],
) -> None:
    assert sum(reading.negligible for reading in readings[0.0]) >= 27
    assert not any(reading.negligible for reading in readings[0.3])


@pytest.mark.parametrize("batch", [64, 256, 512, 4_000])
def test_large_batches_are_cut_so_that_noise_can_be_seen(batch: int) -> None:
    problem = one_weight(0.3, batch=batch)
    reading = look(Gradient(), problem)
    assert reading.noise == pytest.approx(SAMPLE**-0.5, rel=0.6)
    assert not reading.negligible
    assert look(Gradient(), classifier("large", train=loader(*table(), batch))).negligible is False


@pytest.mark.parametrize("size", [170, 256, 512])
def test_recorded_batches_that_cannot_be_cut(size: int) -> None:
    def recorded(targets: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [(torch.ones_like(part), part) for part in targets.split(size)]

    reading = look(Gradient(), one_weight(0.3, recorded))
    assert SAMPLE <= reading.samples <= SAMPLE + size
    assert reading.noise > 0
    assert not reading.negligible
    seen = [look(Gradient(), one_weight(0.0, recorded), seed=seed) for seed in range(10)]
    assert sum(each.negligible for each in seen) >= 5


def test_a_sample_has_parts_enough() -> None:
    assert SAMPLE % PARTS == 0
    assert PARTS >= 4


def test_at_a_critical_point_nothing_is_left() -> None:
    reading = look(Gradient(), product_at_origin())
    assert reading.norm == 0.0
    assert reading.typical > 0.1
    assert reading.negligible
    near = look(Gradient(), quadratic([1.0, 4.0], [1e-4, 1e-4], lambda p: torch.optim.SGD(p, lr=0.1)))
    assert near.norm == pytest.approx(1e-4 * 17**0.5)
    assert near.negligible
    assert not look(Gradient(), quadratic([1.0, 4.0], [1.0, 1.0], lambda p: torch.optim.SGD(p, lr=0.1))).negligible


def test_typical_is_the_median_over_ordinary_initializations() -> None:
    """For L = ½ |w|² over w of 400 entries, an ordinary start nearby has the norm of its own noise, √(n/3n) = 1/√3."""
    reading = look(Gradient(), quadratic([1.0] * 400, [0.0] * 400, lambda p: torch.optim.SGD(p, lr=0.1)))
    assert reading.typical == pytest.approx(3**-0.5, rel=0.1)


def test_specimens() -> None:
    assert not look(Gradient(), healthy()).negligible
    assert not look(Gradient(), rate_too_low()).negligible


def test_unused_parameters_have_a_gradient_of_zero() -> None:
    assert dict(look(Gradient(), zoo.MODELS["two inputs"](torch.float64)).layers)["unused"] == 0.0


def test_a_model_in_bfloat16() -> None:
    rough = look(Gradient(), zoo.problem(zoo.perceptron, torch.bfloat16))
    exact = look(Gradient(), zoo.problem(zoo.perceptron))
    assert rough.norm == pytest.approx(exact.norm, rel=0.05)


def one_step(optimizer: Any, curvature: float = 1.0) -> GradientReading:
    """At θ = (3, −4) of ½ a |θ|², where g = aθ."""
    reading: GradientReading = look(Gradient(), quadratic([curvature] * 2, [3.0, -4.0], optimizer))
    return reading


@pytest.mark.parametrize("decay", [0.0, 0.01, 0.5, 3.0])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_decay_beside_the_gradient(decay: float, momentum: float) -> None:
    """λ|θ| / |g| at any rate, and for a first step with any momentum."""
    reading = one_step(lambda p: torch.optim.SGD(p, lr=0.3, momentum=momentum, weight_decay=decay), curvature=0.2)
    assert reading.size == pytest.approx(5.0)
    assert reading.decay_over_rest == pytest.approx(decay / 0.2)


def test_decay_past_the_gradient() -> None:
    """AdamW's first step is η in every entry, and its decay ηλ|θ| goes by σ; Adam's goes through it and is lost there.

    Along θ; against it, decay that is larger than the gradient turns Adam's step around.
    """
    for curvature in (0.01, 10.0):
        decoupled = one_step(lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.2), curvature)
        assert decoupled.decay_over_rest == pytest.approx(0.2 * 5 / 2**0.5, rel=1e-5)
        coupled = one_step(lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.2), curvature)
        assert coupled.decay_over_rest == pytest.approx(0.0, abs=1e-5)
    for decay, turned in ((0.9, 0.0), (1.1, 2.0)):
        reading = one_step(lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=decay), curvature=-1.0)  # noqa: B023
        assert reading.decay_over_rest == pytest.approx(turned, abs=1e-5)


def test_decay_beside_momentum_that_is_there() -> None:
    """Of a heavy ball that is at speed: λ|θ| / |g + β b|, with b = g where it has come from the same place."""
    problem = quadratic([1.0, 1.0], [3.0, -4.0], lambda p: torch.optim.SGD(p, lr=0.0, momentum=0.9, weight_decay=0.5))
    by_hand.loss_of(problem, next(problem.data.whole(chunk=9))).backward()
    problem.optimizer.step()  # at a rate of zero, so that θ stays
    for group in problem.optimizer.param_groups:
        group["lr"] = 0.1
    # The buffer holds g + λθ = 1.5 θ, which is there with decay and without.
    assert look(Gradient(), problem).decay_over_rest == pytest.approx(0.5 / (1 + 0.9 * 1.5))


class Unheard(torch.optim.SGD):
    """A rule that nobody knows."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for p in group["params"]:
                p.data.sub_(group["lr"] * p.grad.sign())
        return None


def test_decay_of_a_rule_that_is_not_known() -> None:
    assert one_step(lambda p: Unheard(p, lr=0.1, weight_decay=0.1)).decay_over_rest is None
    assert one_step(lambda p: Unheard(p, lr=0.1)).decay_over_rest == 0.0


def test_looking_for_decay_changes_nothing() -> None:
    problem = quadratic([1.0], [1.0], lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.5))
    look(Gradient(), problem)
    assert problem.optimizer.param_groups[0]["weight_decay"] == 0.5
    assert not problem.optimizer.state


def test_masks_are_the_same_at_every_look() -> None:
    problem = zoo.problem(lambda: zoo.perceptron(nn.Dropout(0.5)))
    assert look(Gradient(), problem, seed=3) == look(Gradient(), problem, seed=3)
    assert look(Gradient(), problem, seed=3).norm != look(Gradient(), problem, seed=4).norm
