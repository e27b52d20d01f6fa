"""Copying what is walked: model, losses, optimizer and scheduler in one copy, so that they stay wired.

Copied one by one they come apart: the optimizer would go on writing to the caller's parameters.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from unstuck.data import tensors_of


def copied(whole: nn.Module, optimizer: torch.optim.Optimizer, *others: Any) -> tuple[Any, ...]:
    """Copies of all that is given, wired to each other as the originals are.

    Args:
        whole: holds every module among ``others``.
        optimizer: with its state; the caller's hooks on its steps are left behind.
        others: models, losses, schedulers.

    Returns:
        The optimizer's copy, then those of ``others``. Activations that modules keep are detached, as torch
        copies no tensor with a history.
    """
    memo: dict[int, Any] = {id(tensor): tensor.detach().clone() for tensor in _with_history(whole)}
    optimizer_copy, *copies = copy.deepcopy((optimizer, *others), memo)
    # An optimizer hands over its groups and state alone. L-BFGS holds its parameters a second time; `step` is
    # held where a scheduler has wrapped the original's.
    for name in vars(optimizer).keys() - vars(optimizer_copy).keys() - {"step"}:
        setattr(optimizer_copy, name, copy.deepcopy(vars(optimizer)[name], memo))
    return optimizer_copy, *copies


def _with_history(whole: nn.Module) -> Iterable[Tensor]:
    """Tensors in the modules' attributes that are no leaves: weights that torch's hooks compute, kept activations."""
    held = (value for module in whole.modules() for value in vars(module).values())
    return (tensor for value in held for tensor in tensors_of(value) if not tensor.is_leaf)
