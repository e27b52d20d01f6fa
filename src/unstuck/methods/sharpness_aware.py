"""Sharpness-aware minimization: follow the gradient of the worst point nearby, which is low in flat valleys alone.

Lecture chapter 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from unstuck.methods.wrapping import Wrapping


class SharpnessAware(Wrapping):
    """ε = ρ g/‖g‖ with g = ∇L(θ); then the update of another optimizer, made with ∇L(θ + ε).

    Two gradients an update. Foret et al. 2021, "Sharpness-aware minimization", algorithm 1 with p = 2; lecture
    chapter 2, flat and sharp minima.

    Attributes:
        wrapped: the optimizer that makes the update.
        buffers: what a forward pass moves, running statistics; those of θ are kept, not those of θ + ε.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, *, radius: float = 0.05, buffers: Iterable[Tensor] = ()
    ) -> None:
        """Make the updates of an optimizer with the gradient at θ + ε; ``radius`` is ρ."""
        super().__init__(optimizer, {"radius": radius})
        self.buffers = tuple(buffers)

    @torch.no_grad()
    def step(self, closure: Callable[[], float]) -> float:  # type: ignore[override] # cannot do without
        """One update.

        Args:
            closure: clears the gradients, fills them anew and gives the loss; called at θ and at θ + ε.
        """
        with torch.enable_grad():
            loss = closure()
        reached = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        kept = [tensor.clone() for tensor in (*reached, *self.buffers)]
        self._climb()
        with torch.enable_grad():
            closure()
        for tensor, before in zip((*reached, *self.buffers), kept, strict=True):
            tensor.copy_(before)
        self.wrapped.step()
        return loss

    def _climb(self) -> None:
        """θ ← θ + ε; nowhere where the gradient is zero."""
        every = [(p, p.grad, group["radius"]) for group in self.param_groups for p in group["params"]]
        slopes = [(p, slope, radius) for p, slope, radius in every if slope is not None]
        norm = torch.nn.utils.get_total_norm([slope.to_dense() for _, slope, _ in slopes])
        for parameter, slope, radius in slopes:
            parameter.add_(slope * (radius / norm.clamp_min(torch.finfo(norm.dtype).tiny)))

    def __getstate__(self) -> dict[str, object]:
        return {**super().__getstate__(), "buffers": self.buffers}
