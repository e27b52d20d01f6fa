"""The Lanczos process: a symmetric operator, known only by its products, as a small tridiagonal matrix.

With orthonormal rows V (m × n) it keeps the relation

    H Vᵀ = Vᵀ T + β v eₘᵀ + F,

T tridiagonal (m × m), v the next row and β ≥ 0 its coupling to the last one (Lanczos 1950; Golub and Van
Loan, *Matrix Computations*, chapter 10). F is what rounding and a not quite symmetric operator leave. It is
measured on the way, because its size belongs into every error bound. Each row is orthogonalized against
all earlier ones: without that, copies of converged eigenvalues appear ("ghosts", Paige 1972).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

Floats = NDArray[np.float64]

PASSES = 3
"""Orthogonalizations of each new row against all others, at most."""

KEPT = 0.7
"""A pass that leaves this share of a vector's length, or more, leaves it orthogonal to working precision (Daniel,
Gragg, Kaufman, Stewart 1976). Since the rows next to it are taken out before, that is nearly always the first: twice
is enough (Giraud, Langou, Rozložník 2005)."""

BREAKDOWN = 10.0
"""A remainder of so many rounding errors of the operator's size is taken for zero."""

SMALL = 1e-150
"""Squares of entries that are not far above it vanish in double precision."""

ROWS_PER_CHUNK = 8
"""Rows allocated at a time, so that a growing basis is never copied and little of it lies idle."""


class NonFiniteProduct(ArithmeticError):
    """A product of the operator with a finite vector is not finite: there is no spectrum to speak of."""


class SymmetricOperator(Protocol):
    """A symmetric H (n × n), known by its products ``operator @ vector``; both vectors have shape (n,)."""

    @property
    def dimension(self) -> int:
        """The length n of the vectors."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of the vectors."""

    @property
    def device(self) -> torch.device:
        """Where the vectors live."""

    def __matmul__(self, vector: Tensor, /) -> Tensor: ...

    def block(self, vectors: Tensor, /) -> Tensor:
        """H times each row of a (k, n) matrix; for many vectors at once this may be cheaper."""


@dataclass(frozen=True, kw_only=True)
class OperatorFromProduct:
    """A symmetric operator made from a function vector → H vector."""

    product: Callable[[Tensor], Tensor]
    dimension: int
    dtype: torch.dtype
    device: torch.device

    def __matmul__(self, vector: Tensor) -> Tensor:
        return self.product(vector)

    def block(self, vectors: Tensor) -> Tensor:
        """H times each row of a (k, n) matrix."""
        return torch.stack([self.product(vector) for vector in vectors])


class Basis:
    """Orthonormal rows of length n that grow one by one."""

    def __init__(self, dimension: int, dtype: torch.dtype, device: torch.device) -> None:
        self._dimension, self._dtype, self._device = dimension, dtype, device
        self._chunks: list[Tensor] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, row: Tensor) -> None:
        """Adds a unit vector that is orthogonal to all rows."""
        position = self._length % ROWS_PER_CHUNK
        if position == 0:
            self._chunks.append(torch.empty(ROWS_PER_CHUNK, self._dimension, dtype=self._dtype, device=self._device))
        self._chunks[-1][position] = row
        self._length += 1

    def orthogonalize(self, vector: Tensor, *, recent: int = 0) -> Floats:
        """Takes from ``vector``, in place, its components along the rows, and returns them, shape (m,).

        Args:
            vector: shape (n,).
            recent: the last rows, along which most of the vector lies, are taken out first.
        """
        removed = np.zeros(len(self))
        for number in range(max(0, len(self) - recent), len(self)):
            row = self._chunks[number // ROWS_PER_CHUNK][number % ROWS_PER_CHUNK]
            component = row @ vector
            vector.sub_(component * row)
            removed[number] = float(component)
        before = length(vector)
        for _ in range(PASSES):
            components = []
            for rows in self._filled():
                components.append(rows @ vector)
                vector.addmv_(rows.T, components[-1], alpha=-1)
            if components:
                removed += torch.cat(components).cpu().double().numpy()
            after = length(vector)
            if after >= KEPT * before:
                break
            before = after
        return removed

    def combine(self, coefficients: Floats) -> Tensor:
        """k combinations of the rows: coefficients of shape (k, m) give vectors of shape (k, n)."""
        total = torch.zeros(len(coefficients), self._dimension, dtype=self._dtype, device=self._device)
        for number, rows in enumerate(self._filled()):
            first = number * ROWS_PER_CHUNK
            part = torch.from_numpy(coefficients[:, first : first + len(rows)])
            total += part.to(self._dtype).to(self._device) @ rows
        return total

    def _filled(self) -> Iterator[Tensor]:
        left = self._length
        for chunk in self._chunks:
            yield chunk[: min(left, ROWS_PER_CHUNK)]
            left -= ROWS_PER_CHUNK


@dataclass(frozen=True, kw_only=True, eq=False)
class Ritz:
    """The eigenpairs of T as approximate eigenpairs of H.

    Attributes:
        values: θ, ascending, shape (m,).
        residuals: ‖H y − θ y‖ and measured rounding, shape (m,): an eigenvalue of H lies so near to each θ.
        coefficients: Ritz vectors y in the basis, one a row, shape (m, m).
    """

    values: Floats
    residuals: Floats
    coefficients: Floats

    @property
    def scale(self) -> float:
        """The largest |θ|."""
        return float(np.abs(self.values).max())

    def errors(self) -> Floats:
        """The smaller of the two classical bounds on |θ − λ|: r, and r² / gap (Parlett 1980, chapter 11).

        The gap is the distance to the nearest other Ritz value, so the second bound is an estimate until
        that one has settled as well.
        """
        if len(self.values) == 1:
            return self.residuals
        distances = np.diff(self.values, prepend=-np.inf, append=np.inf)
        gaps = np.minimum(distances[:-1], distances[1:])
        ratios = np.divide(self.residuals, gaps, out=np.ones_like(gaps), where=gaps > self.residuals)
        return self.residuals * ratios


class Krylov:
    """A Lanczos process under way; its scalars are double precision, its rows stay on the device.

    Where the remainder vanishes, the Krylov space is exhausted and the process is ``closed``: its Ritz
    values are eigenvalues. :meth:`restart` then goes on in the orthogonal complement, and T becomes block
    diagonal.
    """

    def __init__(self, operator: SymmetricOperator, start: Tensor) -> None:
        self._operator = operator
        self._dtype = torch.promote_types(operator.dtype, torch.float32)  # half types cannot hold a basis
        self._epsilon = torch.finfo(self._dtype).eps
        self._basis = Basis(operator.dimension, self._dtype, operator.device)
        self._diagonal: list[float] = []
        self._couplings: list[float] = []  # of each row with the next; 0 where a space was exhausted
        self._defect = 0.0  # ‖F‖², measured so far
        self.scale = 0.0  # the largest |α| + β so far, as an estimate of ‖H‖
        self._next = start.to(self._dtype)
        self._next = self._next / length(self._next)
        self.starts = [0]  # the first row of each Krylov space

    @property
    def products(self) -> int:
        """Products with the operator so far, which is also the number of rows m."""
        return len(self._diagonal)

    @property
    def dimension(self) -> int:
        """The length n of the vectors."""
        return self._operator.dimension

    @property
    def complete(self) -> bool:
        """Whether the rows span the whole space, so that the Ritz values are all the eigenvalues."""
        return self.products == self.dimension

    @property
    def closed(self) -> bool:
        """Whether the present Krylov space is exhausted."""
        return self.products > 0 and self._couplings[-1] == 0.0

    @property
    def rounding(self) -> float:
        """The measured Frobenius norm of F, and one rounding error of the operator's size and type."""
        return math.sqrt(self._defect) + torch.finfo(self._operator.dtype).eps * self.scale

    def advance(self) -> None:
        """Makes one product and with it one more row.

        Raises:
            NonFiniteProduct: the product holds NaN or infinity.
        """
        self._basis.append(self._next)
        product = self._operator @ self._next.to(self._operator.dtype)
        remainder = product.to(self._dtype, copy=True)
        broken = int((~torch.isfinite(remainder)).sum())
        if broken:
            raise NonFiniteProduct(
                f"product {len(self._basis)} with the operator is not finite: "
                f"{broken} of {remainder.numel()} entries are NaN or infinite"
            )
        components = self._basis.orthogonalize(remainder, recent=2)
        self._diagonal.append(float(components[-1]))
        others = components[:-1]
        if len(others) > self.starts[-1]:  # by symmetry the previous row comes back with its coupling
            others[-1] -= self._couplings[-1]
        self._defect += float(others @ others)
        self._couple(remainder)

    def _couple(self, remainder: Tensor) -> None:
        """Takes the remainder for the next row, or closes the space where nothing but rounding remains."""
        size = length(remainder)
        self.scale = max(self.scale, abs(self._diagonal[-1]) + size)
        if self.complete or size <= BREAKDOWN * self._epsilon * self.scale:
            self._defect += size**2
            self._couplings.append(0.0)
        else:
            self._couplings.append(size)
            self._next = remainder / size

    def restart(self, generator: torch.Generator) -> None:
        """Goes on from a random vector orthogonal to all rows, to other copies of multiple eigenvalues."""
        vector = random_vector(self._operator, generator).to(self._dtype)
        self._basis.orthogonalize(vector)
        self._next = vector / length(vector)
        self.starts.append(self.products)

    def ritz(self, rows: slice = slice(None)) -> Ritz:
        """The Ritz pairs on all rows, or on those of whole Krylov spaces."""
        diagonal, couplings = np.array(self._diagonal[rows]), np.array(self._couplings[rows])
        values, columns = eigh_tridiagonal(diagonal, couplings[:-1], lapack_driver="stev")
        residuals = couplings[-1] * np.abs(columns[-1]) + self.rounding
        return Ritz(
            values=np.asarray(values, dtype=np.float64),
            residuals=np.asarray(residuals, dtype=np.float64),
            coefficients=np.asarray(columns.T, dtype=np.float64),
        )

    def extended(self) -> Floats:
        """T with a last row for the coupling to the next vector, shape (m + 1, m): H Vᵀ = [Vᵀ v] T̲ + F."""
        inner = np.array(self._couplings[:-1])
        matrix = np.diag(self._diagonal) + np.diag(inner, 1) + np.diag(inner, -1)
        last = np.zeros((1, self.products))
        last[0, -1] = self._couplings[-1]
        return np.vstack([matrix, last])

    def combine(self, coefficients: Floats) -> Tensor:
        """Vectors given in the basis, shape (k, m), in full, shape (k, n)."""
        return self._basis.combine(coefficients)


def length(vector: Tensor) -> float:
    """The Euclidean norm; where squares of entries would be too small or too large, of the scaled vector."""
    plain = float(torch.linalg.vector_norm(vector, dtype=torch.float64))
    if SMALL < plain < math.inf:
        return plain
    largest = float(vector.abs().max())
    return largest * float((vector / largest).norm()) if largest > 0.0 else 0.0


def random_vector(operator: SymmetricOperator, generator: torch.Generator) -> Tensor:
    """A standard normal vector for the operator, the same on every device for a generator on the CPU."""
    values = torch.randn(operator.dimension, generator=generator, device=generator.device)
    return values.to(operator.device)
