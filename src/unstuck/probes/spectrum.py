"""Spectrum: the Hessian's eigenvalues, the minimum ratio, and whether this is a critical point at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import plotly.graph_objects as go
from torch import Tensor

from unstuck import plot
from unstuck.budget import Budget
from unstuck.numerics.descent import DAMPING, descent_share
from unstuck.numerics.lanczos import gauss_quadrature, lowest_plausible, quadrature_from
from unstuck.numerics.spectrum import (
    TOLERANCES,
    Share,
    count_signs,
    newton_residual,
    newton_residual_by_products,
    sign_shares,
)
from unstuck.reading import Estimate, Reading, quantity
from unstuck.vector import flatten
from unstuck.view import View

SHOWN = 16
"""Parameters up to which an eigenvector is written out."""

COARSE, TOLERANCE, FINE = TOLERANCES
"""Of max |λ|: eigenvalues nearer to zero count as neither positive nor negative."""

FAINT = 1e-6
"""Shares below this are not drawn."""

QUADRATURE_STEPS, DESCENT_STEPS = 24, 24
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
    proved: Estimate | None = quantity(
        "loss / unit²", "curvature along the lowest eigenvector in double precision: below zero is proof of a way down"
    )
    minimum_ratio: Estimate = quantity(
        "",
        f"positive eigenvalues over all, beyond {TOLERANCE:g} of the largest; error is half the 95 % interval",
    )
    near_zero: Estimate = quantity("", "share of the eigenvalues within that band around zero")
    minimum_ratio_coarse: Estimate = quantity("", f"the minimum ratio beyond {COARSE:g} of the largest instead")
    near_zero_coarse: Estimate = quantity("", "share of the eigenvalues within that wider band")
    minimum_ratio_fine: Estimate = quantity("", f"the minimum ratio beyond {FINE:g} of the largest instead")
    near_zero_fine: Estimate = quantity("", "share of the eigenvalues within that narrower band")
    newton_residual: float = quantity(
        "",
        "Frye's r: below 0.1 there is a critical point nearby, above 0.9 the gradient lies where the surface is flat",
    )
    descent_share: float = quantity(
        "",
        "of what a Newton step gains on this quadratic, the share that the best gradient step gains; curvatures count "
        f"by their size, and none as less than {DAMPING:g} of the largest",
    )
    eigenvector: tuple[float, ...] = quantity(
        "", f"of the lowest eigenvalue, where there are at most {SHOWN} parameters"
    )
    engine: str = quantity("", "how Hessian-vector products were made")
    engine_error: float = quantity("", "relative error of a product made by differences of gradients; else zero")
    nodes: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()

    @property
    def negative(self) -> bool:
        """Whether there is negative curvature, beyond the error."""
        return self.lowest.high < 0 and (self.proved is None or self.proved.high < 0)

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
        return _exact(view) if view.eigensystem is not None else _estimated(view)


def _exact(view: View) -> SpectrumReading:
    system = view.eigensystem
    if system is None:
        raise ValueError("the network is too large for all its eigenvalues")
    values = system.values.numpy()
    largest = max(abs(values[0]), abs(values[-1]))
    components = (system.vectors @ flatten(view.gradient).double().cpu()).numpy()
    cutoff = max(FINE, system.error / max(largest, 1e-300))
    shares = {}
    for tolerance in TOLERANCES:
        signs = count_signs(values, tolerance)
        shares[tolerance] = (Estimate(signs.minimum_ratio, 0.0), Estimate(signs.near_zero / signs.total, 0.0))
    return SpectrumReading(
        update=view.update,
        samples=view.samples,
        notes=(*view.finest.notes, *_resolution(system.error, largest)),
        dimension=len(values),
        exact=True,
        largest=Estimate(float(values[-1]), system.error),
        lowest=Estimate(float(values[0]), system.error),
        lowest_plausible=float(values[0]) - system.error,
        proved=_proved(view) if values[0] < 0 else None,
        **_named(shares),
        newton_residual=newton_residual(values, components, cutoff=cutoff).value,
        descent_share=descent_share(values, components**2),
        eigenvector=_shown(system.vectors[0]),
        engine=view.finest.rung,
        engine_error=view.finest.error,
        nodes=tuple(values.tolist()),
        weights=(1.0 / len(values),) * len(values),
    )


def _resolution(error: float, largest: float) -> tuple[str, ...]:
    """What the counts cannot resolve."""
    finer = [tolerance for tolerance in TOLERANCES if tolerance * largest < error]
    if not finer or largest == 0.0:
        return ()
    bands = " and ".join(f"{tolerance:g}" for tolerance in finer)
    return (f"eigenvalues are known to {error / largest:.1g} of the largest, so the counts beyond {bands} are not",)


def _estimated(view: View) -> SpectrumReading:
    ends = view.extremes
    more = gauss_quadrature(view.finest, steps=QUADRATURE_STEPS, generator=view.generator(51))
    seen = [ends.quadrature, more]
    shares = {}
    for tolerance in TOLERANCES:
        found = sign_shares(seen, dimension=ends.dimension, tolerance=tolerance)
        shares[tolerance] = (_half(found.positive), _half(found.near_zero))
    squares = [sum(w * n * n for n, w in zip(q.nodes, q.weights, strict=True)) for q in seen]
    residual = newton_residual_by_products(
        view.finest,
        flatten(view.gradient),
        frobenius_norm=(ends.dimension * sum(squares) / len(squares)) ** 0.5,
        max_products=RESIDUAL_PRODUCTS,
    )
    descent = _descent_share(view)
    view.gradient_evaluations += 2 * len(view.blocks) * (len(more.nodes) + residual.products)
    systematic = view.finest.error * max(abs(ends.largest.values[-1]), abs(ends.smallest.values[0]))
    return SpectrumReading(
        update=view.update,
        samples=view.samples,
        notes=view.finest.notes,
        dimension=ends.dimension,
        exact=False,
        largest=Estimate(ends.largest.values[-1], ends.largest.bounds[-1] + systematic),
        lowest=Estimate(ends.smallest.values[0], ends.smallest.bounds[0] + systematic),
        lowest_plausible=lowest_plausible(ends) - systematic,
        proved=_proved(view) if ends.smallest.values[0] < 0 else None,
        **_named(shares),
        newton_residual=residual.value,
        descent_share=descent,
        eigenvector=_shown(ends.smallest.vectors[0]),
        engine=view.finest.rung,
        engine_error=view.finest.error,
        nodes=ends.quadrature.nodes,
        weights=ends.quadrature.weights,
    )


def _descent_share(view: View) -> float:
    """From the quadrature that starts from the gradient: both sums are integrals of the curvature over its measure."""
    gradient = flatten(view.gradient).to(view.finest.dtype)
    if not gradient.any():
        return 1.0
    seen = quadrature_from(view.finest, gradient, steps=DESCENT_STEPS)
    view.gradient_evaluations += 2 * len(view.blocks) * len(seen.nodes)
    return descent_share(np.array(seen.nodes), np.array(seen.weights))


def _proved(view: View) -> Estimate | None:
    """vᵀHv along the lowest eigenvector, in double precision, with a bound on its rounding."""
    found = view.curvature_along(view.extremes.smallest.vectors[0])
    return None if found is None else Estimate(found.value, found.rounding)


def _named(shares: dict[float, tuple[Estimate, Estimate]]) -> dict[str, Any]:
    """Minimum ratio and share near zero of each tolerance, by the names of the reading's fields."""
    return {
        f"{name}{suffix}": value
        for tolerance, suffix in ((COARSE, "_coarse"), (TOLERANCE, ""), (FINE, "_fine"))
        for name, value in zip(("minimum_ratio", "near_zero"), shares[tolerance], strict=True)
    }


def _half(share: Share) -> Estimate:
    return Estimate(share.value, max(share.interval.high - share.value, share.value - share.interval.low))


def _shown(vector: Tensor) -> tuple[float, ...]:
    """The vector written out where it is short, its largest entry positive."""
    if len(vector) > SHOWN:
        return ()
    sign = 1.0 if float(vector[vector.abs().argmax()]) >= 0 else -1.0
    return tuple((sign * vector.double().cpu()).tolist())
