"""All eigenvalues and eigenvectors of a matrix that is known whole."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from unstuck.numerics.lanczos import Eigenpairs, Extremes, Quadrature


@dataclass(frozen=True, kw_only=True, eq=False)
class Eigensystem:
    """H = Σ λ v vᵀ.

    Attributes:
        values: λ, ascending, shape (n,), double precision.
        vectors: unit v, one a row, shape (n, n).
        error: a bound on the error of each value: what H lacks of symmetry, and rounding.
    """

    values: Tensor
    vectors: Tensor = field(repr=False)
    error: float

    @property
    def diagonal(self) -> Tensor:
        """The diagonal of H, shape (n,)."""
        return self.values @ self.vectors.square()

    def extremes(self, *, smallest: int, largest: int) -> Extremes:
        """Both ends, as a Lanczos run that exhausted the whole space would give them."""
        n = len(self.values)
        return Extremes(
            smallest=self._pairs(slice(0, smallest)),
            largest=self._pairs(slice(max(0, n - largest), n)),
            quadrature=self.quadrature,
            dimension=n,
            products=0,
            complete=True,
            rounding=self.error,
        )

    @property
    def quadrature(self) -> Quadrature:
        """Every eigenvalue with the weight 1/n."""
        n = len(self.values)
        return Quadrature(nodes=tuple(self.values.tolist()), weights=(1.0 / n,) * n, exact=True)

    def _pairs(self, which: slice) -> Eigenpairs:
        values = self.values[which].tolist()
        return Eigenpairs(
            values=tuple(values),
            bounds=(self.error,) * len(values),
            converged=(True,) * len(values),
            vectors=self.vectors[which],
        )


def eigensystem(matrix: Tensor, resolution: float) -> Eigensystem:
    """The eigensystem of a symmetric matrix.

    By Weyl's inequality no eigenvalue moves by more than the norm of what is neglected: the antisymmetric part,
    and the rounding of the entries, ``resolution`` · √n · ‖H‖.

    Args:
        matrix: H (n × n).
        resolution: relative rounding error of its entries.
    """
    exact = matrix.double().cpu()
    asymmetry = float(torch.linalg.matrix_norm(exact - exact.T)) / 2
    values, columns = torch.linalg.eigh((exact + exact.T) / 2)
    rounding = resolution * float(values.abs().max()) * len(values) ** 0.5
    return Eigensystem(values=values, vectors=columns.T, error=max(asymmetry, rounding))
