"""Stability limits, by walking on both sides of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from tests.probes.look import quadratic

from unstuck.methods.stability import stability_limit
from unstuck.problem import Problem
from unstuck.walk import walk

Build = Callable[[Any], torch.optim.Optimizer]


def descent(rate: float) -> Build:
    return lambda parameters: torch.optim.SGD(parameters, lr=rate)


def adaptive(kind: Any, **more: Any) -> Build:
    return lambda parameters: kind(parameters, lr=0.01, betas=(0.9, 0.999999), eps=0.0, **more)


RULES: dict[str, Build] = {
    "gradient descent": descent(0.1),
    "heavy ball": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "damped": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.8, dampening=0.5),
    "Nesterov": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True),
    "Adam": adaptive(torch.optim.Adam),
    "AMSGrad": adaptive(torch.optim.Adam, amsgrad=True),
    "AdamW": adaptive(torch.optim.AdamW, weight_decay=0.0),
    "NAdam": adaptive(torch.optim.NAdam),
    "RAdam": adaptive(torch.optim.RAdam),
}

SIGMA = 0.5


def at_the_limit(build: Build, share: float) -> Problem:
    """A parabola of ``share`` of the limiting curvature; rules that divide by σ have seen σ = ½ for ages."""
    limit = stability_limit(build([torch.zeros(1)]))
    assert limit is not None
    curvature = share * limit.curvature * (SIGMA if limit.preconditioned else 1.0)
    problem = quadratic([curvature], [1e-6], lambda parameters: build(list(parameters)))
    if limit.preconditioned:
        (parameter,) = problem.model.parameters()
        squares = torch.full_like(parameter, SIGMA**2).detach()
        problem.optimizer.state[parameter] = {
            "step": torch.tensor(1e8),
            "exp_avg": torch.zeros_like(squares),
            "exp_avg_sq": squares,
            "max_exp_avg_sq": squares.clone(),
            "mu_product": torch.zeros(()),
        }
    return problem


@pytest.mark.parametrize("name", RULES)
def test_stability_limits_hold(name: str) -> None:
    """At 0.98 of the limit a walk dies out, at 1.02 it grows (until, later, Adam's kin notice and adapt)."""
    for share in (0.98, 1.02):
        losses = [row.loss for row in walk(at_the_limit(RULES[name], share).branch(), 45).curve]
        assert (max(losses[30:]) > max(losses[:10])) == (share > 1)


def test_there_is_none_for_a_rate_of_zero_or_an_unknown_rule() -> None:
    assert stability_limit(torch.optim.SGD([torch.zeros(1)], lr=0.0)) is None
    assert stability_limit(torch.optim.Rprop([torch.zeros(1)], lr=0.1)) is None


@pytest.mark.parametrize("name", ["heavy ball", "Adam"])
def test_it_rings_as_often_as_it_crosses_zero(name: str) -> None:
    """Two crossings of zero are a swing; after 19 updates, 2/|ln 0.9|, the swing of β = 0.9 has fallen by e."""
    share, updates = 0.2, 190
    problem = at_the_limit(RULES[name], share).branch()
    (parameter,) = problem.model.parameters()
    walked = []
    for _ in range(updates):
        walk(problem, 1)
        walked.append(float(parameter.detach()))
    crossings = sum(before * after < 0 for before, after in pairwise(walked))
    limit = stability_limit(problem.optimizer)
    assert limit is not None
    assert crossings / 2 == pytest.approx(limit.ringing(share) * updates * abs(math.log(0.9)) / 2, abs=1)


@pytest.mark.parametrize("name", ["gradient descent", "Nesterov", "NAdam"])
def test_only_the_heavy_ball_rings(name: str) -> None:
    limit = stability_limit(RULES[name]([torch.zeros(1)]))
    assert limit is not None
    assert limit.ringing(0.5) == 0


def test_it_does_not_ring_where_it_creeps_and_never_more_than_at_the_limit() -> None:
    limit = stability_limit(RULES["heavy ball"]([torch.zeros(1)]))
    assert limit is not None
    assert limit.ringing(1e-4) == 0
    assert limit.ringing(1.0) == limit.ringing(7.0) == pytest.approx(1 / abs(math.log(0.9)))
