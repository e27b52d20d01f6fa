"""Regularize: weight decay that pulls about as hard as the data do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests import zoo
from tests.readings import DIRECTION, STEP, only

from unstuck.remedies.regularize import PULLS, Regularize
from unstuck.vector import norm
from unstuck.walk import walk


def test_at_the_dose_of_one_the_pull_is_as_long_as_an_update() -> None:
    """θ ← θ − η (g + λθ): an update with decay differs from one without by ηλθ."""
    problem = zoo.problem(zoo.perceptron, optimizer=lambda p: torch.optim.SGD(p, lr=0.1))
    plain = problem.branch()
    walk(plain, 1)
    update = norm({name: tensor - problem.point()[name] for name, tensor in plain.point().items()})
    step = replace(STEP, rate=0.1, relative_step=update / norm(problem.point()))
    dose = Regularize.propose(only(step))[0]
    treated = dose.apply(problem.branch())
    walk(treated, 1)
    pull = norm({name: tensor - plain.point()[name] for name, tensor in treated.point().items()})
    assert PULLS[0] == 1
    assert pull == pytest.approx(update, rel=0.05)  # doses are told with two digits


def test_the_longest_update_counts() -> None:
    """Where the training data are fitted, updates are short: there is no pull left to match."""
    fitted = replace(STEP, update=100, relative_step=STEP.relative_step / 1e4)
    assert Regularize.propose(only(STEP, fitted)) == Regularize.propose(only(STEP))


def test_not_without_an_update_to_go_by() -> None:
    assert Regularize.propose(only(DIRECTION)) == ()
    assert Regularize.propose(only(replace(STEP, rate=0.0, relative_step=0.0))) == ()


def test_the_change_to_the_code_names_the_optimizer_that_decays() -> None:
    problem = zoo.problem(zoo.perceptron, optimizer=zoo.OPTIMIZERS["adam"])
    assert Regularize(decay=0.5).diff(problem).splitlines() == [
        "-optimizer = Adam(..., weight_decay=0)",
        "+optimizer = AdamW(..., weight_decay=0.5)",
    ]


def test_the_ladder_peaks() -> None:
    ladder = Regularize(decay=0.3).ladder()
    assert ladder.peaks
    decays = [getattr(dose, ladder.setting) for dose in ladder.doses]
    assert decays == sorted(decays)
    assert Regularize(decay=0.3) in ladder.doses
