"""Dead, saturated and equal units, against networks that are made to have them and against NumPy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests import zoo
from tests.probes.look import look, view
from torch import Tensor, nn

from unstuck.budget import Budget
from unstuck.probes.activations import Activations, ActivationsReading
from unstuck.problem import Problem
from unstuck.specimens import bowl, healthy, zero_initialized
from unstuck.view import View

UNITS = 8


def read(problem: Problem) -> ActivationsReading:
    reading: ActivationsReading = look(Activations(), problem)
    return reading


def table(samples: int = 24, features: int = UNITS, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(samples, features, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return scale * inputs, (inputs[:, 0] > 0).long()


class Plain(nn.Module):
    """The inputs themselves, through an activation, then a layer: so what comes in is known."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.activation = activation
        self.head = nn.Linear(UNITS, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.activation(inputs.clone()).flatten(1)[:, :UNITS])
        return outputs


def through(activation: Any, data: tuple[Tensor, Tensor] | None = None, **fields: Any) -> Problem:
    given = table() if data is None else data
    return zoo.problem(lambda: Plain(activation), train=zoo.shuffled(*given, batch=8), **fields)


@pytest.mark.parametrize(
    "forms",
    [
        (nn.ReLU(), nn.ReLU(inplace=True), torch.relu, torch.relu_, F.relu, lambda x: F.relu(input=x), Tensor.relu),
        (nn.Tanh(), torch.tanh, torch.tanh_, Tensor.tanh, F.tanh),
        (nn.Sigmoid(), torch.sigmoid, Tensor.sigmoid_, F.sigmoid),
        (nn.GELU(), F.gelu, lambda x: F.gelu(x, approximate="none")),
        (nn.Hardtanh(-2, 2), lambda x: F.hardtanh(x, min_val=-2.0, max_val=2.0)),
        (nn.SiLU(), F.silu, lambda x: F.silu(x, inplace=True)),
    ],
)
def test_modules_and_functions_are_read_alike(forms: tuple[Any, ...]) -> None:
    readings = [read(through(form, table(scale=3.0))) for form in forms]
    first, *others = readings
    assert first.units == UNITS
    for other in others:
        assert (other.dead, other.layer_off, other.saturated) == (first.dead, first.layer_off, first.saturated)
        assert other.layer_rank == pytest.approx(first.layer_rank)


def share(condition: Any) -> float:
    return float(np.mean(condition))


INPUTS = table(scale=4.0)[0].numpy()


@pytest.mark.parametrize(
    ("activation", "off", "saturated"),
    [
        # The slope is a fiftieth of the steepest one, 1 − tanh² = 0.02 and 4σ(1 − σ) = 0.02; hard ones are flat or not.
        (nn.Tanh(), None, share(np.abs(np.tanh(INPUTS)) >= 0.98**0.5)),
        (nn.Sigmoid(), None, share(np.abs(2 / (1 + np.exp(-INPUTS)) - 1) >= 0.98**0.5)),
        (nn.Hardtanh(), None, share(np.abs(INPUTS) >= 1)),
        (nn.Hardtanh(-5, 0.5), None, share((INPUTS <= -5) | (INPUTS >= 0.5))),
        (nn.Hardsigmoid(), None, share(np.abs(INPUTS) >= 3)),
        (nn.Softsign(), None, share(np.abs(INPUTS / (1 + np.abs(INPUTS))) >= 0.95)),
        (nn.ReLU6(), share(INPUTS <= 0), share(INPUTS >= 6)),
        (nn.ReLU(), share(INPUTS <= 0), None),
        (nn.Threshold(1.0, 0.0), share(INPUTS <= 1), None),
        (nn.Hardswish(), share(INPUTS <= -3), None),
        (nn.LeakyReLU(), None, None),
        (nn.LeakyReLU(0.2), None, None),
        (nn.ELU(), None, None),
        (nn.Softplus(), None, None),
        (nn.PReLU(UNITS), None, None),
        (nn.Softshrink(), None, None),
    ],
    ids=str,
)
def test_saturation_is_at_the_activations_own_bounds(
    activation: nn.Module, off: float | None, saturated: float | None
) -> None:
    reading = read(through(activation, table(scale=4.0)))
    assert reading.layer_off == (off if off is None else pytest.approx(off),)
    assert reading.saturated == (saturated if saturated is None else pytest.approx(saturated))
    assert reading.worst_saturated == reading.layer_saturated[0] == reading.saturated


@pytest.mark.parametrize(
    ("activation", "low", "high"),
    [
        (nn.ReLU(), True, False),
        (nn.ReLU6(), True, True),
        (nn.Tanh(), True, True),
        (nn.Sigmoid(), True, True),
        (nn.GELU(), True, False),
        (nn.SiLU(), True, False),
        (nn.ELU(), True, False),
        (nn.Softplus(), True, False),
        (nn.LogSigmoid(), False, True),
        (nn.LeakyReLU(), False, False),
        (nn.PReLU(), False, False),
        (nn.Tanhshrink(), False, False),
    ],
    ids=str,
)
@pytest.mark.parametrize("side", [-30.0, 30.0])
def test_units_die_only_on_the_side_that_is_bounded(activation: nn.Module, low: bool, high: bool, side: float) -> None:
    inputs, targets = table()
    inputs[:, :3] = side + inputs[:, :3]
    reading = read(through(activation, (inputs, targets)))
    assert reading.dead == (3 / UNITS if (low if side < 0 else high) else 0.0)


def test_a_unit_that_is_active_for_some_sample_is_alive() -> None:
    """Off for all but one of two hundred, by a hair: sparse, and well."""
    inputs, targets = table(200)
    inputs = -inputs.abs()
    reading = read(through(nn.ReLU(), (inputs, targets)))
    assert (reading.dead, reading.worst_dead) == (1.0, 1.0)
    inputs[17] = 1e-9
    reading = read(through(nn.ReLU(), (inputs, targets)))
    assert (reading.dead, reading.worst_dead) == (0.0, 0.0)
    assert reading.layer_off == pytest.approx((199 / 200,))
    assert reading.saturated is None


@pytest.mark.parametrize(("samples", "bound"), [(2, 1.0), (24, 3 / 24), (200, 3 / 200), (5000, 3 / 512)])
def test_how_rarely_a_dead_unit_may_be_active(samples: int, bound: float) -> None:
    assert read(through(nn.ReLU(), table(samples))).dead_bound == pytest.approx(bound)


def test_dead_units_are_those_of_numpy_layer_by_layer() -> None:
    def model() -> nn.Module:
        made = nn.Sequential(nn.Linear(UNITS, 30), nn.ReLU(), nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 2))
        with torch.no_grad():
            for layer, width in (("0", 30), ("2", 20)):
                made.get_parameter(f"{layer}.bias").copy_(torch.linspace(-3.0, 1.0, width))
        return made

    problem = zoo.problem(model, train=zoo.shuffled(*table(100), batch=16))
    hidden, expected = table(100)[0].numpy(), []
    for layer in ("0", "2"):
        weight, bias = (p.detach().numpy() for p in problem.model.get_submodule(layer).parameters())
        before = hidden @ weight.T + bias
        expected.append(share((before <= 0).all(0)))
        hidden = np.maximum(before, 0)
    assert 0 < expected[0] < 1
    reading = read(problem)
    assert reading.layers == ("1 relu", "3 relu")
    assert reading.layer_units == (30, 20)
    assert reading.layer_dead == pytest.approx(expected)
    assert reading.worst_dead == pytest.approx(max(expected))
    assert reading.dead == pytest.approx((30 * expected[0] + 20 * expected[1]) / 50)


class Ends(nn.Module):
    def __init__(self, last: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(UNITS, 4), nn.Tanh(), nn.Linear(4, 1))
        self.last = last

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(50 * self.layers(inputs))


@pytest.mark.parametrize(
    ("last", "layers"),
    [
        (torch.sigmoid, ("layers.1 tanh",)),
        (lambda x: torch.sigmoid(x).squeeze(1)[:, None], ("layers.1 tanh",)),
        (lambda x: x, ("layers.1 tanh",)),
        (lambda x: 2 * torch.sigmoid(x), ("layers.1 tanh", "sigmoid")),
        (lambda x: torch.relu(x - 1e3), ("layers.1 tanh", "relu")),  # outputs that are off are no confidence
    ],
)
def test_a_confident_output_does_not_saturate(last: Callable[[Tensor], Tensor], layers: tuple[str, ...]) -> None:
    inputs, targets = table()
    problem = zoo.problem(
        lambda: Ends(last), loss=nn.MSELoss(), train=zoo.shuffled(inputs, targets[:, None].double(), batch=8)
    )
    assert read(problem).layers == layers


def test_what_the_loss_computes_is_not_the_models() -> None:
    loss = lambda o, t: F.softplus(o).mean() + torch.tanh(o).mean()  # noqa: E731 - a loss as people write them
    assert read(through(nn.ReLU(), loss=loss)).layers == ("activation relu",)


class Images(nn.Module):
    """Channels of images and of sequences, features of tokens; each with one dead unit."""

    def __init__(self) -> None:
        super().__init__()
        self.flat, self.line = nn.Conv2d(1, 5, 2), nn.Conv1d(1, 6, 3)
        self.token, self.head = nn.Linear(4, 7), nn.Linear(18, 2)
        with torch.no_grad():
            for layer in ("flat", "line", "token"):
                self.get_parameter(f"{layer}.bias")[0] = -100.0

    def forward(self, inputs: Tensor) -> Tensor:
        image = F.relu(self.flat(inputs.view(-1, 1, 2, 4))).amax((2, 3))
        line = F.max_pool1d(self.line(inputs[:, None]), 2).relu().amax(2)
        token = F.relu(self.token(inputs.view(-1, 2, 4))).amax(1)
        outputs: Tensor = self.head(torch.cat([image, line, token], 1))
        return outputs


def test_units_are_channels_or_features() -> None:
    reading = read(zoo.problem(Images, train=zoo.shuffled(*table(), batch=8)))
    assert reading.layers == ("relu", "relu (2)", "relu (3)")
    assert reading.layer_units == (5, 6, 7)
    assert reading.layer_dead == pytest.approx((1 / 5, 1 / 6, 1 / 7))


def test_an_encoder_layer_is_seen_though_torch_has_a_faster_way() -> None:
    reading = read(zoo.MODELS["transformer"](torch.float64))
    assert reading.layers == ("layer relu",)
    assert reading.units == 6


def test_units_that_are_not_the_same_in_every_batch_are_those_of_the_first() -> None:
    class Scores(nn.Module):
        """As many units as there are samples."""

        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(UNITS, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            weights = torch.relu(inputs @ inputs.T + 1)
            outputs: Tensor = self.head(weights @ inputs)
            return outputs

    inputs, targets = table(30)
    batches = [(inputs[:14], targets[:14]), (inputs[14:], targets[14:])]
    reading = read(zoo.problem(Scores, train=batches))
    assert reading.layers == ("relu",)
    assert reading.units in (14, 16)


def test_a_scale_that_is_made_positive_is_no_unit() -> None:
    class Scaled(Plain):
        def __init__(self) -> None:
            super().__init__(torch.tanh)
            self.raw = nn.Parameter(torch.zeros(5))

        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs) * F.softplus(self.raw).mean()

    assert read(zoo.problem(Scaled, train=zoo.shuffled(*table(), batch=8))).layers == ("tanh",)


def alive() -> Problem:
    return zoo.problem(
        lambda: nn.Sequential(nn.Linear(UNITS, 6), nn.ReLU(), nn.Linear(6, 2)), train=zoo.shuffled(*table(), batch=8)
    )


def fields() -> dict[str, Any]:
    """A mapping with a problem's fields, as a target may give it."""
    made = alive()
    return {"model": made.model, "loss": made.loss, "train": made.train, "optimizer": made.optimizer}


@pytest.mark.parametrize("fresh", [alive, fields])
def test_a_network_that_died_was_alive_before(fresh: Callable[[], Any]) -> None:
    problem = dataclasses.replace(alive(), fresh=fresh)
    with torch.no_grad():
        problem.model.get_parameter("0.bias").fill_(-100.0)
    reading = read(problem)
    assert (reading.dead, reading.worst_dead) == (1.0, 1.0)
    assert (reading.initial_dead, reading.initial_worst_dead, reading.layer_initial_dead) == (0.0, 0.0, (0.0,))
    assert reading.initial_worst_saturated is None
    born = read(dataclasses.replace(problem, fresh=lambda: problem))
    assert (born.dead, born.initial_dead) == (1.0, 1.0)


def test_initialization_is_read_once() -> None:
    calls = []

    def fresh() -> Problem:
        calls.append(1)
        return through(nn.Tanh())

    problem = through(nn.Tanh(), fresh=fresh)
    assert read(problem).initial_dead == 0.0
    later = Activations().measure(View(problem.branch(), update=7), Budget())
    assert later.initial_dead is None
    assert "at update 0 alone" in later.notes[0]
    assert len(calls) == 1
    without = read(through(nn.Tanh()))
    assert without.initial_dead is None
    assert "no `fresh`" in without.notes[0]


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Tanh()], ids=str)
def test_units_with_a_twin(activation: nn.Module) -> None:
    inputs, targets = table()
    assert read(through(activation, (inputs, targets))).twins == 0.0
    inputs[:, 3] = inputs[:, 0]
    inputs[:, 6] = inputs[:, 0]
    inputs[:, 5] = inputs[:, 1]
    assert read(through(activation, (inputs, targets))).twins == pytest.approx(5 / UNITS)


def test_symmetric_starts_and_dead_units() -> None:
    assert read(zero_initialized()).layer_twins == (1.0, 1.0)
    assert read(healthy()).twins == 0.0
    dead = read(through(nn.ReLU(), (table()[0] - 100, table()[1])))
    assert (dead.dead, dead.twins, dead.rank) == (1.0, 0.0, 0.0)


def test_the_rank_is_the_participation_ratio() -> None:
    """(Σ v)² / Σ v² of orthogonal columns with variances v, whatever their means."""
    columns = table()[0] - table()[0].mean(0)
    variances = torch.tensor([9.0, 4.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    inputs = torch.linalg.qr(columns)[0] * variances.sqrt() + 1e4
    reading = read(through(nn.LeakyReLU(1.0), (inputs, table()[1])))
    assert reading.rank == pytest.approx(15**2 / 99, rel=1e-6)


def test_a_representation_that_does_not_vary_has_no_rank() -> None:
    inputs = torch.full((24, UNITS), 0.7, dtype=torch.float64) * torch.linspace(1, 2, UNITS, dtype=torch.float64)
    assert read(through(nn.Tanh(), (inputs, table()[1]))).rank == 0.0
    line = torch.linspace(1, 2, 24, dtype=torch.float64)[:, None] * torch.linspace(1, 2, UNITS, dtype=torch.float64)
    assert read(through(nn.LeakyReLU(1.0), (line, table()[1]))).rank == pytest.approx(1.0)


def test_wide_layers_are_compared_in_part() -> None:
    def model() -> nn.Module:
        made = nn.Sequential(nn.Linear(UNITS, 600), nn.Tanh(), nn.Linear(600, 2))
        nn.init.constant_(made.get_parameter("0.weight"), 0.1)
        nn.init.zeros_(made.get_parameter("0.bias"))
        return made

    reading = read(zoo.problem(model, train=zoo.shuffled(*table(), batch=8)))
    assert reading.twins == 1.0
    assert reading.rank == pytest.approx(1.0)
    assert "256 units" in reading.notes[-1]


@pytest.mark.parametrize("made", [bowl, lambda: zoo.MODELS["lstm"](torch.float64)])
def test_without_activations_it_says_so(made: Callable[[], Problem]) -> None:
    reading = read(made())
    assert (reading.layers, reading.units, reading.dead, reading.rank) == ((), 0, 0.0, None)
    assert "no hidden activation was seen" in reading.notes[0]
    assert reading.pictures() == {}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_every_precision(dtype: torch.dtype) -> None:
    reading = read(zoo.MODELS["perceptron"](dtype))
    assert reading.units == 5
    assert reading.dead == 0.0
    assert reading.rank is not None
    assert math.isfinite(reading.rank)


def test_the_cost_is_counted_and_the_picture_names_each_layer() -> None:
    problem = through(nn.ReLU(), fresh=lambda: through(nn.ReLU()))
    seen = view(problem)
    reading = Activations().measure(seen, Budget())
    assert seen.gradient_evaluations == pytest.approx(2 * len(seen.sample) / 3)
    units, ranks = reading.pictures().values()
    assert [trace.name for trace in units.data] == [
        "dead units",
        "dead units at initialization",
        "activations off or at a bound",
    ]
    assert tuple(units.data[0].y) == tuple(ranks.data[0].y) == reading.layers
    assert tuple(units.data[2].x) == reading.layer_off
