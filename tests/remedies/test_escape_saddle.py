"""Escape: a move along the eigenvector of the lowest eigenvalue, or a perturbation; replayed from settings alone."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import replace

import pytest
import torch
from tests import zoo
from tests.readings import DIRECTION, ESCAPE, only
from tests.untouched import assert_untouched
from torch import Tensor

from unstuck import specimens
from unstuck.problem import Problem
from unstuck.remedies.escape_saddle import EscapeSaddle
from unstuck.vector import flatten


def move(remedy: EscapeSaddle, problem: Problem) -> Tensor:
    """What is added to θ, shape (n,)."""
    with assert_untouched(problem):
        treated = remedy.apply(problem.branch())
    return flatten(treated.point()) - flatten(problem.point())


@pytest.mark.parametrize("length", [0.5, -2.0])
def test_the_lectures_saddle_is_left_along_the_diagonal(length: float) -> None:
    found = move(EscapeSaddle(way="negative curvature", length=length, update=0), specimens.product_at_origin())
    assert float(found.norm()) == pytest.approx(abs(length), rel=1e-6)
    assert found.abs().tolist() == pytest.approx([abs(length) / math.sqrt(2)] * 2, rel=1e-5)
    assert float(found[0]) * float(found[1]) > 0  # of (1, 1) and (1, −1) the one that leads down


def test_the_sign_of_the_length_is_that_of_the_way() -> None:
    forth, back = (
        move(EscapeSaddle(way="negative curvature", length=length, update=0), zoo.problem(zoo.perceptron))
        for length in (0.5, -0.5)
    )
    assert torch.allclose(forth, -back, atol=1e-12)


def test_the_move_is_along_the_lowest_eigenvalue() -> None:
    problem = zoo.problem(zoo.perceptron)
    found = move(EscapeSaddle(way="negative curvature", length=0.25, update=0), problem)
    hessian = problem.hessian_at(problem.point(), *problem.data.sample(24, chunk=24, seed=0))
    lowest = torch.linalg.eigvalsh(torch.stack([hessian @ column for column in torch.eye(len(found)).double()]))[0]
    assert lowest < 0
    assert float(found @ (hessian @ found)) / 0.25**2 == pytest.approx(float(lowest), rel=1e-4)


def test_a_perturbation_makes_units_differ_at_the_size_of_an_ordinary_initialization() -> None:
    problem = specimens.zero_initialized()
    treated = EscapeSaddle(way="perturbation", length=1.0, update=0).apply(problem.branch())
    for name, tensor in treated.point().items():
        if name.endswith("bias"):
            assert not tensor.any()
        else:
            assert len(tensor.unique(dim=0)) == len(tensor)
            assert float(tensor.std()) == pytest.approx((3 * tensor.shape[1]) ** -0.5, rel=0.3)


@pytest.mark.parametrize("way", ["negative curvature", "perturbation"])
@pytest.mark.parametrize("name", ["perceptron", "batch norm", "dropout", "frozen layer", "adam"])
def test_replayed_from_its_settings_bit_for_bit(name: str, way: str) -> None:
    remedy = EscapeSaddle(way=way, length=0.3, update=40, seed=5)
    again = EscapeSaddle(**json.loads(json.dumps(dataclasses.asdict(remedy))))
    first = move(remedy, zoo.ZOO[name](torch.float64))
    torch.rand(3)  # the process's generator decides nothing
    assert torch.equal(move(again, zoo.ZOO[name](torch.float64)), first)
    assert first.any()
    if way == "perturbation":
        assert not torch.equal(move(replace(remedy, seed=6), zoo.ZOO[name](torch.float64)), first)


def test_frozen_parameters_stay() -> None:
    problem = zoo.ZOO["frozen layer"](torch.float64)
    treated = EscapeSaddle(way="perturbation", length=1.0, update=0).apply(problem.branch())
    pairs = zip(problem.model.named_parameters(), treated.model.parameters(), strict=True)
    for (name, before), after in pairs:
        assert torch.equal(before, after) is (not before.requires_grad or name.endswith("bias"))


def test_the_best_way_out_is_proposed() -> None:
    nowhere = replace(ESCAPE, curvature_drop=0.0, curvature_length=0.0)
    out = replace(ESCAPE, update=100, curvature_drop=0.9, curvature_length=-0.5, seed=3)
    assert EscapeSaddle.propose(only(nowhere, out)) == (
        EscapeSaddle(way="negative curvature", length=-0.5, update=100, seed=3),
    )
    assert EscapeSaddle.propose(only(nowhere)) == (EscapeSaddle(way="perturbation", length=1.0, update=0),)
    assert EscapeSaddle.propose(only(DIRECTION)) == ()
