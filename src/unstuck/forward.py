"""From a batch to a loss: how inputs and targets are told apart, how a model is called, at its own point or another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from unstuck.data import Batch, map_tensors
from unstuck.errors import InputError
from unstuck.untouched import Attributes, generators_kept, in_mode, seed_all, without_hooks
from unstuck.vector import widened

if TYPE_CHECKING:
    from unstuck.problem import Mode, Problem


class Forward(nn.Module):
    """One forward pass and its loss as a module, so that ``functional_call`` swaps the tensors of both."""

    def __init__(self, problem: Problem, *, followed: bool = True) -> None:
        super().__init__()
        self.model = problem.model
        self.loss = problem.loss
        self.training_step = problem.training_step
        self._problem = problem
        self._followed = followed

    def forward(self, batch: Batch) -> tuple[Tensor, Any]:
        problem = self._problem
        if self._followed and problem.training_step is not None:
            return problem.training_step(self.model, batch), None
        if problem.step is not None:
            return problem.step(self.model, batch), None
        inputs, targets = split(batch)
        outputs = call(self.model, inputs)
        if problem.loss is None:
            raise InputError("this problem computes its loss in `step`; there is no loss of (outputs, targets)")
        # Updates follow the loss as the caller's loop computes it; results are judged on restored outputs.
        expected = outputs if self._followed else problem.restored(outputs)
        return problem.loss(expected, targets), outputs


def split(batch: Batch) -> tuple[Any, Any]:
    """A batch as (inputs, targets). Raises InputError where it is no such pair."""
    if isinstance(batch, tuple | list) and len(batch) >= 2:
        return (batch[0] if len(batch) == 2 else tuple(batch[:-1])), batch[-1]
    raise InputError(
        f"a batch of `train` must be (inputs, targets); got {type(batch).__name__}; "
        "for other batches give `step`, a function (model, batch) -> loss"
    )


def call(model: nn.Module, inputs: Any) -> Any:
    """The model's outputs: a tuple is positional arguments, a dict keyword arguments."""
    if isinstance(inputs, dict):
        return model(**inputs)
    if isinstance(inputs, tuple | list):
        return model(*inputs)
    return model(inputs)


Run = Callable[[Mapping[str, Tensor], Batch, int], tuple[Tensor, Any]]
"""(point, batch, seed) → (loss, outputs)."""


def run_purely(
    problem: Problem,
    point: Mapping[str, Tensor],
    batch: Batch,
    *,
    mode: Mode,
    seed: int,
    own: bool,
    precise: bool,
) -> tuple[Tensor, Any]:
    """Loss and outputs at ``point``; see :meth:`unstuck.problem.Problem.run_at`."""
    with pure_runs(problem, mode=mode, own=own, precise=precise) as run:
        return run(point, batch, seed)


@contextmanager
def pure_runs(problem: Problem, *, mode: Mode, own: bool = False, precise: bool = False) -> Iterator[Run]:
    """Runs at many points: for the whole block hooks are off, modes set and generators kept, once for all of them."""
    forward = Forward(problem, followed=not own)
    parameters = {name: p.detach() for name, p in forward.named_parameters()}
    buffers = dict(forward.named_buffers())

    def run(point: Mapping[str, Tensor], batch: Batch, seed: int) -> tuple[Tensor, Any]:
        tensors = parameters | {name: b.detach().clone() for name, b in buffers.items()}
        given = problem.to_device(batch)
        if precise:
            tensors = {name: widened(tensor) for name, tensor in tensors.items()}
            given = map_tensors(widened, given)
        tensors |= {f"model.{name}": tensor for name, tensor in point.items()}
        seed_all(seed)
        try:
            loss, outputs = torch.func.functional_call(forward, tensors, (given,))
        finally:
            attributes.put_back()
        return loss, outputs

    with ExitStack() as stack:
        stack.enter_context(without_hooks(forward))
        stack.enter_context(in_mode(problem.model, problem.modes(mode)))
        stack.enter_context(generators_kept())
        # Fused attention kernels cannot be differentiated twice; the plain one can.
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(problem.autocast() if not precise else nullcontext())
        attributes = Attributes(forward)
        yield run
