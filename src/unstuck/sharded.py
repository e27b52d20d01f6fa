"""Losses and gradients of a model whose parameters are spread over processes (FSDP2's ``fully_shard``).

Such a model computes on its own parameters only, all processes at once, and can be differentiated once. So a point
is written into the shards, each process runs its part of the batch forward and back, and the shards are put back.
Points and gradients are whole on every process: each holds n numbers for every one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from unstuck.data import Batch, map_tensors, samples_in
from unstuck.errors import InputError
from unstuck.forward import Forward
from unstuck.ranks import Ranks, ranks
from unstuck.untouched import attributes_kept, in_mode, seeded, without_hooks
from unstuck.vector import Point

if TYPE_CHECKING:
    from unstuck.problem import Mode, Problem


def is_sharded(model: nn.Module) -> bool:
    """Whether ``fully_shard`` was called on the model or a part of it."""
    if not (dist.is_available() and dist.is_initialized()):
        return False
    from torch.distributed.fsdp import FSDPModule  # takes a second to load

    return any(isinstance(module, FSDPModule) for module in model.modules())


def whole(tensor: Tensor) -> Tensor:
    """A tensor with the shards of all processes; itself where it is whole."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else cast(Tensor, gather())


def loss_of_sharded(
    problem: Problem,
    point: Mapping[str, Tensor],
    batch: Batch,
    *,
    mode: Mode,
    seed: int,
    own: bool,
) -> Tensor:
    """L(θ; batch), of which gradients flow to ``point``, once; the same on every process, which all call it.

    Args:
        problem: whose model is sharded.
        point: trainable parameters by name, whole.
        batch: the same on every process; each runs its part.
        mode: how the model is run.
        seed: fixes the dropout masks.
        own: the problem's own loss instead of the one that updates follow.
    """
    run = partial(_pass, problem, tuple(point), batch, mode=mode, seed=seed, own=own)
    tensors = tuple(point.values())
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return cast(Tensor, cast(Any, _Once).apply(run, *tensors))
    return run(*tensors, differentiate=False)[0]


class _Once(torch.autograd.Function):
    """A loss whose gradient is computed along with it."""

    @staticmethod
    def forward(ctx: Any, run: Any, *tensors: Tensor) -> Tensor:
        loss, ctx.gradient = run(*tensors, differentiate=True)
        ctx.save_for_backward(*tensors)
        return cast(Tensor, loss)

    @staticmethod
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor | None, ...]:
        last = cast(Any, _Last).apply
        pairs = zip(ctx.gradient, ctx.saved_tensors, strict=True)
        return None, *(last(weight * gradient, tensor) for gradient, tensor in pairs)


class _Last(torch.autograd.Function):
    """A gradient that depends on the point, how is not known: it must not be taken for a constant."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, point: Tensor) -> Tensor:  # noqa: ARG004 - torch's signature
        return gradient

    @staticmethod
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG004 - torch's signature
        raise RuntimeError("a sharded model can be differentiated only once")


def _pass(
    problem: Problem,
    names: tuple[str, ...],
    batch: Batch,
    *tensors: Tensor,
    mode: Mode,
    seed: int,
    own: bool,
    differentiate: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The loss, and the gradient by each of ``names`` where it is asked for."""
    processes = ranks(problem.device)
    part, terms = _part(problem, batch, processes)
    share = terms / processes.sum(terms)
    run = Forward(problem, followed=not own)
    with ExitStack() as stack:
        stack.enter_context(without_hooks(run))
        stack.enter_context(attributes_kept(run))
        stack.enter_context(_standing_at(problem.model, dict(zip(names, tensors, strict=True))))
        stack.enter_context(in_mode(problem.model, problem.modes(mode)))
        stack.enter_context(seeded(seed))
        stack.enter_context(torch.set_grad_enabled(differentiate))
        with problem.autocast():
            loss = run(part)[0]
        if differentiate and loss.requires_grad:
            # FSDP averages over the processes, and the shares sum to one.
            (processes.size * share * loss).backward()
        named = dict(problem.model.named_parameters())
        gradient = tuple(_gradient(named[name], processes) for name in names) if differentiate else ()
    return processes.total(share * loss.detach()), gradient


def _part(problem: Problem, batch: Batch, processes: Ranks) -> tuple[Batch, float]:
    """This process's rows of a batch, on its device, and its terms; where there are too few rows, one that counts 0."""
    length = samples_in(batch)
    first, last = (number * length // processes.size for number in (processes.rank, processes.rank + 1))
    rows = slice(first, last) if last > first else slice(0, 1)
    cut = map_tensors(lambda t: t[rows] if t.dim() > 0 and len(t) == length else t, batch)
    return problem.to_device(cut), problem.terms(cut) if last > first else 0.0


def _gradient(parameter: Tensor, processes: Ranks) -> Tensor:
    if hasattr(parameter, "full_tensor"):
        return torch.zeros_like(whole(parameter)) if parameter.grad is None else whole(parameter.grad)
    own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    return processes.total(own.detach()) / processes.size


@contextmanager
def _standing_at(model: nn.Module, point: Point) -> Iterator[None]:
    """The model at a point, without gradients; parameters, ``.grad`` and buffers are put back bit for bit.

    Hooks that wait for a gradient do not fire: some of them make an update.
    """
    _gather_later(model)
    parameters = dict(model.named_parameters())
    gradients = {name: parameter.grad for name, parameter in parameters.items()}
    waiting = [getattr(parameter, "_post_accumulate_grad_hooks", None) or {} for parameter in parameters.values()]
    hooks = [(those, dict(those)) for those in waiting]
    kept = [(tensor, tensor.clone()) for tensor in (*(_local(parameters[name]) for name in point), *model.buffers())]
    try:
        for those in waiting:
            those.clear()
        for name, tensor in point.items():
            _write(parameters[name], tensor.detach())
        for parameter in parameters.values():
            parameter.grad = None
        yield
    finally:
        _gather_later(model)
        with torch.no_grad():
            for tensor, before in kept:
                tensor.copy_(before)
        for name, parameter in parameters.items():
            parameter.grad = gradients[name]
        for those, before_them in hooks:
            those.update(before_them)


def _gather_later(model: nn.Module) -> None:
    """Drop what was gathered for a forward pass, so that the next one gathers what the shards hold then."""
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def _local(parameter: Tensor) -> Tensor:
    """The shard of this process, in the same memory."""
    local = getattr(parameter, "to_local", None)
    with torch.no_grad():
        return parameter.detach() if local is None else cast(Tensor, local())


def _write(parameter: Tensor, value: Tensor) -> None:
    """Write this process's shard of a whole tensor."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    with torch.no_grad():
        if isinstance(parameter, DTensor):
            mesh, placements = parameter.device_mesh, parameter.placements
            if mesh.size() != dist.get_world_size():
                raise InputError(
                    f"the model is sharded over {mesh.size()} of {dist.get_world_size()} processes; "
                    "shard it over all of them, so that each takes its part of the data"
                )
            value = distribute_tensor(value.to(parameter.dtype), mesh, placements, src_data_rank=None)
        parameter.copy_(value)


def check_unsharded(model: nn.Module) -> None:
    """Raise InputError where the model is sharded: it can be measured where it stands, not copied or walked."""
    if is_sharded(model):
        raise InputError(
            "the model is sharded (fully_shard) and cannot be copied, so it is measured where it stands, and neither "
            "trained nor diagnosed; ask for probes that need no copy, as `unstuck measure TARGET inputs outputs "
            "gradient spectrum trace density escape sharpness`, or hand it over unsharded"
        )
