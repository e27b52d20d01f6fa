"""The loss of small networks, many at once, with its gradients and whole Hessians.

Lecture chapter 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.func import functional_call, grad, hessian, vmap

from unstuck.curvature.hessian import Hessian, Part
from unstuck.curvature.linear import layered_hessian
from unstuck.fleet_network import Network, SampleLoss
from unstuck.numerics.lanczos import extreme_eigenpairs
from unstuck.numerics.spectrum import count_signs, newton_residual
from unstuck.study.experiments.surface import Function

PRODUCTS = 20
"""Of the Hessian and a vector, at most, for one eigenvalue."""


def mean_loss(network: Network, loss: SampleLoss, inputs: Tensor, targets: Tensor) -> Function:
    """The mean over all samples as a function of a network's parameters, shape (n,)."""

    def of(row: Tensor) -> Tensor:
        outputs = functional_call(network.model, network.named(row), (inputs,))
        return loss(outputs, targets).mean()

    return of


def sharpest(loss: Function, row: Tensor, seed: int, products: int = PRODUCTS) -> float:
    """The largest eigenvalue of the Hessian of a loss over the parameters of a network, shape (n,)."""
    part = Part(loss=lambda point: loss(point["row"]), share=1.0, samples=1)
    generator = torch.Generator(device="cpu").manual_seed(seed)
    found = extreme_eigenpairs(
        Hessian([part], {"row": row.clone()}), generator=generator, smallest=0, tolerance=1e-2, max_products=products
    )
    return found.largest.values[-1]


def hessians_by_layers(network: Network, loss: SampleLoss, inputs: Tensor, targets: Tensor) -> Function:
    """(K, n) → (K, n, n), of perceptrons: a backward pass for each unit instead of each parameter."""

    def of_one(row: Tensor) -> Tensor:
        def mean(point: Mapping[str, Tensor]) -> Tensor:
            return loss(functional_call(network.model, dict(point), (inputs,)), targets).mean()

        return layered_hessian(mean, network.named(row))[0]

    return lambda rows: torch.stack([of_one(row) for row in rows])


BAND = 1e-6
"""Curvatures within ± this share of the largest count as zero: in double precision their signs are still known, but a
step along them changes nothing that matters."""

FRYE = 0.1
"""Residuals below this belong to points whose quadratic model has a critical point (Frye et al. 2021)."""

AT_REST = 1e-3
"""Gradients below this share of the untrained network's count as zero."""


class Curved:
    """A loss over a row of n parameters, for K rows at once.

    Attributes:
        losses: (K, n) → (K,).
        gradients: (K, n) → (K, n).
        hessians: (K, n) → (K, n, n); by default any loss's.
    """

    def __init__(self, loss: Function, hessians: Function | None = None) -> None:
        self.losses = vmap(loss)
        self.gradients = vmap(grad(loss))
        self.hessians = hessians or vmap(hessian(loss), chunk_size=5)

    def nearer_to_rest(self, rows: Tensor, steps: int) -> Tensor:
        """Levenberg and Marquardt's steps on ½‖g‖²: p = −(H² + μ²)⁻¹ H g; one that does not lower ‖g‖ is not taken."""
        damping = rows.new_full((len(rows), 1), 1e-2)
        for _ in range(steps):
            values, vectors = torch.linalg.eigh(self.hessians(rows))
            gradients = self.gradients(rows)
            along = torch.einsum("knj,kn->kj", vectors, gradients)
            weights = values / (values.square() + (damping * values.abs().amax(1, keepdim=True)).square())
            moved = rows - torch.einsum("knj,kj->kn", vectors, weights * along)
            better = (self.gradients(moved).norm(dim=1) < gradients.norm(dim=1))[:, None]
            rows, damping = torch.where(better, moved, rows), torch.where(better, damping / 4.0, damping * 8.0)
        return rows

    def downhill(self, rows: Tensor, steps: int) -> Tensor:
        """Saddle-free steps −(|H| + μ)⁻¹ g (Dauphin et al. 2014); one that does not go down is not taken."""
        damping = rows.new_full((len(rows), 1), 1e-1)
        losses = self.losses(rows)
        for _ in range(steps):
            values, vectors = torch.linalg.eigh(self.hessians(rows))
            along = torch.einsum("knj,kn->kj", vectors, self.gradients(rows))
            sizes = values.abs()
            moved = rows - torch.einsum("knj,kj->kn", vectors, along / (sizes + damping * sizes.amax(1, keepdim=True)))
            found = self.losses(moved)
            better = (found <= losses)[:, None]
            rows, losses = torch.where(better, moved, rows), torch.minimum(found, losses)
            damping = torch.where(better, damping / 4.0, damping * 8.0)
        return rows


def newton_step(curvature: Tensor, gradient: Tensor) -> Tensor:
    """−H⁻¹ g, which goes to the critical point, whatever its kind."""
    step: Tensor = -torch.linalg.solve(curvature, gradient)
    return step


def saddle_free_step(curvature: Tensor, gradient: Tensor, damping: float = 0.0) -> Tensor:
    """−|H|⁻¹ g, with |H| = Q |Λ| Qᵀ and the damping, in shares of the largest, added (Dauphin et al. 2014)."""
    values, vectors = torch.linalg.eigh(curvature)
    sizes = values.abs()
    step: Tensor = -vectors @ ((vectors.T @ gradient) / (sizes + damping * sizes.max()))
    return step


def described(surface: Curved, rows: Tensor, untrained: Tensor) -> dict[str, list[float]]:
    """Of each point its loss, its index, and whether it is a critical point."""
    values, vectors = torch.linalg.eigh(surface.hessians(rows))
    gradients = surface.gradients(rows)
    along = torch.einsum("knj,kn->kj", vectors, gradients)
    share = gradients.norm(dim=1) / untrained
    residuals = [
        newton_residual(own, part, BAND).value for own, part in zip(values.numpy(), along.numpy(), strict=True)
    ]
    return {
        "loss": surface.losses(rows).tolist(),
        "index": [count_signs(own, BAND).negative / len(own) for own in values],
        "critical": [
            float(own < AT_REST and residual < FRYE) for own, residual in zip(share.tolist(), residuals, strict=True)
        ],
    }
