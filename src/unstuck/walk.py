"""θ ← θ − (η/σ)·m: the only loop that trains a problem.

Trials, observation windows and ``unstuck train`` all walk here. A live run is the user's own loop. Where several
processes share a training, each walks a branch of its own on its own part of the data, and gradients are averaged
before each update, so that all branches stay one.
"""

from __future__ import annotations

import inspect
import itertools
import math
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from unstuck.data import Batch, Order, map_tensors, tensors_of
from unstuck.forward import Forward
from unstuck.measures import Measure, train_loss
from unstuck.problem import Problem
from unstuck.snapshot import Snapshot
from unstuck.untouched import derived_seed, generators_kept, in_mode, seed_all

CHECK_EVERY = 16
"""Updates between looks at whether the loss is finite (each look waits for the device)."""

Row = tuple[Tensor, Tensor, Tensor, float]
"""Loss, gradient norm, cosine and rate of one update, where the device computes them."""


@dataclass(frozen=True, kw_only=True)
class Update:
    """One row of a curve, taken just before the update was made."""

    update: int
    loss: float
    rate: float
    gradient_norm: float
    cosine: float
    """Between this gradient and the one before; NaN at the first, and where it was not asked for."""


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


class Walker:
    """A branch and its own optimizer: what stays the same from update to update is looked up once."""

    def __init__(self, branch: Problem) -> None:
        self._branch = branch
        self._ranks = branch.ranks
        self._together = nullcontext if self._ranks.size == 1 else self._ranks.together
        self._device = branch.device
        self.unknown = torch.full((), math.nan, device=branch.device)
        self._forward = Forward(branch)
        self._autocast = branch.autocast()
        self._needs_closure = _needs_closure(branch.optimizer)
        self._listed: list[Tensor] = [p for group in branch.optimizer.param_groups for p in group["params"]]
        # Named one by one: a loss that knows the caller's own model must not fill the gradients there.
        leaves = {id(p): p for p in (*branch.model.parameters(), *self._listed) if p.requires_grad}
        self._leaves = list(leaves.values())

    def given(self, batches: Order) -> tuple[list[Batch], list[Any]]:
        """The batches of one update, of this process's part of the data, and what they were drawn as."""
        with self._together():
            pairs = [(next(batches), batches.drawn) for _ in range(self._branch.accumulate)]
        return [batch for batch, _ in pairs], [drawn for _, drawn in pairs]

    def gradients(self, batches: Sequence[Batch]) -> Tensor:
        """Fill ``.grad`` with the mean gradient over the batches; gives the mean loss, detached.

        Over several processes both are means of theirs, weighed by the terms of their batches.
        """
        self._branch.optimizer.zero_grad(set_to_none=True)
        losses: list[Tensor] = []
        with self._together():
            for batch in batches:
                with self._autocast:
                    loss = self._forward(map_tensors(self._moved, batch))[0]
                loss = loss if len(batches) == 1 else loss / len(batches)
                if loss.requires_grad:
                    loss.backward(inputs=self._leaves)
                losses.append(loss.detach())
        mean = reduce(torch.add, losses)
        if self._ranks.size == 1:
            return mean
        return self._ranks.average_gradients(self._leaves, mean, sum(map(self._branch.terms, batches)))

    def _moved(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device)

    def update(self, batches: Sequence[Batch], *, keep: bool = False) -> tuple[Tensor, Tensor, list[Tensor]]:
        """One update: loss, gradient norm before clipping, and a copy of the gradients.

        Without ``keep`` nothing is copied, and the list is empty.
        """
        branch = self._branch
        seen: list[tuple[Tensor, Tensor, list[Tensor]]] = []

        def closure() -> Tensor:
            loss = self.gradients(batches)
            if not seen:  # L-BFGS looks at other points as well
                present = [p.grad.to_dense() for p in self._listed if p.grad is not None]
                norm = _norm(present, self._device)
                # Clipping writes into them, and so do some optimizers.
                seen.append((loss, norm, [gradient.clone() for gradient in present] if keep else []))
            if branch.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(self._listed, branch.clip_norm)
            return loss

        step: Any = branch.optimizer.step  # torch declares that a closure gives a number, and documents a tensor
        if self._needs_closure:
            step(closure)
        else:
            closure()
            step()
        if self._ranks.size > 1:  # as in distributed training, moving averages are the first process's
            self._ranks.take_first(self._forward.buffers())
        return seen[0]


def _norm(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    """The norm of all entries together, in single precision at least."""
    norms = [torch.linalg.vector_norm(tensor, dtype=_wide(tensor)) for tensor in tensors]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.zeros((), device=device)
    return norm


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Whether ``step``, or that of an optimizer inside, cannot do without a closure (L-BFGS re-evaluates the loss)."""
    parameters = list(inspect.signature(type(optimizer).step).parameters.values())[1:]
    inside = getattr(optimizer, "wrapped", None)
    needed = any(p.name == "closure" and p.default is inspect.Parameter.empty for p in parameters)
    return needed or (inside is not None and _needs_closure(inside))


def walk(
    branch: Problem,
    updates: int,
    *,
    order: int = 0,
    start: int = 0,
    batches: Order | None = None,
    sample: Sequence[Batch] = (),
    measure: Measure = train_loss,
    checkpoints: Iterable[int] = (),
    snapshots: Iterable[int] = (),
    anneal: bool = False,
    cosines: bool = False,
    told: Callable[[tuple[Update, ...]], None] | None = None,
) -> Run:
    """Walk a branch for ``updates`` updates; the branch is changed, nothing else.

    Args:
        branch, updates: what is walked, a problem made by :meth:`Problem.branch`, and how far.
        order: seeds the order of the batches and, update by update, the dropout masks.
        start: the number of the first update.
        batches: where an earlier walk left off; or the order's beginning.
        sample, measure: what is taken at checkpoints, and on which fixed sample.
        checkpoints, snapshots: updates, counted from ``start``, after which to do so, and to keep the state.
        anneal: let every rate fall linearly to zero over this walk, without the scheduler.
        cosines: measure the cosine between successive gradients, which takes a copy of each.
        told: given the updates since it was last called, now and then, and at the end.

    Returns: the curve; the walk ends early where the loss stops being finite.
    """
    evaluate, keep = set(checkpoints), set(snapshots)
    curve: list[Update] = []
    rows: list[Row] = []
    evaluated = [(start, measure(branch, sample))] if 0 in evaluate else []
    kept = [Snapshot.of(branch, start)] if 0 in keep else []
    broke: int | None = None
    suspect: Batch | None = None
    rates = [float(group["lr"]) for group in branch.optimizer.param_groups]
    with generators_kept(), in_mode(branch.model, branch.modes("training")):
        batches = batches or branch.data.order(order)
        recent: deque[list[Any]] = deque(maxlen=CHECK_EVERY)
        previous: list[Tensor] = []
        walker = Walker(branch)
        for count, seed in zip(range(updates), _seeds(order, start), strict=False):
            seed_all(seed)
            given, drawn = walker.given(batches)
            recent.append(drawn)
            if anneal:
                _set_rates(branch, [rate * (1 - count / updates) for rate in rates])
            rate = float(branch.optimizer.param_groups[0]["lr"])
            loss, norm, present = walker.update(given, keep=cosines)
            comparable = present and len(present) == len(previous)
            rows.append((loss, norm, _cosine(present, previous) if comparable else walker.unknown, rate))
            previous = present
            if not anneal:
                _schedule(branch, start + count + 1)
            done = count + 1
            if done % CHECK_EVERY == 0 or done == updates or done in evaluate or done in keep:
                made = _updates(rows, start + len(curve))
                rows.clear()
                curve += made
                if told is not None:
                    told(made)
                broke = _first_broken(made)
                if broke is not None:
                    seed_all(derived_seed(order, broke))
                    suspect = _suspect(branch, [batches.data.read(each) for each in recent[broke - start - done]])
                    break
                if done in evaluate:
                    evaluated.append((start + done, measure(branch, sample)))
                if done in keep:
                    kept.append(Snapshot.of(branch, start + done))
    if anneal:
        _set_rates(branch, rates)
    return Run(curve=tuple(curve), checkpoints=tuple(evaluated), snapshots=tuple(kept), broke_at=broke, suspect=suspect)


def _seeds(order: int, start: int) -> Iterator[int]:
    """The seed of each update; made some at a time, as between updates one takes ten times as long."""
    for first in itertools.count(start, CHECK_EVERY):
        yield from [derived_seed(order, number) for number in range(first, first + CHECK_EVERY)]


def _suspect(branch: Problem, given: Sequence[Batch]) -> Batch:
    """Of the batches of one update, over all processes, the one that holds NaN or infinity, or else the first."""
    given = list(itertools.chain.from_iterable(branch.ranks.gathered(given)))
    broken = (batch for batch in given if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors_of(batch)))
    return next(broken, given[0])


def _first_broken(made: Sequence[Update]) -> int | None:
    """The first update whose loss or gradient was not finite."""
    broken = (each for each in made if not (math.isfinite(each.loss) and math.isfinite(each.gradient_norm)))
    return next((each.update for each in broken), None)


def _updates(rows: Sequence[Row], first: int) -> tuple[Update, ...]:
    """The rows as numbers; waits for the device once for each column."""
    losses, norms, cosines, rates = zip(*rows, strict=True)
    # Reshaped, as a loss may be a vector of one entry.
    columns = (torch.stack(column).reshape(-1).tolist() for column in (losses, norms, cosines))
    numbers = zip(*columns, rates, strict=True)
    return tuple(
        Update(update=update, loss=loss, rate=rate, gradient_norm=norm, cosine=cosine)
        for update, (loss, norm, cosine, rate) in enumerate(numbers, first)
    )


def _cosine(present: list[Tensor], previous: list[Tensor]) -> Tensor:
    inner = torch.stack([(a * b).sum(dtype=_wide(a)) for a, b in zip(present, previous, strict=True)]).sum()
    cosine: Tensor = inner / (_norm(present, inner.device) * _norm(previous, inner.device))
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
