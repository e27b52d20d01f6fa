"""Averages of the iterates: a training walks with noise, and is judged by where it walks on the average.

Lecture chapter 2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from unstuck.errors import InputError
from unstuck.methods.wrapping import Wrapping
from unstuck.problem import Problem


def share(decay: float, count: int) -> float:
    """The share of the newest of n iterates in an average whose weights fall as βⁿ⁻ⁱ: (1 − β)/(1 − βⁿ).

    For β = 1 all n weigh the same, 1/n: the equal mean. Below, it is the exponential moving average, corrected for its
    start as Adam's are (Kingma & Ba 2015, section 3).

    Args:
        decay: β.
        count: n, 1 or more.
    """
    return 1 / count if decay == 1 else (1 - decay) / (1 - decay**count)


class Averaged(Wrapping):
    """θ̄ ← θ̄ + (θ − θ̄) (1 − β)/(1 − βⁿ) beside the walk of another optimizer, which does not notice.

    With β = 1 it is stochastic weight averaging, the equal mean of iterates far along the walk (Izmailov et al. 2018,
    algorithm 1; Polyak & Juditsky 1992 for all of them). With β < 1 it is the exponential moving average.

    After :meth:`eval` the model holds θ̄, after :meth:`train` the weights that are walked with, bit for bit. Running
    statistics of batch normalization belong to the latter; θ̄ needs its own (:mod:`unstuck.methods.recalibration`). A
    parameter is averaged from the first update that gives it a gradient. Lecture chapter 2.

    Attributes:
        wrapped: the optimizer that walks.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, *, decay: float = 1.0, start: int = 0, every: int = 1) -> None:
        """Average the iterates of an optimizer.

        Args:
            optimizer: what walks.
            decay: β, above 0 and at most 1.
            start: updates after which averaging begins.
            every: of the updates since then, each so many-th is averaged.
        """
        kept = {"average_decay": decay, "average_start": start, "average_every": every}
        super().__init__(optimizer, {**kept, "iterates": 0, "averaged": 0, "train_mode": True})

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One update, and the average of what it led to."""
        if not self.param_groups[0]["train_mode"]:
            raise InputError("an averaging optimizer is in eval mode: call its train() before the next update")
        loss = super().step(closure)
        for group in self.param_groups:
            group["iterates"] += 1
            since = group["iterates"] - group["average_start"]
            if since > 0 and since % group["average_every"] == 0:
                group["averaged"] += 1
                self._fold(group["params"], share(group["average_decay"], group["averaged"]))
        return loss

    @torch.no_grad()
    def _fold(self, parameters: list[Tensor], newest: float) -> None:
        # Not those without a gradient: an entry in their state would tell the optimizer inside that it has begun.
        for parameter in (each for each in parameters if each.grad is not None):
            state = self.state[parameter]
            if "average" in state:
                state["average"].lerp_(parameter, newest)
            else:
                state["average"] = parameter.detach().clone()

    def eval(self) -> None:
        """Put the average into the model."""
        self._exchange(train_mode=False)

    def train(self) -> None:
        """Put the weights into the model that are walked with."""
        self._exchange(train_mode=True)

    @torch.no_grad()
    def _exchange(self, *, train_mode: bool) -> None:
        """Exchange the weights in the model and those beside it, where the others are wanted."""
        for group in (each for each in self.param_groups if each["train_mode"] is not train_mode):
            for parameter in group["params"]:
                beside = self.state.get(parameter, {}).get("average")
                if beside is not None:
                    there = parameter.clone()
                    parameter.copy_(beside)
                    beside.copy_(there)
            group["train_mode"] = train_mode


def with_averaging(branch: Problem, *, decay: float = 1.0, start: int = 0, every: int = 1) -> Problem:
    """The branch judged by an average of its iterates (:class:`Averaged`); its walk stays what it was.

    Args:
        branch: given away.
        decay: β; 1 for the equal mean.
        start: updates after which averaging begins.
        every: of the updates since then, each so many-th is averaged.

    Raises:
        InputError: a setting is out of its range, or the optimizer has an average already, or nothing to average.
    """
    optimizer = branch.optimizer
    if not 0 < decay <= 1:
        raise InputError(f"averaging: the decay must be above 0 and at most 1, the equal mean; got {decay!r}")
    if start < 0 or every < 1:
        raise InputError(f"averaging: `start` must be 0 or more and `every` 1 or more; got {start} and {every}")
    if callable(getattr(optimizer, "eval", None)):
        raise InputError(f"averaging: {type(optimizer).__name__} is judged by an average of its own; average no other")
    if isinstance(optimizer, torch.optim.LBFGS):
        raise InputError("averaging: L-BFGS takes few, long steps, whose average means nothing; take another optimizer")
    return branch.changed(optimizer=Averaged(optimizer, decay=decay, start=start, every=every))
