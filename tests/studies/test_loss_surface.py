"""The study of losses and their surfaces, at a small size."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from unstuck import datasets
from unstuck.datasets.classification import Classification
from unstuck.fleet import Member, train_fleet
from unstuck.methods.loss import Loss
from unstuck.methods.update import gradient_descent
from unstuck.studies import loss_surface
from unstuck.studies.loss_surface import SATURATED, SAYS, STUDY, draw, first_slope, least_squares, measure, run
from unstuck.study import Run, Runs
from unstuck.study.experiments.networks import perceptron
from unstuck.study.experiments.two_logits import ENTROPY, SQUARES


@pytest.fixture(scope="module")
def runs() -> Runs:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss_surface, "UPDATES", 8)
        patch.setattr(loss_surface, "LOOKS", (0, 4, 8))
        settings: list[dict[str, Any]] = [{"part": "plane"}, {"part": "networks", "by": 0.0}]
        settings.append({"part": "networks", "by": SATURATED})
        found = [Run({"seed": 7} | own, run(7, **own)) for own in settings]
        return Runs(found)


def test_every_gate_has_its_number_and_the_plane_is_as_the_formulas_say(runs: Runs) -> None:
    assert {gate.measurement for gate in STUDY.gates} == SAYS.keys()
    measured = {each.name: each.values for each in measure(runs)}
    assert measured["way made by the squared error"][7] < 1e-3
    assert 60 < measured["updates to the right answer, cross-entropy"][7] < 110  # 2 · 0.1 in y1 − y2 for each update
    assert measured["first gradient of cross-entropy over that of the squared error"][7] > 1e6
    assert measured["share of rates that arrive, squared error"] == {7: 0.0}
    assert draw(runs).keys() == {"surfaces", "slopes", "trainings"}


def test_what_was_infinite_is_infinite_again() -> None:
    name = "updates of the squared error without softmax"
    (measured,) = [each for each in measure(Runs([Run({"seed": 7}, {"numbers": {name: None}})])) if each.name == name]
    assert measured.values == {7: math.inf}


def test_least_squares_finds_a_linear_function_again() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs, asked = (torch.randn(30, 3, generator=generator) for _ in range(2))
    classes = torch.zeros(30, dtype=torch.int64)
    data = Classification(
        name="made",
        inputs=inputs,
        targets=classes,
        held_out_inputs=asked,
        held_out_targets=classes,
        classes=1,
        shape=(3,),
    )

    def line(rows: Tensor) -> Tensor:
        return rows @ torch.tensor([[1.0], [-2.0], [0.5]]) + 4.0

    torch.testing.assert_close(least_squares(data, line(inputs)).float(), line(asked))


@pytest.mark.parametrize("loss", [ENTROPY, SQUARES])
def test_the_first_slope_is_that_of_a_network_by_itself(loss: Loss) -> None:
    digits = datasets.load("digits")
    wanted = torch.eye(10)[digits.targets]
    member = Member(rule=gradient_descent(0.1), batch_size=8)
    fleet = train_fleet(lambda: perceptron((64, 4, 10)), loss.error, digits.inputs, wanted, [member], 1, keep=(0,))
    torch.manual_seed(0)
    model = perceptron((64, 4, 10))
    loss(model(digits.inputs), wanted).backward()
    norm = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
    assert first_slope(fleet, loss.error, digits.inputs, wanted) == pytest.approx(norm.item(), rel=1e-4)
