"""θ ← θ − (η/σ)·m: the only loop that trains a problem.

Trials, observation windows and ``unstuck train`` all walk here. A live run is the user's own loop. Where several
processes share a training, each walks a branch of its own on its own part of the data, and gradients are averaged
before each update, so that all branches stay one.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from unstuck.data import Batch, tensors_of
from unstuck.forward import Forward
from unstuck.problem import Problem
from unstuck.snapshot import Snapshot
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
    """Fill ``.grad`` of a branch with the mean gradient over the batches; gives the mean loss, detached.

    Over several processes both are means of theirs, weighed by the terms of their batches.
    """
    problem.optimizer.zero_grad(set_to_none=True)
    # Named one by one: a loss that knows the caller's own model must not fill the gradients there.
    leaves = {id(p): p for p in (*problem.model.parameters(), *_listed(problem)) if p.requires_grad}
    total = torch.zeros((), device=problem.device)
    with problem.ranks.together():
        for batch in batches:
            loss = problem.forward_loss(problem.to_device(batch)) / len(batches)
            if loss.requires_grad:
                loss.backward(inputs=list(leaves.values()))
            total = total + loss.detach()
    ranks = problem.ranks
    return (
        total if ranks.size == 1 else ranks.average_gradients(leaves.values(), total, sum(map(problem.terms, batches)))
    )


def _listed(problem: Problem) -> list[Tensor]:
    """What the optimizer holds."""
    return [parameter for group in problem.optimizer.param_groups for parameter in group["params"]]


def update(problem: Problem, batches: Sequence[Batch]) -> tuple[Tensor, Tensor, list[Tensor]]:
    """One update of a branch by its own optimizer: loss, gradient norm before clipping, and the gradients."""
    parameters = _listed(problem)
    seen: list[tuple[Tensor, Tensor, list[Tensor]]] = []

    def closure() -> Tensor:
        loss = gradients(problem, batches)
        if not seen:  # L-BFGS looks at other points as well
            present = [p.grad.detach().to_dense().clone() for p in parameters if p.grad is not None]
            seen.append((loss, _norm(present), present))
        if problem.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, problem.clip_norm)
        return loss

    if _needs_closure(problem.optimizer):
        problem.optimizer.step(lambda: float(closure()))
    else:
        closure()
        problem.optimizer.step()
    if problem.ranks.size > 1:  # as in distributed training, moving averages are the first process's
        problem.ranks.take_first(Forward(problem).buffers())
    return seen[0]


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    """The norm of all entries together, in single precision at least."""
    norms = [torch.linalg.vector_norm(tensor, dtype=_wide(tensor)) for tensor in tensors]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.zeros((), device="cpu")
    return norm


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


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
        recent: deque[list[Batch]] = deque(maxlen=CHECK_EVERY)
        previous: list[Tensor] = []
        for count in range(updates):
            seed_all(derived_seed(order, start + count))
            given = _given(branch, batches)
            recent.append(given)
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
                    broke, suspect = start + first, _suspect(branch, recent[first - done])
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


def _given(branch: Problem, batches: Iterator[Batch]) -> list[Batch]:
    """The batches of one update, of this process's part of the data."""
    with branch.ranks.together():
        return [next(batches) for _ in range(branch.accumulate)]


def _suspect(branch: Problem, given: Sequence[Batch]) -> Batch:
    """Of the batches of one update, over all processes, the one that holds NaN or infinity, or else the first."""
    given = list(chain.from_iterable(branch.ranks.gathered(given)))
    broken = (batch for batch in given if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors_of(batch)))
    return next(broken, given[0])


def _first_broken(rows: Sequence[tuple[Tensor, Tensor, Tensor, float]]) -> int | None:
    recent = rows[-CHECK_EVERY:]
    finite = torch.isfinite(torch.stack([row[0] + 0 * row[1].to(row[0]) for row in recent])).tolist()
    return None if all(finite) else len(rows) - len(recent) + finite.index(False)


def _rows(rows: Sequence[tuple[Tensor, Tensor, Tensor, float]], start: int) -> tuple[Update, ...]:
    if not rows:
        return ()
    losses, norms, cosines = (
        torch.stack([tensor.double().cpu() for tensor in column]).tolist()
        for column in ([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])
    )
    return tuple(
        Update(update=start + i, loss=loss, rate=row[3], gradient_norm=norm, cosine=cosine)
        for i, (row, loss, norm, cosine) in enumerate(zip(rows, losses, norms, cosines, strict=True))
    )


def _cosine(present: list[Tensor], previous: list[Tensor]) -> Tensor:
    if len(present) != len(previous) or not present:
        return torch.tensor(math.nan, device="cpu")
    inner = torch.stack([(a * b).sum(dtype=_wide(a)) for a, b in zip(present, previous, strict=True)]).sum()
    cosine: Tensor = inner / (_norm(present) * _norm(previous))
    return cosine


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
        with warnings.catch_warnings():
            # It misses the mark that it left on the original's `step`, and warns of a wrong order.
            warnings.filterwarnings("ignore", message=r"Seems like `optimizer\.step\(\)`", category=UserWarning)
            scheduler.step()
