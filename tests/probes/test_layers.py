"""The profile along depth, against networks whose gains are known and against hooks set by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests import zoo
from tests.probes.look import look, view
from torch import Tensor, nn

from unstuck.budget import Budget
from unstuck.probes.layers import Layers, LayersReading
from unstuck.problem import Problem
from unstuck.specimens import healthy, product_at_origin, zero_initialized
from unstuck.untouched import seeded

WIDTH = 6


def read(problem: Problem, **settings: Any) -> LayersReading:
    reading: LayersReading = look(Layers(), problem, **settings)
    return reading


def numbers(values: tuple[float | None, ...]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def wide(samples: int = 24) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(samples, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return inputs, (inputs[:, 0] > 0).long()


def classifier(model: Callable[[], nn.Module], samples: int = 24, **fields: Any) -> Problem:
    return zoo.problem(model, **{"train": zoo.shuffled(*wide(samples), batch=8), **fields})


def rotations(gain: float, depth: int = 6) -> nn.Module:
    """Layers that turn their inputs and make them ``gain`` times as long."""
    layers = [nn.Linear(WIDTH, WIDTH, bias=False, dtype=torch.float64) for _ in range(depth)]
    for layer in layers:
        nn.init.orthogonal_(layer.weight, gain)
    return nn.Sequential(*layers)


def stack(activation: Callable[[], nn.Module], depth: int = 12, width: int = 24) -> nn.Module:
    hidden = [part for _ in range(depth - 2) for part in (nn.Linear(width, width), activation())]
    return nn.Sequential(nn.Linear(WIDTH, width), activation(), *hidden, nn.Linear(width, 2))


class Residual(nn.Module):
    """x + f(x), again and again."""

    def __init__(self, depth: int = 12, width: int = 24) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(WIDTH, width), nn.Linear(width, 2)
        self.branches = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 2))

    def forward(self, inputs: Tensor) -> Tensor:
        stream = self.enter(inputs)
        for branch in self.branches:
            stream = stream + branch(torch.tanh(stream)) / len(self.branches) ** 0.5
        outputs: Tensor = self.leave(stream)
        return outputs


@pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
def test_norms_go_like_the_gain_to_the_depth(gain: float) -> None:
    """h_l = g^l R x and, with ℓ = ½|h_L|², ∂ℓ/∂h_l = g^(L−l) Rᵀ h_L: so |∂ℓ/∂W_l| = g^(L−1) |h_L| |x| everywhere."""
    problem = classifier(lambda: rotations(gain), loss=lambda outputs, _: outputs.square().sum(1).mean() / 2)
    reading = read(problem)
    assert reading.depth == 6
    assert reading.activation_trend is not None
    assert reading.gradient_trend is not None
    assert reading.parameter_trend is not None
    assert reading.activation_trend.value == pytest.approx(math.log(gain), abs=1e-9)
    assert reading.gradient_trend.value == pytest.approx(-math.log(gain), abs=1e-9)
    assert reading.parameter_trend.value == pytest.approx(0.0, abs=1e-9)
    assert reading.gradient_trend.error == pytest.approx(0.0, abs=1e-9)
    assert reading.sensitivity_trend is not None
    assert reading.sensitivity_trend.value == pytest.approx(0.0, abs=1e-9)
    assert reading.activation_ratio is not None
    assert reading.gradient_ratio is not None
    assert reading.activation_ratio.value == pytest.approx(gain**-5)
    assert reading.gradient_ratio.value == pytest.approx(gain**5)
    size = float(wide()[0].square().mean().sqrt())
    assert reading.layer_activation == pytest.approx([size * gain**layer for layer in range(1, 7)])
    assert reading.layer_gradient[-1] == pytest.approx(size * WIDTH**0.5 * gain**6)


def test_the_sensitivity_does_not_change_when_layers_are_scaled_against_each_other() -> None:
    """ReLU(c x) = c ReLU(x): one layer times c and the next over c give the same network."""

    def scaled(factor: float) -> nn.Module:
        model = stack(nn.ReLU, depth=4)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in ("2.weight", "2.bias"):
                    parameter.mul_(factor)
                elif name == "4.weight":
                    parameter.div_(factor)
        return model

    plain, other = (read(classifier(partial(scaled, factor))) for factor in (1.0, 100.0))
    assert other.layer_sensitivity == pytest.approx(plain.layer_sensitivity)
    assert 100 * numbers(other.layer_gradient)[1] == pytest.approx(numbers(plain.layer_gradient)[1])


def by_hand(problem: Problem, names: list[str]) -> dict[str, tuple[float, float]]:
    """Name → root mean squares of activations and of single samples' gradients, by torch's own retain_grad."""
    squares = {name: [0.0, 0.0, 0] for name in names}
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, outputs: Any) -> None:
            kept[name] = outputs[0] if isinstance(outputs, tuple) else outputs
            kept[name].retain_grad()

        return hook

    for name in names:
        problem.model.get_submodule(name).register_forward_hook(keep(name))
    for batch in problem.data.sample(512, chunk=16, seed=0):
        with seeded(0):
            problem.forward_loss(batch).backward()
        count = len(batch[1])
        for name, tensor in kept.items():
            assert tensor.grad is not None
            squares[name][0] += count * float(tensor.detach().square().mean())
            squares[name][1] += count * count * float(tensor.grad.square().sum())
            squares[name][2] += count
    return {name: ((a / n) ** 0.5, (g / n) ** 0.5) for name, (a, g, n) in squares.items()}


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("perceptron", ["0", "2"]),
        ("batch norm of images", ["convolution", "head"]),
        ("dropout", ["0", "3"]),
        ("lstm", ["cells", "head"]),
        ("attention", ["attention", "head"]),
        ("embedding", ["0", "2"]),
        ("weight norm", ["0", "2"]),
    ],
)
def test_the_profile_is_that_of_hooks_set_by_hand(name: str, layers: list[str]) -> None:
    problem = zoo.MODELS[name](torch.float64)
    expected = by_hand(zoo.MODELS[name](torch.float64), layers)
    reading = read(problem)
    assert list(reading.layers) == layers
    assert reading.layer_activation == pytest.approx([expected[layer][0] for layer in layers], rel=1e-9)
    assert reading.layer_gradient == pytest.approx([expected[layer][1] for layer in layers], rel=1e-9)


def test_what_works_in_place_is_read_before_it_does() -> None:
    plain, in_place = (
        read(classifier(partial(stack, partial(nn.ReLU, inplace=kind), depth=4))) for kind in (False, True)
    )
    assert in_place == plain


def test_the_gradient_of_parameters_is_relative_to_them() -> None:
    problem = zoo.problem(zoo.perceptron, train=zoo.shuffled(*zoo.table(), batch=24))
    seen = view(problem)
    reading = Layers().measure(seen, Budget())
    norms = []
    for layer in ("0", "2"):
        mine = [f"{layer}.weight", f"{layer}.bias"]
        gradients = [[g[name].square().sum() for name in mine] for _, g in seen.gradients]
        size = sum(seen.point[name].square().sum() for name in mine)
        norms.append(float((sum(sum(g) for g in gradients) / len(gradients) / size) ** 0.5))
    assert reading.layer_parameters == pytest.approx(norms)
    assert seen.gradient_evaluations == 2 * len(seen.sample)


def test_vanishing_flat_and_silent_are_told_apart() -> None:
    vanishing = read(classifier(lambda: stack(nn.Sigmoid)))
    residual = read(classifier(Residual))
    assert vanishing.gradient_trend is not None
    assert residual.gradient_trend is not None
    assert vanishing.gradient_trend.value > 1.5
    assert vanishing.gradient_trend.error < 0.1
    assert abs(residual.gradient_trend.value) < 0.15

    def one_sided() -> nn.Module:
        model = Residual()
        with torch.no_grad():
            model.leave.bias.copy_(torch.tensor([40.0, -40.0]))
        return model

    def squared(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(outputs.softmax(1), F.one_hot(targets, 2).double())

    saturated = read(classifier(one_sided, loss=squared))
    assert saturated.gradient_trend is not None
    assert saturated.output_gradient is not None
    assert residual.output_gradient is not None
    assert abs(saturated.gradient_trend.value) < 0.15
    assert saturated.output_gradient.value < 1e-20 < 0.1 < residual.output_gradient.value


def test_an_exploding_gradient() -> None:
    def model() -> nn.Module:
        made = stack(nn.ReLU)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.mul_(5.0)
        return made

    reading = read(classifier(model))
    assert reading.gradient_trend is not None
    assert reading.gradient_ratio is not None
    assert reading.gradient_trend.high < 0
    assert reading.gradient_ratio.value > 10


def test_where_no_gradient_comes() -> None:
    reading = read(zero_initialized())
    assert reading.without_gradient == pytest.approx(2 / 3)
    assert reading.layer_gradient[:2] == (0.0, 0.0)
    assert reading.layer_parameters == (None, None, None)  # they are zero
    assert reading.gradient_trend is None
    assert reading.gradient_ratio is not None
    assert reading.gradient_ratio.value == 0.0
    assert reading.draw() is not None


def test_before_the_first_trained_parameter_none_is_asked_for() -> None:
    reading = read(zoo.MODELS["frozen layer"](torch.float64))
    assert reading.layers == ("0", "2")
    assert reading.layer_gradient[0] is None
    assert reading.layer_parameters[0] is None
    assert reading.without_gradient == 0.0
    assert reading.gradient_ratio is None


class Unrolled(nn.Module):
    """One cell, step after step."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, 2)
        nn.init.orthogonal_(self.cell.weight, 0.5)

    def forward(self, inputs: Tensor) -> Tensor:
        state = inputs
        for _ in range(5):
            state = self.cell(state)
        outputs: Tensor = self.head(state)
        return outputs


def test_a_layer_that_is_called_again_is_another_one_in_depth() -> None:
    reading = read(classifier(Unrolled))
    assert reading.layers == ("cell", "cell (2)", "cell (3)", "cell (4)", "cell (5)", "head")
    inner = numbers(reading.layer_gradient)[:5]
    assert inner == pytest.approx([inner[-1] * 0.5**steps for steps in (4, 3, 2, 1, 0)])
    assert len(set(reading.layer_parameters[:5])) == 1


class Ragged(nn.Module):
    """Leaves out its middle layer for some batches."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        state = self.first(inputs)
        if len(inputs) > 15:
            state = self.middle(state)
        outputs: Tensor = self.last(state)
        return outputs


def test_passes_that_differ() -> None:
    inputs, targets = wide(30)
    batches = [(inputs[:16], targets[:16]), (inputs[16:], targets[16:])]
    reading = read(classifier(Ragged, train=batches))
    assert reading.layers == ("first", "middle", "last")
    assert all(value is not None and value > 0 for value in reading.layer_gradient)


class Table(nn.Module):
    """A matrix of its own, around layers."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(1, WIDTH))
        self.layers = rotations(1.0, depth=3)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layers(inputs + self.offset)
        return outputs


def test_modules_around_layers_are_none() -> None:
    assert read(classifier(Table)).layers == ("layers.0", "layers.1", "layers.2")


def test_parameters_without_modules_are_the_models() -> None:
    reading = read(product_at_origin())
    assert reading.layers == ("the model",)
    assert reading.layer_gradient == (2.0,)
    assert reading.gradient_trend is None
    assert "needs 3 layers" in reading.notes[0]
    assert reading.draw() is None


def test_errors_are_over_batches_and_zero_where_the_sample_is_all_there_is() -> None:
    few, many = (read(classifier(lambda: stack(nn.Tanh, depth=4), samples=count)) for count in (24, 2000))
    assert few.gradient_ratio is not None
    assert many.gradient_ratio is not None
    assert few.gradient_ratio.error == 0.0
    assert 0 < many.gradient_ratio.error < 0.1 * many.gradient_ratio.value
    again = [read(classifier(lambda: stack(nn.Tanh, depth=4), samples=2000), seed=seed) for seed in range(8)]
    values = torch.tensor([reading.gradient_ratio.value for reading in again if reading.gradient_ratio])
    assert float(values.std()) == pytest.approx(many.gradient_ratio.error, rel=0.7)


def test_the_picture_has_one_line_for_each_profile() -> None:
    figure = read(healthy()).draw()
    assert figure is not None
    assert len(figure.data) == 4
    assert figure.layout.xaxis.ticktext == ("0", "2", "4")
    assert "factor of" in figure.layout.meta["summary"]


def test_what_is_not_finite_is_left_out_and_said() -> None:
    inputs, targets = wide(2000)
    inputs[:1500:60, 3] = math.nan  # more than one batch of the sample, not all of them
    reading = read(classifier(lambda: stack(nn.Tanh, depth=4), train=zoo.shuffled(inputs, targets)))
    whole = read(classifier(lambda: stack(nn.Tanh, depth=4), samples=2000))
    assert "gave numbers that are not finite" in reading.notes[0]
    assert whole.notes == ()
    assert reading.layer_activation == pytest.approx(whole.layer_activation, rel=0.2)
