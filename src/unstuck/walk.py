"""θ ← θ − (η/σ)·m: the only loop that trains a problem.

Trials, observation windows and ``unstuck train`` all walk here. A live run is the user's own loop.
"""

from __future__ import annotations

import inspect
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unstuck.data import Batch
from unstuck.problem import Problem, Snapshot
from unstuck.untouched import derived_seed, generators_kept, in_mode, seed_all

CHECK_EVERY = 16
"""Updates between looks at whether the loss is finite (each look waits for the device)."""


@dataclass(frozen=True, kw_only=True)
class Update:
    """One row of a curve, taken just before the update was made."""

    update: int
    loss: float
    rate: float
    gradient_norm: float
    cosine: float
    """Between this gradient and the one before; NaN at the first."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a walk saw."""

    curve: tuple[Update, ...]
    checkpoints: tuple[tuple[int, float], ...] = ()
    """(update, own loss on the fixed sample)."""
    snapshots: tuple[Snapshot, ...] = field(default=(), repr=False)
    broke_at: int | None = None
    """The update whose loss was not finite, and where the walk ended; None where it did not break."""
    suspect: Batch | None = field(default=None, repr=False)
    """The batch of that update."""


@contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """Run the block with a fixed number of torch threads: sums depend on it in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def threads_for(problem: Problem) -> int:
    """One thread where an update is small, else what torch is set to; by size, never by the clock."""
    work = problem.dimension * problem.data.batch_size
    return 1 if work < 5e7 else torch.get_num_threads()


def gradients(problem: Problem, batches: Sequence[Batch]) -> Tensor:
    """Fill ``.grad`` of a branch with the mean gradient over the batches; gives the mean loss, detached."""
    problem.optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=problem.device)
    for batch in batches:
        loss = problem.forward_loss(problem.to_device(batch)) / len(batches)
        loss.backward()
        total = total + loss.detach()
    return total


def update(problem: Problem, batches: Sequence[Batch]) -> tuple[Tensor, Tensor, list[Tensor]]:
    """One update of a branch by its own optimizer: loss, gradient norm before clipping, and the gradients."""
    parameters = [p for group in problem.optimizer.param_groups for p in group["params"]]

    def closure() -> Tensor:
        loss = gradients(problem, batches)
        if problem.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, problem.clip_norm)
        return loss

    loss = gradients(problem, batches)
    present = [p.grad.detach().clone() for p in parameters if p.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in present])) if present else torch.zeros(())
    if problem.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(parameters, problem.clip_norm)
    if _needs_closure(problem.optimizer):
        problem.optimizer.step(closure)
    else:
        problem.optimizer.step()
    return loss, norm, present


def _needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Whether ``step`` cannot be called without a closure (L-BFGS re-evaluates the loss)."""
    parameters = list(inspect.signature(type(optimizer).step).parameters.values())[1:]
    return any(p.name == "closure" and p.default is inspect.Parameter.empty for p in parameters)


def walk(
    branch: Problem,
    updates: int,
    *,
    order: int = 0,
    start: int = 0,
    batches: Iterator[Batch] | None = None,
    sample: Sequence[Batch] = (),
    checkpoints: Iterable[int] = (),
    snapshots: Iterable[int] = (),
    anneal: bool = False,
    told: Callable[[int], None] | None = None,
) -> Run:
    """Walk a branch for ``updates`` updates; the branch is changed, nothing else.

    Args:
        branch: a problem made by :meth:`Problem.branch`.
        updates: how many updates.
        order: seeds the order of the batches and, update by update, the dropout masks.
        start: the number of the first update.
        batches: where an earlier walk left off; by default the order's beginning.
        sample: the fixed sample on which checkpoints are evaluated.
        checkpoints: updates (counted from ``start``) after which to evaluate the own loss.
        snapshots: updates after which to keep the state.
        anneal: let every group's rate fall linearly to zero over this walk, without the scheduler.
        told: called with the number of updates made, now and then.

    Returns:
        The curve; the walk ends early where the loss stops being finite.
    """
    evaluate, keep = set(checkpoints), set(snapshots)
    rows: list[tuple[Tensor, Tensor, Tensor, float]] = []
    evaluated: list[tuple[int, float]] = []
    kept = [Snapshot.of(branch, start)] if 0 in keep else []
    broke: int | None = None
    suspect: Batch | None = None
    if 0 in evaluate:
        evaluated.append((start, branch.mean_loss(sample)))
    rates = [float(group["lr"]) for group in branch.optimizer.param_groups]
    with generators_kept(), in_mode(branch.model, branch.modes("training")):
        batches = batches or branch.data.order(order)
        recent: deque[Batch] = deque(maxlen=CHECK_EVERY)
        previous: list[Tensor] = []
        for count in range(updates):
            seed_all(derived_seed(order, start + count))
            given = [next(batches) for _ in range(branch.accumulate)]
            recent.append(given[0])
            if anneal:
                _set_rates(branch, [rate * (1 - count / updates) for rate in rates])
            rate = float(branch.optimizer.param_groups[0]["lr"])
            loss, norm, present = update(branch, given)
            rows.append((loss, norm, _cosine(present, previous), rate))
            previous = present
            if not anneal:
                _schedule(branch, start + count + 1)
            done = count + 1
            if done % CHECK_EVERY == 0 or done == updates or done in evaluate or done in keep:
                if told is not None:
                    told(done)
                first = _first_broken(rows)
                if first is not None:
                    broke, suspect = start + first, recent[first - done]
                    break
                if done in evaluate:
                    evaluated.append((start + done, branch.mean_loss(sample)))
                if done in keep:
                    kept.append(Snapshot.of(branch, start + done))
    if anneal:
        _set_rates(branch, rates)
    curve = _rows(rows, start)
    return Run(
        curve=curve,
        checkpoints=tuple(evaluated),
        snapshots=tuple(kept),
        broke_at=broke,
        suspect=suspect,
    )


def _first_broken(rows: Sequence[tuple[Tensor, Tensor, Tensor, float]]) -> int | None:
    recent = rows[-CHECK_EVERY:]
    finite = torch.isfinite(torch.stack([row[0] + 0 * row[1].to(row[0]) for row in recent])).tolist()
    return None if all(finite) else len(rows) - len(recent) + finite.index(False)


def _rows(rows: Sequence[tuple[Tensor, Tensor, Tensor, float]], start: int) -> tuple[Update, ...]:
    if not rows:
        return ()
    losses, norms, cosines = (torch.stack([row[i].double().cpu() for row in rows]).tolist() for i in range(3))
    return tuple(
        Update(update=start + i, loss=loss, rate=row[3], gradient_norm=norm, cosine=cosine)
        for i, (row, loss, norm, cosine) in enumerate(zip(rows, losses, norms, cosines, strict=True))
    )


def _cosine(present: list[Tensor], previous: list[Tensor]) -> Tensor:
    if len(present) != len(previous) or not present:
        return torch.tensor(math.nan)
    inner = torch.stack([(a * b).sum() for a, b in zip(present, previous, strict=True)]).sum()
    norms = [torch.linalg.vector_norm(torch.stack([g.norm() for g in side])) for side in (present, previous)]
    return inner / (norms[0] * norms[1])


def _set_rates(branch: Problem, rates: Sequence[float]) -> None:
    for group, rate in zip(branch.optimizer.param_groups, rates, strict=True):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _schedule(branch: Problem, done: int) -> None:
    """Step the scheduler where its time has come."""
    scheduler: Any = branch.scheduler
    if scheduler is None:
        return
    per_epoch = max(1, branch.data.batches_per_epoch // branch.accumulate)
    if branch.schedule_every == "update" or done % per_epoch == 0:
        if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            return  # it listens to a validation loss that only the caller's loop computes
        scheduler.step()
