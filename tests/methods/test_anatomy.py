"""The step that is read against the step that is made, for every kind of optimizer, and closed forms of m and σ."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from tests import zoo
from torch import Tensor, nn

from unstuck.methods.anatomy import Observed, anatomy, observe
from unstuck.untouched import seeded
from unstuck.walk import walk

LARS, Lamb = (getattr(pytest.importorskip("pytorch_optimizer"), name) for name in ("LARS", "Lamb"))
DECAY = 0.03

Build = Callable[[Iterable[Tensor]], torch.optim.Optimizer]


def of(kind: Any, **settings: Any) -> Build:
    return lambda parameters: kind(parameters, **{"lr": 0.02, "weight_decay": DECAY} | settings)


OPTIMIZERS: dict[str, Build] = {
    "gradient descent": of(torch.optim.SGD),
    "momentum": of(torch.optim.SGD, momentum=0.9),
    "dampened": of(torch.optim.SGD, momentum=0.8, dampening=0.3),
    "Nesterov": of(torch.optim.SGD, momentum=0.9, nesterov=True),
    "uphill": of(torch.optim.SGD, momentum=0.9, maximize=True),
    "rate in a tensor": of(torch.optim.SGD, lr=torch.tensor(0.02), momentum=0.9),
    "Adagrad": of(torch.optim.Adagrad),
    "Adagrad, falling": of(torch.optim.Adagrad, lr_decay=0.1, initial_accumulator_value=0.5, eps=1e-3),
    "RMSprop": of(torch.optim.RMSprop),
    "RMSprop, centered": of(torch.optim.RMSprop, centered=True, eps=1e-3),
    "RMSprop with momentum": of(torch.optim.RMSprop, momentum=0.8, alpha=0.9),
    "RMSprop, all of it": of(torch.optim.RMSprop, momentum=0.8, centered=True, maximize=True),
    "Adam": of(torch.optim.Adam),
    "Adam in place": of(torch.optim.Adam, foreach=False, betas=(0.5, 0.9), eps=1e-2),
    "AMSGrad": of(torch.optim.Adam, amsgrad=True, betas=(0.9, 0.5)),
    "AdamW": of(torch.optim.AdamW),
    "AdamW with AMSGrad": of(torch.optim.AdamW, amsgrad=True, betas=(0.9, 0.5), maximize=True),
    "RAdam": of(torch.optim.RAdam),
    "RAdam, decoupled": of(torch.optim.RAdam, decoupled_weight_decay=True, betas=(0.9, 0.99)),
    "NAdam": of(torch.optim.NAdam),
    "NAdam, decoupled": of(torch.optim.NAdam, decoupled_weight_decay=True, momentum_decay=0.1),
    "Adamax": of(torch.optim.Adamax),
    "LARS": of(LARS),
    "LARS, all of it": of(LARS, momentum=0.8, dampening=0.2, nesterov=True, trust_coefficient=0.1),
    "LARS without momentum": of(LARS, momentum=0.0),
    "LAMB": of(Lamb),
    "LAMB, sums": of(Lamb, grad_averaging=False, betas=(0.8, 0.9)),
    "LAMB as Adam": of(Lamb, adam=True),
}


class Walk:
    """A perceptron on a table, walked by hand."""

    def __init__(self, build: Build, dtype: torch.dtype = torch.float64) -> None:
        with seeded(3):
            self.model = zoo.perceptron().to(dtype)
        self.named = dict(self.model.named_parameters())
        self.optimizer = build(list(self.model.parameters()))
        inputs, targets = zoo.table(dtype)
        self.batches = list(zip(inputs.split(6), targets.split(6), strict=True))
        self.made = 0

    def backward(self) -> None:
        inputs, targets = self.batches[self.made % len(self.batches)]
        self.optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(self.model(inputs), targets))

    def step(self) -> None:
        self.backward()
        self.optimizer.step()
        self.made += 1

    def observed(self) -> Observed:
        return observe(self.optimizer, self.named, self.step)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_step_that_is_read_is_the_step_that_is_made(name: str) -> None:
    training = Walk(OPTIMIZERS[name])
    for _ in range(12):  # RAdam's rectification begins in between
        training.backward()
        before = {key: p.detach().clone() for key, p in training.named.items()}
        gradients = {key: p.grad.clone() for key, p in training.named.items() if p.grad is not None}
        read = anatomy(training.optimizer, training.named, gradients)
        assert read is not None
        assert list(read) == list(training.named)
        training.optimizer.step()
        training.made += 1
        for key, parameter in training.named.items():
            expected = before[key] + read[key].change(before[key])
            torch.testing.assert_close(parameter.detach(), expected, rtol=1e-13, atol=1e-15)
            length = float((parameter.detach() - before[key]).norm())
            assert float((expected - parameter.detach()).norm()) <= 1e-12 * length + 1e-15
            assert bool((torch.as_tensor(read[key].scale) > 0).all())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_observed_steps_are_those_of_the_state(name: str) -> None:
    training = Walk(OPTIMIZERS[name])
    for _ in range(4):
        observed = training.observed()
        assert observed.from_state
        assert observed.mismatch <= 1e-11
        assert list(observed.gradients) == list(observed.parts) == list(observed.change) == list(training.named)


def state_of(optimizer: torch.optim.Optimizer) -> Any:
    return [
        {
            key: value.clone() if isinstance(value, Tensor) else value
            for key, value in optimizer.state.get(p, {}).items()
        }
        for group in optimizer.param_groups
        for p in group["params"]
    ]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_reading_changes_nothing(name: str) -> None:
    training = Walk(OPTIMIZERS[name])
    for _ in range(3):
        training.backward()
        gradients = {key: p.grad for key, p in training.named.items() if p.grad is not None}
        kept = {key: gradient.clone() for key, gradient in gradients.items()}
        before, held = state_of(training.optimizer), len(training.optimizer.state)
        anatomy(training.optimizer, training.named, gradients)
        assert str(before) == str(state_of(training.optimizer))
        assert held == len(training.optimizer.state)
        assert all(torch.equal(kept[key], gradients[key]) for key in kept)
        training.step()


def test_in_single_precision() -> None:
    for name in ("Adam", "momentum", "LAMB"):
        training = Walk(OPTIMIZERS[name], torch.float32)
        assert [training.observed().from_state for _ in range(5)] == [True] * 5


# What m and σ are made of


def one(build: Build, gradients: Iterable[float]) -> Any:
    """The anatomy of the last of several steps of a single weight that is given these gradients."""
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = build([weight])
    for gradient in gradients:
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        read = anatomy(optimizer, {"w": weight}, {"w": weight.grad})
        optimizer.step()
    assert read is not None
    return read["w"]


ADAM = of(torch.optim.Adam, weight_decay=0.0, eps=0.0)


@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_constant_gradients_give_steps_of_the_rate_and_alternating_ones_hardly_any(steps: int) -> None:
    """|m|/σ is 1, or (1 − β)/(1 + β) · |1 − (−β)ᵗ|/(1 − βᵗ), β = 0.9."""
    constant = one(ADAM, [3.0] * steps)
    assert float(constant.movement / constant.scale) == pytest.approx(1.0, rel=1e-12)
    alternating = one(ADAM, [3.0 * (-1) ** step for step in range(steps)])
    expected = 0.1 / 1.9 * (1 - (-0.9) ** steps) / (1 - 0.9**steps)
    assert abs(float(alternating.movement / alternating.scale)) == pytest.approx(expected, rel=1e-12)


def test_random_signs_lie_between() -> None:
    """√((1 − β)/(1 + β)) in the root mean square."""
    signs = torch.randint(0, 2, (400, 2000), generator=torch.Generator().manual_seed(0)).double() * 2 - 1
    weights = torch.zeros(2000, dtype=torch.float64, requires_grad=True)
    optimizer = ADAM([weights])
    for row in signs:
        weights.grad = row.clone()
        read = anatomy(optimizer, {"w": weights}, {"w": row})
        optimizer.step()
    assert read is not None
    strength = (read["w"].movement / read["w"].scale).square().mean().sqrt()
    assert float(strength) == pytest.approx(math.sqrt(0.1 / 1.9), rel=0.05)  # its standard error is 0.016


def test_what_is_carried_is_what_a_vanishing_gradient_leaves() -> None:
    for name in ("momentum", "dampened", "Nesterov", "Adam", "AMSGrad", "NAdam", "RAdam"):
        training = Walk(OPTIMIZERS[name])
        for _ in range(8):
            training.step()
        training.backward()
        gradients = {key: p.grad for key, p in training.named.items() if p.grad is not None}
        read = anatomy(training.optimizer, training.named, gradients)
        # With −λθ for a gradient nothing fresh is left.
        still = anatomy(
            training.optimizer, training.named, {key: -DECAY * p.detach() for key, p in training.named.items()}
        )
        assert read is not None
        assert still is not None
        for key in training.named:
            torch.testing.assert_close(still[key].movement, torch.as_tensor(read[key].carried))


def test_heavy_balls_carry_their_share() -> None:
    """After t constant gradients M = (1 − βᵗ)/(1 − β) g, of which g is fresh."""
    read = one(of(torch.optim.SGD, momentum=0.9, weight_decay=0.0), [2.0] * 6)
    assert float(read.movement) == pytest.approx(2.0 * (1 - 0.9**6) / 0.1)
    assert float(read.fresh) == pytest.approx(2.0)
    assert (read.rate, read.scale, read.decay) == (0.02, 1.0, 0.0)


def test_scale_is_the_root_of_the_squares() -> None:
    read = one(of(torch.optim.Adagrad, weight_decay=0.0, eps=0.25), [3.0, 4.0])
    assert float(read.scale) == pytest.approx(5.25)
    assert float(read.effective_rate) == pytest.approx(0.02 / 5.25)
    assert one(of(torch.optim.AdamW), [1.0]).decay == pytest.approx(0.02 * DECAY)
    assert one(of(torch.optim.Adam, eps=0.25, weight_decay=0.0), [3.0]).scale.item() == pytest.approx(3.25)


def test_layers_have_rates_of_their_own_under_lars() -> None:
    training = Walk(of(LARS, weight_decay=0.0, momentum=0.0, trust_coefficient=0.01))
    training.backward()
    observed = training.observed()
    for name, part in observed.parts.items():
        parameter, gradient = training.named[name], observed.gradients[name]
        if parameter.dim() == 1:
            assert part.rate == 0.02
        else:
            before = parameter.detach() - observed.change[name]
            assert part.rate == pytest.approx(0.02 * 0.01 * float(before.norm() / gradient.norm()))


# What is not known


class Sign(torch.optim.Optimizer):
    """θ ← θ − η sign g."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.sub_(group["lr"] * parameter.grad.sign())


class Halved(torch.optim.SGD):
    """Not what its parent does."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad.mul_(0.5)
        super().step(closure)


@pytest.mark.parametrize("build", [lambda p: Sign(p, 0.02), lambda p: Halved(p, 0.02)], ids=["unknown", "subclass"])
def test_an_unknown_optimizer_is_read_through_its_update(build: Build) -> None:
    training = Walk(build)
    training.backward()
    assert anatomy(training.optimizer, training.named, {}) is None
    observed = training.observed()
    assert not observed.from_state
    for name, part in observed.parts.items():
        gradient = observed.gradients[name]
        wanted = gradient.sign() if isinstance(training.optimizer, Sign) else gradient / 2
        torch.testing.assert_close(part.movement, wanted)
        assert (part.rate, part.scale, part.carried) == (0.02, 1.0, None)


def test_a_known_optimizer_that_does_something_else_is_read_through_its_update() -> None:
    """Weights are shrunk behind its back; pytorch-optimizer's LAMB with a setting that is not read."""
    training = Walk(of(torch.optim.SGD, weight_decay=0.0))

    def shrink(*_: Any) -> None:
        for parameter in training.model.parameters():
            parameter.data.mul_(0.9)

    training.optimizer.register_step_post_hook(shrink)
    assert not training.observed().from_state
    rectified = Walk(of(Lamb, rectify=True))
    assert not any(rectified.observed().from_state for _ in range(3))


def test_hooks_are_taken_off_again() -> None:
    training = Walk(of(torch.optim.Adam))
    training.observed()
    with pytest.raises(RuntimeError, match="no step"):
        observe(training.optimizer, training.named, lambda: (_ for _ in ()).throw(RuntimeError("no step")))
    assert not training.optimizer._optimizer_step_pre_hooks


def test_parameters_that_are_not_moved_are_left_out() -> None:
    training = Walk(lambda parameters: torch.optim.SGD(list(parameters)[:2], lr=0.1))
    training.named["0.bias"].requires_grad_(False)
    observed = training.observed()
    assert list(observed.parts) == ["0.weight"]
    assert list(observed.change) == ["0.weight", "0.bias"]
    assert observed.from_state


def test_a_rate_of_nothing() -> None:
    training = Walk(lambda parameters: Sign(parameters, 0.0))
    assert all(not bool(part.movement.any()) for part in training.observed().parts.values())


def test_steps_that_evaluate_the_loss_themselves() -> None:
    branch = zoo.ZOO["lbfgs"](torch.float64).branch()
    observed = observe(branch.optimizer, dict(branch.model.named_parameters()), lambda: walk(branch, 1))
    assert not observed.from_state
    assert not observed.gradients
    assert all(bool(change.any()) for change in observed.change.values())
