"""Tensors are made where they are needed: no factory of torch's is called without a device."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import by_hand, zoo
from tests.test_untouched import REMEDIES
from torch.overrides import TorchFunctionMode

from unstuck import probes
from unstuck.budget import Budget
from unstuck.data import Data
from unstuck.remedy import Remedy
from unstuck.snapshot import Snapshot
from unstuck.view import view_of
from unstuck.walk import walk

SOURCE = str(Path(view_of.__code__.co_filename).parent)

FACTORIES = {
    *(torch.zeros, torch.ones, torch.empty, torch.full, torch.tensor, torch.as_tensor),
    *(torch.rand, torch.randn, torch.randint, torch.randperm),
    *(torch.arange, torch.linspace, torch.logspace, torch.eye),
}


class DevicesGiven(TorchFunctionMode):
    """Collects the places in the package that call a factory without saying where."""

    def __init__(self) -> None:
        super().__init__()
        self.without: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in FACTORIES and "device" not in (kwargs or {}):
            caller = sys._getframe(1)
            if caller.f_code.co_filename.startswith(SOURCE):
                self.without.add(f"{Path(caller.f_code.co_filename).name}, line {caller.f_lineno}: {func.__name__}")
        return func(*args, **(kwargs or {}))


def test_the_mode_sees_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "SOURCE", str(Path(__file__).parent))
    with DevicesGiven() as given:
        torch.zeros(3, device="cpu")
        torch.zeros(3), torch.randn(2), torch.tensor(1.0)
    assert [place.rpartition(" ")[2] for place in sorted(given.without)] == ["randn", "tensor", "zeros"]


@pytest.mark.parametrize("name", ["adam", "batch norm"])
def test_every_probe_and_the_walk_say_where(name: str) -> None:
    problem = zoo.ZOO[name](torch.float32)
    by_hand.train(problem, 1, problem.data.order(0))
    with DevicesGiven() as given:
        for probe in probes.ALL:
            probe().measure(view_of(problem, Snapshot.of(problem)), Budget(updates=4))
        sample = problem.data.sample(8, chunk=4, seed=0)
        walk(problem.branch(), 3, sample=sample, checkpoints=(0, 3))
        list(problem.data.whole(chunk=8))
        Data(zoo.loaders()["list"]).sample(8, chunk=4, seed=0)
    assert not given.without


@pytest.mark.parametrize("remedy", REMEDIES, ids=str)
def test_every_remedy_says_where(remedy: Remedy) -> None:
    problem = zoo.ZOO["batch norm" if remedy.slug == "recalibrate-batch-norm" else "adam"](torch.float32)
    with DevicesGiven() as given:
        walk(remedy.apply(problem.branch()), 2)
    assert not given.without
