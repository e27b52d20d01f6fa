"""The Hessian of a loss at a point, as an operator: ``hessian @ vector``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unstuck.curvature.choice import PLAIN_ATTENTION, Plan, Trial, engine_for, rehearse
from unstuck.curvature.engines import Differences, Engine
from unstuck.curvature.loss import Loss, gradient_of
from unstuck.vector import flatten, unflatten

MEMORY = 2 * 1024**3
"""Bytes of kept graphs; those of further batches are built anew for each product or block."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """The loss of one batch: a function of the point, its share of the whole, and how many samples it has."""

    loss: Loss
    share: float
    samples: int = 1


def alone(tensor: Tensor) -> Tensor:
    """The sum over all processes where there is one."""
    return tensor


class Hessian:
    """The Hessian of Σ s_i · L_i(θ) at one point.

    ``hessian @ v`` takes and gives vectors of shape (n,), n the number of entries of the point, in the point's
    order; ``hessian.block(rows)`` does the same for each row of a (k, n) matrix. A point that holds the
    parameters of one layer alone gives that layer's diagonal block.

    Args:
        parts: the loss of each batch, shares summing to one (over all processes).
        point: θ, where the second derivatives are taken.
        rehearsal: the losses on which an engine is chosen: of a few samples, of fewer, and of a whole batch for models
            that refuse so few; by default the first part.
        resolution: relative rounding error of the losses; by default that of the vectors' type.
        memory: bytes of graphs that are kept at most.
        total: sums a tensor over the processes that share the data.
        tune: take the faster engine by the clock, so that the last bits may differ between two runs.

    Attributes:
        rung: how products are made.
        error: their relative error where they are finite differences, as two step lengths show it; else 0.
        products: how many were made.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        point: Mapping[str, Tensor],
        *,
        rehearsal: Sequence[Part] = (),
        resolution: float | None = None,
        memory: int = MEMORY,
        total: Callable[[Tensor], Tensor] = alone,
        tune: bool = False,
    ) -> None:
        self.parts = tuple(parts)
        self.point = {name: tensor.detach() for name, tensor in point.items()}
        self._flat = flatten(self.point)
        self.dimension = self._flat.numel()
        self.products = 0
        self.total, self._tune = total, tune
        resolution = resolution or torch.finfo(self.dtype).eps
        self._plan = self._rehearsed(rehearsal, resolution, memory)
        self._engines = self._kept(memory) if self._plan.exact else []
        self.rung, self.error = "double backward", 0.0
        if not self._plan.exact:
            self._differences = Differences(self._gradient, self._flat, resolution)
            self.rung, self.error = Differences.rung, self._differences.error(torch.ones_like(self._flat))
        elif self._engines:
            self.rung = self._engines[0].rung

    @property
    def dtype(self) -> torch.dtype:
        """The type of the vectors."""
        return self._flat.dtype

    @property
    def device(self) -> torch.device:
        """Where the vectors live."""
        return self._flat.device

    @property
    def plan(self) -> Plan:
        """What the rehearsal has shown."""
        return self._plan

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of numbers has to know of how the products were made."""
        differences = (
            "torch has no second derivative of a part of this model, or a wrong one; products are differences of "
            f"gradients, with a relative error of about {self.error:.1g}"
        )
        attention = (PLAIN_ATTENTION,) if self._plan.attention else ()
        return attention if self._plan.exact else (*attention, differences)

    def _rehearsed(self, rehearsal: Sequence[Part], resolution: float, memory: int) -> Plan:
        """The plan by a rehearsal on few samples, or on a whole batch where the model refuses so few."""
        enough = memory / max(1, sum(part.samples for part in self.parts))
        trials = [Trial(loss=self._flat_loss(part), samples=part.samples) for part in rehearsal or self.parts[:1]]
        few, whole = trials[:-1], trials[-1:]
        if few:
            try:
                return rehearse(few, self._flat, resolution=resolution, enough=enough)
            except Exception:  # noqa: BLE001, S110 - a model may refuse in any way; the whole batch has the last word
                pass
        return rehearse(whole, self._flat, resolution=resolution, enough=enough)

    def _flat_loss(self, part: Part) -> Callable[[Tensor], Tensor]:
        return lambda flat: part.loss(unflatten(flat, self.point))

    def _engine(self, part: Part, *, linearize: bool) -> Engine:
        plan = self._plan if linearize else Plan(exact=True, operations=self._plan.operations)
        return engine_for(self._flat_loss(part), self._flat, samples=part.samples, plan=plan, tune=self._tune)

    def _kept(self, memory: int) -> list[Engine]:
        """Engines of the first parts, as many as fit."""
        engines: list[Engine] = []
        held = 0.0
        for part in self.parts:
            held += self._plan.fixed_bytes + self._plan.kept_bytes * part.samples
            if held > memory:
                break
            engines.append(self._engine(part, linearize=True))
        return engines

    def __matmul__(self, vector: Tensor) -> Tensor:
        self.products += 1
        if not self._plan.exact:
            return self._differences.product(vector)
        return self._sum(torch.zeros_like(self._flat), lambda engine: engine.product(vector))

    def block(self, vectors: Tensor) -> Tensor:
        """H times each row of a (k, n) matrix; what is not kept is built once for the whole block."""
        self.products += len(vectors)
        if not self._plan.exact:
            return self._differences.block(vectors)
        return self._sum(torch.zeros_like(vectors), lambda engine: engine.block(vectors))

    def _sum(self, total: Tensor, product: Callable[[Engine], Tensor]) -> Tensor:
        for number, part in enumerate(self.parts):
            kept = number < len(self._engines)
            total += part.share * product(self._engines[number] if kept else self._engine(part, linearize=False))
        return self.total(total)

    def _gradient(self, flat: Tensor) -> Tensor:
        total = torch.zeros_like(flat)
        for part in self.parts:
            total += part.share * flatten(gradient_of(part.loss, unflatten(flat, self.point))[1])
        return self.total(total)
