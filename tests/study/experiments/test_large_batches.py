"""Digits learned with small and large batches."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from unstuck.fleet import Member
from unstuck.methods.update import gradient_descent
from unstuck.study.experiments.large_batches import (
    SAMPLES,
    ghost,
    layer_step,
    learned,
    mean_network,
    network,
    normalized,
    parted,
    problem,
    recalibrated,
    scaling_order,
    seen,
    trained,
    walked,
)


def test_uneven_layers_leave_the_function_as_it_is() -> None:
    inputs, _ = learned()
    outputs = []
    for uneven in (1.0, 5.0):
        torch.manual_seed(0)
        outputs.append(network(uneven)(inputs))
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-5)


def test_a_step_of_lars_is_as_long_as_its_formula_says() -> None:
    assert layer_step(3, 0.02) < 1e-5


def test_lars_walks_alike_on_the_same_seed_and_leaves_the_problem_alone() -> None:
    given = problem(0, 512)
    before = [parameter.clone() for parameter in given.model.parameters()]
    one, again = (walked(given, "lars", 3, 0.1, {}, order=1) for _ in range(2))
    assert all(map(torch.equal, one.parameters(), again.parameters()))
    assert all(map(torch.equal, before, given.model.parameters()))


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, ghost])
def test_recalibrated_networks_normalize_by_all_samples(norm: type[nn.BatchNorm1d]) -> None:
    inputs, _ = learned()
    member = Member(rule=gradient_descent(0.1), batch_size=256, seed=1)
    fleet = trained([member], 3, partial(normalized, norm))
    alike = normalized(nn.BatchNorm1d)
    alike.load_state_dict(fleet.state(0))
    with torch.no_grad():
        expected = alike.train()(inputs)
    torch.testing.assert_close(recalibrated(fleet)(inputs)[0], expected, rtol=1e-2, atol=1e-2)


def test_the_mean_of_one_network_is_that_network() -> None:
    fleet = trained([Member(rule=gradient_descent(0.1), batch_size=256, seed=1)], 3)
    inputs, _ = learned()
    torch.testing.assert_close(mean_network(fleet, inputs), fleet.outputs(inputs))
    found = seen(fleet.outputs)
    assert found.keys() == {"loss", "held_out_loss", "accuracy"}
    assert 0.0 <= found["accuracy"][0] <= 100.0


def test_workers_that_hardly_move_are_their_mean() -> None:
    start = trained([Member(rule=gradient_descent(0.1), batch_size=SAMPLES, seed=1)], 3).state(0)
    losses, mean, more = parted(1, gradient_descent(1e-6), start)
    assert mean == pytest.approx(sum(losses) / len(losses), rel=1e-4)
    assert abs(more) < 0.5


def test_linear_scaling_goes_wrong_with_the_square_of_the_rate() -> None:
    assert scaling_order() == pytest.approx(2.0, abs=0.01)
