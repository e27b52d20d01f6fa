"""Clipping bounds every step of plain gradient descent by rate times norm."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tests import zoo
from tests.readings import DIRECTION, STEP, only

from unstuck.problem import Problem
from unstuck.reading import Reading
from unstuck.remedies.clip_gradient import SHORT, ClipGradient
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


@pytest.mark.parametrize(
    ("readings", "norms"),
    [
        ((replace(DIRECTION, typical_norm=0.5),), (0.5, 0.05)),
        ((replace(DIRECTION, typical_norm=0.5, norms=(4.0, 0.5)),), (0.5, 0.05)),
        ((replace(DIRECTION, typical_norm=1e8, norms=(40.0, 2e8)),), (40.0, 4.0)),
        ((replace(DIRECTION, typical_norm=0.5, norms=(0.0, 0.5)),), (0.5, 0.05)),
        ((replace(DIRECTION, typical_norm=0.5), replace(STEP, relative_step=SHORT / 2)), (0.5, 0.05)),
        ((replace(DIRECTION, typical_norm=0.5), replace(STEP, relative_step=50 * SHORT)), (0.5, 0.01)),
        ((replace(DIRECTION, typical_norm=0.5), replace(STEP, relative_step=math.inf)), (0.5, 0.05)),
        ((replace(DIRECTION, typical_norm=0.0),), ()),
        ((STEP,), ()),
    ],
    ids=[
        "the median and a tenth",
        "the first batch has an outlier",
        "thrown out",
        "no gradient at first",
        "steps are short",
        "a tenth would still be long",
        "a step without end",
        "no gradient",
        "no walk",
    ],
)
def test_norms_that_are_proposed(readings: tuple[Reading, ...], norms: tuple[float, ...]) -> None:
    assert ClipGradient.propose(only(*readings)) == tuple(ClipGradient(norm=norm) for norm in norms)
