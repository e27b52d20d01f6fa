"""The weights that a training is judged by, where its optimizer walks with others.

An optimizer that averages has two points: the one it takes gradients at, and the average. The convention is that of
schedule-free optimizers (Defazio et al. 2024): its ``eval()`` puts the weights it is judged by into the model, its
``train()`` those it walks with, and ``train_mode`` in its groups tells which are there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from unstuck.forward import Forward
from unstuck.methods.recalibration import moving_layers, recalibrated
from unstuck.snapshot import state_of
from unstuck.untouched import without_hooks

if TYPE_CHECKING:
    from unstuck.problem import Problem

RECALIBRATED = 4_096
"""Samples over which the running statistics of batch normalization are taken anew."""


def walk_on(optimizer: Any) -> None:
    """Put the weights into the model that its optimizer walks with."""
    if callable(getattr(optimizer, "train", None)):
        optimizer.train()


@contextmanager
def judged_weights(problem: Problem, *, statistics: bool) -> Iterator[None]:
    """For the block, the model stands at the weights it is judged by; afterwards all is as before, bit for bit.

    Args:
        problem: whose model is looked at.
        statistics: take the running statistics of batch normalization anew as well. Those that are there belong to
            the weights that are walked with; they matter in eval mode alone.
    """
    optimizer: Any = problem.optimizer
    walking = callable(getattr(optimizer, "eval", None)) and optimizer.param_groups[0].get("train_mode", True)
    if not walking:
        yield
        return
    tensors = list(state_of(problem).values())
    kept = [tensor.detach().clone() for tensor in tensors]
    try:
        optimizer.eval()
        if statistics and moving_layers(problem):
            sample = problem.data.sample(RECALIBRATED, chunk=problem.data.batch_size, seed=0)
            with without_hooks(Forward(problem)):
                recalibrated(problem, sample)
        yield
    finally:
        optimizer.train()
        with torch.no_grad():  # written back as well: schedule-free computes its way back, and rounds
            for tensor, before in zip(tensors, kept, strict=True):
                tensor.copy_(before)
