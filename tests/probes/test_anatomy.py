"""Steps taken apart, against closed forms: gradients that keep their sign, that alternate, that are drawn at random."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tests import zoo
from tests.methods.test_anatomy import OPTIMIZERS, Sign
from tests.probes.look import Weights, look, quadratic, view
from torch import Tensor, nn

from unstuck.budget import Budget
from unstuck.errors import InputError
from unstuck.probes.anatomy import Anatomy, AnatomyReading
from unstuck.problem import Problem
from unstuck.reading import Estimate
from unstuck.specimens import product_at_origin
from unstuck.walk import walk

Build = Callable[[Any], torch.optim.Optimizer]


def read(problem: Problem, probe: Anatomy | None = None) -> AnatomyReading:
    reading: AnatomyReading = look(probe or Anatomy(), problem)
    return reading


def value(estimate: Estimate | None) -> float:
    assert estimate is not None
    return estimate.value


def slopes(*rows: list[float], optimizer: Build, start: float = 100.0) -> Problem:
    """L = w·x: its gradient is x, and the batches are these rows, one after the other."""
    width = len(rows[0])
    batches = [(torch.tensor([row], dtype=torch.float64), torch.zeros(1)) for row in rows]
    model = Weights(*[start] * width)
    return Problem(model, lambda outputs, targets: outputs.sum(), batches, optimizer(model.parameters()))


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.01, eps=0.0)


def ball(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9)


def test_constant_and_alternating_gradients_of_one_size() -> None:
    """|m|/σ is 1 for the first, and for the second (1 − β)/(1 + β) (1 − βᵗ)/(1 − βᵗ) at an even t, β = 0.9."""
    reading = read(slopes([3.0, 3.0], [3.0, -3.0], optimizer=adam))
    assert (reading.updates, reading.walked_first) == (20, 20)
    assert value(reading.agreement) == pytest.approx(0.5)
    assert value(reading.steady_strength) == pytest.approx(1.0)
    assert value(reading.alternating_strength) == pytest.approx(0.1 / 1.9)
    assert [group.share for group in reading.signs] == [0.5, 0.5]
    assert [group.quartiles[1] for group in reading.signs] == pytest.approx([0.1 / 1.9, 1.0])
    assert reading.signs[0].agreement < 0.2 < 0.8 < reading.signs[1].agreement
    assert value(reading.effective_rate) == pytest.approx(0.01 / 3)
    assert value(reading.rate_spread) == pytest.approx(1.0)


def test_signs_drawn_at_random_lie_between() -> None:
    generator = torch.Generator().manual_seed(1)
    rows = (torch.randint(0, 2, (48, 3000), generator=generator) * 2 - 1).double().tolist()
    reading = read(slopes(*rows, optimizer=adam))
    assert value(reading.agreement) == pytest.approx(0.5, abs=0.01)
    # The median of |x| for x of deviation √((1 − β)/(1 + β)), were it normal; t = 30 is late enough.
    assert value(reading.strength) == pytest.approx(0.6745 * math.sqrt(0.1 / 1.9), rel=0.1)
    middles = [group.quartiles[1] for group in reading.signs if group.share > 0.05]
    assert middles == sorted(middles)


def test_heavy_balls_carry_all_but_one_tenth() -> None:
    """Of M = (1 − βᵗ)/(1 − β) g the share carried is β (1 − βᵗ⁻¹)/(1 − βᵗ)."""
    problem = slopes([2.0, -1.0], optimizer=ball)
    reading = read(problem)
    shares = [0.9 * (1 - 0.9 ** (t - 1)) / (1 - 0.9**t) for t in range(21, 41)]
    assert reading.momentum is not None
    assert reading.momentum.value == pytest.approx(np.mean(shares))
    assert reading.momentum.error == pytest.approx(np.std(shares))
    assert reading.alignment is not None
    assert (reading.alignment.value, reading.alignment.error) == pytest.approx((1.0, 0.0))
    assert (reading.strength, reading.steady_strength, reading.signs) == (None, None, ())
    assert value(reading.agreement) == pytest.approx(1.0)
    assert value(reading.effective_rate) == pytest.approx(0.01)
    assert value(reading.rate_spread) == 1.0


def test_momentum_holds_back_what_bounces() -> None:
    """Gradients that alternate for ever: M → g/(1 + β), so that −β of the step is carried."""
    problem = slopes([2.0], [-2.0], optimizer=ball)
    branch = problem.branch()
    walk(branch, 200)
    reading = read(branch)
    assert reading.walked_first == 0
    assert reading.notes == ()
    assert reading.momentum is not None
    assert reading.momentum.value == pytest.approx(-0.9, rel=1e-6)
    assert reading.alignment is not None
    assert reading.alignment.value == pytest.approx(1.0)
    assert value(reading.agreement) == 0.0


def test_bouncing_between_the_walls() -> None:
    """At η a = 2 gradient descent goes from θ to −θ and back: each step is twice as long as θ."""
    reading = read(quadratic([4.0], [1.0], lambda p: torch.optim.SGD(p, lr=0.5)))
    assert reading.relative_step is not None
    assert reading.relative_step.value == pytest.approx(2.0)
    assert value(reading.agreement) == 0.0
    assert reading.momentum is not None
    assert reading.momentum.value == 0.0


def test_layers_have_their_own_numbers() -> None:
    """Two layers under Adagrad: σ = √(t g²), with a rate of its own for each group."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = Weights(10.0, 10.0), Weights(20.0)

        def forward(self, inputs: Tensor) -> Tensor:
            outputs: Tensor = self.first(inputs[:, :2]).sum(1) + self.second(inputs[:, 2:]).sum(1)
            return outputs

    model = Two()
    groups: list[dict[str, Any]] = [
        {"params": list(model.first.parameters()), "lr": 0.1},
        {"params": list(model.second.parameters()), "lr": 0.3},
    ]
    batch = (torch.tensor([[1.0, 2.0, 4.0]], dtype=torch.float64), torch.zeros(1))
    problem = Problem(model, lambda o, t: o.sum(), [batch], torch.optim.Adagrad(groups, eps=0.0))
    reading = read(problem, Anatomy(updates=2))
    assert reading.layers == ("first", "second")
    roots = [math.sqrt(21), math.sqrt(22)]
    inverse = np.mean([1 / root for root in roots])
    assert reading.layer_effective_rate == pytest.approx((0.1 * inverse / 2, 0.3 * inverse / 4))
    assert reading.layer_effective_rate_error[0] == pytest.approx(np.std([0.05 / root for root in roots]))
    assert reading.layer_rates[0][0] == pytest.approx(0.1 * inverse / 2)
    assert reading.layer_rates[0][-1] == pytest.approx(0.1 * inverse)
    assert reading.layer_strength == pytest.approx([inverse] * 2)
    # Both weights of the first have moved by η Σ 1/√s, whatever their gradients.
    way = [sum(1 / math.sqrt(s) for s in range(1, last)) for last in (21, 22)]
    moved = [math.sqrt(2) * 0.1 / root / (math.sqrt(2) * (10 - 0.1 * w)) for root, w in zip(roots, way, strict=True)]
    assert reading.layer_relative_step[0] == pytest.approx(np.mean(moved))
    assert reading.layer_momentum == (0.0, 0.0)
    assert reading.layer_alignment == pytest.approx([1.0, 1.0])


def test_entries_of_large_tensors_are_drawn() -> None:
    """Nine tenths of 20,000 gradients are 1, the others 100: the quantiles say so."""
    row = [1.0] * 18_000 + [100.0] * 2_000
    reading = read(slopes(row, row, optimizer=adam), Anatomy(updates=2))
    assert value(reading.effective_rate) == pytest.approx(0.01)
    assert value(reading.rate_spread) == pytest.approx(100.0)
    assert reading.layer_rates[0] == pytest.approx([1e-4, 0.01, 0.01, 0.01, 0.01])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_known_optimizer(name: str) -> None:
    reading = read(zoo.problem(zoo.perceptron, optimizer=OPTIMIZERS[name]), Anatomy(updates=4))
    assert reading.read_from == "the optimizer's state and settings"
    assert reading.mismatch < 1e-9
    assert reading.momentum is not None
    assert reading.layers == ("0", "2")
    assert {"rates", "movements", "lengths"} <= set(reading.pictures())


def test_an_unknown_optimizer_says_so() -> None:
    reading = read(zoo.problem(zoo.perceptron, optimizer=lambda p: Sign(p, 0.01)), Anatomy(updates=4))
    assert reading.read_from == "the updates that it makes"
    assert "Sign is read through the updates that it makes" in reading.notes[-1]
    assert (reading.momentum, reading.strength) == (None, None)
    assert value(reading.effective_rate) == pytest.approx(0.01)
    assert reading.alignment is not None
    assert 0 < reading.alignment.value < 1
    assert reading.draw() is not None


def test_what_evaluates_the_loss_itself_is_read_as_well() -> None:
    reading = read(zoo.ZOO["lbfgs"](torch.float64), Anatomy(updates=3))
    assert (reading.alignment, reading.agreement) == (None, None)
    assert reading.relative_step is not None
    assert reading.relative_step.value > 0
    assert len(reading.pictures()) == 3


def test_a_fresh_optimizer_is_walked_first_and_the_reading_says_so() -> None:
    problem = zoo.problem(zoo.perceptron, optimizer=adam)
    reading = read(problem)
    assert reading.walked_first == 20
    assert "walked 20 updates on a branch" in reading.notes[0]
    branch = problem.branch()
    walk(branch, 20)
    again = read(branch)
    assert (again.walked_first, again.notes) == (0, ())
    assert not problem.optimizer.state


def test_what_it_costs() -> None:
    looking = view(zoo.problem(zoo.perceptron, optimizer=adam, accumulate=2))
    reading = Anatomy().measure(looking, Budget(updates=5))
    assert (reading.updates, reading.walked_first) == (5, 5)
    assert looking.gradient_evaluations == 20
    assert reading.samples == 5 * 2 * zoo.BATCH
    with pytest.raises(InputError, match=r"`updates` must be 2 or more.*got 1"):
        Anatomy(updates=1)


def test_nothing_to_walk_on() -> None:
    reading = read(product_at_origin())
    assert (reading.alignment, reading.relative_step, reading.agreement) == (None, None, None)
    assert value(reading.effective_rate) > 0


def test_an_explosion_ends_the_walk() -> None:
    reading = read(quadratic([1.0], [1.0], lambda p: torch.optim.SGD(p, lr=1e30)))
    assert reading.updates < 20
    assert reading.pictures()


def test_weights_that_are_not_moved_are_left_out() -> None:
    frozen = read(zoo.MODELS["frozen layer"](torch.float64))
    assert frozen.layers == ("2",)
    unused = read(zoo.MODELS["two inputs"](torch.float64))
    assert unused.layers == ("left", "right")
