"""Matrices and operators that the tests of `numerics` share."""

import numpy as np
import torch
from torch import Tensor

from unstuck.numerics.krylov import Floats, OperatorFromProduct

VARIANCES = (5.0, 3.0, 2.0, 1.0)  # S of the autoencoder is their diagonal matrix
CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def operator_of(matrix: Floats, dtype: torch.dtype = torch.float64) -> OperatorFromProduct:
    """A dense symmetric matrix behind its products."""
    dense = torch.from_numpy(matrix).to(dtype)
    return OperatorFromProduct(product=lambda vector: dense @ vector, dimension=len(matrix), dtype=dtype, device=CPU)


def diagonal(values: Floats) -> OperatorFromProduct:
    """A diagonal matrix behind its products, in double precision."""
    entries = torch.from_numpy(np.asarray(values, dtype=np.float64))
    return OperatorFromProduct(
        product=lambda vector: entries * vector, dimension=len(entries), dtype=torch.float64, device=CPU
    )


def gaussian(size: int, seed: int = 0) -> Floats:
    """A matrix of the Gaussian orthogonal ensemble, scaled so that its spectrum fills [−2, 2]."""
    entries = np.random.default_rng(seed).standard_normal((size, size))
    scaled: Floats = (entries + entries.T) / np.sqrt(2.0 * size)
    return scaled


def rotated(eigenvalues: Floats, seed: int = 0) -> tuple[Floats, Floats]:
    """A dense matrix with given eigenvalues, and its eigenvectors as columns."""
    count = len(eigenvalues)
    vectors, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((count, count)))
    matrix = vectors * np.asarray(eigenvalues, dtype=np.float64) @ vectors.T
    return (matrix + matrix.T) / 2.0, vectors


def autoencoder_loss(flat: Tensor) -> Tensor:
    """½ tr((ab − I) S (ab − I)ᵀ): a linear autoencoder of rank one, a (4 × 1), b (1 × 4)."""
    rest = torch.outer(flat[:4], flat[4:]) - torch.eye(4, dtype=flat.dtype)
    return 0.5 * torch.trace(rest @ torch.diag(torch.tensor(VARIANCES, dtype=flat.dtype)) @ rest.T)


def autoencoder_mode(number: int) -> Tensor:
    """The critical point at the eigenvector of the ``number``-th largest variance, from 0."""
    unit = torch.zeros(4, dtype=torch.float64)
    unit[number] = 1.0
    return torch.cat([unit, unit])
