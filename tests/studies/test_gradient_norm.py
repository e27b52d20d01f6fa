"""The study of a loss that stalls while the gradient does not vanish, at a small size."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from unstuck.fleet import epochs
from unstuck.fleet_network import Network
from unstuck.studies.gradient_norm import ARMS, MEASURED, STUDY, Surface, draw, measure, noisy_digits, run
from unstuck.study import Run, Runs
from unstuck.study.experiments.networks import half_squared_error

GATES = {gate.measurement for gate in STUDY.gates}


def test_a_fifth_of_the_labels_is_drawn_anew() -> None:
    (inputs, clean), (_, other) = noisy_digits(0), noisy_digits(1)
    assert inputs.shape == (600, 64)
    assert clean.shape == (600, 10)
    assert (clean.sum(1) == 1).all()
    assert 0.65 < float((clean * other).sum(1).mean()) < 0.8  # both right, or by chance the same


def test_gradients_and_curvature_are_those_of_a_linear_layer_by_hand() -> None:
    inputs = torch.randn(600, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    targets = torch.zeros(600, 2, dtype=torch.float64)
    model = nn.Linear(3, 2, bias=False).double()
    network = Network.of(model)
    row, _ = network.split(model)
    surface = Surface(network, half_squared_error, inputs, targets)
    weights = row.view(2, 3)
    torch.testing.assert_close(surface.losses(row[None])[0], (inputs @ weights.T).square().sum() / 1200)
    whole, batch = surface.norms(row[None], 6, 5)
    torch.testing.assert_close(whole[0], (weights @ inputs.T @ inputs / 600).norm())
    parts = [(weights @ inputs[own].T @ inputs[own] / 6).norm().square() for own in next(epochs(600, 6, 5))]
    torch.testing.assert_close(batch[0], torch.stack(parts).mean().sqrt())
    largest = float(torch.linalg.eigvalsh(inputs.T @ inputs / 600)[-1])
    assert surface.sharpness(row, 0) == pytest.approx(largest, rel=1e-3)


@pytest.fixture(scope="module")
def runs() -> Runs:
    settings = [{"seed": 7, "arm": arm, "stalled": 200, "watched": 200} for arm in ARMS]
    return Runs([Run(own, run(**own)) for own in settings])  # type: ignore[arg-type]


def test_twins_are_alike_until_the_rate_is_lowered(runs: Runs) -> None:
    for result in runs.results():
        kept, lowered = result["loss"]
        assert kept[:5] == lowered[:5]
        assert kept[5:] != lowered[5:]


def test_a_batch_of_the_whole_set_is_the_whole_set(runs: Runs) -> None:
    (walls,) = runs.where(arm="walls").results()
    assert walls["batch"][0] == pytest.approx(walls["whole"][0], rel=1e-4)


def test_what_the_gates_are_about_is_measured_and_null_is_unknown(runs: Runs) -> None:
    measured = {each.name: each.values[7] for each in measure(runs)}
    assert measured.keys() == MEASURED.keys()
    assert measured.keys() >= GATES
    assert all(math.isfinite(value) for value in measured.values())
    assert measured["spread around a minimum over the formula's"] == pytest.approx(1.0, abs=0.05)
    diverged = [Run({"seed": 7, "arm": arm}, {"numbers": dict.fromkeys(runs.results()[1]["numbers"])}) for arm in ARMS]
    assert all(math.isnan(each.values[7]) for each in measure(Runs(diverged)))


def test_pictures_are_drawn(runs: Runs) -> None:
    assert draw(runs).keys() == {"loss", "gradient", "curvature", "batch"}
