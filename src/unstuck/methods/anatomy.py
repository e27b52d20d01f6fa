"""The anatomy of a step: what a torch optimizer is about to do, read as (η, m, σ) of each parameter tensor.

    θ ← θ − (η/σ)·m − δ·θ

with the rate η, the movement m, which is made of the present gradient and of what earlier ones left, the scale σ, and
the share δ that decoupled weight decay takes off; other weight decay, g ← g + λθ, is part of the gradient.

Both m and σ are made of all past gradients and do not cancel: m adds them up with their signs, σ their squares. For
Adam's averages of gradients of one size, |m|/σ is 1 where they keep their sign, (1 − β₁)/(1 + β₁) where they alternate,
and √((1 − β₁)/(1 + β₁)) in the root mean square where signs are drawn at random.

Lecture chapters 2 and 3.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from unstuck.methods.update import RECTIFIED_ABOVE, rectification
from unstuck.vector import Point, norm

AGREES = 1e-3
"""Of the length of a step: by how much more than rounding it may differ from what was read."""

LARGEST_NORM = 10.0
"""Of a tensor, as pytorch-optimizer's LAMB counts it: the bound φ of You et al. 2020."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Anatomy:
    """One parameter tensor's part in a step.

    Attributes:
        rate: η, and what a rule multiplies it by for the tensor as a whole.
        fresh: what the present gradient adds to m, in the shape of the tensor.
        carried: what earlier gradients left in m; None where it cannot be told from ``fresh``.
        scale: σ, in the shape of the tensor; the number 1 for rules that divide by nothing.
        decay: δ.
    """

    rate: float
    fresh: Tensor
    carried: Tensor | float | None
    scale: Tensor | float = 1.0
    decay: float = 0.0

    @property
    def movement(self) -> Tensor:
        """m."""
        return self.fresh if self.carried is None else self.fresh + self.carried

    @property
    def effective_rate(self) -> Tensor | float:
        """η/σ."""
        return self.rate / self.scale

    def change(self, parameter: Tensor) -> Tensor:
        """What the step adds to θ."""
        return -self.effective_rate * self.movement - self.decay * parameter


@dataclass(frozen=True, kw_only=True, eq=False)
class Observed:
    """A step that was made.

    Attributes:
        parts: its anatomy by parameter.
        gradients: what the optimizer was given, by parameter; empty where it evaluates the loss itself.
        change: what it added to θ.
        from_state: whether the parts were read from the optimizer's state before the step; else they are the step
            itself, with σ = 1.
        mismatch: |change − what the parts tell| / |change|.
    """

    parts: Mapping[str, Anatomy]
    gradients: Point
    change: Point
    from_state: bool
    mismatch: float


def observe(optimizer: torch.optim.Optimizer, named: Mapping[str, Tensor], make: Callable[[], object]) -> Observed:
    """Let ``make`` make one step, and read it.

    What is read from the optimizer's state must tell the step that is then made. Where it does not, beyond rounding,
    the formula is that of another version or setting, and the step is read as that of an unknown optimizer: m is the
    update that it made over −η.

    Args:
        optimizer: moves the parameters in place.
        named: the model's parameters by name; those that the optimizer does not hold are passed over.
        make: has ``optimizer.step`` called once.
    """
    rates = {id(p): float(group.get("lr", 1.0)) for group in optimizer.param_groups for p in group["params"]}
    held = {name: p for name, p in named.items() if id(p) in rates}
    before = {name: p.detach().clone() for name, p in held.items()}
    gradients: Point = {}
    read: dict[str, Anatomy] = {}

    def look(_: Any, given: tuple[Any, ...], options: Mapping[str, Any]) -> None:
        # A step that calls its parent's is announced twice; one that is given a closure has yet to make its gradients.
        if gradients or len(given) > 1 or options:
            return
        gradients.update({n: p.grad.detach().to_dense().clone() for n, p in held.items() if p.grad is not None})
        read.update(anatomy(optimizer, held, gradients) or {})

    handle = optimizer.register_step_pre_hook(look)
    try:
        make()
    finally:
        handle.remove()
    change = {name: p.detach() - before[name] for name, p in held.items()}
    told = {name: read[name].change(p) if name in read else torch.zeros_like(p) for name, p in before.items()}
    gap, length = norm({name: change[name] - told[name] for name in change}), norm(change)
    rounding = sum(torch.finfo(p.dtype).eps * norm({"": p}) for p in before.values())
    if read and gap <= AGREES * length + rounding:
        mismatch = gap / length if length else 0.0
        return Observed(parts=read, gradients=gradients, change=change, from_state=True, mismatch=mismatch)
    made = {name: _made(rates[id(held[name])], difference) for name, difference in change.items()}
    return Observed(parts=made, gradients=gradients, change=change, from_state=False, mismatch=0.0)


def _made(rate: float, change: Tensor) -> Anatomy:
    """m = −Δθ/η, σ = 1."""
    rate = rate or 1.0
    return Anatomy(rate=rate, fresh=-change / rate, carried=None)


@torch.no_grad()
def anatomy(
    optimizer: torch.optim.Optimizer, named: Mapping[str, Tensor], gradients: Mapping[str, Tensor]
) -> dict[str, Anatomy] | None:
    """The step that an optimizer is about to make with these gradients; nothing of it is changed.

    Args:
        optimizer: whose state and settings are read.
        named: the model's parameters by name.
        gradients: by the same names; what has none is not moved, and is left out.

    Returns:
        The anatomy of each parameter that the optimizer holds; None for a kind of optimizer that is not known here.
    """
    reader = _readers().get(type(optimizer))
    if reader is None:
        return None
    groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    return {
        name: reader(_Given(groups[id(p)], optimizer.state.get(p, {}), p.detach(), gradients[name]))
        for name, p in named.items()
        if id(p) in groups and name in gradients
    }


@dataclass(frozen=True, eq=False)
class _Given:
    """What the step of one tensor is made of: settings, state before the step, θ, and its gradient as it came."""

    group: Mapping[str, Any]
    state: Mapping[str, Any]
    parameter: Tensor
    slope: Tensor

    def setting(self, name: str) -> float:
        """A number among the settings; 0 where there is none of that name."""
        return float(self.group.get(name, 0.0))

    @property
    def rate(self) -> float:
        """η."""
        return self.setting("lr")

    @property
    def betas(self) -> tuple[float, float]:
        """β₁ and β₂."""
        one, other = self.group["betas"]
        return float(one), float(other)

    @property
    def updates(self) -> int:
        """t, this step included."""
        return int(self.state.get("step", self.group.get("step", 0))) + 1

    @property
    def decoupled(self) -> bool:
        """Whether the decay stays out of the gradient: as torch calls it, and pytorch-optimizer."""
        return bool(self.group.get("decoupled_weight_decay") or self.group.get("weight_decouple"))

    @property
    def decay(self) -> float:
        """δ = ηλ where the decay is decoupled."""
        return self.rate * self.setting("weight_decay") if self.decoupled else 0.0

    @cached_property
    def gradient(self) -> Tensor:
        """g to be walked down, with the decay λθ where that is not decoupled."""
        slope = -self.slope if self.group.get("maximize") else self.slope
        return slope if self.decoupled else slope + self.setting("weight_decay") * self.parameter

    def kept(self, name: str) -> Tensor:
        """A tensor of the state; zeros before there is one."""
        kept = self.state.get(name)
        return torch.zeros_like(self.parameter) if kept is None else kept

    def squares(self, name: str, memory: float) -> Tensor:
        """V ← αV + (1 − α)g²."""
        return memory * self.kept(name) + (1 - memory) * self.gradient.square()


def _descent(given: _Given) -> Anatomy:
    """M ← βM + (1 − d)g, but the first M is g; m = M, Nesterov's m = g + βM. torch.optim.SGD."""
    momentum = given.setting("momentum")
    first = momentum == 0 or given.state.get("momentum_buffer") is None
    gain, carried = 1.0 if first else 1 - given.setting("dampening"), momentum * given.kept("momentum_buffer")
    if given.group["nesterov"]:
        gain, carried = 1 + momentum * gain, momentum * carried
    return Anatomy(rate=given.rate, fresh=gain * given.gradient, carried=carried)


def _adagrad(given: _Given) -> Anatomy:
    """σ = √(Σ g²) + ε, and a rate that may fall. Duchi et al. 2011."""
    rate = given.rate / (1 + (given.updates - 1) * given.setting("lr_decay"))
    scale = (given.kept("sum") + given.gradient.square()).sqrt() + given.setting("eps")
    return Anatomy(rate=rate, fresh=given.gradient, carried=0.0, scale=scale)


def _rmsprop(given: _Given) -> Anatomy:
    """σ = √V + ε, centered √(V − ḡ²) + ε; with momentum M ← βM + g/σ is walked, so that m = σM. Hinton 2012."""
    memory = given.setting("alpha")
    squares = given.squares("square_avg", memory)
    if given.group["centered"]:
        squares = squares - (memory * given.kept("grad_avg") + (1 - memory) * given.gradient).square()
    scale = squares.sqrt() + given.setting("eps")
    carried = given.setting("momentum") * given.kept("momentum_buffer") * scale
    return Anatomy(rate=given.rate, fresh=given.gradient, carried=carried, scale=scale)


def _averaged(given: _Given, scale: Tensor | float) -> Anatomy:
    """m = (β₁M + (1 − β₁)g) / (1 − β₁ᵗ)."""
    beta = given.betas[0]
    gain = 1 / (1 - beta**given.updates)
    fresh, carried = gain * (1 - beta) * given.gradient, gain * beta * given.kept("exp_avg")
    return Anatomy(rate=given.rate, fresh=fresh, carried=carried, scale=scale, decay=given.decay)


def _adam(given: _Given) -> Anatomy:
    """σ = √(V/(1 − β₂ᵗ)) + ε, V the largest so far for AMSGrad. Kingma and Ba 2015."""
    memory = given.betas[1]
    squares = given.squares("exp_avg_sq", memory)
    if given.group["amsgrad"]:
        squares = torch.maximum(given.kept("max_exp_avg_sq"), squares)
    return _averaged(given, (squares / (1 - memory**given.updates)).sqrt() + given.setting("eps"))


def _adamw(given: _Given) -> Anatomy:
    """As Adam, the decay left out of g. Loshchilov and Hutter 2019."""
    return _adam(replace(given, group={**given.group, "decoupled_weight_decay": True}))  # torch 2.6 does not say so


def _radam(given: _Given) -> Anatomy:
    """σ = (√V + ε) / (r_t √(1 − β₂ᵗ)); 1 in the first updates. Liu et al. 2020."""
    memory = given.betas[1]
    length, factor = rectification(memory, given.updates)
    if length <= RECTIFIED_ABOVE:
        return _averaged(given, 1.0)
    root = given.squares("exp_avg_sq", memory).sqrt() + given.setting("eps")
    return _averaged(given, root / (factor * (1 - memory**given.updates) ** 0.5))


def _nadam(given: _Given) -> Anatomy:
    """m = (1 − μ_t) g / (1 − Π μ) + μ_{t+1} M / (1 − Π μ μ_{t+1}): Nesterov's momentum, growing. Dozat 2016."""
    beta, memory = given.betas
    present, following = (
        beta * (1 - 0.5 * 0.96 ** (update * given.setting("momentum_decay")))
        for update in (given.updates, given.updates + 1)
    )
    product = float(given.state.get("mu_product", torch.ones((), device="cpu")) * present)  # kept in single precision
    ahead = following / (1 - product * following)
    gain = (1 - present) / (1 - product) + ahead * (1 - beta)
    scale = (given.squares("exp_avg_sq", memory) / (1 - memory**given.updates)).sqrt() + given.setting("eps")
    carried = ahead * beta * given.kept("exp_avg")
    return Anatomy(rate=given.rate, fresh=gain * given.gradient, carried=carried, scale=scale, decay=given.decay)


def _adamax(given: _Given) -> Anatomy:
    """σ ← max(β₂σ, |g| + ε). Kingma and Ba 2015, algorithm 2."""
    largest = given.betas[1] * given.kept("exp_inf")
    return _averaged(given, torch.maximum(largest, given.gradient.abs() + given.setting("eps")))


def _lars(given: _Given) -> Anatomy:
    """M ← βM + (1 − d) r (g + λθ), r = c|θ| / (|g| + λ|θ|) of a matrix, 1 of a vector; m = M/r at the rate η r.

    You et al. 2017; pytorch-optimizer's.
    """
    momentum, decay, ratio, slope = given.setting("momentum"), given.setting("weight_decay"), 1.0, given.slope
    if slope.dim() > 1:
        size = float(given.parameter.norm())
        resistance = float(slope.norm()) + decay * size
        ratio = given.setting("trust_coefficient") * size / resistance if size > 0 and resistance > 0 else 1.0
        slope = slope + decay * given.parameter
    gain, carried = 1 - given.setting("dampening"), momentum * given.kept("momentum_buffer") / ratio
    if given.group["nesterov"]:
        gain, carried = 1 + momentum * gain, momentum * carried
    return Anatomy(rate=given.rate * ratio, fresh=gain * slope, carried=carried)


def _lamb(given: _Given) -> Anatomy:
    """σ = √V + ε, m = M/(1 − β₁ᵗ), and the rate η r, r = |θ| / |M/σ| with θ decayed already and |θ| ≤ 10.

    You et al. 2020; pytorch-optimizer's.
    """
    beta, memory = given.betas
    scale = given.squares("exp_avg_sq", memory).sqrt() + given.setting("eps")
    gain = 1 - beta if given.group["grad_averaging"] else 1.0
    fresh, carried = gain * given.gradient, beta * given.kept("exp_avg")
    size = min((1 - given.decay) * float(given.parameter.norm()), LARGEST_NORM)
    length = float(((fresh + carried) / scale).norm())
    same = given.group["adam"] or size == 0 or length == 0
    rate = given.rate * (1.0 if same else size / (length + given.setting("eps")))
    correction = 1 - beta**given.updates
    return Anatomy(rate=rate, fresh=fresh / correction, carried=carried / correction, scale=scale, decay=given.decay)


Reader = Callable[[_Given], Anatomy]


def _readers() -> Mapping[type, Reader]:
    """Kind of optimizer → its formula. Who holds one of pytorch-optimizer's has loaded that package."""
    own: dict[type, Reader] = {
        torch.optim.SGD: _descent,
        torch.optim.Adagrad: _adagrad,
        torch.optim.RMSprop: _rmsprop,
        torch.optim.Adam: _adam,
        torch.optim.AdamW: _adamw,
        torch.optim.RAdam: _radam,
        torch.optim.NAdam: _nadam,
        torch.optim.Adamax: _adamax,
    }
    package: Any = sys.modules.get("pytorch_optimizer")
    return own if package is None else own | {package.LARS: _lars, package.Lamb: _lamb}
