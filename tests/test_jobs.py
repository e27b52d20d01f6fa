"""Trials on other processes find what is found here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.trials import compared, ground

from unstuck.errors import InputError
from unstuck.executor import processes
from unstuck.jobs import Origin, on_processes
from unstuck.remedies.cross_entropy import CrossEntropy
from unstuck.remedies.lower_learning_rate import LowerLearningRate
from unstuck.remedies.normalize_inputs import NormalizeInputs
from unstuck.remedy import Remedy
from unstuck.snapshot import Snapshot
from unstuck.target import load
from unstuck.walk import fixed_threads

TARGET = """
import torch
from torch import nn
from unstuck.specimens import softmax_twice


def steady():
    return softmax_twice()


def fickle():
    model, batch = nn.Linear(2, 1), (torch.randn(4, 2), torch.zeros(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return {"model": model, "loss": nn.MSELoss(), "train": [batch], "optimizer": optimizer}
"""


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of targets, and a path that is put back."""
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "targets_of_a_trial.py"
    path.write_text(TARGET, encoding="utf-8")
    return str(path)


def test_other_processes_find_the_same_bit_for_bit(target: str) -> None:
    """Also where an earlier step has treated the problem, and where a remedy restores outputs."""
    first = NormalizeInputs(axis=1)
    with fixed_threads(1):
        given = load(f"{target}:steady")
        started = Snapshot.of(given)
        treated = first.apply(given.branch(started))
        where = dataclasses.replace(ground(treated, after=3), sample=treated.data.sample(512, chunk=256, seed=0))
        candidates: list[tuple[str, Sequence[Remedy]]] = [
            ("a", (LowerLearningRate(factor=0.5), LowerLearningRate(factor=0.1))),
            ("b", (CrossEntropy(outputs="probabilities", expects="scores"),)),
        ]
        here = compared(where, *candidates).trials
        origin = Origin.of(where, f"{target}:steady", [(started, first)])
        with processes(2) as executor:
            there = compared(where, *candidates, run=on_processes(executor, origin)).trials
    assert there == here


def test_a_target_that_gives_other_data_each_time_is_refused(target: str) -> None:
    where = ground(load(f"{target}:fickle"))
    with pytest.raises(InputError, match="other data each time"):
        Origin.of(where, f"{target}:fickle", []).ground()
