"""The update rule θ ← θ − (η/σ)·m.

Lecture chapters 2 and 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def scale(optimizer: torch.optim.Optimizer, named: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """σ = √v̂ + ε of an Adam-like optimizer per parameter; None before its first update.

    Args:
        optimizer: whose state is read.
        named: the model's own parameters by name; those without state get σ = 1.
    """
    found: dict[str, Tensor] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state: Mapping[str, Any] = optimizer.state.get(parameter, {})
            if "exp_avg_sq" not in state:
                continue
            correction = 1 - float(group["betas"][1]) ** float(state["step"])
            squares = state.get("max_exp_avg_sq", state["exp_avg_sq"])  # AMSGrad divides by the largest so far
            sigma = (squares / correction).sqrt() + float(group["eps"])
            found |= {name: sigma for name, tensor in named.items() if tensor is parameter}
    if not found:
        return None
    return {name: found.get(name, torch.ones_like(tensor)).detach() for name, tensor in named.items()}
