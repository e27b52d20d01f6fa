"""The study of the minimum ratio, at a small size."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from unstuck.fleet_network import Network
from unstuck.studies.minimum_ratio import STUDY, curve, measure, run
from unstuck.study import Run, Runs
from unstuck.study.experiments.curved import Curved, hessians_by_layers, mean_loss
from unstuck.study.experiments.networks import perceptron, squared_error

GATES = {gate.measurement: gate for gate in STUDY.gates}


def test_the_curve_is_the_homeworks() -> None:
    inputs, targets = curve()
    assert inputs.shape == targets.shape == (128, 1)
    assert targets[0].item() == 1.0
    x = inputs[50].item()
    assert targets[50].item() == pytest.approx(math.sin(5 * math.pi * x) / (5 * math.pi * x))


def surface() -> tuple[Curved, Tensor, nn.Module]:
    torch.manual_seed(0)
    model = perceptron((1, 3, 1), nn.Tanh).double()
    network = Network.of(model)
    row, _ = network.split(model)
    seen = network, squared_error, *curve()
    return Curved(mean_loss(*seen), hessians_by_layers(*seen)), row[None], model


def test_hessians_are_those_of_finite_differences_of_the_gradient() -> None:
    there, rows, _ = surface()
    (hessian,) = there.hessians(rows)
    step = 1e-5
    for place in range(rows.shape[1]):
        moved = torch.zeros_like(rows)
        moved[0, place] = step
        column = (there.gradients(rows + moved) - there.gradients(rows - moved))[0] / (2 * step)
        torch.testing.assert_close(hessian[:, place], column, rtol=1e-6, atol=1e-8)


def test_the_search_lowers_the_gradient_and_never_raises_it() -> None:
    there, rows, _ = surface()
    before, after = (there.gradients(at).norm() for at in (rows, there.nearer_to_rest(rows, 8)))
    assert after < 0.1 * before
    assert torch.equal(there.nearer_to_rest(rows, 0), rows)


@pytest.fixture(scope="module")
def small() -> Runs:
    return Runs([Run({"seed": 7, "networks": 4}, run(seed=7, networks=4))])


def test_counts_are_shares_of_all_eigenvalues(small: Runs) -> None:
    (result,) = small.results()
    trained = result["trained"]
    assert len(trained["loss"]) == 4
    for positive, negative in zip(trained["positive"], trained["negative"], strict=True):
        assert positive + negative == pytest.approx(1.0)
        assert round(positive * 141, 6) == round(positive * 141)
    assert all(up <= all_up for up, all_up in zip(trained["positive_1e-06"], trained["positive"], strict=True))
    assert result == run(seed=7, networks=4)  # the same seed, the same answer


def test_what_the_gates_are_about_is_measured_and_the_exact_parts_are_exact(small: Runs) -> None:
    measured = {each.name: each for each in measure(small)}
    assert GATES.keys() <= measured.keys()
    assert measured["minimum ratio of the lecture's own minimum"].values == {0: 0.5}
    assert measured["wrong counts in the linear autoencoder"].values == {0: 0.0}
    assert STUDY.draw(small).keys() == {"minimum-ratio", "taken-apart"}
