"""The update rule θ ← θ − (η_t/σ_t)·m_t: every method is a choice of the rate η, the movement m and the scale σ.

    method                      m_t                       σ_t
    gradient descent            g_t                       1
    momentum (heavy ball)       M_t = β M_{t−1} + g_t     1
    Nesterov                    g_t + β M_t               1
    Adagrad                     g_t                       √(Σ g²) + ε
    Adagrad of the lecture      g_t                       √(mean of g²) + ε
    RMSProp                     g_t                       √(moving average of g²) + ε
    Adam, AdamW                 weighted mean of g        √(weighted mean of g²) + ε
    RAdam                       weighted mean of g        the same by r_t; 1 in the first updates

A rule's settings are numbers, or tensors that broadcast against the parameters: with shape (K, 1) beside parameters of
shape (K, n) they are those of K networks, each of which may follow a method of its own (:func:`stack`).

Lecture chapters 2 and 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType

import torch
from torch import Tensor

from unstuck.errors import InputError

Setting = float | Tensor
"""A number, or one for each of K networks, shape (K, 1)."""

RECTIFIED_ABOVE = 5.0
"""RAdam scales where ρ_t is above this: 4 in the paper, but 5 in its authors' code and in torch, one update later."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What makes (η, m, σ) of the gradients g_1 … g_t.

    The movement is M ← βM + g, the squares are V ← αV + (1 − α)g², or with α = 1 their sum V ← V + g². Where they are
    ``corrected``, each is the mean of what it has gathered, a value s updates old weighing β^s or α^s.

    Attributes:
        rate: η; where a schedule moves it, :func:`step` is given η_t.
        momentum: β, or Adam's β₁.
        carries_rate: 1 where the movement is made of η_t g_t, and is the step itself (η = 1).
        lookahead: 1 where m = g + βM, else m = M.
        adaptive: 1 where σ = √V + ε, else σ = 1.
        memory: α, or Adam's β₂.
        corrected: 1 for means, as above.
        rectified: 1 where σ is divided by RAdam's r_t, and is 1 as long as there is none.
        epsilon: ε.
        decay: λ of the weight decay, g ← g + λθ.
        decoupled: 1 where the decay is θ ← θ − η_t λ θ instead.

    Raises:
        InputError: a setting is out of its range.
    """

    rate: Setting
    momentum: Setting = 0.0
    carries_rate: Setting = 0.0
    lookahead: Setting = 0.0
    adaptive: Setting = 0.0
    memory: Setting = 1.0
    corrected: Setting = 0.0
    rectified: Setting = 0.0
    epsilon: Setting = 0.0
    decay: Setting = 0.0
    decoupled: Setting = 0.0

    def __post_init__(self) -> None:
        _check("rate", self.rate, lambda rate: 0 < rate < math.inf, "positive")
        _check("momentum", self.momentum, lambda momentum: 0 <= momentum < 1, "at least 0 and below 1")
        _check("memory", self.memory, lambda memory: 0 <= memory <= 1, "between 0 and 1")
        _check("epsilon", self.epsilon, lambda epsilon: 0 <= epsilon < math.inf, "at least 0")
        _check("decay", self.decay, lambda decay: 0 <= decay < math.inf, "at least 0")


def _check(name: str, setting: Setting, holds: Callable[[float], bool], wanted: str) -> None:
    for value in setting.flatten().tolist() if isinstance(setting, Tensor) else [setting]:
        if not holds(value):
            raise InputError(f"`{name}` of an update rule must be {wanted}; got {value:g}")


def gradient_descent(rate: float, *, decay: float = 0.0) -> Rule:
    """θ ← θ − η g. Cauchy 1847; lecture chapter 1."""
    return Rule(rate=rate, decay=decay)


def heavy_ball(rate: float, momentum: float = 0.9, *, decay: float = 0.0) -> Rule:
    """M ← βM + g, θ ← θ − ηM, as torch writes it. Polyak 1964; lecture chapter 2."""
    return Rule(rate=rate, momentum=momentum, decay=decay)


def movement(rate: float, momentum: float = 0.9, *, decay: float = 0.0) -> Rule:
    """v ← λv − η_t g, θ ← θ + v: the movement is that of last time minus the gradient. Lecture chapter 2.

    At a constant rate it is :func:`heavy_ball`. Where a schedule lowers the rate, what has been gathered keeps the rate
    that it was gathered with.
    """
    return Rule(rate=rate, momentum=momentum, carries_rate=1.0, decay=decay)


def nesterov(rate: float, momentum: float = 0.9, *, decay: float = 0.0) -> Rule:
    """M ← βM + g, θ ← θ − η(g + βM). Nesterov 1983; lecture chapter 2.

    θ is the point looked ahead to, as in torch (Bengio et al. 2013, "Advances in optimizing recurrent networks").
    """
    return Rule(rate=rate, momentum=momentum, lookahead=1.0, decay=decay)


def adagrad(rate: float, *, epsilon: float = 1e-10, decay: float = 0.0) -> Rule:
    """θ ← θ − η g / (√(Σ g²) + ε). Duchi et al. 2011, figure 1; lecture chapter 3."""
    return Rule(rate=rate, adaptive=1.0, epsilon=epsilon, decay=decay)


def adagrad_mean(rate: float, *, epsilon: float = 0.0, decay: float = 0.0) -> Rule:
    """θ ← θ − (η/σ_t) g with σ_t = √(Σ_{s=0}^{t} g_s² / (t + 1)), the root mean square. Lecture chapter 3.

    With η_t = η/√(t + 1) it is the paper's :func:`adagrad`.
    """
    return Rule(rate=rate, adaptive=1.0, corrected=1.0, epsilon=epsilon, decay=decay)


def rmsprop(rate: float, memory: float = 0.99, *, epsilon: float = 1e-8, decay: float = 0.0) -> Rule:
    """V ← αV + (1 − α)g², θ ← θ − η g / (√V + ε). Hinton 2012, lecture 6e of his course; lecture chapter 3.

    V starts at zero, as in torch, so that the first step has the length η/√(1 − α); in the lecture it starts at g_0².
    """
    return Rule(rate=rate, adaptive=1.0, memory=memory, epsilon=epsilon, decay=decay)


def adam(
    rate: float, momentum: float = 0.9, memory: float = 0.999, *, epsilon: float = 1e-8, decay: float = 0.0
) -> Rule:
    """m̂ = M/(1 − β₁ᵗ), v̂ = V/(1 − β₂ᵗ) with M ← β₁M + (1 − β₁)g, V ← β₂V + (1 − β₂)g²; θ ← θ − η m̂ / (√v̂ + ε).

    The corrected averages are weighted means, and are kept as such: m̂_t = m̂_{t−1} + (g − m̂_{t−1})(1 − β₁)/(1 − β₁ᵗ).
    Kingma & Ba 2015, algorithm 1; lecture chapter 3.
    """
    return Rule(rate=rate, momentum=momentum, adaptive=1.0, memory=memory, corrected=1.0, epsilon=epsilon, decay=decay)


def adamw(
    rate: float, momentum: float = 0.9, memory: float = 0.999, *, epsilon: float = 1e-8, decay: float = 0.01
) -> Rule:
    """θ ← θ − η_t λ θ − η_t m̂ / (√v̂ + ε): the decay stays out of m and σ. Loshchilov & Hutter 2019, algorithm 2.

    Lecture chapter 3.
    """
    return replace(adam(rate, momentum, memory, epsilon=epsilon, decay=decay), decoupled=1.0)


def radam(
    rate: float, momentum: float = 0.9, memory: float = 0.999, *, epsilon: float = 1e-8, decay: float = 0.0
) -> Rule:
    """θ ← θ − η r_t m̂ / √v̂, and θ ← θ − η m̂ in the first updates, before √v̂ is to be trusted (:func:`rectification`).

    ε is added to √V before its correction, as in torch. Liu et al. 2020, algorithm 2; lecture chapter 3.
    """
    if not 2 / 3 < memory < 1:
        raise InputError(f"RAdam needs a `memory` (β₂) above 2/3 and below 1, else it never scales; got {memory:g}")
    return replace(adam(rate, momentum, memory, epsilon=epsilon, decay=decay), rectified=1.0)


METHODS: Mapping[str, Callable[..., Rule]] = MappingProxyType(
    {
        "gradient-descent": gradient_descent,
        "momentum": heavy_ball,
        "lecture-momentum": movement,
        "nesterov": nesterov,
        "adagrad": adagrad,
        "adagrad-mean": adagrad_mean,
        "rmsprop": rmsprop,
        "adam": adam,
        "adamw": adamw,
        "radam": radam,
    }
)
"""Name → (rate, ...) → rule."""


def stack(rules: Sequence[Rule], *, device: torch.device | str = "cpu") -> Rule:
    """The rule of K networks: a setting that differs is a tensor of shape (K, 1), one that all share stays a number.

    Args:
        rules: one for each network, their settings numbers.
        device: where the parameters are.
    """

    def together(name: str) -> Setting:
        values = [float(getattr(rule, name)) for rule in rules]
        if len(set(values)) == 1:
            return values[0]
        return torch.tensor(values, dtype=torch.float64, device=device)[:, None]

    return Rule(**{field.name: together(field.name) for field in fields(Rule)})


@dataclass(frozen=True, kw_only=True)
class State:
    """What a rule remembers after ``updates`` updates.

    Attributes:
        updates: t.
        movement: M, in the shape of the parameters; None where for all networks it is the gradient.
        squares: V; None where no network adapts its scale.
    """

    updates: int
    movement: Tensor | None
    squares: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Step:
    """The three parts of one update θ ← θ − (η/σ)·m: ``rate`` η, ``movement`` m, and ``scale`` σ."""

    rate: Setting
    movement: Tensor
    scale: Setting


def start(rule: Rule, parameters: Tensor) -> State:
    """The state before the first update."""
    return State(
        updates=0,
        movement=torch.zeros_like(parameters) if _some(rule.momentum) or _some(rule.carries_rate) else None,
        squares=torch.zeros_like(parameters) if _some(rule.adaptive) else None,
    )


@torch.no_grad()
def look(rule: Rule, state: State, parameters: Tensor, gradient: Tensor, *, rate: Setting | None = None) -> Step:
    """(η, m, σ) of the update that :func:`step` would make with the same arguments; nothing is changed."""
    movement, squares = (None if part is None else part.clone() for part in (state.movement, state.squares))
    copied = replace(state, movement=movement, squares=squares)
    return _gather(rule, copied, parameters, gradient.clone(), rule.rate if rate is None else rate)[0]


@torch.no_grad()
def step(
    rule: Rule, state: State, parameters: Tensor, gradient: Tensor, *, rate: Setting | None = None
) -> tuple[Tensor, State]:
    """θ ← θ − (η_t/σ_t)·m_t, in place: a fleet's time goes into passes over memory.

    Args:
        rule: the method.
        state: what it remembers; its tensors are overwritten.
        parameters: θ, overwritten.
        gradient: g at θ, used up.
        rate: η_t, where it is not the rule's own.

    Returns:
        θ and the state after the update, in the memory of those that were given.
    """
    seen, state = _gather(rule, state, parameters, gradient, rule.rate if rate is None else rate)
    if _some(rule.decoupled):
        parameters.mul_(_cast(_choose(rule.decoupled, 1 - seen.rate * rule.decay, 1.0), parameters))
    if not isinstance(seen.scale, Tensor):
        return _add(parameters, seen.movement, -seen.rate), state
    if not isinstance(seen.rate, Tensor):
        return parameters.addcdiv_(seen.movement, seen.scale, value=-seen.rate), state
    return _add(parameters, torch.div(seen.movement, seen.scale, out=seen.scale), -seen.rate), state


def _gather(rule: Rule, state: State, parameters: Tensor, gradient: Tensor, rate: Setting) -> tuple[Step, State]:
    """(η, m, σ) with this gradient, and the state with it: in place, σ in the gradient's memory where that is free."""
    state = replace(state, updates=state.updates + 1)
    decay = _choose(rule.decoupled, 0.0, rule.decay)
    if _some(decay):
        gradient = _add(gradient, parameters, decay)
    movement = gradient
    if state.movement is not None:
        keep, gain = _movement_shares(rule, state.updates, rate)
        movement = _add(state.movement.mul_(_cast(keep, gradient)), gradient, gain)
        if _some(rule.lookahead):
            ahead = gradient * _cast(rule.lookahead, gradient)
            movement = _add(ahead, movement, _choose(rule.lookahead, rule.momentum, 1.0))
    scale: Setting = 1.0
    if state.squares is not None:
        spare = torch.empty_like(gradient) if movement is gradient else gradient
        keep, gain = _square_shares(rule, state.updates)
        squares = state.squares.mul_(_cast(keep, gradient))
        if isinstance(gain, Tensor):
            _add(squares, torch.mul(gradient, gradient, out=spare), gain)
        else:
            squares.addcmul_(gradient, gradient, value=gain)
        scale = _scale(rule, state.updates, torch.sqrt(squares, out=spare))
    return Step(rate=_choose(rule.carries_rate, 1.0, rate), movement=movement, scale=scale), state


def _movement_shares(rule: Rule, update: int, rate: Setting) -> tuple[Setting, Setting]:
    """What is kept of M, and how much of g is added."""
    last = _share_of_last(rule.momentum, update)
    added = _choose(rule.carries_rate, rate, 1.0)
    return _choose(rule.corrected, 1 - last, rule.momentum), _choose(rule.corrected, last, added)


def _square_shares(rule: Rule, update: int) -> tuple[Setting, Setting]:
    """What is kept of V, and how much of g² is added."""
    last = _share_of_last(rule.memory, update)
    added = _choose(rule.memory == 1, 1.0, 1 - rule.memory)
    return _choose(rule.corrected, 1 - last, rule.memory), _choose(rule.corrected, last, added)


def _share_of_last(memory: Setting, count: int) -> Setting:
    """The weight (1 − α)/(1 − αᵗ) of the last of t values in a mean with weights αˢ; 1/t for α = 1."""
    if isinstance(memory, Tensor):
        return torch.where(memory == 1, 1 / count, (1 - memory) / (1 - memory**count))
    return 1 / count if memory == 1 else (1 - memory) / (1 - memory**count)


def _scale(rule: Rule, update: int, root: Tensor) -> Setting:
    """σ of √V, in its memory; 1 where nothing is divided."""
    epsilon, adapts = rule.epsilon, rule.adaptive
    if _some(rule.rectified):
        length, factor = rectification(rule.memory, update)
        root.div_(_cast(_choose(rule.rectified, factor, 1.0), root))
        # torch adds ε to √V, which is not corrected yet: after the division by r_t √(1 − β₂ᵗ) this is left of it.
        rest = epsilon / (factor * (1 - rule.memory**update) ** 0.5)
        epsilon = _choose(rule.rectified, rest, epsilon)
        adapts = _choose(rule.rectified, length > RECTIFIED_ABOVE, adapts)
    if not _some(adapts):
        return 1.0
    root.add_(_cast(epsilon, root))
    return root.masked_fill_(adapts == 0, 1.0) if isinstance(adapts, Tensor) else root


def rectification(memory: Setting, update: int) -> tuple[Setting, Setting]:
    """RAdam's ρ_t and r_t (Liu et al. 2020, algorithm 2).

    ρ_∞ = 2/(1 − β₂) − 1, ρ_t = ρ_∞ − 2t β₂ᵗ/(1 − β₂ᵗ) is the length of the simple average that the moving one is worth,
    r_t = √((ρ_t − 4)(ρ_t − 2)ρ_∞ / ((ρ_∞ − 4)(ρ_∞ − 2)ρ_t)) what the variance of 1/σ_t asks for, or 1 where
    ρ_t ≤ 4 and there is none.

    Args:
        memory: β₂, below 1.
        update: t, from 1.
    """
    longest = 2 / (1 - memory) - 1
    power = memory**update
    length = longest - 2 * update * power / (1 - power)
    ratio = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    return length, _choose(length > 4, ratio, 1.0) ** 0.5


def _some(setting: Setting) -> bool:
    """Whether a network has a setting other than 0: :func:`stack` makes tensors only where settings differ."""
    return isinstance(setting, Tensor) or setting != 0


def _choose(condition: Setting, yes: Setting, no: Setting) -> Setting:
    """``yes`` for the networks whose condition is not 0, ``no`` for the others."""
    if not isinstance(condition, Tensor):
        return yes if condition else no
    # torch would make two bare numbers single precision.
    return torch.where(condition != 0, torch.as_tensor(yes, dtype=torch.float64, device=condition.device), no)


def _cast(setting: Setting, like: Tensor) -> Setting:
    """In the type of the parameters, so that they do not become doubles."""
    return setting.to(like.dtype) if isinstance(setting, Tensor) else setting


def _add(total: Tensor, values: Tensor, factor: Setting) -> Tensor:
    """total ← total + factor · values, in one pass."""
    if isinstance(factor, Tensor):
        return total.addcmul_(values, factor.to(total.dtype))
    return total.add_(values, alpha=factor)
