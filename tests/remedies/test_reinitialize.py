"""Start again: units that differ, an optimizer that remembers nothing, and what is frozen as it was."""

from __future__ import annotations

import pytest
import torch
from tests import zoo
from tests.untouched import assert_untouched
from torch import nn

from unstuck import specimens
from unstuck.reading import Readings
from unstuck.remedies.reinitialize import Reinitialize
from unstuck.vector import flatten
from unstuck.walk import walk


def test_units_that_were_alike_differ() -> None:
    problem = specimens.zero_initialized()
    with assert_untouched(problem):
        treated = Reinitialize().apply(problem.branch())
    for name, tensor in treated.point().items():
        assert tensor.any(), name
        if tensor.dim() > 1:
            assert len(tensor.unique(dim=0)) == len(tensor)


@pytest.mark.parametrize("name", ["perceptron", "batch norm", "attention", "lstm", "layer norm", "embedding"])
def test_every_kind_of_layer_starts_as_it_is_built(name: str) -> None:
    """The same spread as in a model just built; constants are constants again."""
    problem = zoo.ZOO[name](torch.float64)
    branch = problem.branch()
    with torch.no_grad():
        for parameter in branch.model.parameters():
            parameter.fill_(0.7)
    treated = Reinitialize(seed=4).apply(branch).point()
    for part, built in problem.point().items():
        if len(built.unique()) == 1 and part.rpartition(".")[2] == "weight":
            assert torch.equal(treated[part], built), part  # the scale of a normalization
        elif built.dim() > 1:
            assert 0.2 < float(treated[part].std() / built.std()) < 5, part


def test_the_optimizer_forgets() -> None:
    branch = zoo.ZOO["adam"](torch.float64).branch()
    walk(branch, 5)
    assert branch.optimizer.state
    treated = Reinitialize().apply(branch)
    assert not treated.optimizer.state
    assert [group["lr"] for group in treated.optimizer.param_groups] == [0.01]
    walk(treated, 5)
    assert {float(state["step"]) for state in treated.optimizer.state.values()} == {5.0}


def test_the_seed_makes_the_draw_and_nothing_else_does() -> None:
    problem = zoo.ZOO["perceptron"](torch.float64)
    draws = []
    for seed in (1, 1, 2):
        torch.rand(5)
        with assert_untouched(problem):
            draws.append(flatten(Reinitialize(seed=seed).apply(problem.branch()).point()))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_what_is_frozen_keeps_its_values() -> None:
    """A body trained elsewhere is worth more than a new start."""
    problem = zoo.ZOO["frozen layer"](torch.float64)
    treated = Reinitialize(seed=4).apply(problem.branch())
    for before, after in zip(problem.model.parameters(), treated.model.parameters(), strict=True):
        assert torch.equal(before, after) is not before.requires_grad


def test_parameters_that_no_module_resets_are_drawn_too() -> None:
    treated = Reinitialize().apply(specimens.deep_product_at_origin().branch())
    assert all(tensor.any() for tensor in treated.point().values())
    assert isinstance(treated.model, nn.Module)


def test_one_draw_is_proposed_to_every_problem() -> None:
    assert Reinitialize.propose(Readings()) == (Reinitialize(),)
