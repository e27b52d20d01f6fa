"""D H D for a diagonal D: the curvature in other units of the parameters."""

from __future__ import annotations

from torch import Tensor

from unstuck.numerics.krylov import SymmetricOperator


class Scaled:
    """D H D, with D = diag(d).

    With d = σ^(−½) it is the preconditioned operator P^(−½) H P^(−½), P = diag(σ), that a rule which divides by
    σ walks on (Cohen et al. 2022, "Adaptive gradient methods at the edge of stability"). With d = |θ| it does
    not change when layers are rescaled without changing the function (Kwon et al. 2021, "ASAM").

    Args:
        operator: H (n × n).
        diagonal: d, shape (n,).
    """

    def __init__(self, operator: SymmetricOperator, diagonal: Tensor) -> None:
        self._operator, self._diagonal = operator, diagonal
        self.dimension = operator.dimension
        self.dtype = operator.dtype
        self.device = operator.device

    def __matmul__(self, vector: Tensor) -> Tensor:
        return self._diagonal * (self._operator @ (self._diagonal * vector))

    def block(self, vectors: Tensor) -> Tensor:
        """The product with each row of a (k, n) matrix."""
        return self._diagonal * self._operator.block(self._diagonal * vectors)


def preconditioned(operator: SymmetricOperator, sigma: Tensor) -> Scaled:
    """P^(−½) H P^(−½) for P = diag(σ), σ positive, shape (n,)."""
    return Scaled(operator, sigma.rsqrt())
