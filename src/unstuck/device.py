"""Where a problem lives: moving all of it to a device."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from unstuck.errors import InputError
from unstuck.problem import Problem


def place(problem: Problem, device: str) -> Problem:
    """The problem on a device: model, loss and optimizer state are moved, and so is what ``fresh`` makes.

    Modules move their parameters in place, so the optimizer goes on holding them. ``problem`` is given away.

    Args:
        problem: whose parts are moved.
        device: ``cpu``, ``cuda``, ``mps``, or ``auto`` for the first of ``cuda``, ``mps``, ``cpu`` that this
            machine has.

    Raises:
        InputError: this machine has no such device, or the model cannot live there.
    """
    there = torch_device(device)
    if problem.device.type == there.type:
        return problem
    state = problem.optimizer.state_dict()
    try:
        for module in (problem.model, problem.loss):
            if isinstance(module, nn.Module):
                module.to(there)
        problem.optimizer.load_state_dict(state)  # moves each tensor to where its parameter is
    except (RuntimeError, TypeError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"--device {device}: the model cannot be moved there ({reason}); give another") from error
    fresh = problem.fresh
    if fresh is None:
        return problem

    def fresh_there() -> Problem:
        made = fresh()
        return place(made if isinstance(made, Problem) else Problem(**made), device)

    return dataclasses.replace(problem, fresh=fresh_there)


def torch_device(device: str) -> torch.device:
    """The device that one of these names means here: ``cpu``, ``cuda``, ``mps`` or ``auto``.

    Raises:
        InputError: this machine has no such device.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(name for name, there in present.items() if there))
    if not present.get(device, False):
        having = ", ".join(name for name, there in present.items() if there)
        raise InputError(f"--device {device}: this machine has no such device; it has {having}")
    return torch.device(device)
