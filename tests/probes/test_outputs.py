"""What a model gives and what its loss computes, found out by calling it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests import zoo
from tests.probes.look import look
from tests.readings import OUTPUTS
from torch import Tensor, nn

from unstuck.probes.outputs import Outputs, OutputsReading
from unstuck.problem import Problem
from unstuck.reading import Estimate
from unstuck.specimens import bowl, healthy, softmax_twice, zero_initialized

COUNTS = np.array([12, 8, 4])
"""Samples of each class."""

CLASSES = torch.tensor(np.repeat([0, 1, 2], COUNTS))
ENTROPY = float(-(COUNTS / 24 * np.log(COUNTS / 24)).sum())


def one_hot(targets: Tensor) -> Tensor:
    return F.one_hot(targets, 3).double()


def classified(loss: Any, *last: nn.Module, targets: Tensor = CLASSES, outputs: int = 3, **fields: Any) -> Problem:
    """A small classifier that ends in ``last``."""

    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(zoo.FEATURES, 5), nn.Tanh(), nn.Linear(5, outputs), *last)

    return zoo.problem(model, loss=loss, train=zoo.shuffled(zoo.table()[0], targets), **fields)


VARIANCE = float(one_hot(CLASSES).var(0, correction=0).mean())
BINARY = (CLASSES[:, None] == 0).double()


@pytest.mark.parametrize(
    ("problem", "kind", "form"),
    [
        (lambda: classified(nn.CrossEntropyLoss()), "scores", "cross-entropy"),
        (lambda: classified(lambda o, t: F.cross_entropy(o, t)), "scores", "cross-entropy"),
        (lambda: classified(lambda o, t: -o.log_softmax(1)[range(len(t)), t].mean()), "scores", "cross-entropy"),
        (lambda: classified(nn.CrossEntropyLoss(reduction="sum")), "scores", "cross-entropy"),
        (lambda: classified(lambda o, t: F.cross_entropy(o, one_hot(t))), "scores", "cross-entropy"),
        (lambda: classified(nn.CrossEntropyLoss(), targets=one_hot(CLASSES)), "scores", "cross-entropy"),
        (lambda: classified(nn.NLLLoss(), nn.LogSoftmax(1)), "log-probabilities", "negative log-likelihood"),
        (lambda: classified(nn.CrossEntropyLoss(), nn.LogSoftmax(1)), "log-probabilities", "cross-entropy"),
        (lambda: classified(nn.NLLLoss()), "scores", "negative log-likelihood"),
        (lambda: classified(nn.NLLLoss(), nn.Softmax(1)), "probabilities", "negative log-likelihood"),
        (lambda: classified(nn.CrossEntropyLoss(), nn.Softmax(1)), "probabilities", "cross-entropy"),
        (lambda: classified(lambda o, t: F.mse_loss(o, one_hot(t)), nn.Softmax(1)), "probabilities", "squared error"),
        (lambda: classified(lambda o, t: (o - one_hot(t)).square().sum(1).mean()), "scores", "squared error"),
        (lambda: classified(nn.MSELoss(), targets=one_hot(CLASSES)), "scores", "squared error"),
        (lambda: classified(nn.MSELoss(), nn.Sigmoid(), targets=one_hot(CLASSES)), "shares", "squared error"),
        (lambda: classified(lambda o, t: F.mse_loss(o, one_hot(t)), nn.Sigmoid()), "shares", "squared error"),
        (lambda: classified(nn.BCELoss(), nn.Sigmoid(), targets=BINARY, outputs=1), "shares", "binary cross-entropy"),
        (
            lambda: classified(nn.BCEWithLogitsLoss(), targets=BINARY, outputs=1),
            "scores",
            "binary cross-entropy of scores",
        ),
        (
            lambda: classified(nn.BCEWithLogitsLoss(), nn.Sigmoid(), targets=one_hot(CLASSES)),
            "shares",
            "binary cross-entropy of scores",
        ),
        (
            lambda: classified(lambda o, t: 3 * F.binary_cross_entropy_with_logits(o, t), targets=one_hot(CLASSES)),
            "scores",
            "binary cross-entropy of scores",
        ),
        (lambda: classified(nn.MSELoss(), nn.Flatten(0), targets=BINARY[:, 0], outputs=1), "scores", "squared error"),
        (lambda: classified(nn.L1Loss(), targets=one_hot(CLASSES)), "scores", "unknown"),
        (lambda: classified(nn.CrossEntropyLoss(label_smoothing=0.3)), "scores", "unknown"),
        (lambda: classified(nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 9.0]).double())), "scores", "unknown"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_losses_are_recognized_by_what_they_compute(
    problem: Callable[[], Problem], kind: str, form: str, dtype: torch.dtype
) -> None:
    made = problem()
    if dtype is torch.float32:
        made.model.float()
        loader = [(a.float(), b.float() if b.is_floating_point() else b) for a, b in made.train]
        loss = made.loss.float() if isinstance(made.loss, nn.Module) else made.loss
        made = Problem(made.model, loss, loader, made.optimizer)
    reading = look(Outputs(), made)
    assert (reading.kind, reading.form) == (kind, form)


@pytest.mark.parametrize(
    ("problem", "constant"),
    [
        (lambda: classified(nn.CrossEntropyLoss()), ENTROPY),
        (lambda: classified(nn.NLLLoss(), nn.LogSoftmax(1)), ENTROPY),
        (lambda: classified(lambda o, t: -o.log()[range(len(t)), t].mean(), nn.Softmax(1)), ENTROPY),
        (lambda: classified(nn.BCEWithLogitsLoss(), targets=BINARY, outputs=1), math.log(2)),
        (lambda: classified(nn.BCELoss(), nn.Sigmoid(), targets=BINARY, outputs=1), math.log(2)),
        (
            lambda: classified(nn.MSELoss(), targets=one_hot(CLASSES)),
            float(one_hot(CLASSES).var(0, correction=0).mean()),
        ),
        # Probabilities: the frequencies are best, and the variance is left.
        (lambda: classified(lambda o, t: F.mse_loss(o, one_hot(t)), nn.Softmax(1)), VARIANCE),
        (lambda: classified(lambda o, t: (o.view(-1, 3) - 7).square().mean()), 0.0),
        (lambda: classified(nn.NLLLoss()), None),  # falls without end
    ],
)
def test_the_best_constant_answer(problem: Callable[[], Problem], constant: float | None) -> None:
    reading = look(Outputs(), problem())
    if constant is None:
        assert reading.constant is None
        assert not reading.above_constant
    else:
        assert reading.constant == pytest.approx(constant, rel=1e-6, abs=1e-9)


def test_the_constant_of_a_regression_is_the_variance_of_its_targets() -> None:
    problem = bowl()
    targets = torch.cat([batch[1] for batch in problem.data.sample(512, chunk=512, seed=0)])
    assert look(Outputs(), problem).constant == pytest.approx(float(targets.var(correction=0)), rel=1e-5)


def test_a_model_that_ignores_its_inputs_is_no_better_than_a_constant() -> None:
    reading = look(Outputs(), zero_initialized())
    assert reading.input_dependence == Estimate(0.0, 0.0)
    assert reading.above_constant
    assert reading.loss.value == pytest.approx(math.log(4), rel=1e-5)


def standing(offset: float, samples: int = 24, outputs: int = 2) -> Problem:
    """Outputs that are standard normal numbers, and ``offset`` above them."""
    values = torch.randn(samples, outputs, dtype=torch.float64, generator=torch.Generator().manual_seed(5))

    def model() -> nn.Module:
        made = nn.Linear(outputs, outputs)
        with torch.no_grad():
            made.weight.copy_(torch.eye(outputs))
            made.bias.fill_(offset)
        return made

    return zoo.problem(model, loss=nn.MSELoss(), train=zoo.shuffled(values, values, batch=16))


@pytest.mark.parametrize("offset", [0.0, 3.0, 1000.0])
@pytest.mark.parametrize("outputs", [1, 2])
def test_the_input_dependence_is_the_share_of_variance_between_samples(offset: float, outputs: int) -> None:
    problem = standing(offset, outputs=outputs)
    given = torch.cat([x for x, _ in problem.data.whole(chunk=24)]).numpy()
    reading = look(Outputs(), problem)
    expected = given.var(0).mean() / np.square(given + offset).mean()
    assert reading.input_dependence.value == pytest.approx(expected)
    assert reading.input_dependence.error == 0.0


def test_the_error_of_the_input_dependence_is_that_of_sampling() -> None:
    problem = standing(1.0, samples=20_000)
    found = [look(Outputs(), problem, seed=seed).input_dependence for seed in range(16)]
    assert np.mean([each.value for each in found]) == pytest.approx(0.5, abs=0.01)
    assert np.std([each.value for each in found], ddof=1) == pytest.approx(
        np.mean([each.error for each in found]), rel=0.5
    )


def test_ten_layers_of_sigmoids_ignore_their_inputs() -> None:
    def deep(activation: type[nn.Module]) -> Problem:
        hidden = [part for _ in range(9) for part in (nn.Linear(8, 8), activation())]
        return zoo.problem(lambda: nn.Sequential(nn.Linear(zoo.FEATURES, 8), activation(), *hidden, nn.Linear(8, 3)))

    assert look(Outputs(), deep(nn.Sigmoid)).input_dependence.value < 1e-10
    assert look(Outputs(), healthy()).input_dependence.value > 0.1


def test_loss_and_range_are_those_of_the_model() -> None:
    problem = classified(nn.CrossEntropyLoss())
    reading = look(Outputs(), problem)
    inputs = zoo.table()[0]
    with torch.no_grad():
        outputs = problem.model(inputs)
    assert (reading.low, reading.high) == pytest.approx((float(outputs.min()), float(outputs.max())))
    assert reading.loss.value == pytest.approx(float(F.cross_entropy(outputs, CLASSES)), rel=1e-9)
    assert reading.loss.error == 0.0
    assert reading.classes == 3


@pytest.mark.parametrize(
    ("targets", "outputs", "binary"),
    [(one_hot(CLASSES), 3, True), (CLASSES, 3, True), (BINARY, 1, True), (0.5 * BINARY, 1, False)],
    ids=["one-hot", "numbers of classes", "one answer", "shares"],
)
def test_targets_that_are_classes(targets: Tensor, outputs: int, binary: bool) -> None:
    loss = nn.MSELoss() if targets.is_floating_point() else nn.CrossEntropyLoss()
    assert look(Outputs(), classified(loss, targets=targets, outputs=outputs)).binary_targets is binary


def test_the_slope_on_the_logits_against_that_of_cross_entropy() -> None:
    """Of squared error on p = softmax(z), ∂L/∂z_j = 2/(3n) Σ_k (p_k − y_k) p_k (δ_jk − p_j); of cross-entropy p − y."""
    problem = classified(lambda o, t: F.mse_loss(o, one_hot(t)), nn.Softmax(1))
    with torch.no_grad():
        p = problem.model(zoo.table()[0]).numpy()
    difference = p - one_hot(CLASSES).numpy()
    slope = 2 / 3 * p * (difference - (difference * p).sum(1, keepdims=True))
    expected = np.linalg.norm(slope) / np.linalg.norm(difference)
    assert look(Outputs(), problem).slope_over_error == pytest.approx(expected, rel=1e-6)
    assert look(Outputs(), classified(nn.CrossEntropyLoss())).slope_over_error is None


def test_softmax_twice_is_flat() -> None:
    reading = look(Outputs(), softmax_twice())
    assert (reading.kind, reading.form) == ("probabilities", "cross-entropy")
    assert 0 < reading.slope_over_error < 0.5
    assert look(Outputs(), healthy()).slope_over_error is None


def test_small_scores_are_not_taken_for_shares() -> None:
    def model() -> nn.Module:
        made = nn.Linear(zoo.FEATURES, 2)
        nn.init.uniform_(made.weight, -1e-3, 1e-3)
        nn.init.constant_(made.bias, 0.5)
        return made

    inputs, _ = zoo.table()
    reading = look(Outputs(), zoo.problem(model, loss=nn.MSELoss(), train=zoo.shuffled(inputs, inputs[:, :2])))
    assert 0 < reading.low < reading.high < 1
    assert reading.kind == "scores"


def test_dropout_is_off_and_moving_averages_do_not_matter() -> None:
    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(zoo.FEATURES, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))

    problem = zoo.problem(model)
    with torch.no_grad():
        problem.model.get_buffer("1.running_mean").fill_(100.0)
    losses = []
    for inputs, targets in problem.data.sample(24, chunk=16, seed=0):
        scores = F.linear(inputs, *problem.model.get_submodule("0").parameters())
        losses.append(F.cross_entropy(F.batch_norm(scores, None, None, training=True), targets).item())
    assert len(losses) == 2
    assert look(Outputs(), problem).loss.value == pytest.approx(np.mean(losses), rel=1e-9)


@pytest.mark.parametrize("name", ["own step", "stream loader", "list loader", "named inputs", "mixed precision"])
def test_other_ways_of_giving_data(name: str) -> None:
    reading: OutputsReading = look(Outputs(), zoo.ZOO[name](torch.float64))
    assert math.isfinite(reading.loss.value)
    assert reading.form == ("unknown" if name == "own step" else "cross-entropy")
    if name == "own step":
        assert "only the loss is read" in reading.notes[0]
        assert reading.constant is None
        assert reading.input_dependence is None
        assert not reading.above_constant
    else:
        assert reading.constant is not None


def test_outputs_that_are_no_single_tensor() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = zoo.perceptron()

        def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
            outputs = self.layers(inputs)
            return outputs, outputs.square()

    reading = look(Outputs(), zoo.problem(Two, loss=lambda outputs, targets: F.cross_entropy(outputs[0], targets)))
    assert reading.kind == "unknown"
    assert reading.loss.value > 0


def test_the_error_is_that_of_sampling() -> None:
    """A loss whose values are known: the error is their deviation over √512, within its own uncertainty."""
    values = torch.randn(20_000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    problem = zoo.problem(
        lambda: nn.Linear(1, 1),
        loss=lambda outputs, targets: (targets + 0 * outputs).mean(),
        train=zoo.shuffled(values, values),
    )
    readings = [look(Outputs(), problem, seed=seed).loss for seed in range(12)]
    assert np.mean([reading.error for reading in readings]) == pytest.approx(512**-0.5, rel=0.2)
    assert sum(abs(reading.value - float(values.mean())) < 2 * reading.error for reading in readings) >= 9


@pytest.mark.parametrize(("rise", "error", "risen"), [(0.25, 0.0, True), (0.15, 0.0, False), (0.25, 0.2, False)])
def test_a_rise_is_material_and_beyond_its_errors(rise: float, error: float, risen: bool) -> None:
    before = replace(OUTPUTS, loss=Estimate(1.0, error))
    assert replace(OUTPUTS, loss=Estimate(1.0 + rise, error)).risen_since(before) is risen
