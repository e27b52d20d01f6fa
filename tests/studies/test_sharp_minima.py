"""Sharp minima: what rescaling does exactly, and that both batches are compared at what is said."""

from __future__ import annotations

import pytest
import torch

from unstuck import datasets
from unstuck.studies.sharp_minima import EQUAL_LOSS, End, Task, rescaled
from unstuck.study.experiments.networks import accuracy


@pytest.mark.parametrize("factor", [2.0, 10.0, 100.0])
def test_rescaling_changes_raw_sharpness_alone(factor: float) -> None:
    before, after = rescaled(1.0), rescaled(factor)
    assert after["loss"] == pytest.approx(before["loss"], rel=1e-12)
    assert after["adaptive_largest"] == pytest.approx(before["adaptive_largest"], rel=1e-9)
    assert after["largest"] > before["largest"] * factor


def test_raw_sharpness_grows_with_the_square_of_the_factor_in_the_end() -> None:
    # The block of W2 is multiplied by the factor's square, that of W1 divided by it.
    assert rescaled(1_000.0)["largest"] / rescaled(100.0)["largest"] == pytest.approx(100.0, rel=1e-3)


@pytest.fixture(scope="module")
def task() -> Task:
    whole = datasets.load("digits")
    return Task(
        inputs=whole.inputs[:320],
        targets=whole.targets[:320],
        held_out=(whole.held_out_inputs, whole.held_out_targets),
        widths=(64, 16, 10),
        seed=0,
    )


def test_ends_are_those_that_are_asked_for(task: Task) -> None:
    fleet = task.trained(32, updates=200, passes=50)
    early, late = task.best(fleet, 50), task.best(fleet, 200)
    losses = task.losses(fleet.network, fleet.kept[50][0])
    assert early.rate == int(losses.argmin())
    assert torch.equal(late.row, fleet.parameters[late.rate])
    near = task.nearest(late)
    looks = torch.stack([End(fleet, late.rate, updates).row for updates in sorted(fleet.kept)])
    apart = (task.losses(fleet.network, looks) / EQUAL_LOSS).log().abs()
    assert float((task.losses(fleet.network, near.row[None]) / EQUAL_LOSS).log().abs()) == float(apart.min())


def test_an_end_is_described_as_the_network_that_it_is(task: Task) -> None:
    fleet = task.trained(32, updates=60, passes=60)
    end = task.best(fleet, 60)
    found = task.described(end)
    outputs = fleet.outputs(task.inputs)[end.rate]
    assert found["train"] == float(accuracy(outputs, task.targets))
    assert found["loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(outputs, task.targets)), rel=1e-5)
    assert found["largest"] > 0.0
    line = task.line(end, end)
    assert line["train"] == pytest.approx([found["loss"]] * len(line["train"]), rel=1e-5)
