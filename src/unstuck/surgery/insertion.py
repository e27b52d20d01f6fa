"""Normalization put into a model that was built without it, by module surgery.

Lecture chapter 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrizations

from unstuck.errors import InputError
from unstuck.passes.layer_flow import flow_of
from unstuck.problem import Problem
from unstuck.surgery.inputs import with_normalized_inputs
from unstuck.surgery.insertion_sites import OF_WEIGHTS, Site, Sites
from unstuck.surgery.normalization_layers import BatchRenorm, FeaturesLast
from unstuck.untouched import seeded

NORMALIZATIONS = ("feature", "batch", "layer", "instance", "group", "weight", "spectral", "batch-renorm")
"""What can be normalized: the inputs, what hidden layers give, or their weights."""

PLACES = ("before activation", "after activation")

BATCHED = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCED = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
"""Torch's modules by the number of axes that count places."""

GROUPS, SHARING = 32, 8
"""At most so many groups (Wu & He 2018, table 3), of at least so many channels: of fewer, statistics say little."""


@dataclass(frozen=True, kw_only=True)
class Inserted:
    """A problem with normalization, and layer by layer what was changed, and what was left alone and why."""

    problem: Problem
    changed: tuple[str, ...]
    left: tuple[str, ...]


def with_normalization(branch: Problem, kind: str, *, place: str = "before activation") -> Inserted:
    """The branch with every hidden layer normalized that feeds an activation.

    That is each linear or convolutional layer whose output goes through an activation and into another layer.
    A normalization of outputs becomes the second part of ``nn.Sequential(layer, normalization)`` in the layer's
    place, or in that of its activation; weight and spectral normalization parametrize the layer's weight. The
    features of a linear layer are its last axis: over sequences, batch statistics are taken over samples and steps,
    layer and group statistics at each step by itself, so that none sees a later one. Left alone are output layers,
    attention and recurrence, layers whose weight is tied, computed or not trained, layers that are called several
    times in a pass, and what is normalized already.

    New parameters join the optimizer's group of their layer and have its weight decay: schedulers know groups by
    number, so none is added. The state of old parameters is kept; under weight normalization that of a weight
    becomes that of its direction.

    Args:
        branch: a problem made by :meth:`Problem.branch`; it is given away.
        kind: one of ``NORMALIZATIONS``.
        place: one of ``PLACES``; normalized weights have none.

    Raises:
        InputError: the kind or the place is not known, no layer qualifies, or the model does not run with it.
    """
    for given, known in ((kind, NORMALIZATIONS), (place, PLACES)):
        if given not in known:
            raise InputError(f"normalization: {given!r} is not known; known are {', '.join(known)}")
    if kind == "feature":
        return Inserted(problem=with_normalized_inputs(branch), changed=("the inputs: standardized",), left=())
    if isinstance(branch.optimizer, torch.optim.LBFGS):
        raise InputError(f"{kind} normalization: L-BFGS takes no new parameters; use another optimizer")
    sites = Sites(branch, kind, after=place == "after activation" and kind not in OF_WEIGHTS)
    if not sites.found:
        told = "; ".join(sites.left[:3]) + (f"; and {len(sites.left) - 3} more" if len(sites.left) > 3 else "")
        told = told or "it has no linear or convolutional layer"
        raise InputError(f"{kind} normalization: no layer of the model qualifies: {told}; leave it out")
    changed = tuple(f"{site.title}: {_words(kind, site)}" for site in sites.found)
    if kind in OF_WEIGHTS:
        for site in sites.found:
            _normalize_weight(branch, kind, site)
    else:
        _normalize_outputs(branch, kind, sites.found)
        _check_called(branch, kind, sites)
    return Inserted(problem=branch, changed=changed, left=tuple(sites.left))


def _words(kind: str, site: Site) -> str:
    if kind in OF_WEIGHTS:
        return f"{kind} normalization"
    place = "before" if site.follows == site.layer else "after"
    return f"{kind} normalization of its {site.channels} channels {place} its activation"


def _normalize_weight(branch: Problem, kind: str, site: Site) -> None:
    """Parametrize the weight of a site's layer, by torch's own means."""
    layer: Any = branch.model.get_submodule(site.layer)
    units = 1 if "Transpose" in type(layer).__name__ else 0  # the axis of the weight that counts them
    weight, group = layer.weight, _group_of(branch, layer.weight)
    if kind == "spectral":
        with seeded(0):  # torch draws the first u and v by the process-wide generator
            parametrizations.spectral_norm(layer, dim=units)  # the parameter stays the same object
    else:
        parametrizations.weight_norm(layer, dim=units)
        length, direction = layer.parametrizations.weight.original0, layer.parametrizations.weight.original1
        group[:] = [direction if parameter is weight else parameter for parameter in group] + [length]
        if weight in branch.optimizer.state:
            branch.optimizer.state[direction] = branch.optimizer.state.pop(weight)
    layer.train(layer.training)


def _normalize_outputs(branch: Problem, kind: str, sites: Sequence[Site]) -> None:
    """Put a normalization after every module that a site names; where layers feed one activation together, once."""
    for follows, site in {site.follows: site for site in sites}.items():
        weight = branch.model.get_parameter(f"{site.layer}.weight")
        normalization = _normalization(kind, site).to(weight.device, weight.dtype)
        _group_of(branch, weight).extend(normalization.parameters())
        holder, _, own = follows.rpartition(".")
        module = branch.model.get_submodule(follows)
        both = nn.Sequential(module, normalization).train(module.training)
        setattr(branch.model.get_submodule(holder), own, both)


def _group_of(branch: Problem, weight: nn.Parameter) -> list[nn.Parameter]:
    """The parameters of the optimizer's group that holds a weight."""
    groups: list[list[nn.Parameter]] = [group["params"] for group in branch.optimizer.param_groups]
    return next(group for group in groups if any(parameter is weight for parameter in group))


def _normalization(kind: str, site: Site) -> nn.Module:
    """A new normalization of outputs, γ = 1 and β = 0."""
    channels = site.channels
    if kind == "instance":
        return INSTANCED[site.axes](channels, affine=True)
    if kind == "layer":
        return nn.GroupNorm(1, channels) if site.axes else nn.LayerNorm(channels)
    if kind == "group":
        groups = next(g for g in range(min(GROUPS, max(1, channels // SHARING)), 0, -1) if channels % g == 0)
        rows: nn.Module = nn.GroupNorm(groups, channels)
    else:
        rows = BATCHED[site.axes](channels) if kind == "batch" else BatchRenorm(channels)
    return FeaturesLast(rows) if site.rows else rows


def _check_called(branch: Problem, kind: str, sites: Sites) -> None:
    """Raise InputError where the model does not run any more, or passes a normalization by."""
    try:
        calls = flow_of(branch, sites.sample).calls
    except Exception as error:  # the caller's forward may use a layer in any way
        raise InputError(
            f"{kind} normalization: the model does not run with it ({type(error).__name__}: {error}); "
            "its code uses a layer in a way that a normalized one does not know, so put it in there"
        ) from error
    passed = [site.title for site in sites.found if not calls[f"{site.follows}.1"]]
    if passed:
        raise InputError(
            f"{kind} normalization: the model calls a layer past its name ({', '.join(passed[:3])}), so that what is "
            "put after it is not called; put it into the model's code"
        )
