"""Real optimizers by name, for a problem: torch's own, those of today from their packages, and ours around them.

The equation that they are choices of is written out in :mod:`unstuck.methods.update`. Lecture chapters 2 and 3.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from unstuck.errors import InputError
from unstuck.judged import walk_on
from unstuck.methods.muon import MuonWithAdamW, hidden_matrices
from unstuck.methods.rate import parts, scale_rates
from unstuck.methods.sharpness_aware import SharpnessAware
from unstuck.problem import Problem

Groups = list[dict[str, Any]]
"""Parameter groups, each with its ``lr`` and ``weight_decay``."""

SCHEDULED = ("initial_lr", "max_lr", "min_lr")
"""What schedulers keep in a parameter group."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """How an optimizer is built, and what can be set.

    Attributes:
        build: (model, groups, settings by name) → the optimizer.
        settings: beside rate and weight decay, with their defaults.
        scheduled: whether a learning-rate schedule has a meaning for it.
    """

    build: Callable[..., torch.optim.Optimizer]
    settings: Mapping[str, float]
    scheduled: bool = True


def _gradient_descent(
    _model: nn.Module, groups: Groups, *, momentum: float, nesterov: bool = False
) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, momentum=momentum, nesterov=nesterov)


def _adagrad(_model: nn.Module, groups: Groups) -> torch.optim.Optimizer:
    return torch.optim.Adagrad(groups)


def _rmsprop(_model: nn.Module, groups: Groups, *, memory: float, momentum: float) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(groups, alpha=memory, momentum=momentum)


def _adam_like(
    _model: nn.Module, groups: Groups, *, momentum: float, memory: float, name: str
) -> torch.optim.Optimizer:
    built: torch.optim.Optimizer = getattr(torch.optim, name)(groups, betas=(momentum, memory))
    return built


def _lars(_model: nn.Module, groups: Groups, *, momentum: float, trust: float) -> torch.optim.Optimizer:
    """You et al. 2017, "Large batch training of convolutional networks", algorithm 1.

    v ← mv + trust ‖w‖/(‖g‖ + λ‖w‖) · (g + λw), w ← w − ηv for each weight of two axes or more. Biases, and
    normalization layers, walk by gradient descent with momentum at η, without decay.
    """
    built: torch.optim.Optimizer = _class("pytorch_optimizer", "LARS")(
        groups, momentum=momentum, trust_coefficient=trust
    )
    return built


def _lamb(_model: nn.Module, groups: Groups, *, momentum: float, memory: float) -> torch.optim.Optimizer:
    """You et al. 2020, "Large batch optimization for deep learning", algorithm 2, with φ clipped at 10.

    w ← w − η min(‖w‖, 10)/‖r + λw‖ · (r + λw) with r = m/(√v + ε) for each tensor; w − η r where it is zero. There is
    no correction for the start, which the norm would take out of m again; the package's own, η/(1 − β₁ᵗ), makes the
    first step ten times as long as η says, and is turned off.
    """
    built: torch.optim.Optimizer = _class("pytorch_optimizer", "Lamb")(
        groups, betas=(momentum, memory), weight_decouple=False, adam_debias=True
    )
    return built


def _muon(model: nn.Module, groups: Groups, *, momentum: float) -> torch.optim.Optimizer:
    if not hasattr(torch.optim, "Muon"):
        raise InputError(f"muon needs torch 2.9 or newer; this is {torch.__version__}")
    listed = {id(parameter) for group in groups for parameter in group["params"]}
    hidden = [matrix for matrix in hidden_matrices(model) if id(matrix) in listed]
    if not hidden:
        raise InputError(
            "muon walks hidden weight matrices, and this optimizer holds none: "
            "neither embeddings, nor the last matrix, nor kernels of convolutions are; take adamw"
        )
    return MuonWithAdamW(groups, hidden, momentum=momentum)


def _schedule_free(
    _model: nn.Module, groups: Groups, *, momentum: float, name: str, memory: float | None = None
) -> torch.optim.Optimizer:
    """Defazio et al. 2024, "The road less scheduled": y ← (1 − β) z + β x is where gradients are taken, x is judged."""
    if momentum == 0:
        raise InputError("schedule-free needs a momentum above 0: the share of its average in the point it walks at")
    beta = {"momentum": momentum} if memory is None else {"betas": (momentum, memory)}
    built: torch.optim.Optimizer = _class("schedulefree", name)(groups, **beta)
    return built


def _sharpness_aware(model: nn.Module, groups: Groups, *, momentum: float, radius: float) -> torch.optim.Optimizer:
    inner = _gradient_descent(model, groups, momentum=momentum)
    return SharpnessAware(inner, radius=radius, buffers=model.buffers())


def _class(package: str, name: str) -> Any:
    """A class of a package that not everybody has."""
    try:
        return getattr(importlib.import_module(package), name)
    except ModuleNotFoundError as error:
        raise InputError(f'{name} is in a package that is not installed: pip install "unstuck[optim]"') from error


ADAMS = {"momentum": 0.9, "memory": 0.999}

GRADIENT_DESCENT = Method(build=_gradient_descent, settings={"momentum": 0.0})

OPTIMIZERS: Mapping[str, Method] = MappingProxyType(
    {
        "gradient-descent": GRADIENT_DESCENT,
        "sgd": GRADIENT_DESCENT,
        "momentum": Method(build=_gradient_descent, settings={"momentum": 0.9}),
        "nesterov": Method(build=partial(_gradient_descent, nesterov=True), settings={"momentum": 0.9}),
        "adagrad": Method(build=_adagrad, settings={}),
        "rmsprop": Method(build=_rmsprop, settings={"memory": 0.99, "momentum": 0.0}),
        **{
            name.lower(): Method(build=partial(_adam_like, name=name), settings=ADAMS)
            for name in ("Adam", "AdamW", "RAdam", "NAdam", "Adamax")
        },
        "lars": Method(build=_lars, settings={"momentum": 0.9, "trust": 0.001}),
        "lamb": Method(build=_lamb, settings=ADAMS),
        "muon": Method(build=_muon, settings={"momentum": 0.95}),
        "schedule-free": Method(
            build=partial(_schedule_free, name="SGDScheduleFree"), settings={"momentum": 0.9}, scheduled=False
        ),
        "schedule-free-adamw": Method(
            build=partial(_schedule_free, name="AdamWScheduleFree"), settings=ADAMS, scheduled=False
        ),
        "sam": Method(build=_sharpness_aware, settings={"momentum": 0.9, "radius": 0.05}),
    }
)
"""Name → method. sgd is gradient descent, as torch calls it; sam is around gradient descent with momentum.

Where all rates are tuned alike, gains of LARS and LAMB over momentum and Adam were not found again (Nado et al. 2021,
"A large batch optimizer reality check"), and those of Muon and its kin were 1.1 to 1.4 times, shrinking with the size
of the model (Wen et al. 2025, "Fantastic pretraining optimizers and where to find them")."""


def with_optimizer(
    branch: Problem, name: str, *, rate: float, weight_decay: float | None = None, **settings: float
) -> Problem:
    """The branch under another optimizer, whose state is at its beginning.

    The parameter groups stay: what each holds, the ratio of its rate to that of the first, its schedule.

    Args:
        branch: given away.
        name: one of :data:`OPTIMIZERS`.
        rate: η of the first group; where there is a schedule, its base rate.
        weight_decay: λ, of the groups that decay already; where none does, of all. By default each keeps its own.
        settings: the method's own: momentum, memory (of the squares: Adam's β₂), trust, radius.

    Raises:
        InputError: the rate is not positive, no optimizer has that name, a setting is none of its own or out of its
            range, or its package is missing.
    """
    if name not in OPTIMIZERS:
        raise InputError(f"no optimizer is called {name!r}; there are {', '.join(OPTIMIZERS)}")
    method = OPTIMIZERS[name]
    if not 0 < rate < math.inf:
        raise InputError(f"the rate of {name} must be positive; got {rate!r}")
    strange = [each for each in settings if each not in method.settings]
    if strange:
        takes = ", ".join(("rate", "weight_decay", *method.settings))
        raise InputError(f"{name} has no {', '.join(strange)}; it takes {takes}")
    for setting, value in {"weight_decay": weight_decay or 0.0, **settings}.items():
        _check_range(name, setting, value)
    groups = _groups(branch, rate, weight_decay)
    if not method.scheduled:
        for group in groups:
            group["lr"] = group.pop("initial_lr", group["lr"])
    optimizer = method.build(branch.model, groups, **{**method.settings, **settings})
    if not method.scheduled:
        walk_on(optimizer)
        return branch.changed(optimizer=optimizer, scheduler=None)
    for part in parts(branch.scheduler):
        part.optimizer = optimizer
        if hasattr(part, "cycle_momentum"):
            part.cycle_momentum = False  # of the optimizer that it was made for
    return branch.changed(optimizer=optimizer)


def _check_range(name: str, setting: str, value: float) -> None:
    if setting in ("momentum", "memory"):
        holds, wanted = 0 <= value < 1, "at least 0 and below 1"
    else:
        holds, wanted = 0 <= value < math.inf, "at least 0"
    if not holds:
        raise InputError(f"the {setting} of {name} must be {wanted}; got {value!r}")


def _groups(branch: Problem, rate: float, weight_decay: float | None) -> Groups:
    """The groups of the branch's optimizer with the new rate and decay, and what its scheduler keeps in them."""
    groups = branch.optimizer.param_groups
    first = float(groups[0].get("initial_lr", groups[0]["lr"]))
    if first > 0:
        scale_rates(branch.optimizer, branch.scheduler, rate / first)
    else:  # nothing to keep the ratio to
        for group in groups:
            group["lr"] = rate
    decays = [float(group.get("weight_decay", 0.0)) for group in groups]
    if weight_decay is not None:
        decays = [weight_decay if decay > 0 or not any(decays) else 0.0 for decay in decays]
    return [
        {
            "params": list(group["params"]),
            "lr": float(group["lr"]),
            "weight_decay": decay,
            **{key: group[key] for key in SCHEDULED if key in group},
        }
        for group, decay in zip(groups, decays, strict=True)
    ]
