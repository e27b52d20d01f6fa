"""How sharp a valley each update rule can walk without diverging.

Lecture chapters 2 and 3.
"""

from __future__ import annotations

import math
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
        carried: β of the heavy ball, which swings; 0 without momentum, and for Nesterov's, whose look ahead damps it.
    """

    curvature: float
    rule: str
    preconditioned: bool
    carried: float = 0.0

    def ringing(self, share: float) -> float:
        """How often θ swings to and fro along a curvature while the swing falls by a factor e.

        θ_{t+1} = (1 + β − a) θ_t − β θ_{t−1} with a = 2 (1 + β) · share has the roots √β e^{±iω}, cos ω = (1 + β)
        (1 − 2 share) / (2 √β), which give ω / (π |ln β|) swings; none where the roots are real (Goh 2017, "Why momentum
        really works"). Adam's are the same on the preconditioned quadratic.

        Args:
            share: the curvature over the limit; beyond 1, where the swing grows, it counts as 1.
        """
        if self.carried <= 0 or share <= 0:
            return 0.0
        cosine = (1 + self.carried) * (1 - 2 * min(share, 1.0)) / (2 * math.sqrt(self.carried))
        return math.acos(max(-1.0, cosine)) / math.pi / abs(math.log(self.carried)) if cosine < 1 else 0.0


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
        return StabilityLimit(curvature=limit, rule="2 (1 + momentum) / rate", preconditioned=False, carried=momentum)
    if isinstance(optimizer, ADAM_LIKE):
        beta = float(group["betas"][0])
        limit = (2 + 2 * beta) / ((1 - beta) * rate)
        if isinstance(optimizer, torch.optim.NAdam):
            rule = "(2 + 2 β₁) / ((1 + 2 β₁) (1 − β₁) rate)"
            return StabilityLimit(curvature=limit / (1 + 2 * beta), rule=rule, preconditioned=True)
        return StabilityLimit(curvature=limit, rule="(2 + 2 β₁) / ((1 − β₁) rate)", preconditioned=True, carried=beta)
    return None
