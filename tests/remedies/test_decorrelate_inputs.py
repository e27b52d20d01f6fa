"""Decorrelation as a remedy: proposed where features go together by more than chance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.readings import FINITE, INPUTS, only

from unstuck.remedies.decorrelate_inputs import TOGETHER, DecorrelateInputs
from unstuck.specimens import correlated_features
from unstuck.surgery.decorrelation import Decorrelated
from unstuck.walk import walk

NOISE = INPUTS.noise_condition
assert NOISE is not None


@pytest.mark.parametrize(("times", "proposed"), [(0.99, False), (1.01, True)])
def test_proposed_where_features_go_together(times: float, proposed: bool) -> None:
    assert NOISE is not None
    condition = times * TOGETHER * NOISE
    assert bool(DecorrelateInputs.propose(only(replace(INPUTS, normalized_condition=condition)))) is proposed
    few = replace(INPUTS, normalized_condition=times * TOGETHER, noise_condition=None)
    assert bool(DecorrelateInputs.propose(only(few))) is proposed


def test_not_proposed_without_a_table() -> None:
    assert DecorrelateInputs.propose(only(replace(INPUTS, normalized_condition=None))) == ()
    assert DecorrelateInputs.propose(only(FINITE)) == ()


def test_it_walks_the_valley_down() -> None:
    problem = correlated_features()
    treated = DecorrelateInputs().apply(problem.branch())
    assert isinstance(treated.model, Decorrelated)
    ends = [
        walk(branch, 60, order=0, sample=branch.data.sample(256, chunk=256, seed=0), checkpoints=(60,)).checkpoints[-1][
            1
        ]
        for branch in (problem.branch(), treated)
    ]
    assert ends[1] < ends[0]


def test_the_lines_to_paste_do_what_the_remedy_does() -> None:
    problem = correlated_features()
    treated = DecorrelateInputs().apply(problem.branch())
    ((inputs, *_),) = problem.data.sample(4096, chunk=4096, seed=0)
    names: dict[str, Any] = {"torch": torch, "inputs": inputs}
    exec("\n".join(line[1:] for line in DecorrelateInputs().diff(problem).splitlines()), names)
    seen = (inputs - treated.model.mean) @ treated.model.mixing
    assert torch.allclose(names["inputs"], seen, rtol=0.05, atol=0.05)
