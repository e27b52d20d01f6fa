"""The network of a fleet: one model as a function of its parameters, of which there are many sets.

Lecture chapters 2 and 5.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from unstuck.errors import InputError
from unstuck.methods.normalize import batch_normalized, moved_average

SampleLoss = Callable[[Tensor, Tensor], Tensor]
"""(outputs, targets) → the loss of each sample, shape (samples,)."""

Named = dict[str, Tensor]

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d

AGREEMENT = 1e-3
"""Relative difference at which losses or gradients of networks run together are not those of each alone."""


class TurnedLinear(nn.Module):
    """A linear layer that computes (W xᵀ)ᵀ + b.

    Of many small products, one with few columns takes thrice as long as one with few rows, and classes are few.
    """

    def __init__(self, like: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = like.weight, like.bias

    def forward(self, values: Tensor) -> Tensor:
        if values.dim() != 2:
            return F.linear(values, self.weight, self.bias)
        products = (self.weight @ values.mT).mT
        return products if self.bias is None else products + self.bias


class CountedBatchNorm(nn.Module):
    """Batch normalization with parameters and buffers like torch's, for batches that are filled up to a common size.

    Attributes:
        weights: shape (samples,), 0 for samples that are not counted; None where all are.
    """

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(self, like: BatchNorm) -> None:
        super().__init__()
        self.weight, self.bias = like.weight, like.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(like, name))
        self.eps, self.momentum, self.features = like.eps, like.momentum, like.num_features
        self.training = like.training
        self.weights: Tensor | None = None

    def forward(self, values: Tensor) -> Tensor:
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        testing = not self.training and self.running_mean is not None
        if testing or (self.weights is None and self.momentum is not None):
            given = (self.running_mean, self.running_var, self.weight, self.bias)
            return F.batch_norm(values, *given, training=not testing, momentum=self.momentum or 0.0, eps=self.eps)
        normalized, mean, variance = batch_normalized(
            values,
            scale=values.new_ones(self.features) if self.weight is None else self.weight,
            shift=values.new_zeros(self.features) if self.bias is None else self.bias,
            epsilon=self.eps,
            weights=self.weights,
        )
        if self.num_batches_tracked is not None:
            share = 1 / self.num_batches_tracked.to(mean.dtype) if self.momentum is None else self.momentum
            for running, found in ((self.running_mean, mean), (self.running_var, variance)):
                if running is not None:
                    running.copy_(moved_average(running, found.detach(), momentum=share))
        return normalized


def _exchanged(module: nn.Module) -> nn.Module:
    """The module with torch's own linear layers and batch normalizations exchanged, in place where it holds them."""
    if type(module) is nn.Linear:
        return TurnedLinear(module)
    if isinstance(module, BatchNorm) and type(module) in get_args(BatchNorm):
        return CountedBatchNorm(module)
    for name, child in module.named_children():
        setattr(module, name, _exchanged(child))
    return module


@dataclass(frozen=True)
class Network:
    """A model as a function of its trained parameters, which stand in a row of n numbers.

    Attributes:
        model: what computes, with any parameters and buffers that it is given.
        shapes: of the trained parameters, in the order of a row.
        aliases: further names of tensors that are used in several places.
    """

    model: nn.Module
    shapes: Mapping[str, torch.Size]
    aliases: Mapping[str, str]

    @staticmethod
    def of(model: nn.Module) -> Network:
        """The network of a model that is given away. Raises InputError where there is nothing to train."""
        shapes = {name: p.shape for name, p in model.named_parameters() if p.requires_grad}
        if not shapes:
            raise InputError(
                "the model of a fleet has no parameters that require a gradient; there is nothing to train"
            )
        first: dict[int, str] = {}
        aliases: dict[str, str] = {}
        for named in (model.named_parameters, model.named_buffers):
            for name, tensor in named(remove_duplicate=False):
                if first.setdefault(id(tensor), name) != name:
                    aliases[name] = first[id(tensor)]
        return Network(model, shapes, aliases)

    def for_many(self) -> Network:
        """The same network in the form in which many are run together, on batches that may be filled up."""
        return replace(self, model=_exchanged(copy.deepcopy(self.model)))

    @property
    def size(self) -> int:
        """n, the number of trained parameters."""
        return sum(shape.numel() for shape in self.shapes.values())

    @property
    def device(self) -> torch.device:
        """Where the model is built."""
        return next(self.model.parameters()).device

    def training_only(self, names: Collection[str]) -> Network:
        """The same network with fewer trained parameters."""
        return replace(self, shapes={name: shape for name, shape in self.shapes.items() if name in names})

    def split(self, model: nn.Module) -> tuple[Tensor, Named]:
        """What a model of this kind holds: the row of its trained parameters, shape (n,), and all else by name.

        Raises:
            InputError: it is of another kind.
        """
        held = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        odd = [name for name, shape in self.shapes.items() if name not in held or held[name].shape != shape]
        if odd:
            raise InputError(
                f"every member of a fleet must be built alike; one has no `{odd[0]}` of the first one's shape"
            )
        row = torch.cat([held.pop(name).detach().reshape(-1) for name in self.shapes])
        return row, {name: tensor.detach() for name, tensor in held.items()}

    def named(self, rows: Tensor) -> Named:
        """The trained parameters by name, shape (..., *shape): views of rows of shape (..., n)."""
        pieces = rows.split([shape.numel() for shape in self.shapes.values()], dim=-1)
        return {
            name: piece.view((*rows.shape[:-1], *shape))
            for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)
        }

    def leaves(self, rows: Tensor) -> Named:
        """As :meth:`named`, for gradients to flow to."""
        return {name: piece.requires_grad_() for name, piece in self.named(rows).items()}

    def state(self, parameters: Named, others: Named) -> Named:
        """Everything by every name that it has."""
        held = parameters | others
        return held | {alias: held[name] for alias, name in self.aliases.items()}

    def outputs(self, parameters: Named, others: Named, inputs: Tensor) -> Any:
        """What the model gives for a batch with these parameters, buffers and parameters that are not trained.

        Buffers that it moves are moved in place.
        """
        given = self.state(parameters, others)
        outputs = functional_call(self.model, given, (inputs,), tie_weights=False)
        for name, buffer in others.items():
            if given[name] is not buffer:  # torch notes here what a module has assigned anew
                buffer.copy_(given[name].detach())
        return outputs

    def loss(
        self,
        loss: SampleLoss,
        parameters: Named,
        others: Named,
        inputs: Tensor,
        targets: Tensor,
        weights: Tensor | None = None,
    ) -> Tensor:
        """The mean loss of one network over its batch; running statistics are moved in place.

        Args:
            loss: of each sample.
            parameters: the trained ones by name.
            others: buffers and parameters that are not trained, by name.
            inputs: shape (samples, ...).
            targets: shape (samples, ...).
            weights: the share of each sample in the mean, shape (samples,); by default all have the same.

        Raises:
            InputError: the loss is not one of samples.
        """
        self._count(weights)
        losses = loss(self.outputs(parameters, others, inputs), targets)
        self._count(None)
        if losses.shape != inputs.shape[:1]:
            raise InputError(
                f"the loss of a fleet must give a number for each of the {len(inputs)} samples of a batch, but gave "
                f'shape {tuple(losses.shape)}: take reduction="none", and the mean over everything else'
            )
        return losses.mean() if weights is None else (losses * weights).sum()

    @cached_property
    def _counting(self) -> list[CountedBatchNorm]:
        return [module for module in self.model.modules() if isinstance(module, CountedBatchNorm)]

    def _count(self, weights: Tensor | None) -> None:
        for module in self._counting:
            module.weights = weights


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What one update of one network tells about a fleet of them.

    Attributes:
        reached: the trained parameters that the loss depends on.
        numbers: that are kept for the way back, per sample.
        random: whether torch's generator is drawn from.
        together: whether networks can be run together, each giving what it gives alone.
        filled: whether that is so, too, where a batch is filled up with samples that have no share in the loss.
    """

    reached: frozenset[str]
    numbers: float
    random: bool
    together: bool
    filled: bool


def rehearse(
    network: Network, loss: SampleLoss, inputs: Tensor, targets: Tensor, batch_sizes: Sequence[int]
) -> Rehearsal:
    """Run the model forth and back on a first batch, alone and beside another; nothing of it is changed.

    Args:
        network: of the model.
        loss: of each sample.
        inputs: of all samples.
        targets: of all samples.
        batch_sizes: of the members, ascending. One member needs nobody beside it, and equal batches are not filled up.

    Raises:
        InputError: the loss is not one of samples, or depends on no trained parameter.
    """
    row, others = network.split(network.model)
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        kept[place] = max(kept.get(place, 0), tensor.numel())
        return tensor

    leaves = network.leaves(row.clone())
    own = {leaf.untyped_storage().data_ptr() for leaf in leaves.values()}
    smallest = batch_sizes[0]
    batch = inputs[:smallest], targets[:smallest]
    before = _random_state(row.device)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        alone = network.loss(loss, leaves, {name: tensor.clone() for name, tensor in others.items()}, *batch)
    if not alone.requires_grad:
        raise InputError("the loss of a fleet depends on none of the model's trained parameters")
    slopes = torch.autograd.grad(alone, list(leaves.values()), allow_unused=True)
    reached = frozenset(name for name, slope in zip(leaves, slopes, strict=True) if slope is not None)
    found = torch.cat([tensor.reshape(-1) for tensor in (alone, *slopes) if tensor is not None])
    is_found = partial(_is_found_beside, found, network.training_only(reached), loss)
    shares = (torch.arange(smallest + 1, device=row.device) < smallest).to(row.dtype) / smallest
    random = not torch.equal(before, _random_state(row.device))
    together = len(batch_sizes) > 1 and not random and is_found(*batch)
    return Rehearsal(
        reached=reached,
        numbers=sum(numbers for place, numbers in kept.items() if place not in own) / smallest,
        random=random,
        together=together,
        filled=(
            together
            and batch_sizes[-1] > smallest
            and is_found(inputs[: smallest + 1], targets[: smallest + 1], shares)
        ),
    )


def _random_state(device: torch.device) -> Tensor:
    """Where torch's own generator is, on the device on which masks would be drawn."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _is_found_beside(found: Tensor, network: Network, loss: SampleLoss, *batch: Tensor) -> bool:
    """Whether the model's loss and gradient are those that are found beside a model of half its parameters.

    They are not with recurrent layers, or decisions that depend on values, which cannot be run so, nor on filled
    batches where one sample's output depends on another's in a way that is not known here.
    """
    row, others = network.split(network.model)
    leaves = network.leaves(torch.stack([row, row / 2]))
    twice = {name: torch.stack([tensor, tensor]) for name, tensor in others.items()}
    batches = [torch.stack([data, data]) for data in batch]
    try:
        losses = vmap(partial(network.for_many().loss, loss))(leaves, twice, *batches)
        slopes = torch.autograd.grad(losses.sum(), list(leaves.values()))
    except (RuntimeError, ValueError):
        return False
    beside = torch.cat([tensor[0].reshape(-1) for tensor in (losses, *slopes)])
    return bool((beside - found).norm() <= AGREEMENT * found.norm())


def recorded(run: Callable[..., Tensor], leaves: Named, others: Named, *batch: Tensor) -> Callable[..., Tensor]:
    """A function of tensors as the bare list of its operations: a tenth less time for a fleet of small networks.

    Args:
        run: the function.
        leaves: its first argument.
        others: its second, some of which it moves in place; not here, but in every call of what is given back.
        batch: all others.
    """
    from torch.fx.experimental.proxy_tensor import make_fx  # takes a second to load

    return make_fx(run)(leaves, {name: tensor.clone() for name, tensor in others.items()}, *batch)
