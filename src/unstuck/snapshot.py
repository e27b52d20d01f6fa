"""Snapshots: the state of a problem at one update, copied out and written back."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unstuck.errors import InputError
from unstuck.forward import Forward

if TYPE_CHECKING:
    from unstuck.problem import Problem


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The state of a problem at one update: parameters and buffers of model and losses, optimizer, scheduler."""

    update: int = 0
    tensors: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    scheduler: Mapping[str, Any] | None

    @staticmethod
    def of(problem: Problem, update: int = 0) -> Snapshot:
        """A copy of the problem's present state."""
        return Snapshot(
            update=update,
            tensors={name: tensor.detach().clone() for name, tensor in state_of(problem).items()},
            optimizer=copy.deepcopy(problem.optimizer.state_dict()),
            scheduler=None if problem.scheduler is None else copy.deepcopy(problem.scheduler.state_dict()),
        )

    def restore(self, problem: Problem) -> None:
        """Write this state into a branch."""
        with torch.no_grad():
            for name, tensor in state_of(problem).items():
                tensor.copy_(self.tensors[name])
        # Copied: torch takes the tensors of a state dict as they are, and later updates write into them.
        problem.optimizer.load_state_dict(copy.deepcopy(dict(self.optimizer)))
        _keep_types(problem.optimizer, self.optimizer)
        if problem.scheduler is not None and self.scheduler is not None:
            problem.scheduler.load_state_dict(copy.deepcopy(dict(self.scheduler)))


def _keep_types(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Give loaded state its own types back: torch casts it to those of the parameters, and other digits follow."""
    numbers = itertools.chain(*(group["params"] for group in saved["param_groups"]))
    parameters = itertools.chain(*(group["params"] for group in optimizer.param_groups))
    for number, parameter in zip(numbers, parameters, strict=True):
        loaded = optimizer.state.get(parameter, {})
        for name, value in saved["state"].get(number, {}).items():
            if isinstance(value, Tensor) and loaded[name].dtype != value.dtype:
                loaded[name] = value.to(loaded[name].device, copy=True)


def check_alike(problem: Problem, made: Problem) -> None:
    """Raise InputError where what ``fresh`` made cannot be given the problem's state."""
    (mine, own), (its, other) = (
        (
            {name: tensor.shape for name, tensor in state_of(each).items()},
            (type(each.optimizer).__name__, [len(group["params"]) for group in each.optimizer.param_groups]),
        )
        for each in (problem, made)
    )
    differs = sorted(name for name in mine | its if mine.get(name) != its.get(name))
    if differs:
        raise InputError(
            f"`fresh` builds another model: {differs[0]} is {mine.get(differs[0])} in the problem and "
            f"{its.get(differs[0])} in what `fresh` gives; it must build the same model and loss"
        )
    if own != other:
        raise InputError(
            f"`fresh` builds another optimizer: the problem's is {own[0]} over {own[1]} parameters per group, that of "
            f"`fresh` {other[0]} over {other[1]}; it must build the same one"
        )


def state_of(problem: Problem) -> dict[str, Tensor]:
    run = Forward(problem)
    return dict(run.named_parameters()) | dict(run.named_buffers())
