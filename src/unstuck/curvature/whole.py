"""The whole Hessian as a matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from unstuck.curvature.engines import agree, raise_if_out_of_memory
from unstuck.curvature.hessian import Hessian
from unstuck.curvature.linear import NotLayerByLayer, layered_hessian


def whole_hessian(hessian: Hessian) -> Tensor:
    """H, shape (n, n): layer by layer where that agrees with a product, else column by column.

    Args:
        hessian: the operator; its engine makes the columns, and its ``products`` count the passes either way.
    """
    matrix = _by_layers(hessian) if hessian.plan.exact else None
    if matrix is not None:
        vector = torch.randn(hessian.dimension, generator=torch.Generator().manual_seed(2), device="cpu").to(matrix)
        if agree(matrix @ vector, hessian @ vector):
            return matrix
    return hessian.block(torch.eye(hessian.dimension, dtype=hessian.dtype, device=hessian.device))


def _by_layers(hessian: Hessian) -> Tensor | None:
    """The sum over the parts; None where one of them, on any process, is not made of such layers."""
    total = torch.zeros(hessian.dimension, hessian.dimension, dtype=hessian.dtype, device=hessian.device)
    refused = torch.zeros((), device=hessian.device)
    try:
        for part in hessian.parts:
            matrix, passes = layered_hessian(part.loss, hessian.point)
            total += part.share * matrix
            hessian.products += passes
    except (NotLayerByLayer, RuntimeError, NotImplementedError) as error:
        raise_if_out_of_memory(error)
        refused += 1
    return None if float(hessian.total(refused)) else hessian.total(total)
