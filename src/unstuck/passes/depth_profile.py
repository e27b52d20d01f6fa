"""The layers of a model in the order of a forward pass: how large what they give is, and the gradient on it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from unstuck.data import Batch, tensors_of
from unstuck.forward import pure_runs
from unstuck.problem import Problem
from unstuck.vector import Point


@dataclass(kw_only=True)
class Passed:
    """One call of a module in one forward and backward pass over a batch, whose loss is the mean of n terms ℓᵢ.

    Attributes:
        module: its name.
        activation: root mean square of the numbers that it gave.
        gradient: √n |∂L/∂h|, h all that it gave: √(Σᵢ |∂ℓᵢ/∂hᵢ|² / n), the size of one sample's gradient on its own
            hᵢ, where samples are not coupled. None where no gradient is asked for, as before the first parameter
            that is trained.
        sensitivity: |∂L/∂h| |h|, the loss per relative change of h. Unlike the others it stays as it is where a layer's
            outputs are scaled and the next one's weights scaled back; None as above.
    """

    module: str
    activation: float
    gradient: float | None = None
    sensitivity: float | None = None

    @property
    def finite(self) -> bool:
        """Whether all of this is."""
        return math.isfinite(self.activation) and (self.gradient is None or math.isfinite(self.gradient))


def passes_of(problem: Problem, point: Point, batch: Batch, *, seed: int) -> dict[str, Passed]:
    """One pure pass at ``point`` as in training, forward and backward: all calls of modules, in the order they ended.

    Calls are named by their module, a second and third one with their number. Where dropout or stochastic depth
    are on they are, as in training, those that ``seed`` gives.
    """
    notes = _Notes(problem.terms(batch))
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in point.items()}
    with torch.enable_grad(), pure_runs(problem, mode="training") as run:
        with notes.taken_of(problem.model):
            loss = run(leaves, batch, seed)[0]
        if loss.requires_grad:
            torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return notes.calls


class _Notes:
    """Takes note of every call of a module, and of the gradient when it comes."""

    def __init__(self, terms: float) -> None:
        self.calls: dict[str, Passed] = {}
        self._scale = terms**0.5

    @contextmanager
    def taken_of(self, model: nn.Module) -> Iterator[None]:
        """Hooks on every module for the block."""
        with ExitStack() as stack:
            for name, module in model.named_modules():
                stack.callback(module.register_forward_hook(partial(self._called, name)).remove)
            yield

    def _called(self, name: str, module: nn.Module, inputs: Any, outputs: Any) -> None:
        given = next((tensor for tensor in tensors_of(outputs) if tensor.is_floating_point()), None)
        if given is None or given.numel() == 0:
            return
        count = sum(call.module == name for call in self.calls.values())
        size = _norm(given)
        call = Passed(module=name, activation=size / given.numel() ** 0.5)
        self.calls[f"{name} ({count + 1})" if count else name or "the model"] = call
        if given.requires_grad:
            call.gradient = call.sensitivity = 0.0  # until one comes: none does where the loss does not depend on it
            given.register_hook(partial(self._arrived, call, size))

    def _arrived(self, call: Passed, size: float, gradient: Tensor) -> None:
        slope = _norm(gradient)
        call.gradient, call.sensitivity = self._scale * slope, slope * size


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor.detach(), dtype=torch.float64))


def layers_of(model: nn.Module, called: Iterable[str]) -> dict[str, list[str]]:
    """The layers among the modules that a pass called, each with the names of its trainable parameters.

    A parameter belongs to the innermost called module around it. Layers are those that hold a parameter of two axes
    or more, a weight matrix say, and have no other such module inside; where there are none, those that hold any.
    """
    modules = set(called)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    owned: dict[str, list[str]] = {}
    matrices: set[str] = set()
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owner = _innermost(name, modules)
        if owner is None:
            continue
        owned.setdefault(owner, [])
        if parameter.requires_grad:
            owned[owner].append(names[id(parameter)])
        if parameter.dim() > 1:
            matrices.add(owner)
    chosen = matrices or set(owned)
    return {layer: mine for layer, mine in owned.items() if layer in chosen and not _holds_another(layer, chosen)}


def _innermost(parameter: str, modules: set[str]) -> str | None:
    """The innermost of the modules that holds a parameter, itself or in a parametrization of its weights."""
    holder = f".{parameter}".partition(".parametrizations.")[0].removeprefix(".")
    holder = holder if holder != parameter else parameter.rpartition(".")[0]
    while holder not in modules:
        if not holder:
            return None
        holder = holder.rpartition(".")[0]
    return holder


def _holds_another(layer: str, layers: Iterable[str]) -> bool:
    return any(other != layer and (not layer or other.startswith(f"{layer}.")) for other in layers)


def relative_gradient(point: Point, gradient: Mapping[str, Tensor], names: Iterable[str]) -> float | None:
    """|∂L/∂θ| / |θ| over some parameters: how fast they change, relative to their size, at a rate of one.

    None where there are none of them, or all are zero.
    """
    own = list(names)
    size, slope = (sum(_norm(part[name]) ** 2 for name in own) ** 0.5 for part in (point, gradient))
    return slope / size if size else None
