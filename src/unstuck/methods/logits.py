"""The logits behind a model's outputs: what its last softmax or sigmoid was given.

Probabilities that have saturated to 0 and 1 have no logarithm to go back by, so the logits are taken from where they
were last seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from unstuck.data import Batch
from unstuck.problem import Mode, Problem


class LogitsSeen(TorchFunctionMode):
    """Remembers what went into each softmax and sigmoid while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[tuple[Tensor, Tensor]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in ("softmax", "sigmoid") and isinstance(given, Tensor) and args:
            self._seen.append((given, args[0]))
        return given

    def behind(self, outputs: Tensor) -> Tensor | None:
        """What went in where the outputs came out, in their shape; None where no softmax or sigmoid made them."""
        for given, logits in reversed(self._seen):
            if given.data_ptr() == outputs.data_ptr() and given.numel() == outputs.numel():
                return logits.view_as(outputs)
        return None


def logits_at(
    problem: Problem, point: Mapping[str, Tensor], batch: Batch, *, mode: Mode = "measuring", seed: int = 0
) -> Tensor | None:
    """The logits of a batch at a point, purely and without a graph: what the outputs were made of, else the outputs.

    None where the problem computes its loss in ``step``, or the model gives something else than one tensor.
    """
    with torch.no_grad(), LogitsSeen() as seen:
        outputs = problem.run_at(point, batch, mode=mode, seed=seed, own=True)[1]
    if not isinstance(outputs, Tensor):
        return None
    behind = seen.behind(outputs)
    return outputs if behind is None else behind
