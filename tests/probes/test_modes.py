"""The loss in each mode, against torch's own modes, and gaps of known origin."""

from __future__ import annotations

import copy
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
from unstuck.probes.modes import Modes, ModesReading
from unstuck.problem import Problem
from unstuck.reading import Estimate
from unstuck.remedies.recalibrate_batch_norm import RecalibrateBatchNorm
from unstuck.specimens import healthy

BATCH = 8


def read(problem: Problem) -> ModesReading:
    reading: ModesReading = look(Modes(), problem)
    return reading


def normalized(*more: nn.Module, samples: int = 64, batch: int = BATCH, **fields: Any) -> Problem:
    """A classifier whose batch normalization has never moved its averages, on data that are not standardized."""
    inputs = 2 + 3 * torch.randn(samples, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return zoo.problem(
        lambda: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), *more, nn.Linear(6, 3)),
        train=zoo.shuffled(inputs, (inputs[:, 0] > 2).long(), batch=batch),
        **fields,
    )


def losses(model: nn.Module, problem: Problem) -> list[float]:
    """Batch by batch, in the order of the view's sample."""
    with torch.no_grad():
        return [F.cross_entropy(model(x), y).item() for x, y in problem.data.sample(512, chunk=BATCH, seed=0)]


def estimate(values: list[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1) / len(values) ** 0.5)


def test_the_losses_are_those_of_torchs_modes() -> None:
    problem = normalized()
    model = copy.deepcopy(problem.model)
    assert isinstance(model, nn.Sequential)
    expected = {"trained": losses(model.train(), problem), "evaluation": []}
    model = copy.deepcopy(problem.model)
    expected["evaluation"] = losses(model.eval(), problem)
    inputs = torch.cat([x for x, _ in problem.data.sample(512, chunk=BATCH, seed=0)])
    with torch.no_grad():
        hidden = model.get_submodule("0")(inputs)
        model.get_buffer("1.running_mean").copy_(hidden.mean(0))
        model.get_buffer("1.running_var").copy_(hidden.var(0))
    expected["recomputed"] = losses(model.eval(), problem)
    expected["batch"] = expected["trained"]  # there is no dropout
    reading = read(problem)
    assert (reading.batch_size, reading.samples) == (BATCH, 64)
    for name, values in expected.items():
        found: Estimate = getattr(reading, name)
        assert (found.value, found.error) == pytest.approx(estimate(values), rel=1e-9)
    pairs = zip(expected["evaluation"], expected["recomputed"], strict=True)
    assert reading.averages_gap is not None
    assert (reading.averages_gap.value, reading.averages_gap.error) == pytest.approx(
        estimate([a - b for a, b in pairs])
    )


def test_the_parts_of_the_gap_add_up() -> None:
    reading = read(normalized(nn.Dropout(0.5)))
    assert reading.averages_gap is not None
    assert reading.batches_gap is not None
    parts = (reading.averages_gap, reading.batches_gap, reading.dropout_gap)
    assert reading.gap.value == pytest.approx(sum(part.value for part in parts))
    assert reading.gap.value == pytest.approx(reading.evaluation.value - reading.trained.value)
    assert all(part.error > 0 for part in parts)


def test_dropout_alone() -> None:
    """Of inverted dropout before a linear layer: the masks are those of the seed, and evaluation has none."""
    problem = zoo.MODELS["dropout"](torch.float64)
    reading = read(problem)
    assert reading.recomputed is None
    assert reading.averages_gap is None
    assert reading.batch == reading.evaluation
    assert reading.gap == reading.dropout_gap
    assert reading.gap.value == pytest.approx(reading.evaluation.value - reading.trained.value)
    assert reading.gap.value != 0
    assert reading.modules == ("1: Dropout of 0.5",)


def test_averages_that_are_wrong_are_told_from_batches() -> None:
    problem = RecalibrateBatchNorm().apply(normalized().branch())
    right = read(problem)
    with torch.no_grad():
        problem.model.get_buffer("1.running_mean").add_(20.0)
    wrong = read(problem)
    assert right.averages_gap is not None
    assert wrong.averages_gap is not None
    assert right.averages_gap.value == pytest.approx(0.0, abs=1e-9)
    assert abs(wrong.averages_gap.value) > 3 * wrong.averages_gap.error > 0
    assert wrong.batches_gap == right.batches_gap
    assert wrong.recomputed == right.recomputed


@pytest.mark.parametrize(("batch", "fourth_moment"), [(2, 1.0), (8, 3 * 7 / 9), (128, 3 * 127 / 129)])
def test_small_batches_are_told_from_averages(batch: int, fourth_moment: float) -> None:
    """E z⁴ of normal numbers by the mean and deviation of n of them is 3 (n − 1)/(n + 1), and 3 by the true ones."""
    inputs = 5 + 2 * torch.randn(4096, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    problem = zoo.problem(
        lambda: nn.BatchNorm1d(1),
        loss=lambda outputs, _: outputs.pow(4).mean(),
        train=zoo.shuffled(inputs, inputs, batch=batch),
    )
    reading = read(RecalibrateBatchNorm().apply(problem.branch()))
    assert reading.batch_size == batch
    assert reading.averages_gap is not None
    assert reading.batches_gap is not None
    assert reading.batch.value == pytest.approx(fourth_moment, abs=3 * reading.batch.error + 1e-4)
    assert reading.batches_gap.value == pytest.approx(3 - fourth_moment, abs=3 * reading.batches_gap.error + 1e-4)
    assert abs(reading.averages_gap.value) < 0.5


@pytest.mark.parametrize(
    ("shift", "factor", "distance"), [(0.0, 1.0, 0.0), (2.0, 1.0, 2.0), (0.0, 9.0, 2.0), (1.5, 9.0, 2.5)]
)
def test_the_distance_of_moving_averages(shift: float, factor: float, distance: float) -> None:
    """Means off by so many deviations, and variances by a factor: √(shift² + (√factor − 1)²)."""
    problem = RecalibrateBatchNorm().apply(normalized().branch())
    with torch.no_grad():
        mean, variance = (problem.model.get_buffer(f"1.running_{name}") for name in ("mean", "var"))
        mean.add_(shift * variance.sqrt())
        variance.mul_(factor)
    reading = read(problem)
    assert reading.layers == ("1",)
    assert reading.layer_distance == pytest.approx((distance,), abs=1e-4)  # ε of the layer is in the deviations


def test_statistics_that_are_frozen_are_left_alone() -> None:
    problem = normalized()
    problem.model.train()
    problem.model.get_submodule("1").eval()
    reading = read(problem)
    assert reading.recomputed is None
    assert reading.layers == ()
    assert reading.gap == Estimate(0.0, 0.0)
    assert reading.modules == ("1: BatchNorm1d, moving averages, in evaluation mode throughout",)


class Own(nn.Module):
    """Asks for the mode itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = zoo.perceptron()

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layers(inputs) * (3.0 if self.training else 1.0)
        return outputs


@pytest.mark.parametrize(
    ("made", "modules", "note"),
    [
        (healthy, (), "there is nothing to tell apart"),
        (lambda: zoo.problem(Own), (), "the model asks for it itself"),
        (lambda: zoo.problem(lambda: zoo.perceptron(nn.Dropout(0.0))), (), "there is nothing to tell apart"),
        (lambda: zoo.MODELS["transformer"](torch.float64), None, ""),
        (lambda: zoo.problem(lambda: zoo.perceptron(nn.RReLU())), ("1: RReLU, random slopes",), ""),
        (
            lambda: zoo.problem(lambda: zoo.perceptron(nn.BatchNorm1d(5, track_running_stats=False))),
            ("1: BatchNorm1d, the batch's own statistics in both modes",),
            "",
        ),
        (lambda: zoo.MODELS["own step"](torch.float64), (), "there is nothing to tell apart"),
    ],
)
def test_what_depends_on_the_mode(made: Callable[[], Problem], modules: tuple[str, ...] | None, note: str) -> None:
    reading = read(made())
    if modules is None:
        modules = (
            "layer.self_attn: MultiheadAttention, dropout of 0.1",
            "layer.dropout: Dropout of 0.1",
            "layer.dropout1: Dropout of 0.1",
            "layer.dropout2: Dropout of 0.1",
        )
    assert reading.modules == modules
    assert reading.notes == () if not note else note in reading.notes[0]


@pytest.mark.parametrize(
    ("made", "share"),
    [
        (healthy, 0.0),
        (lambda: zoo.problem(lambda: zoo.perceptron(nn.Dropout(0.3))), 0.3),
        (lambda: zoo.problem(lambda: zoo.perceptron(nn.Dropout(0.3), nn.AlphaDropout(0.7), nn.Dropout(0.2))), 0.7),
        (lambda: zoo.MODELS["transformer"](torch.float64), 0.1),
    ],
    ids=["none", "one", "the largest of several", "inside of attention"],
)
def test_the_share_of_units_that_is_left_out(made: Callable[[], Problem], share: float) -> None:
    assert read(made()).dropout == share


def test_one_batch_leaves_the_error_unknown() -> None:
    reading = read(normalized(samples=BATCH))
    assert reading.evaluation.error == math.inf
    assert math.isfinite(reading.evaluation.value)


def test_the_cost_is_counted_and_the_pictures_are_drawn() -> None:
    seen = view(normalized())
    reading = Modes().measure(seen, Budget())
    assert seen.gradient_evaluations == pytest.approx(5 * 8 / 3)
    pictures = reading.pictures()
    assert list(pictures) == ["losses", "averages"]
    assert len(pictures["losses"].data[0].x) == 4
    assert list(read(zoo.MODELS["dropout"](torch.float64)).pictures()) == ["losses"]
    assert read(healthy()).pictures() == {}
