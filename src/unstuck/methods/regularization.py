"""Weight decay and dropout of a training that is there already: how much of each, more of it, less of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from unstuck.errors import InputError
from unstuck.problem import Problem

DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
INSIDE = (nn.MultiheadAttention, nn.RNNBase)
"""Modules of torch that leave a share of units out, and those that do so on their way; both only in training."""


def weight_decay(optimizer: torch.optim.Optimizer) -> float:
    """λ, the largest of the parameter groups; 0 where there is none."""
    return max(float(group.get("weight_decay") or 0.0) for group in optimizer.param_groups)


def with_weight_decay(branch: Problem, decay: float) -> Problem:
    """The branch under weight decay λ: in the groups that decay already; where none does, in all.

    Adam's is taken out of the gradient, which would be divided by σ (Loshchilov & Hutter 2019, "Decoupled weight decay
    regularization", algorithm 2), where torch's Adam knows how.

    Raises:
        InputError: the optimizer has no weight decay.
    """
    groups = branch.optimizer.param_groups
    if any("weight_decay" not in group for group in groups):
        raise InputError(f"{type(branch.optimizer).__name__} has no weight decay; take another optimizer")
    some = weight_decay(branch.optimizer) > 0
    for group in groups:
        if group["weight_decay"] or not some:
            group["weight_decay"] = decay
        if "decoupled_weight_decay" in group:
            group["decoupled_weight_decay"] = True
    return branch


def scale_weight_decay(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Multiply the weight decay of every group, in place."""
    for group in optimizer.param_groups:
        if group.get("weight_decay"):
            group["weight_decay"] = group["weight_decay"] * factor


def dropout(model: nn.Module) -> float:
    """The largest share of units that some module leaves out in training; 0 where none does."""
    return max((float(getattr(module, name)) for module, name in _shares(model)), default=0.0)


def scale_dropout(model: nn.Module, factor: float) -> None:
    """Multiply the shares of units that are left out, in place."""
    for module, name in _shares(model):
        setattr(module, name, getattr(module, name) * factor)


def _shares(model: nn.Module) -> Iterator[tuple[Any, str]]:
    """Each module that leaves units out, and the name of the attribute that says how many."""
    for module in model.modules():
        if isinstance(module, (*DROPOUT, *INSIDE)):
            yield module, "p" if isinstance(module, DROPOUT) else "dropout"
