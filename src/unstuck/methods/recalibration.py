"""Recalibration: the moving averages of batch normalization, computed anew for the weights as they are now.

Lecture chapter 5.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unstuck.data import Batch
from unstuck.errors import InputError
from unstuck.forward import Forward
from unstuck.methods.normalize import FeatureStatistics
from unstuck.untouched import attributes_kept, generators_kept, in_mode

if TYPE_CHECKING:
    from unstuck.problem import Problem

SINGLE = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
"""Modules whose running statistics are averages over samples, not those of all samples together."""


def moving_layers(branch: Problem) -> list[nn.Module]:
    """The layers of batch normalization whose running statistics move in training."""
    modes = branch.modes("measuring")
    return [module for name, module in branch.model.named_modules() if modes[name] and not isinstance(module, SINGLE)]


def recalibrated(branch: Problem, batches: Iterable[Batch]) -> Problem:
    """The branch with the running statistics that its present weights have over the batches.

    In one pass over the batches, every batch normalization normalizes by the batch, as in training, and what comes
    in is counted: the mean and the unbiased variance over all samples together replace the moving averages. (The
    mean of the batches' variances, which torch's ``update_bn`` takes, leaves out how far their means lie apart. Layer
    after layer, each by the statistics of those before it, would take as many passes as there are layers, for a
    difference that falls with the batch size; Wu & Johnson 2021, "Rethinking 'Batch' in BatchNorm", §3.) Dropout
    is off, as it is in testing, so that the variance is not that of dropped units. Nothing else is changed, and
    layers whose statistics are frozen, in eval mode while the model trains, keep them.

    Args:
        branch: a problem made by :meth:`Problem.branch`; it is given away.
        batches: of the training data, in the size of training; there must be one at least.

    Raises:
        InputError: the model has no running statistics that move in training.
    """
    run = Forward(branch)
    modes, layers = branch.modes("measuring"), moving_layers(branch)
    seen: dict[nn.Module, FeatureStatistics] = {}
    with ExitStack() as stack:
        stack.enter_context(attributes_kept(run))
        stack.enter_context(generators_kept())
        stack.enter_context(in_mode(branch.model, modes))
        stack.enter_context(branch.autocast())
        stack.enter_context(torch.no_grad())
        for layer in layers:
            stack.callback(layer.register_forward_pre_hook(partial(_count, seen)).remove)
        for batch in batches:
            buffers = {name: buffer.detach().clone() for name, buffer in run.named_buffers()}
            torch.func.functional_call(run, buffers, (branch.to_device(batch),))
    if not seen:
        raise InputError("recalibration: no batch normalization with running statistics is trained; leave it out")
    for layer, statistics in seen.items():
        unbiased = statistics.squares / max(1, statistics.count - 1)
        layer.get_buffer("running_mean").copy_(statistics.mean)
        layer.get_buffer("running_var").copy_(unbiased)
    return branch


def _count(seen: dict[nn.Module, FeatureStatistics], layer: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Add what comes into a layer to what was seen of it."""
    values: Tensor = inputs[0]
    more = FeatureStatistics.of([values], axis=1)
    seen[layer] = seen[layer].pooled(more) if layer in seen else more
