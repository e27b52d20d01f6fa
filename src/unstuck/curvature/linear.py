"""The whole Hessian of a network of linear layers, sample by sample.

Let z = W a + b be the outputs of a linear layer for one sample, a its inputs. The loss of a sample sees W and b
through z alone, so with S = ∂²L/∂z∂z' between two layers (a few numbers per sample), g = ∂L/∂z and
J = ∂a/∂z' (how the inputs of the later layer follow the earlier one),

    ∂²L / ∂W_ir ∂W'_js = Σ_samples S_ij · a_r a'_s + g_i · J_rj · a'_s,

and a bias is a weight of the constant input 1. S, g and J take as many backward passes as the network has units,
not parameters; the rest is matrix products (the chain rule of Bishop 1992, "Exact calculation of the Hessian
matrix for the multilayer perceptron", with the samples kept apart). It holds where samples do not meet (no batch
statistics) and each layer is called once; whether it does is left to the caller to verify.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from unstuck.curvature.loss import Loss

COLUMNS = 32
"""Columns that go through the graph together."""

ENTRIES = 2**22
"""Numbers of one intermediate product, at most: samples are taken a few at a time where there are many."""


class NotLayerByLayer(Exception):
    """The parameters are not those of linear layers that are called once each, on one row per sample."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One call of a linear layer.

    Attributes:
        inputs: a, shape (N, d).
        shift: a zero added to its outputs, shape (N, p), by which they are differentiated.
        places: where each of its p · e parameters stands in the flat point, shape (p, e); e is d, and one more
            for a bias.
        weighted: whether its weight belongs to the point.
        biased: whether its bias does.
    """

    inputs: Tensor
    shift: Tensor
    places: Tensor
    weighted: bool
    biased: bool

    def seen(self) -> Tensor:
        """What its parameters multiply: a, and 1 for a bias, shape (N, e)."""
        inputs = self.inputs.detach()
        columns = [inputs] if self.weighted else []
        return torch.cat([*columns, inputs.new_ones(len(inputs), 1)] if self.biased else columns, dim=1)


class _Shifted(TorchFunctionMode):
    """Lets each linear layer of the point add a shift to its outputs, and takes note of its inputs."""

    def __init__(self, point: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.layers: list[Layer] = []
        self._names = {id(tensor): name for name, tensor in point.items()}
        self._left = set(point)
        sizes = [tensor.numel() for tensor in point.values()]
        starts = torch.tensor([0, *sizes], device="cpu").cumsum(0).tolist()
        self._starts = dict(zip(point, starts, strict=False))

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is not F.linear:
            return func(*args, **(kwargs or {}))
        inputs, weight, bias = _arguments(*args, **(kwargs or {}))
        outputs = func(inputs, weight, bias)
        names = [self._names.get(id(each)) for each in (weight, bias)]
        if names == [None, None]:
            return outputs
        if inputs.dim() != 2 or not self._left.issuperset(filter(None, names)):
            raise NotLayerByLayer("a linear layer is called more than once, or on more than one row per sample")
        self._left.difference_update(filter(None, names))
        shift = torch.zeros_like(outputs, requires_grad=True)
        self.layers.append(self._layer(inputs, shift, names, weight))
        return outputs + shift

    def _layer(self, inputs: Tensor, shift: Tensor, names: list[str | None], weight: Tensor) -> Layer:
        columns = []
        if names[0] is not None:
            columns.append(self._starts[names[0]] + torch.arange(weight.numel(), device="cpu").view(weight.shape))
        if names[1] is not None:
            columns.append(self._starts[names[1]] + torch.arange(len(weight), device="cpu")[:, None])
        return Layer(
            inputs=inputs,
            shift=shift,
            places=torch.cat(columns, dim=1).to(inputs.device),
            weighted=names[0] is not None,
            biased=names[1] is not None,
        )

    @property
    def complete(self) -> bool:
        """Whether every tensor of the point belongs to a layer."""
        return not self._left


def _arguments(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
    return input, weight, bias


def layered_hessian(loss: Loss, point: Mapping[str, Tensor]) -> tuple[Tensor, int]:
    """The Hessian of one batch's loss by its layers, shape (n, n), and how many backward passes that took.

    Raises:
        NotLayerByLayer: some parameters are not those of linear layers, or a layer is called twice.
    """
    constants = {name: tensor.detach() for name, tensor in point.items()}
    shifted = _Shifted(constants)
    with shifted, torch.enable_grad():
        value = loss(constants)
    layers = shifted.layers
    if not layers or not shifted.complete:
        raise NotLayerByLayer("some parameters are not those of a linear layer")
    shifts = [layer.shift for layer in layers]
    slopes = torch.autograd.grad(value, shifts, create_graph=True, materialize_grads=True)
    n = sum(tensor.numel() for tensor in point.values())
    matrix = value.new_zeros(n, n)
    for later, (layer, slope) in enumerate(zip(layers, slopes, strict=True)):
        curvatures = _columns(slope, shifts[: later + 1])
        follows = _columns(layer.inputs, shifts[:later]) if layer.weighted else [None] * later
        for earlier in range(later + 1):
            before = layers[earlier]
            block = _weighed(curvatures[earlier], layer.seen(), before.seen())
            if earlier < later:
                block += _moved(slope.detach(), follows[earlier], layer, before.seen())
            rows, columns = layer.places.flatten(), before.places.flatten()
            square = block.reshape(len(rows), len(columns))
            matrix[rows[:, None], columns] = square
            matrix[columns[:, None], rows] = square.T
    return matrix, sum(layer.shift.shape[1] + layer.inputs.shape[1] for layer in layers)


def _columns(outputs: Tensor, shifts: list[Tensor]) -> list[Tensor | None]:
    """The derivative of each sample's outputs (N, c) by its shifts (N, p), shape (N, c, p) each; None for zero."""
    if not outputs.requires_grad or not shifts:
        return [None] * len(shifts)
    samples, count = outputs.shape
    found: list[list[Tensor | None]] = []
    for part in torch.eye(count, dtype=outputs.dtype, device=outputs.device).split(COLUMNS):
        seeds = part[:, None, :].expand(len(part), samples, count)
        pieces = torch.autograd.grad(
            outputs, shifts, seeds, retain_graph=True, allow_unused=True, is_grads_batched=True
        )
        found.append([None if piece is None else piece.detach() for piece in pieces])
    columns: list[Tensor | None] = []
    for pieces in zip(*found, strict=True):
        parts = [piece for piece in pieces if piece is not None]
        columns.append(torch.cat(parts).transpose(0, 1) if len(parts) == len(pieces) else None)
    return columns


def _weighed(curvature: Tensor | None, late: Tensor, early: Tensor) -> Tensor:
    """Σ S_ij a_r a'_s as a tensor (i, r, j, s)."""
    if curvature is None:
        raise NotLayerByLayer("a layer does not reach the loss")
    (_, p, q), d, e = curvature.shape, late.shape[1], early.shape[1]
    total = late.new_zeros(p * q, d * e)
    for part in _parts(len(late), max(p * q, d * e)):
        pairs = (late[part, :, None] * early[part, None, :]).flatten(1)
        total.addmm_(curvature[part].flatten(1).T, pairs)
    return total.view(p, q, d, e).transpose(1, 2)


def _moved(slope: Tensor, follows: Tensor | None, layer: Layer, early: Tensor) -> Tensor:
    """Σ g_i J_rj a'_s as a tensor (i, r, j, s); a bias's input is constant."""
    p, e = slope.shape[1], early.shape[1]
    width, d = layer.places.shape[1], layer.inputs.shape[1]
    if follows is None:
        return slope.new_zeros(1, 1, 1, 1)
    q = follows.shape[2]
    total = slope.new_zeros(p * e, d * q)
    for part in _parts(len(slope), max(p * e, d * q)):
        pairs = (slope[part, :, None] * early[part, None, :]).flatten(1)
        total.addmm_(pairs.T, follows[part].flatten(1))
    block = slope.new_zeros(p, width, q, e)
    block[:, :d] = total.view(p, e, d, q).permute(0, 2, 3, 1)
    return block


def _parts(samples: int, numbers: int) -> Iterator[slice]:
    """The samples, as many at a time as keep ``numbers`` per sample within ``ENTRIES``."""
    step = max(1, ENTRIES // numbers)
    for start in range(0, samples, step):
        yield slice(start, start + step)
