"""Which layers of a model qualify for a normalization, and why the others do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from torch import nn

from unstuck.data import samples_in
from unstuck.passes.layer_flow import LAYERS, Flow, Use, flow_of
from unstuck.problem import Problem

OF_WEIGHTS = ("weight", "spectral")
OF_BATCHES = ("batch", "batch-renorm")
"""Kinds of normalization by what their statistics are taken over; those of the others are one sample's."""

INTACT = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer, nn.RNNBase)
"""Modules that read the weights of what they hold themselves, so that no part of them can be exchanged."""

TRACED = 8
"""Samples of the pass in which layers are followed."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """A place for a normalization.

    Attributes:
        layer: the name of the layer.
        title: its name and type.
        follows: the name of the module that it comes after: the layer, or its activation.
        channels: C.
        axes: how many axes count places; 0 for linear layers, whose features are their last axis.
        rows: whether there are axes between the samples and the features of a linear layer.
    """

    layer: str
    title: str
    follows: str
    channels: int
    axes: int
    rows: bool


class Sites:
    """The sites of one kind of normalization in a model, and the layers that are left alone."""

    def __init__(self, branch: Problem, kind: str, *, after: bool) -> None:
        self._kind = kind
        self._after = after
        self.sample = branch.data.sample(TRACED, chunk=TRACED, seed=0)[0]
        self._modules = dict(branch.model.named_modules())
        self._flow: Flow = flow_of(branch, self.sample)
        self._samples = samples_in(self.sample)
        self._smallest = branch.data.samples % branch.data.batch_size or branch.data.batch_size
        self._listed = {id(parameter) for group in branch.optimizer.param_groups for parameter in group["params"]}
        named = branch.model.named_parameters(remove_duplicate=False)
        self._holders = Counter(id(parameter) for _, parameter in named)
        self.found: list[Site] = []
        self.left: list[str] = []
        for name, module in self._layers():
            site = self._why_not(name, module) or self._site(name, module)
            if isinstance(site, Site):
                self.found.append(site)
            else:
                self.left.append(f"{_title(name, module)}: {site}")

    def _layers(self) -> Iterator[tuple[str, nn.Module]]:
        """Linear and convolutional layers in the model's order, and what holds some and is left as it is."""
        inside: tuple[str, ...] = ()
        for name, module in self._modules.items():
            if name.startswith(inside):
                continue
            if isinstance(module, INTACT):
                inside = (*inside, f"{name}.")
            if isinstance(module, (*LAYERS, *INTACT)):
                yield name, module

    def _why_not(self, name: str, module: nn.Module) -> str | None:
        """Why a layer does not qualify for any kind."""
        if isinstance(module, INTACT):
            return "it reads the weights of its parts itself"
        own = dict(module.named_parameters(recurse=False))
        if "weight" not in own:
            return "its weight is computed already (weight or spectral normalization, pruning)"
        if self._holders[id(own["weight"])] > 1:
            return "its weight is tied"
        if not own["weight"].requires_grad or id(own["weight"]) not in self._listed:
            return "it does not learn"
        if name not in self._flow.uses:
            return "the forward pass does not call it"
        if not self._once(name):
            return "it is called several times in a pass"
        return _why_not_used(self._flow.uses[name])

    def _once(self, name: str) -> bool:
        """Whether a module is called once in each pass of the model."""
        return self._flow.calls[name] == max(1, self._flow.calls[""])

    def _site(self, name: str, module: nn.Module) -> Site | str:
        """Where the normalization of a layer goes, or why it cannot go there."""
        follows, activated_in = name, self._flow.uses[name].activated_in
        if name in activated_in:
            return "its activation is inside it"
        if self._after:
            follows, *others = dict.fromkeys(activated_in)
            if any(True for _ in self._modules[follows].children()):
                return "its activation is a function, with no module to put anything after"
            if others or not self._once(follows):
                return "its activation is not its own"
        axes = 0 if isinstance(module, nn.Linear) else len(module.kernel_size)  # type: ignore[arg-type]
        shape = self._flow.shapes.get(follows, ())
        if len(shape) < 2 or (axes and len(shape) != 2 + axes) or len(shape) != len(self._flow.shapes[name]):
            return f"what is given there, of shape {tuple(shape)}, is no batch of channels"
        channels = shape[1] if axes else shape[-1]
        return self._why_not_there(shape, channels, axes) or Site(
            layer=name,
            title=_title(name, module),
            follows=follows,
            channels=channels,
            axes=axes,
            rows=not axes and len(shape) > 2,
        )

    def _why_not_there(self, shape: tuple[int, ...], channels: int, axes: int) -> str | None:
        """Why a normalization of this kind has no statistics of outputs of a shape."""
        if self._kind == "instance" and not axes:
            return "the features of a linear layer have no places to take statistics over"
        if self._kind in OF_BATCHES:
            numbers = self._smallest * prod(shape) / channels / self._samples
        elif self._kind == "instance":
            numbers = prod(shape[2:])
        else:
            numbers = prod(shape[1:]) if axes else channels
        if self._kind in OF_WEIGHTS or numbers >= 2:
            return None
        where = f" in a batch of {self._smallest}; drop_last=True leaves out a last one" * (self._kind in OF_BATCHES)
        return f"there would be statistics of one number{where}"


def _title(name: str, module: nn.Module) -> str:
    return f"{name or 'the model'} ({type(module).__name__})"


def _why_not_used(use: Use) -> str | None:
    """Why what happens to a layer's output leaves no place for a normalization."""
    if use.normalized:
        return "it is normalized already"
    if use.hidden:
        return None
    return "no activation follows it before the next layer" if use.straight else "it is an output layer"
