"""How sharp a valley each update rule can walk without diverging.

Lecture chapters 2 and 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

ADAM_LIKE = (torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam, torch.optim.RAdam)


@dataclass(frozen=True, kw_only=True)
class StabilityLimit:
    """The largest curvature that an update rule walks without diverging.

    Attributes:
        curvature: the limit of λ_max of the Hessian, or of P^(−1/2) H P^(−1/2) where the rule divides by σ.
        rule: the formula, in words a reader can check.
        preconditioned: whether the limit is for the preconditioned Hessian.
    """

    curvature: float
    rule: str
    preconditioned: bool


def stability_limit(optimizer: torch.optim.Optimizer) -> StabilityLimit | None:
    """The stability limit of a torch optimizer on a quadratic; None for a rule that is not known here.

    Gradient descent: 2/η. Heavy ball as torch writes it (v ← βv + g): 2(1+β)/η; with dampening d the
    gradient enters as (1−d)·g, hence 2(1+β)/((1−d)η). Nesterov: 2(1+β)/((1+2β)η). Adam:
    (2+2β₁)/((1−β₁)η) for the Hessian preconditioned by P = √v̂ + ε (Cohen et al. 2021, appendix B, and
    2022, equation 2); NAdam, whose momentum is Nesterov's: that over 1+2β₁. The first parameter group speaks for all.
    """
    group = optimizer.param_groups[0]
    rate = float(group["lr"])
    if rate <= 0:
        return None
    if type(optimizer) is torch.optim.SGD:
        momentum, dampening = float(group["momentum"]), float(group["dampening"])
        if momentum == 0:
            return StabilityLimit(curvature=2 / rate, rule="2 / rate", preconditioned=False)
        if group["nesterov"]:
            limit = 2 * (1 + momentum) / ((1 + 2 * momentum) * rate)
            return StabilityLimit(
                curvature=limit, rule="2 (1 + momentum) / ((1 + 2 momentum) rate)", preconditioned=False
            )
        limit = 2 * (1 + momentum) / ((1 - dampening) * rate)
        return StabilityLimit(curvature=limit, rule="2 (1 + momentum) / rate", preconditioned=False)
    if isinstance(optimizer, ADAM_LIKE):
        beta = float(group["betas"][0])
        limit = (2 + 2 * beta) / ((1 - beta) * rate)
        if isinstance(optimizer, torch.optim.NAdam):
            rule = "(2 + 2 β₁) / ((1 + 2 β₁) (1 − β₁) rate)"
            return StabilityLimit(curvature=limit / (1 + 2 * beta), rule=rule, preconditioned=True)
        return StabilityLimit(curvature=limit, rule="(2 + 2 β₁) / ((1 − β₁) rate)", preconditioned=True)
    return None
