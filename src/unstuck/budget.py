"""What a diagnosis may spend and what a measurement did spend.

Budgets are counted in updates and gradient evaluations, never in seconds, so that the same seed gives
the same diagnosis on a slow machine. Seconds are reported beside them and decide nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_UPDATES = 2_000
"""Updates a diagnosis may walk, all arms together."""

PROVING_UPDATES = 3 * DEFAULT_UPDATES
"""The same, where its cause is to be proved: a third is for the diagnosis as it is without."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What something did cost.

    A gradient evaluation is one forward and backward pass over one batch; a Hessian-vector product on the
    same batch is counted as two, a forward pass alone as a third of one (rounded up).
    """

    gradient_evaluations: int = 0
    updates: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            gradient_evaluations=self.gradient_evaluations + other.gradient_evaluations,
            updates=self.updates + other.updates,
            seconds=self.seconds + other.seconds,
        )


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What may be spent: ``updates`` over all walks and trials together."""

    updates: int = DEFAULT_UPDATES
