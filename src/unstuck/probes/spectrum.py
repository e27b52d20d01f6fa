"""Spectrum: the Hessian's eigenvalues, the minimum ratio, and whether this is a critical point at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import plotly.graph_objects as go
import torch
from torch import Tensor

from unstuck import plot
from unstuck.budget import Budget
from unstuck.numerics.lanczos import gauss_quadrature, lowest_plausible
from unstuck.numerics.spectrum import count_signs, newton_residual, newton_residual_by_products, sign_shares
from unstuck.reading import Estimate, Reading, quantity
from unstuck.vector import flatten
from unstuck.view import View

EXACT = 400
"""Parameters up to which the whole Hessian is built."""

SHOWN = 16
"""Parameters up to which an eigenvector is written out."""

TOLERANCE = 1e-6
"""Of max |λ|: eigenvalues nearer to zero count as neither positive nor negative."""

FAINT = 1e-6
"""Shares below this are not drawn."""

QUADRATURE_STEPS = 24
RESIDUAL_PRODUCTS = 32


@dataclass(frozen=True, kw_only=True)
class SpectrumReading(Reading):
    """Eigenvalues of the Hessian over the sample, largest and smallest with bounds."""

    probe: ClassVar[str] = "spectrum"
    title: ClassVar[str] = "Eigenvalues of the Hessian"
    chapter: ClassVar[int] = 1

    dimension: int = quantity("", "trainable parameters")
    exact: bool = quantity("", "whether all eigenvalues were computed")
    largest: Estimate = quantity("loss / unit²", "largest eigenvalue, with a bound on its error")
    lowest: Estimate = quantity("loss / unit²", "most negative (or smallest) eigenvalue, with a bound on its error")
    lowest_plausible: float = quantity(
        "loss / unit²", "no eigenvalue lies below this, but for a failure of probability 1 %"
    )
    minimum_ratio: Estimate = quantity(
        "",
        f"positive eigenvalues over all, beyond {TOLERANCE:g} of the largest; error is half the 95 % interval",
    )
    near_zero: Estimate = quantity("", "share of the eigenvalues within that band around zero")
    newton_residual: float = quantity(
        "",
        "Frye's r: below 0.1 there is a critical point nearby, above 0.9 the gradient lies where the surface is flat",
    )
    eigenvector: tuple[float, ...] = quantity(
        "", f"of the lowest eigenvalue, where there are at most {SHOWN} parameters"
    )
    engine: str = quantity("", "how Hessian-vector products were made")
    nodes: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()

    @property
    def negative(self) -> bool:
        """Whether there is negative curvature, beyond the error."""
        return self.lowest.high < 0

    def draw(self) -> go.Figure:
        """All eigenvalues, or the spectrum as random vectors see it."""
        figure = plot.figure(
            title=self.title,
            x="eigenvalue",
            y="share of the eigenvalues",
            log_y=True,
            summary=f"From {self.lowest.value:.3g} ± {self.lowest.error:.1g} to {self.largest.value:.3g} ± "
            f"{self.largest.error:.1g}; minimum ratio {self.minimum_ratio.value:.2f}.",
        )
        seen = [(n, w) for n, w in zip(self.nodes, self.weights, strict=True) if w > FAINT]
        down, up = [(n, w) for n, w in seen if n < 0], [(n, w) for n, w in seen if n >= 0]
        for name, colour, part in (("downhill", "opposite", down), ("uphill", "accent", up)):
            figure.add_bar(
                x=[n for n, _ in part],
                y=[w for _, w in part],
                name=name,
                width=max(1e-12, (self.largest.value - min(0.0, self.lowest.value)) / 120),
                marker_color=plot.COLOURS[colour],  # type: ignore[index]
            )
        return figure


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """All eigenvalues of small networks; otherwise both ends by Lanczos and shares by quadrature."""

    reads: ClassVar[type[Reading]] = SpectrumReading
    curvature: ClassVar[bool] = True
    once: ClassVar[bool] = False

    def measure(self, view: View, budget: Budget) -> SpectrumReading:
        return _exact(view) if view.hessian.dimension <= EXACT else _estimated(view)


def _exact(view: View) -> SpectrumReading:
    matrix = whole_hessian(view)
    error = float(torch.linalg.matrix_norm(matrix - matrix.T)) / 2
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    resolution = torch.finfo(view.hessian.dtype).eps * float(values.abs().max()) * len(values) ** 0.5
    error = max(error, resolution)
    signs = count_signs(values.numpy(), TOLERANCE)
    components = vectors.T @ flatten(view.gradient).double().cpu()
    residual = newton_residual(values.numpy(), components.numpy(), cutoff=max(1e-9, _relative(error, values)))
    return SpectrumReading(
        update=view.update,
        samples=view.samples,
        notes=view.hessian.notes,
        dimension=len(values),
        exact=True,
        largest=Estimate(float(values[-1]), error),
        lowest=Estimate(float(values[0]), error),
        lowest_plausible=float(values[0]) - error,
        minimum_ratio=Estimate(signs.minimum_ratio, 0.0),
        near_zero=Estimate(signs.near_zero / signs.total, 0.0),
        newton_residual=residual.value,
        eigenvector=_shown(vectors[:, 0]),
        engine=view.hessian.rung,
        nodes=tuple(values.tolist()),
        weights=(1.0 / len(values),) * len(values),
    )


def whole_hessian(view: View) -> Tensor:
    """H column by column, shape (n, n), in double precision on the CPU."""
    identity = torch.eye(view.hessian.dimension, dtype=view.hessian.dtype, device=view.hessian.device)
    view.gradient_evaluations += 2 * len(view.blocks) * view.hessian.dimension
    return torch.stack([view.hessian @ column for column in identity]).double().cpu()


def _estimated(view: View) -> SpectrumReading:
    ends = view.extremes
    more = gauss_quadrature(view.hessian, steps=QUADRATURE_STEPS, generator=view.generator(51))
    seen = [ends.quadrature, more]
    shares = sign_shares(seen, dimension=ends.dimension, tolerance=TOLERANCE)
    squares = [sum(w * n * n for n, w in zip(q.nodes, q.weights, strict=True)) for q in seen]
    residual = newton_residual_by_products(
        view.hessian,
        flatten(view.gradient),
        frobenius_norm=(ends.dimension * sum(squares) / len(squares)) ** 0.5,
        max_products=RESIDUAL_PRODUCTS,
    )
    view.gradient_evaluations += 2 * len(view.blocks) * (len(more.nodes) + residual.products)
    return SpectrumReading(
        update=view.update,
        samples=view.samples,
        notes=view.hessian.notes,
        dimension=ends.dimension,
        exact=False,
        largest=Estimate(ends.largest.values[-1], ends.largest.bounds[-1]),
        lowest=Estimate(ends.smallest.values[0], ends.smallest.bounds[0]),
        lowest_plausible=lowest_plausible(ends),
        minimum_ratio=_half(shares.positive.value, shares.positive.interval.low, shares.positive.interval.high),
        near_zero=_half(shares.near_zero.value, shares.near_zero.interval.low, shares.near_zero.interval.high),
        newton_residual=residual.value,
        eigenvector=_shown(ends.smallest.vectors[0]),
        engine=view.hessian.rung,
        nodes=ends.quadrature.nodes,
        weights=ends.quadrature.weights,
    )


def _half(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, max(high - value, value - low))


def _relative(error: float, values: Tensor) -> float:
    return error / max(float(values.abs().max()), 1e-300)


def _shown(vector: Tensor) -> tuple[float, ...]:
    """The vector written out where it is short, its largest entry positive."""
    if len(vector) > SHOWN:
        return ()
    sign = 1.0 if float(vector[vector.abs().argmax()]) >= 0 else -1.0
    return tuple((sign * vector.double().cpu()).tolist())
