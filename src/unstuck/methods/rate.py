"""The learning rates of a problem, multiplied.

Lecture chapter 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch


def scale_rates(optimizer: torch.optim.Optimizer, scheduler: Any, factor: float) -> None:
    """Multiply every learning rate by ``factor``, in place: the present ones and those of the whole schedule."""
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * factor
        if "initial_lr" in group:
            group["initial_lr"] = group["initial_lr"] * factor
        for bound in ("max_lr", "min_lr"):  # the one-cycle policy keeps its bounds in the group
            if bound in group:
                group[bound] = group[bound] * factor
    for part in parts(scheduler):
        for bounds in ("base_lrs", "max_lrs"):
            if hasattr(part, bounds):
                setattr(part, bounds, [rate * factor for rate in getattr(part, bounds)])
        if hasattr(part, "eta_min"):
            part.eta_min = part.eta_min * factor


def parts(scheduler: Any) -> Iterator[Any]:
    """A scheduler and those it is made of: a warm-up and what comes after it, say."""
    if scheduler is not None:
        yield scheduler
        for part in getattr(scheduler, "_schedulers", ()):
            yield from parts(part)


def scaled_rate_diff(optimizer: torch.optim.Optimizer, factor: float) -> str:
    """The line of code that builds the optimizer, before and after its rate is multiplied by ``factor``."""
    rate, name = float(optimizer.param_groups[0]["lr"]), type(optimizer).__name__
    return f"-optimizer = {name}(..., lr={rate:g})\n+optimizer = {name}(..., lr={rate * factor:g})"
