"""Every way in which a parameter can be wired, exactly."""

from __future__ import annotations

import pytest
import torch
from tests import zoo
from tests.probes.look import look
from torch import Tensor, nn

from unstuck.probes.wiring import Wiring
from unstuck.problem import Problem
from unstuck.specimens import half_wired, healthy


class Wired(nn.Module):
    """One parameter of two numbers for each way."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("learns", "missing", "fixed_but_listed", "unused", "cut", "fixed", "zero"):
            self.register_parameter(name, nn.Parameter(torch.ones(2)))
        self.get_parameter("fixed_but_listed").requires_grad_(False)
        self.get_parameter("fixed").requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        used = self.get_parameter("learns") + self.get_parameter("missing") + self.get_parameter("fixed_but_listed")
        used = used + self.get_parameter("cut").detach() + self.get_parameter("fixed") + 0 * self.get_parameter("zero")
        return inputs[:, :2] * used


def every_way() -> Problem:
    listed = ("learns", "fixed_but_listed", "unused", "cut", "zero")
    model = Wired().double()
    return Problem(
        model,
        lambda outputs, targets: outputs.square().mean(),
        zoo.shuffled(*zoo.table()),
        torch.optim.SGD([model.get_parameter(name) for name in listed], lr=0.1),
    )


def test_every_way_is_told_apart() -> None:
    reading = look(Wiring(), every_way())
    assert reading.parameters == 14
    assert reading.missing == ("missing",)
    assert reading.frozen_but_listed == ("fixed_but_listed",)
    assert reading.detached == ("unused", "cut")
    assert reading.frozen == ("fixed",)
    assert reading.still == ("zero",)
    assert reading.coverage == pytest.approx(2 / 12)  # "learns" alone, of all but "fixed"
    assert reading.missing_share == pytest.approx(8 / 12)
    assert reading.samples == 12


def test_half_wired_and_whole() -> None:
    reading = look(Wiring(), half_wired())
    assert reading.missing == ("0.weight", "2.weight", "4.weight")
    assert reading.coverage == pytest.approx((32 + 32 + 4) / reading.parameters)
    reading = look(Wiring(), healthy())
    assert (reading.coverage, reading.missing_share) == (1.0, 0.0)
    assert not (reading.missing + reading.frozen_but_listed + reading.detached + reading.frozen + reading.still)


@pytest.mark.parametrize(
    "name", [name for name in zoo.ZOO if name not in ("two inputs", "named inputs", "frozen layer")]
)
def test_nothing_is_wrong_with_the_zoo(name: str) -> None:
    reading = look(Wiring(), zoo.ZOO[name](torch.float64))
    assert reading.missing_share == 0.0
    assert not reading.frozen


def test_layers_frozen_by_intention_are_no_fault() -> None:
    reading = look(Wiring(), zoo.ZOO["frozen layer"](torch.float64))
    assert reading.frozen == ("0.weight", "0.bias")
    assert (reading.coverage, reading.missing_share) == (1.0, 0.0)


def test_dead_units_are_still_and_not_detached() -> None:
    def dead() -> nn.Module:
        model = nn.Sequential(nn.Linear(zoo.FEATURES, 5), nn.ReLU(), nn.Linear(5, zoo.CLASSES))
        with torch.no_grad():
            nn.init.constant_(model[0].bias, -100.0)  # type: ignore[arg-type]
        return model

    reading = look(Wiring(), zoo.problem(dead))
    assert reading.still == ("0.weight", "0.bias", "2.weight")
    assert not reading.detached


def test_an_output_cut_off_from_all_parameters() -> None:
    reading = look(Wiring(), zoo.problem(zoo.perceptron, loss=lambda outputs, targets: outputs.detach().mean()))
    assert reading.detached == ("0.weight", "0.bias", "2.weight", "2.bias")
    assert reading.missing_share == 1.0


def test_it_is_trained_in_training_mode_whatever_mode_was_handed_over() -> None:
    problem = zoo.problem(lambda: zoo.perceptron(nn.Dropout(1.0)))
    problem.model.eval()
    assert look(Wiring(), problem).still  # with every unit dropped nothing arrives at the first layer
