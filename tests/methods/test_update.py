"""The update rule: torch's optimizers step by step, closed forms, and fleets whose members follow different methods."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from unstuck.errors import InputError
from unstuck.methods.update import (
    METHODS,
    Rule,
    adagrad,
    adagrad_mean,
    adam,
    adamw,
    gradient_descent,
    heavy_ball,
    look,
    movement,
    nesterov,
    radam,
    rectification,
    rmsprop,
    stack,
    start,
    step,
)

RATE, DECAY, UPDATES = 0.01, 0.1, 200

Surface = Callable[[Tensor], Tensor]
"""Points → the gradients there."""
Build = Callable[[list[Tensor]], torch.optim.Optimizer]


def bowl(points: Tensor) -> Tensor:
    """Convex, ½ Σ λ_i θ_i² with λ from 0.01 to 10: its gradient at each row."""
    return torch.logspace(-2, 1, points.shape[-1], dtype=points.dtype) * points


def valley(points: Tensor) -> Tensor:
    """Not convex, Rosenbrock's Σ (1 − θ_i)² + 10 (θ_{i+1} − θ_i²)², by 20, and ripples Σ sin 3θ_i: its gradient."""
    before, after = points[..., :-1], points[..., 1:]
    bend = 20 * (after - before.square())
    gradient = 3 * torch.cos(3 * points)
    gradient[..., :-1] -= (2 * (1 - before) + 2 * bend * before) / 20
    gradient[..., 1:] += bend / 20
    return gradient


def beginning(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(20, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def walked(rule: Rule, surface: Surface, point: Tensor, rates: Callable[[int], float] | None = None) -> Tensor:
    point = point.clone()
    state = start(rule, point)
    for update in range(UPDATES):
        rate = None if rates is None else rates(update)
        point, state = step(rule, state, point, surface(point), rate=rate)
    return point


def walked_by_torch(
    build: Build, surface: Surface, point: Tensor, rates: Callable[[int], float] | None = None
) -> Tensor:
    leaf = point.clone().requires_grad_()
    optimizer = build([leaf])
    for update in range(UPDATES):
        if rates is not None:
            optimizer.param_groups[0]["lr"] = rates(update)
        leaf.grad = surface(leaf.detach())
        optimizer.step()
    return leaf.detach()


COUNTERPARTS: dict[str, tuple[Rule, Build]] = {
    "gradient-descent": (
        gradient_descent(RATE, decay=DECAY),
        lambda p: torch.optim.SGD(p, lr=RATE, weight_decay=DECAY),
    ),
    "momentum": (
        heavy_ball(RATE, 0.9, decay=DECAY),
        lambda p: torch.optim.SGD(p, lr=RATE, momentum=0.9, weight_decay=DECAY),
    ),
    "lecture-momentum": (
        movement(RATE, 0.8, decay=DECAY),
        lambda p: torch.optim.SGD(p, lr=RATE, momentum=0.8, weight_decay=DECAY),
    ),
    "lecture-momentum of none": (
        movement(RATE, 0.0, decay=DECAY),
        lambda p: torch.optim.SGD(p, lr=RATE, weight_decay=DECAY),
    ),
    "nesterov": (
        nesterov(RATE, 0.9, decay=DECAY),
        lambda p: torch.optim.SGD(p, lr=RATE, momentum=0.9, nesterov=True, weight_decay=DECAY),
    ),
    "adagrad": (
        adagrad(RATE, decay=DECAY),
        lambda p: torch.optim.Adagrad(p, lr=RATE, weight_decay=DECAY),
    ),
    "rmsprop": (
        rmsprop(RATE, decay=DECAY),
        lambda p: torch.optim.RMSprop(p, lr=RATE, weight_decay=DECAY),
    ),
    "adam": (
        adam(RATE, decay=DECAY),
        lambda p: torch.optim.Adam(p, lr=RATE, weight_decay=DECAY),
    ),
    "adam, other settings": (
        adam(RATE, 0.5, 0.9, epsilon=0.1, decay=DECAY),
        lambda p: torch.optim.Adam(p, lr=RATE, betas=(0.5, 0.9), eps=0.1, weight_decay=DECAY),
    ),
    "adamw": (
        adamw(RATE, decay=DECAY),
        lambda p: torch.optim.AdamW(p, lr=RATE, weight_decay=DECAY),
    ),
    "radam": (
        radam(RATE, decay=DECAY),
        lambda p: torch.optim.RAdam(p, lr=RATE, weight_decay=DECAY),
    ),
    "radam, other settings": (
        radam(RATE, 0.5, 0.9, epsilon=0.1, decay=DECAY),
        lambda p: torch.optim.RAdam(p, lr=RATE, betas=(0.5, 0.9), eps=0.1, weight_decay=DECAY),
    ),
}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)], ids=str)
@pytest.mark.parametrize("surface", [bowl, valley])
@pytest.mark.parametrize("name", COUNTERPARTS)
def test_each_method_is_torchs(name: str, surface: Surface, dtype: torch.dtype, tolerance: float) -> None:
    rule, build = COUNTERPARTS[name]
    ours, theirs = walked(rule, surface, beginning(dtype)), walked_by_torch(build, surface, beginning(dtype))
    assert ours.dtype == dtype
    assert float((ours - theirs).norm() / theirs.norm()) < tolerance


@pytest.mark.parametrize("name", [name for name in COUNTERPARTS if name != "lecture-momentum"])
def test_each_method_is_torchs_under_a_schedule(name: str) -> None:
    rule, build = COUNTERPARTS[name]

    def falling(update: int) -> float:
        return RATE * (1 - update / UPDATES)

    ours, theirs = walked(rule, valley, beginning(), falling), walked_by_torch(build, valley, beginning(), falling)
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-12


def test_the_two_momenta_differ_where_the_rate_changes() -> None:
    """One gradient of 1, then none, the rate going from 0.1 to 0: torch's form stops, the lecture's rolls on."""

    def end(rule: Rule) -> float:
        point, state = torch.zeros(1, dtype=torch.float64), start(rule, torch.zeros(1, dtype=torch.float64))
        for rate, gradient in ((0.1, 1.0), (0.0, 0.0), (0.0, 0.0)):
            point, state = step(rule, state, point, torch.full_like(point, gradient), rate=rate)
        return float(point)

    assert end(heavy_ball(0.1, 0.5)) == pytest.approx(-0.1)
    assert end(movement(0.1, 0.5)) == pytest.approx(-0.1 * (1 + 0.5 + 0.25))


MIXED = [rule for rule, _ in COUNTERPARTS.values()] + [
    heavy_ball(2 * RATE, 0.5),
    adagrad_mean(RATE),
    gradient_descent(RATE),
    rmsprop(RATE, 0.9, epsilon=0.1),
    adamw(RATE / 2, 0.8, 0.99, decay=0.3),
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_members_of_a_mixed_stack_walk_as_each_alone(dtype: torch.dtype) -> None:
    rule = stack(MIXED)
    together = walked(rule, valley, beginning(dtype).repeat(len(MIXED), 1))
    alone = torch.stack([walked(member, valley, beginning(dtype)) for member in MIXED])
    assert together.dtype == dtype
    apart = (together - alone).norm(dim=1) / alone.norm(dim=1)
    assert float(apart.max()) < (1e-12 if dtype == torch.float64 else 1e-4)


def test_a_stack_of_different_rates_under_different_schedules() -> None:
    rules = [adam(0.01), adam(0.02), movement(0.03)]
    rule, points = stack(rules), beginning().repeat(3, 1)
    alone = [(point.clone(), start(member, point)) for member, point in zip(rules, points, strict=True)]
    state = start(rule, points)
    for update in range(20):
        rates = torch.tensor([0.1, 0.2 / (1 + update), 0.01 * update], dtype=torch.float64)
        points, state = step(rule, state, points, valley(points), rate=rates[:, None])
        alone = [
            step(member, memory, point, valley(point), rate=float(rate))
            for member, (point, memory), rate in zip(rules, alone, rates, strict=True)
        ]
    torch.testing.assert_close(points, torch.stack([point for point, _ in alone]), rtol=1e-12, atol=0)


def test_what_no_member_needs_is_not_kept() -> None:
    point = torch.zeros(2, 3)
    plain = stack([gradient_descent(0.1), gradient_descent(0.2)])
    assert (plain.momentum, plain.adaptive) == (0.0, 0.0)
    assert isinstance(plain.rate, Tensor)
    assert plain.rate.shape == (2, 1)
    assert (start(plain, point).movement, start(plain, point).squares) == (None, None)
    assert start(stack([gradient_descent(0.1), heavy_ball(0.1)]), point).squares is None
    assert start(stack([gradient_descent(0.1), rmsprop(0.1)]), point).movement is None


@pytest.mark.parametrize("name", METHODS)
def test_the_step_is_rate_by_scale_times_movement(name: str) -> None:
    """θ − (η/σ)·m of what is seen beforehand is where the step leads; looking changes nothing."""
    rule = METHODS[name](0.05)
    decay = float(rule.decay) * float(rule.decoupled)
    point = beginning()
    state = start(rule, point)
    for _ in range(8):  # RAdam scales from the sixth update on
        gradient = valley(point)
        before = gradient.clone()
        seen = look(rule, state, point, gradient, rate=0.02)
        again = look(rule, state, point, gradient, rate=0.02)
        torch.testing.assert_close((again.movement, again.scale), (seen.movement, seen.scale), rtol=0, atol=0)
        torch.testing.assert_close(gradient, before, rtol=0, atol=0)
        expected = point * (1 - 0.02 * decay) - seen.rate / seen.scale * seen.movement
        point, state = step(rule, state, point, gradient, rate=0.02)
        torch.testing.assert_close(point, expected, rtol=1e-12, atol=1e-15)
    assert state.updates == 8


# Closed forms


def steps(rule: Rule, gradients: Tensor) -> Tensor:
    """The movement θ_{t} − θ_{t−1} for a given sequence of gradients, shape (T,)."""
    point, state = torch.zeros(1, dtype=torch.float64), start(rule, torch.zeros(1, dtype=torch.float64))
    points = [0.0]
    for gradient in gradients:
        point, state = step(rule, state, point, gradient.reshape(1).clone())
        points.append(float(point))
    return torch.tensor(points, dtype=torch.float64).diff()


def constant(count: int, value: float = -3.0) -> Tensor:
    return torch.full((count,), value, dtype=torch.float64)


FIRST_STEPS: dict[str, tuple[Rule, Tensor, Callable[[int], float]]] = {
    "adam, the first": (adam(0.1, epsilon=0.0), constant(1), lambda t: 0.1),
    "adam, constant gradient": (adam(0.1, epsilon=0.0), constant(50), lambda t: 0.1),
    "rmsprop, the first": (rmsprop(0.1, 0.99, epsilon=0.0), constant(1), lambda t: 0.1 / math.sqrt(1 - 0.99)),
    "adagrad of the paper": (adagrad(0.1, epsilon=0.0), constant(100), lambda t: 0.1 / math.sqrt(t)),
    "adagrad of the lecture": (adagrad_mean(0.1), constant(100), lambda t: 0.1),
    "momentum": (heavy_ball(0.1, 0.9), constant(50, -1.0), lambda t: 0.1 * (1 - 0.9**t) / (1 - 0.9)),
    "nesterov": (nesterov(0.1, 0.9), constant(50, -1.0), lambda t: 0.1 * (1 - 0.9 ** (t + 1)) / (1 - 0.9)),
}


@pytest.mark.parametrize("name", FIRST_STEPS)
def test_steps_under_a_constant_gradient(name: str) -> None:
    """C19: Adam η; RMSProp η/√(1 − α) at first; the paper's Adagrad η/√t, the lecture's η; momentum a geometric sum."""
    rule, gradients, expected = FIRST_STEPS[name]
    lengths = torch.tensor([expected(t + 1) for t in range(len(gradients))], dtype=torch.float64)
    torch.testing.assert_close(steps(rule, gradients), lengths, rtol=1e-10, atol=0)


def test_the_lectures_adagrad_divides_by_the_root_mean_square() -> None:
    gradients = torch.tensor([3.0, -1.0, 0.5, 4.0], dtype=torch.float64)
    mean_squares = gradients.square().cumsum(0) / torch.arange(1, 5)
    torch.testing.assert_close(steps(adagrad_mean(0.1), gradients), -0.1 * gradients / mean_squares.sqrt())
    point, state = torch.zeros(1, dtype=torch.float64), start(adagrad_mean(0.1), torch.zeros(1))
    state = start(adagrad_mean(0.1), point)
    for t, gradient in enumerate(gradients):
        point, state = step(adagrad_mean(0.1), state, point, gradient.reshape(1).clone(), rate=0.1 / (t + 1) ** 0.5)
    assert float(point) == pytest.approx(float(steps(adagrad(0.1, epsilon=0.0), gradients).sum()), rel=1e-12)


def test_decoupled_decay_without_a_gradient() -> None:
    """C31: AdamW leaves (1 − ηλ)^t; Adam with coupled decay moves by η, whatever λ is."""
    rule, point = adamw(0.1, decay=0.3), torch.full((1,), 2.0, dtype=torch.float64)
    state = start(rule, point)
    for _ in range(40):
        point, state = step(rule, state, point, torch.zeros_like(point))
    assert float(point) == pytest.approx(2.0 * (1 - 0.1 * 0.3) ** 40, rel=1e-12)
    for decay in (0.01, 1.0):
        coupled, point = adam(0.1, epsilon=0.0, decay=decay), torch.full((1,), 2.0, dtype=torch.float64)
        point, _ = step(coupled, start(coupled, point), point, torch.zeros_like(point))
        assert float(point) == pytest.approx(1.9)


def test_rectification() -> None:
    """C20: ρ_4 = 3.9975, ρ_5 = 4.996; r_t grows from 0.017 towards 1; scaled from the sixth update on."""
    lengths = {t: float(rectification(0.999, t)[0]) for t in (4, 5)}
    assert lengths == pytest.approx({4: 3.9975, 5: 4.996}, abs=5e-4)
    factors = {t: float(rectification(0.999, t)[1]) for t in (5, 6, 10, 100, 1000, 5000)}
    assert factors == pytest.approx({5: 0.0173, 6: 0.0258, 10: 0.049, 100: 0.215, 1000: 0.645, 5000: 0.983}, abs=6e-4)
    lengths_of_steps = steps(radam(0.1, epsilon=0.0), constant(7))
    torch.testing.assert_close(lengths_of_steps[:5], constant(5, 0.3))
    assert lengths_of_steps[5:].tolist() == pytest.approx([0.1 * float(rectification(0.999, t)[1]) for t in (6, 7)])


# Bad input


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (lambda: gradient_descent(0.0), "`rate`.*positive; got 0"),
        (lambda: adam(math.nan), "`rate`.*positive; got nan"),
        (lambda: heavy_ball(0.1, 1.0), "`momentum`.*below 1; got 1"),
        (lambda: adam(0.1, memory=1.5), "`memory`.*between 0 and 1; got 1.5"),
        (lambda: adam(0.1, epsilon=-1.0), "`epsilon`.*at least 0; got -1"),
        (lambda: adamw(0.1, decay=-0.5), "`decay`.*at least 0; got -0.5"),
        (lambda: radam(0.1, memory=0.6), "above 2/3"),
        (lambda: Rule(rate=torch.tensor([[0.1], [-0.1]])), "`rate`.*positive; got -0.1"),
    ],
)
def test_settings_out_of_range(build: Callable[[], Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        build()
