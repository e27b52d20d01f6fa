"""Finite: the first place where a number stops being finite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unstuck.budget import Budget
from unstuck.data import Batch, map_tensors, samples_in, tensors_of
from unstuck.reading import Reading, quantity
from unstuck.untouched import in_mode, seeded
from unstuck.view import View
from unstuck.walk import Walker

SCANNED = 8_192
"""Samples of the training data that are looked through."""


@dataclass(frozen=True, kw_only=True)
class FiniteReading(Reading):
    """Where NaN or infinity appears first, in the order in which a training meets them."""

    probe: ClassVar[str] = "finite"
    title: ClassVar[str] = "Where numbers stop being finite"
    chapter: ClassVar[int] = 0

    finite: bool = quantity("", "every number looked at is finite")
    kind: str = quantity("", "data, parameter, optimizer, module, loss or gradient; empty where all is finite")
    place: str = quantity("", "the first place")
    share: float = quantity("", "share of the numbers there that are not finite")


@dataclass(frozen=True, kw_only=True)
class Finite:
    """Data, parameters and optimizer state, then one forward and backward pass, module by module."""

    reads: ClassVar[type[Reading]] = FiniteReading
    curvature: ClassVar[bool] = False
    once: ClassVar[bool] = False

    def measure(self, view: View, budget: Budget) -> FiniteReading:
        kind, place, share = next(_broken(view), ("", "", 0.0))
        return FiniteReading(
            update=view.update,
            samples=min(SCANNED, view.problem.data.samples),
            finite=not kind,
            kind=kind,
            place=place,
            share=share,
        )


def _broken(view: View) -> Iterator[tuple[str, str, float]]:
    """(kind, place, share of what is not finite), first things first."""
    problem = view.problem
    suspects = () if view.suspect is None else (view.suspect,)
    scanned = problem.data.sample(SCANNED, chunk=SCANNED, seed=view.seed)
    for batch in (*suspects, *scanned):
        yield from _broken_batch(batch)
    for name, tensor in problem.model.named_parameters():
        if _bad(tensor):
            yield "parameter", name, _bad(tensor)
    for name, buffer in problem.model.named_buffers():
        if _bad(buffer, masks=True):
            yield "parameter", name, _bad(buffer, masks=True)
    for group in problem.optimizer.param_groups:
        for parameter in group["params"]:
            for key, value in problem.optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor) and _bad(value):
                    yield "optimizer", str(key), _bad(value)
    for batch in (*suspects, view.sample[0]):
        yield from _broken_pass(view, batch)


def _broken_batch(batch: Batch) -> Iterator[tuple[str, str, float]]:
    pair = isinstance(batch, tuple | list) and len(batch) >= 2
    parts = {"inputs": batch[:-1], "targets": batch[-1]} if pair else {"a batch": batch}
    for name, part in parts.items():
        for number, tensor in enumerate(tensors_of(part)):
            if _bad(tensor, masks=number > 0):
                rows = (~torch.isfinite(tensor)).reshape(samples_in(tensor), -1).any(1)
                yield "data", f"{name} ({int(rows.sum())} of {len(rows)} samples looked at)", _bad(tensor)


def _broken_pass(view: View, batch: Batch) -> Iterator[tuple[str, str, float]]:
    """One forward and backward pass of a branch, watched module by module."""
    branch = view.problem.branch()
    seen: list[tuple[str, str, float]] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, outputs: Any) -> None:  # noqa: ARG001 - torch's signature
            found: list[float] = []
            map_tensors(lambda tensor: _kept(tensor, found), outputs)
            if any(found):
                seen.append(("module", f"the output of {name or 'the model'} ({type(module).__name__})", max(found)))

        return hook

    for name, module in branch.model.named_modules():
        module.register_forward_hook(watch(name))
    view.gradient_evaluations += 1
    with seeded(view.seed), in_mode(branch.model, branch.modes("training")):
        loss = Walker(branch).gradients([batch])
    given = {name: p.grad for name, p in branch.model.named_parameters() if p.grad is not None}
    broken = [(name, _bad(gradient)) for name, gradient in given.items() if _bad(gradient)]
    if _bad(loss) or broken:  # where neither is, infinities on the way are a mask's
        yield from seen
    if _bad(loss):
        yield "loss", "its value, though every module's output is finite", 1.0
    for name, share in broken:
        yield "gradient", f"the gradient of {name}, though the loss is finite", share


def _kept(tensor: Tensor, found: list[float]) -> Tensor:
    found.append(_bad(tensor))
    return tensor


def _bad(tensor: Tensor, *, masks: bool = False) -> float:
    """The share of entries that are not finite; with ``masks`` minus infinity passes, by which attention is masked."""
    wrong = ~torch.isfinite(tensor.to_dense())
    if masks:
        wrong &= tensor != -torch.inf
    return float(wrong.double().mean()) if tensor.numel() else 0.0
