"""The first place where a number stops being finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests import by_hand, zoo
from tests.probes.look import look
from torch import Tensor, nn

from unstuck.probes.finite import Finite
from unstuck.problem import Problem
from unstuck.specimens import healthy, spoiled_data
from unstuck.walk import walk


class Middle(nn.Module):
    """Applies a function between two layers."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(inputs)


class Whole(nn.Module):
    """The faulty operation is the model's own, in no module below it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(zoo.FEATURES, zoo.CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layer(inputs) / torch.zeros(zoo.CLASSES, dtype=inputs.dtype)
        return outputs


def with_middle(function: Callable[[Tensor], Tensor]) -> Callable[[], nn.Module]:
    return lambda: zoo.perceptron(Middle(function))


def spoiled(column: int | None = None) -> Problem:
    inputs, targets = zoo.table()
    if column is None:
        return zoo.problem(
            lambda: nn.Linear(zoo.FEATURES, 1),
            loss=nn.MSELoss(),
            train=zoo.shuffled(inputs, torch.full((zoo.SAMPLES, 1), math.inf, dtype=torch.float64)),
        )
    inputs[::8, column] = math.nan
    return zoo.problem(zoo.perceptron, train=zoo.shuffled(inputs, targets))


def written_to(name: str) -> Problem:
    problem = zoo.MODELS["batch norm"](torch.float64)
    with torch.no_grad():
        problem.model.state_dict()[name].reshape(-1)[0] = math.nan
    return problem


def broken_optimizer() -> Problem:
    problem = zoo.ZOO["adam"](torch.float64)
    by_hand.train(problem, 1, problem.data.order(0))
    first = next(problem.model.parameters())
    problem.optimizer.state[first]["exp_avg_sq"][0, 0] = math.nan
    return problem


@pytest.mark.parametrize(
    ("problem", "kind", "place", "share"),
    [
        (lambda: spoiled(2), "data", "inputs (3 of 24 samples looked at)", 3 / 96),
        (lambda: spoiled(), "data", "targets (24 of 24 samples looked at)", 1.0),
        (lambda: written_to("0.weight"), "parameter", "0.weight", 1 / 20),
        (lambda: written_to("1.running_var"), "parameter", "1.running_var", 1 / 5),
        (broken_optimizer, "optimizer", "exp_avg_sq", 1 / 20),
        (lambda: zoo.problem(with_middle(lambda x: 1e400 * x)), "module", "the output of 1 (Middle)", 1.0),
        (lambda: zoo.problem(Whole), "module", "the output of the model (Whole)", 1.0),
        (
            lambda: zoo.problem(zoo.perceptron, loss=lambda outputs, targets: (outputs * 0).sum().log()),
            "loss",
            "its value, though every module's output is finite",
            1.0,
        ),
        (
            lambda: zoo.problem(with_middle(lambda x: (0 * x).square().sqrt() + x)),
            "gradient",
            "the gradient of 0.weight, though the loss is finite",
            1.0,
        ),
    ],
)
def test_the_first_place_is_named(problem: Callable[[], Problem], kind: str, place: str, share: float) -> None:
    reading = look(Finite(), problem())
    assert (reading.finite, reading.kind, reading.place) == (False, kind, place)
    assert reading.share == pytest.approx(share)


@pytest.mark.parametrize("name", zoo.ZOO)
def test_the_zoo_is_finite(name: str) -> None:
    reading = look(Finite(), zoo.ZOO[name](torch.float64))
    assert (reading.finite, reading.kind, reading.place, reading.share) == (True, "", "", 0.0)


def test_specimens() -> None:
    assert look(Finite(), spoiled_data()).place == "inputs (11 of 1024 samples looked at)"
    assert look(Finite(), healthy()).finite


class Causal(nn.Module):
    """Attention under a mask of minus infinity that is kept as a buffer."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(zoo.FEATURES, 2, batch_first=True)
        self.register_buffer("mask", torch.full((zoo.STEPS, zoo.STEPS), -math.inf).triu(1))

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        steps = zoo.sequence(inputs)
        given = self.mask if mask is None else mask[0]
        outputs: Tensor = self.attention(steps, steps, steps, attn_mask=given, need_weights=False)[0][:, -1, :3]
        return outputs


class Masked(nn.Module):
    """Forbids a class by a score of minus infinity."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.where(torch.arange(zoo.CLASSES + 1) == zoo.CLASSES, -math.inf, nn.functional.pad(inputs, (0, 1)))


def test_masks_are_no_fault() -> None:
    assert look(Finite(), zoo.problem(Causal)).finite
    inputs, targets = zoo.table()
    masks = torch.full((zoo.STEPS, zoo.STEPS), -math.inf, dtype=torch.float64).triu(1).expand(zoo.SAMPLES, -1, -1)
    assert look(Finite(), zoo.problem(Causal, train=zoo.shuffled(inputs, masks.clone(), targets))).finite
    assert look(Finite(), zoo.problem(lambda: nn.Sequential(zoo.perceptron(), Masked()))).finite


def test_a_mask_that_breaks_the_loss_is_one() -> None:
    inputs, _ = zoo.table()
    forbidden = zoo.shuffled(inputs, torch.full((zoo.SAMPLES,), zoo.CLASSES))
    reading = look(Finite(), zoo.problem(lambda: nn.Sequential(zoo.perceptron(), Masked()), train=forbidden))
    assert (reading.kind, reading.place) == ("module", "the output of 1 (Masked)")


def test_minus_infinity_in_the_features_is_one_too() -> None:
    inputs, targets = zoo.table()
    inputs[3, 1] = -math.inf
    assert look(Finite(), zoo.problem(zoo.perceptron, train=zoo.shuffled(inputs, targets))).kind == "data"


def test_the_batch_that_broke_a_walk_is_looked_at() -> None:
    """Only one sample in a thousand makes the model divide by zero; the sample is unlikely to hold it."""
    inputs = torch.randn(1000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    inputs[500] = 0.0
    batches = [(part, part) for part in inputs.split(2)]
    problem = zoo.problem(
        lambda: nn.Sequential(nn.Linear(1, 1), Middle(lambda x: x)),
        loss=lambda outputs, targets: (outputs / targets).abs().mean(),
        train=batches,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0),
    )
    run = walk(problem.branch(), 600)
    assert run.broke_at == 250
    assert look(Finite(), problem).finite
    reading = look(Finite(), problem, suspect=run.suspect)
    assert (reading.finite, reading.kind) == (False, "loss")


def test_outputs_in_containers_are_looked_into() -> None:
    class Twofold(nn.Module):
        def forward(self, inputs: Tensor) -> dict[str, Any]:
            return {"scores": inputs, "more": [inputs.sum() / 0]}

    class Sums(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.twofold = zoo.perceptron(), Twofold()

        def forward(self, inputs: Tensor) -> Tensor:
            given = self.twofold(self.layers(inputs))
            scores: Tensor = given["scores"] + given["more"][0]
            return scores

    assert look(Finite(), zoo.problem(Sums)).place == "the output of twofold (Twofold)"
