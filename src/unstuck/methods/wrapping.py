"""An optimizer around another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Wrapping(torch.optim.Optimizer):
    """Steps as the optimizer it holds does, whose parameter groups and state are its own.

    What it remembers itself stands there too, so that state dicts, copies and schedulers of either know both.

    Attributes:
        wrapped: the optimizer inside.
    """

    def __init__(self, wrapped: torch.optim.Optimizer, settings: dict[str, Any]) -> None:
        """Settings are added to each of the groups."""
        self.wrapped = wrapped
        super().__init__(wrapped.param_groups, settings)
        self._share()

    def _share(self) -> None:
        self.param_groups, self.state = self.wrapped.param_groups, self.wrapped.state

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One update of the optimizer inside."""
        return self.wrapped.step(closure) if closure is not None else self.wrapped.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load it into the optimizer inside, which makes groups and state anew."""
        self.wrapped.load_state_dict(state_dict)
        self._share()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "wrapped": self.wrapped}
