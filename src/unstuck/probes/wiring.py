"""Wiring: which parameters can learn, and which a step really changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from unstuck.budget import Budget
from unstuck.data import samples_in
from unstuck.reading import Reading, quantity
from unstuck.untouched import in_mode, seeded
from unstuck.view import View
from unstuck.walk import Walker


@dataclass(frozen=True, kw_only=True)
class WiringReading(Reading):
    """Every parameter of the model, by how it is wired. Names are the model's own."""

    probe: ClassVar[str] = "wiring"
    title: ClassVar[str] = "What an update reaches"
    chapter: ClassVar[int] = 0

    parameters: int = quantity("", "numbers in the model's parameters")
    coverage: float = quantity("", "share of the trainable numbers that one update changed")
    missing: tuple[str, ...] = quantity("", "trainable, but not in the optimizer")
    frozen_but_listed: tuple[str, ...] = quantity("", "in the optimizer, but requires_grad is false")
    detached: tuple[str, ...] = quantity("", "in the optimizer, but the loss does not reach them")
    frozen: tuple[str, ...] = quantity("", "requires_grad is false and not in the optimizer: by intention")
    still: tuple[str, ...] = quantity("", "reached by the loss with a gradient that is exactly zero")
    missing_share: float = quantity("", "share of the numbers that should learn and cannot")


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """One real update on a branch, then a look at what moved. Exact; cost: one gradient evaluation."""

    reads: ClassVar[type[Reading]] = WiringReading
    curvature: ClassVar[bool] = False
    once: ClassVar[bool] = True

    def measure(self, view: View, budget: Budget) -> WiringReading:
        branch = view.problem.branch()
        named: dict[str, Tensor] = dict(branch.model.named_parameters())
        listed = {id(p) for group in branch.optimizer.param_groups for p in group["params"]}
        before = {name: p.detach().clone() for name, p in named.items()}
        view.gradient_evaluations += 1
        with seeded(view.seed), in_mode(branch.model, branch.modes("training")):
            Walker(branch).update([view.sample[0]])

        def names(*, trainable: bool, in_optimizer: bool) -> list[str]:
            return [n for n, p in named.items() if p.requires_grad is trainable and (id(p) in listed) is in_optimizer]

        wired = names(trainable=True, in_optimizer=True)
        missing = names(trainable=True, in_optimizer=False)
        frozen_but_listed = names(trainable=False, in_optimizer=True)
        given = {name: named[name].grad for name in wired}
        detached = [name for name, gradient in given.items() if gradient is None]
        still = [name for name, slope in given.items() if slope is not None and not bool(slope.to_dense().any())]
        changed = [name for name in wired if bool((named[name].detach() != before[name]).any())]
        sizes = {name: p.numel() for name, p in named.items()}
        intended = [*wired, *missing, *frozen_but_listed]
        cannot = [*missing, *frozen_but_listed, *detached]
        return WiringReading(
            update=view.update,
            samples=samples_in(view.sample[0]),
            parameters=sum(sizes.values()),
            coverage=_share(changed, intended, sizes),
            missing=tuple(missing),
            frozen_but_listed=tuple(frozen_but_listed),
            detached=tuple(detached),
            frozen=tuple(names(trainable=False, in_optimizer=False)),
            still=tuple(still),
            missing_share=_share(cannot, intended, sizes),
        )


def _share(part: list[str], whole: list[str], sizes: dict[str, int]) -> float:
    return sum(sizes[name] for name in part) / max(1, sum(sizes[name] for name in whole))
