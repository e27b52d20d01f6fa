"""The noise of gradients against whole data sets, whose mean and covariance are sums; closed forms are tested apart."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests import by_hand, readings, zoo
from tests.closed_forms.made import DOUBLE, batch_of, descent, normal, of, regression
from tests.probes.look import look, quadratic, view
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from unstuck.budget import Budget
from unstuck.classifier import classifier, loader, table
from unstuck.numerics.noise import Floats
from unstuck.probes.noise import BATCHES, ERRORS, LARGEST, PRODUCTS, SMALLEST, Noise, NoiseReading
from unstuck.problem import Problem
from unstuck.reading import Estimate, Within
from unstuck.specimens import healthy, product_at_origin
from unstuck.vector import flatten
from unstuck.walk import walk


def read(problem: Problem, seed: int = 0) -> NoiseReading:
    reading: NoiseReading = look(Noise(), problem, seed=seed)
    return reading


def singles(problem: Problem) -> Floats:
    """Every sample's gradient, one at a time, shape (N, n)."""
    point = problem.point()
    rows: Floats = torch.stack(
        [flatten(problem.gradient_at(point, one)) for one in problem.data.whole(chunk=1)]
    ).numpy()
    return rows


def moments(problem: Problem) -> tuple[float, float]:
    """‖G‖² and tr Σ over all samples."""
    rows = singles(problem)
    mean = rows.mean(0)
    return float(mean @ mean), float(((rows - mean) ** 2).sum() / (len(rows) - 1))


@pytest.mark.parametrize("name", ["perceptron", "layer norm", "gru", "tied weights", "named inputs", "own step"])
def test_of_few_data_everything_is_known(name: str) -> None:
    problem = zoo.MODELS[name](DOUBLE)
    reading = read(problem)
    square, trace = moments(problem)
    assert reading.samples == reading.population == zoo.SAMPLES
    assert reading.squared_norm.value == pytest.approx(square, rel=1e-9)
    assert reading.trace.value == pytest.approx(trace, rel=1e-9)
    assert reading.squared_norm.error == reading.trace.error == 0.0
    assert reading.scale == reading.scale_by_samples
    assert (reading.scale.low, reading.scale.high) == pytest.approx((trace / square, trace / square))
    over = trace / square * (1 / zoo.BATCH - 1 / zoo.SAMPLES)
    assert reading.over_batch.value == pytest.approx(over)
    assert reading.gain.value == pytest.approx(1 / (1 + over))


def test_curvature_weighs_gradients_of_batches() -> None:
    """All samples are drawn, so that G·HG is exact, and tr HΣ is within its error."""
    problem = zoo.MODELS["perceptron"](DOUBLE)
    flat = flatten(problem.point())
    batches = list(problem.data.whole(chunk=zoo.SAMPLES))
    hessian = torch.autograd.functional.hessian(lambda at: by_hand.mean_loss(problem, batches, at), flat).numpy()
    rows, reading = singles(problem), read(problem)
    mean = rows.mean(0)
    rest = rows - mean
    assert reading.curvature.value == pytest.approx(float(mean @ hessian @ mean), rel=1e-9)
    assert reading.curvature.error == 0.0
    trace = float(np.trace(rest @ hessian @ rest.T)) / (len(rows) - 1)
    assert abs(reading.curved_trace.value - trace) < 3 * reading.curved_trace.error
    assert reading.curved_scale is not None
    assert reading.curved_scale.low <= trace / reading.curvature.value <= reading.curved_scale.high


def test_both_estimators_agree_on_a_network_and_hold_what_is_true_of_all_data() -> None:
    branch = healthy().branch()
    walk(branch, 20)
    square, trace = moments(branch)
    reading = read(branch)
    assert reading.samples < reading.population == 1_024
    assert reading.scale_by_samples is not None
    for found in (reading.scale_by_batches, reading.scale_by_samples):
        assert found.low <= trace / square <= found.high
    assert reading.scale_by_batches.value == pytest.approx(reading.scale_by_samples.value, rel=0.1)
    assert abs(reading.squared_norm.value - square) < 3 * reading.squared_norm.error
    assert abs(reading.trace.value - trace) < 3 * reading.trace.error


def test_noise_grows_as_the_loss_falls() -> None:
    """McCandlish et al. 2018: the noise scale rises along a training."""
    branch = healthy().branch()
    before = read(branch).scale.high
    walk(branch, 400)
    assert read(branch).scale.low > 2 * before


def noise_alone(count: int = 20_000) -> Problem:
    """Targets that have nothing to do with the inputs, at the best answer: no two samples agree."""
    made = regression(normal(count, 20), normal(count, 1, seed=1))
    data = TensorDataset(*batch_of(made))
    return Problem(made.model, made.loss, DataLoader(data, 32, shuffle=True), made.optimizer)


def test_targets_that_say_nothing_bound_the_scale_from_below_alone() -> None:
    reading = read(noise_alone())
    assert reading.below_noise
    assert math.isinf(reading.scale.high)
    assert reading.scale.low > 200  # the truth is about as many as there are samples
    assert reading.gain.low == 0.0
    assert f"bounded from below alone, {reading.scale.low:.3g} or more" in reading.notes[-1]
    assert reading.squared_norm.value < 2 * reading.squared_norm.error
    assert abs(reading.coherence.value) < 2 * reading.coherence.error
    assert abs(reading.cosine.value) < 2 * reading.cosine.error
    assert reading.agreeing.value == pytest.approx(reading.agreeing_of_noise, abs=0.02)
    assert not read(healthy()).below_noise


def test_of_few_samples_even_noise_is_learned_but_they_do_not_agree() -> None:
    """All samples are drawn, so their mean gradient is known: it is not zero, and would be on others."""
    reading = read(noise_alone(400))
    assert not reading.below_noise
    assert reading.scale.value == pytest.approx(moments(noise_alone(400))[1] / moments(noise_alone(400))[0])
    assert abs(reading.coherence.value) < 2 * reading.coherence.error


def test_samples_that_agree() -> None:
    """Targets far above all outputs: every gradient of the constant points down."""
    inputs = normal(600, 3)
    problem = of(nn.Linear(3, 1, dtype=DOUBLE), nn.MSELoss(), inputs, 100.0 + inputs[:, :1], descent())
    reading = read(problem)
    assert reading.agreeing.value > 0.6 > reading.agreeing_of_noise
    assert reading.coherence.value > 5 * reading.coherence.error
    assert reading.cosine.value > 0.2 > abs(reading.cosine_of_noise) + 0.1
    rows = singles(problem)
    cosines = rows @ rows.T / np.linalg.norm(rows, axis=1)[:, None] / np.linalg.norm(rows, axis=1)
    true = float(cosines[np.triu_indices(len(rows), 1)].mean())
    assert abs(reading.cosine.value - true) < 3 * reading.cosine.error + 1e-9
    assert sum(reading.cosines) == pytest.approx(1.0)
    assert sum(reading.cosines_of_noise) == pytest.approx(1.0)


def test_a_full_batch_has_no_noise() -> None:
    reading = read(zoo.ZOO["full batch loader"](DOUBLE))
    assert reading.scale.value > 10
    assert reading.over_batch == Within(0.0, 0.0, 0.0)
    assert reading.gain == Within(1.0, 1.0, 1.0)


def test_the_batch_of_an_update_counts_what_is_accumulated() -> None:
    assert read(zoo.ZOO["accumulating"](DOUBLE)).batch == 2 * zoo.BATCH


@pytest.mark.parametrize(("batch", "each"), [(1, SMALLEST), (32, 32), (300, LARGEST)])
def test_batches_are_of_about_the_size_that_is_trained_on(batch: int, each: int) -> None:
    seen = view(classifier("some", train=loader(*table(), batch)))
    reading = Noise().measure(seen, Budget())
    assert reading.samples == BATCHES * each
    assert reading.batch == batch
    products = 2 * len(seen.blocks) * (1 + PRODUCTS)  # and building the graph
    trial, together = 5, BATCHES
    assert seen.gradient_evaluations == pytest.approx(BATCHES + products + trial + together, abs=1)


def test_recorded_batches_are_cut() -> None:
    inputs, targets = (column.split(512) for column in table())
    reading = read(classifier("recorded", train=list(zip(inputs, targets, strict=True))))
    assert reading.samples == BATCHES * LARGEST
    assert reading.scale_by_batches.high < math.inf


def test_batch_normalization_is_read_by_batches() -> None:
    reading = read(zoo.MODELS["batch norm"](DOUBLE))
    assert reading.way == "not at all"
    assert reading.scale_by_samples is None
    assert reading.scale == reading.scale_by_batches
    assert reading.samples_each > 1
    assert "batch normalization" in reading.notes[-1]


def test_a_large_model_has_few_single_gradients() -> None:
    inputs, targets = table()
    model = nn.Sequential(nn.Linear(20, 400), nn.Tanh(), nn.Linear(400, 200), nn.Tanh(), nn.Linear(200, 4))
    reading = read(classifier("large", model=model, train=loader(inputs, targets)))
    assert BATCHES <= reading.compared < reading.samples
    assert reading.scale == reading.scale_by_batches
    assert reading.scale_by_samples is not None


def test_a_surface_that_bends_down_has_no_scale_of_curvature() -> None:
    reading = read(quadratic([-1.0, -2.0], [1.0, 1.0], lambda p: torch.optim.SGD(p, lr=0.1), samples=20))
    assert reading.curved_scale is None
    assert any("bends down" in note for note in reading.notes)
    assert reading.scale.value == 0.0  # every sample has the same gradient


def test_where_there_is_no_gradient_there_is_no_scale() -> None:
    reading = read(product_at_origin())
    assert math.isnan(reading.scale.value)
    assert reading.notes[-1].startswith("the gradient of every sample is zero")
    assert set(reading.pictures()) == {"batch"}
    flat = read(regression(normal(40, 2), torch.zeros(40, 1, dtype=DOUBLE)))
    assert flat.notes[-1].startswith("the gradient of every sample is zero")


def test_the_sample_of_gradients_is_the_seeds() -> None:
    problem = zoo.problem(lambda: zoo.perceptron(nn.Dropout(0.5)))
    assert read(problem, seed=1) == read(problem, seed=1)
    assert read(problem, seed=1).scale != read(problem, seed=2).scale


def test_dropout_is_noise_too() -> None:
    """One sample many times: all that differs is the mask."""
    inputs, targets = torch.ones(64, 4, dtype=DOUBLE), torch.ones(64, 1, dtype=DOUBLE)
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 1, dtype=DOUBLE))
    noisy = read(of(model, nn.MSELoss(), inputs, targets, descent()))
    assert noisy.trace.value > 0.1 * noisy.squared_norm.value
    assert noisy.cosine.value < 0.99


def test_what_noise_takes_back() -> None:
    """On ½ h x², with samples' gradients of variance σ²: an update gains η g² − ½ η² h (g² + σ²/B) on the average."""
    rate, curvature, slope, variance, batch = 0.1, 4.0, 0.5, 30.0, 8
    noise = replace(
        readings.NOISE,
        batch=batch,
        population=10**9,
        squared_norm=Estimate(slope**2, 0.0),
        curved_trace=Estimate(curvature * variance, 0.0),
    )
    share = noise.taken_back(rate)

    def gain(variance: float) -> float:
        return rate * slope**2 - rate**2 * curvature * (slope**2 + variance / batch) / 2

    assert share.value == pytest.approx((gain(0.0) - gain(variance)) / (rate * slope**2))
    assert share.low == pytest.approx(share.value) == share.high
    assert replace(noise, population=batch).taken_back(rate).value == 0.0


def test_what_noise_takes_back_is_as_sure_as_what_it_is_made_of() -> None:
    noise = replace(readings.NOISE, population=10**9)
    exact = replace(noise, squared_norm=Estimate(0.24, 0.0), curved_trace=Estimate(8.0, 0.0)).taken_back(1.0).value
    share = noise.taken_back(1.0)
    assert share.low == pytest.approx(exact * (1 - ERRORS * 0.5 / 8) / (1 + ERRORS * 0.02 / 0.24))
    assert share.high == pytest.approx(exact * (1 + ERRORS * 0.5 / 8) / (1 - ERRORS * 0.02 / 0.24))


def test_pictures() -> None:
    reading = read(healthy())
    assert set(reading.pictures()) == {"batch", "agreement"}
    traces = {trace.name: trace for trace in reading.draw().data}
    gains = dict(zip(traces["tr Σ / ‖G‖²"].x, traces["tr Σ / ‖G‖²"].y, strict=True))
    assert gains[1_024] == 1.0  # all data: no noise is left
    assert gains[1] == pytest.approx(1 / (1 + reading.scale.value * (1 - 1 / 1_024)))
    assert list(gains.values()) == sorted(gains.values())
    assert "with curvature, tr HΣ / G·HG" in traces
    assert f"{reading.gain.value:.1%}" in reading.draw().layout.meta["summary"]


def test_a_gradient_that_is_not_finite_is_no_reading() -> None:
    inputs = torch.full((20, 3), torch.nan, dtype=DOUBLE)
    problem = of(nn.Linear(3, 1, dtype=DOUBLE), nn.MSELoss(), inputs, normal(20, 1), descent())
    assert len(batch_of(problem)[0]) == 20
    with pytest.raises(ValueError, match="finite"):
        read(problem)


def test_weighted_samplers_and_lists_are_read_as_they_draw() -> None:
    targets = normal(30, 1)
    data = TensorDataset(normal(30, 3), targets)
    for train in (DataLoader(data, 7), [(data.tensors[0][i : i + 7], targets[i : i + 7]) for i in range(0, 30, 7)]):
        problem = Problem(
            (model := nn.Linear(3, 1, dtype=DOUBLE)), nn.MSELoss(), train, torch.optim.SGD(model.parameters(), 0.1)
        )
        assert read(problem).population == 30
