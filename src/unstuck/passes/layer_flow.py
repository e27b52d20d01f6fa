"""Which layers feed an activation: the tensors of one forward pass, followed from layer to layer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from unstuck.data import Batch, tensors_of
from unstuck.forward import Forward
from unstuck.problem import Problem
from unstuck.untouched import attributes_kept, generators_kept, in_mode

LAYERS = (
    *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
"""The modules that are followed."""

ACTIVATIONS = (
    *("relu", "leaky_relu", "prelu", "rrelu", "relu6", "elu", "selu", "celu", "gelu", "silu", "mish", "glu"),
    *("sigmoid", "log_sigmoid", "hardsigmoid", "tanh", "hardtanh", "tanhshrink", "softshrink", "hardshrink"),
    *("hardswish", "softplus", "softsign", "threshold"),
)
"""Functions of torch's that are applied to every unit. Softmax is none: in hidden places it is attention's."""

NORMALIZING = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm")

WEIGHING = (
    *("linear", "bilinear", "conv1d", "conv2d", "conv3d", "embedding", "multi_head_attention_forward"),
    *("conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "lstm", "gru", "rnn_tanh", "rnn_relu"),
)
"""Functions that apply weights: what they give is another layer's output."""

PRODUCTS = ("matmul", "rmatmul", "mm", "bmm", "addmm", "baddbmm", "einsum", "tensordot")
"""Functions that apply weights where one of their operands is a weight."""

NORM = re.compile(r"norm(\dd)?$", re.IGNORECASE)
"""What the names of normalizations end in: others than torch's compute them by functions that tell nothing."""


@dataclass
class Use:
    """What one forward pass makes of a layer's output.

    Attributes:
        activated_in: the modules in which an activation took it, in their order.
        straight: whether another layer took it without an activation between.
        hidden: whether another layer took it after an activation.
        normalized: whether something normalized it before another layer took it.
    """

    activated_in: list[str] = field(default_factory=list)
    straight: bool = False
    hidden: bool = False
    normalized: bool = False


@dataclass(frozen=True)
class Flow:
    """One forward pass: the use of every layer that it called, and the calls and output shapes of all modules."""

    uses: dict[str, Use]
    calls: Counter[str]
    shapes: dict[str, torch.Size]


@dataclass(frozen=True)
class _Reach:
    """The layers whose outputs a tensor is made of, with no other layer between."""

    straight: frozenset[str] = frozenset()
    activated: frozenset[str] = frozenset()


def flow_of(branch: Problem, batch: Batch) -> Flow:
    """Follow every layer's output through one forward pass in training mode; nothing of the branch is changed.

    Functions of torch's are seen by a mode, modules by hooks. What a pass does behind torch's back (scripted
    modules, autograd functions) is not seen: layers then seem to feed nothing.

    Args:
        branch: a problem made by :meth:`Problem.branch`.
        batch: a few samples.
    """
    follower = _Follower(branch.model)
    run = Forward(branch)
    buffers = {name: buffer.detach().clone() for name, buffer in run.named_buffers()}
    with ExitStack() as stack:
        stack.enter_context(attributes_kept(run))
        stack.enter_context(generators_kept())
        stack.enter_context(in_mode(branch.model, branch.modes("training")))
        stack.enter_context(branch.autocast())
        stack.enter_context(follower.entered_and_left(branch.model))
        stack.enter_context(follower)
        torch.func.functional_call(run, buffers, (branch.to_device(batch),))
    return Flow(follower.uses, follower.calls, follower.shapes)


def _normalizes(module: nn.Module) -> bool:
    """Whether a module is called a normalization, by whatever functions it computes it."""
    return NORM.search(type(module).__name__) is not None and not any(True for _ in module.children())


class _Follower(TorchFunctionMode):
    """Carries, with every tensor, the layers it comes from."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.uses: dict[str, Use] = {}
        self.calls: Counter[str] = Counter()
        self.shapes: dict[str, torch.Size] = {}
        self._modules = dict(model.named_modules())
        self._norms = {name for name, module in self._modules.items() if _normalizes(module)}
        self._inside: list[str] = []
        self._weights = {id(parameter) for parameter in model.parameters() if parameter.dim() > 1}
        self._reach: dict[int, _Reach] = {}
        self._kept: list[Any] = []  # alive, so that no two tensors of the pass share an id

    @contextmanager
    def entered_and_left(self, model: nn.Module) -> Iterator[None]:
        """Hooks on every module for the block."""
        with ExitStack() as stack:
            for name, module in model.named_modules():
                stack.callback(module.register_forward_pre_hook(partial(self._entered, name)).remove)
                stack.callback(module.register_forward_hook(partial(self._left, name)).remove)
            yield

    def _entered(self, name: str, module: nn.Module, inputs: Any) -> None:
        self._inside.append(name)

    def _left(self, name: str, module: nn.Module, inputs: Any, outputs: Any) -> None:
        self._inside.pop()
        self.calls[name] += 1
        if isinstance(outputs, Tensor):
            self.shapes[name] = outputs.shape
        if not name:  # what the loss makes of the model's outputs is no layer's business
            self._reach.clear()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = func(*args, **(kwargs or {}))
        sources, outputs = tensors_of([*args, *(kwargs or {}).values()]), tensors_of(given)
        if sources and outputs:
            if all(id(tensor) in self._weights for tensor in sources):
                self._weights.update(map(id, outputs))  # what is made of weights alone is a weight
            reach = self._followed(getattr(func, "__name__", "").strip("_"), sources)
            self._reach.update((id(tensor), reach) for tensor in outputs)
            self._kept.append(outputs)
        return given

    def _followed(self, function: str, sources: Sequence[Tensor]) -> _Reach:
        """Where a function's outputs come from; notes what it does with the layers that its sources come from."""
        came = [self._reach[id(tensor)] for tensor in sources if id(tensor) in self._reach]
        straight = frozenset[str]().union(*(reach.straight for reach in came))
        activated = frozenset[str]().union(*(reach.activated for reach in came))
        inside = self._inside[-1] if self._inside else ""
        if function in NORMALIZING or inside in self._norms:
            for use in (self.uses[layer] for layer in straight | activated):
                use.normalized = use.normalized or not (use.straight or use.hidden)
        elif function in ACTIVATIONS:
            for layer in straight:
                self.uses[layer].activated_in.append(inside)
            return _Reach(activated=straight | activated)
        elif function in WEIGHING or (function in PRODUCTS and any(id(source) in self._weights for source in sources)):
            for layer in straight:
                self.uses[layer].straight = True
            for layer in activated:
                self.uses[layer].hidden = True
            return self._born(inside)
        return _Reach(straight=straight, activated=activated)

    def _born(self, inside: str) -> _Reach:
        """Of what is given by the function that applies the weights of the module which is inside."""
        if not isinstance(self._modules[inside], LAYERS):
            return _Reach()
        self.uses.setdefault(inside, Use())
        return _Reach(straight=frozenset([inside]))
