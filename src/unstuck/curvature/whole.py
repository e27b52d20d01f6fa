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
    if hessian.plan.exact:
        try:
            matrix = _by_layers(hessian)
        except (NotLayerByLayer, RuntimeError, NotImplementedError) as error:
            raise_if_out_of_memory(error)
        else:
            vector = torch.randn(hessian.dimension, generator=torch.Generator().manual_seed(2), device="cpu").to(matrix)
            if agree(matrix @ vector, hessian @ vector):
                return matrix
    return hessian.block(torch.eye(hessian.dimension, dtype=hessian.dtype, device=hessian.device))


def _by_layers(hessian: Hessian) -> Tensor:
    total = torch.zeros(hessian.dimension, hessian.dimension, dtype=hessian.dtype, device=hessian.device)
    for part in hessian.parts:
        matrix, passes = layered_hessian(part.loss, hessian.point)
        total += part.share * matrix
        hessian.products += passes
    return hessian.total(total)
