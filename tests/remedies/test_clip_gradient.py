"""Clipping bounds every step of plain gradient descent by rate times norm."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests import zoo
from tests.readings import DIRECTION, STEP, only

from unstuck.problem import Problem
from unstuck.remedies.clip_gradient import ClipGradient
from unstuck.snapshot import Snapshot
from unstuck.walk import walk

RATE = 0.1


def problem() -> Problem:
    return zoo.problem(zoo.perceptron, optimizer=lambda parameters: torch.optim.SGD(parameters, lr=RATE))


def step(snapshots: tuple[Snapshot, ...]) -> float:
    before, after = (snapshot.tensors for snapshot in snapshots)
    return float(torch.cat([(after[name] - before[name]).flatten() for name in after]).norm())


def test_a_steep_gradient_is_scaled_down_and_a_short_one_is_left() -> None:
    given = problem()
    plain = walk(given.branch(), 1, snapshots=(0, 1))
    norm = plain.curve[0].gradient_norm
    clipped = walk(ClipGradient(norm=norm / 5).apply(given.branch()), 1, snapshots=(0, 1))
    left = walk(ClipGradient(norm=norm * 5).apply(given.branch()), 1, snapshots=(0, 1))
    assert step(plain.snapshots) == pytest.approx(RATE * norm)
    assert step(clipped.snapshots) == pytest.approx(RATE * norm / 5, rel=1e-5)
    assert step(left.snapshots) == step(plain.snapshots)
    assert given.clip_norm is None


def test_the_median_norm_and_a_tenth_are_proposed() -> None:
    assert ClipGradient.propose(only(replace(DIRECTION, typical_norm=0.5))) == (
        ClipGradient(norm=0.5),
        ClipGradient(norm=0.05),
    )
    assert ClipGradient.propose(only(replace(DIRECTION, typical_norm=0.0))) == ()
    assert ClipGradient.propose(only(STEP)) == ()
