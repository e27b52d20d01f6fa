"""Whether a problem can be trained at all: one batch, forward and backward, on a branch; and on every process alike."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unstuck.data import Batch, Data, fingerprint
from unstuck.errors import InputError
from unstuck.forward import call, split
from unstuck.problem import Problem
from unstuck.ranks import ranks
from unstuck.untouched import in_mode, seeded

COMPARED = 512
"""Samples that the processes compare, to see whether they hold the same data."""


def check(problem: Problem) -> None:
    """Raise InputError, saying what is wrong and where, if one batch cannot be learned from or held out."""
    check_ranks(problem)
    _check_rates(problem)
    branch = problem.branch()
    with problem.ranks.together(), seeded(0):
        batch = _batch(branch, branch.data)
        with in_mode(branch.model, branch.modes("training")):
            _check_slope(problem, _loss(branch, batch, "train"))
        if branch.valid_data is not None:
            batch = _batch(branch, branch.valid_data)
            with in_mode(branch.model, branch.modes("evaluation")), torch.no_grad():
                _loss(branch, batch, "valid")


def _check_rates(problem: Problem) -> None:
    """Whether every group of parameters has a learning rate, as torch's schedulers ask for as well."""
    if any("lr" not in group for group in problem.optimizer.param_groups):
        raise InputError(
            f"`optimizer` ({type(problem.optimizer).__name__}) has a group without `lr`, so that its learning rate can "
            "neither be read nor changed; call the rate `lr` in the defaults of the optimizer"
        )


def check_ranks(problem: Problem) -> None:
    """Raise InputError where the processes that share a training do not hold the same one."""
    processes = ranks(problem.device)
    if processes.size == 1:
        return
    for data in (problem.data, problem.valid_data):
        with processes.together():
            code = 0 if data is None else fingerprint(data.sample(COMPARED, chunk=COMPARED, seed=0))
        if not processes.alike(code):
            raise InputError(
                f"`{data.name if data else 'valid'}` is another data set on each process; give every process the "
                "whole of it, and let torch.utils.data.DistributedSampler part it: then all measure the same sample"
            )
    if any(isinstance(module, nn.SyncBatchNorm) for module in problem.model.modules()):
        raise InputError(
            "`model` has SyncBatchNorm layers, in which a pass on one process waits for the others; "
            "hand it over with BatchNorm layers, before convert_sync_batchnorm"
        )
    if not problem.sharded and not processes.alike(fingerprint([list(problem.model.parameters())])):
        raise InputError(
            "`model` has other parameters on each process; wrap it in DistributedDataParallel, which makes them alike, "
            "or seed its initialization alike"
        )


def _batch(branch: Problem, data: Data) -> Batch:
    """One batch, where the model is."""
    _ = data.batches_per_epoch  # raises where the loader is empty
    try:
        return branch.to_device(next(data.order(0)))
    except InputError:
        raise
    except Exception as error:  # the caller's data set may raise anything
        raise InputError(
            f"`{data.name}` could not give a batch: {_told(error)}; iterate over the loader once to see where"
        ) from error


def _check_slope(problem: Problem, loss: object) -> None:
    """Whether the loss is a number that can be walked down."""
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        got = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise InputError(f"`{_name(problem)}` must give a scalar tensor, the mean over the batch; got {got}")
    if not loss.requires_grad:
        raise InputError(
            f"`{_name(problem)}` is not differentiable: its value has no gradient with respect to any parameter; "
            "look for torch.no_grad(), .detach(), .item() or argmax on the way, or for a model that is all frozen"
        )
    try:
        loss.backward()
    except Exception as error:  # torch names the operation that has no derivative
        raise InputError(f"the backward pass raised {_told(error)}") from error


def _name(problem: Problem) -> str:
    return "step" if problem.step is not None else "loss"


def _loss(branch: Problem, batch: Batch, loader: str) -> object:
    if branch.step is not None:
        try:
            return branch.step(branch.model, batch)
        except Exception as error:
            raise InputError(f"`step` raised on a batch of `{loader}`: {_told(error)}") from error
    inputs, targets = split(batch)
    try:
        outputs = call(branch.model, inputs)
    except Exception as error:
        raise InputError(
            f"the model could not be called with a batch of `{loader}`: {_told(error)}; "
            "a tensor is passed as one argument, a tuple as several, a dict by name"
        ) from error
    try:
        return branch.loss(outputs, targets) if branch.loss is not None else None
    except Exception as error:
        raise InputError(
            f"`loss` could not be called with (outputs, targets) of `{loader}`: {_told(error)}; "
            "make their shapes and types fit what it expects; a loss that needs more is given with it, by "
            "functools.partial, or as `step`, a function of (model, batch)"
        ) from error


def _told(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
