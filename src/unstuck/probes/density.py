"""Density: how the Hessian's eigenvalues are spread, from a few random vectors or, for small networks, from all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import plotly.graph_objects as go

from unstuck import plot
from unstuck.budget import Budget
from unstuck.numerics.density import lanczos_quadratures, spectral_density
from unstuck.numerics.lanczos import Quadrature
from unstuck.numerics.spectrum import Share, sign_shares
from unstuck.reading import Estimate, Reading, quantity
from unstuck.view import View

BAND = 0.05
"""Of max |λ|: eigenvalues nearer to zero count as the bulk. A quadrature of 80 steps resolves no much narrower band."""

LOWEST_DRAWN = 1e-7
"""Of the highest density: what is lower is not drawn."""


@dataclass(frozen=True, kw_only=True)
class DensityReading(Reading):
    """The spectral density of the Hessian over the sample."""

    probe: ClassVar[str] = "density"
    title: ClassVar[str] = "How the Hessian's eigenvalues are spread"
    chapter: ClassVar[int] = 1

    dimension: int = quantity("", "trainable parameters")
    exact: bool = quantity("", "whether all eigenvalues were computed")
    vectors: int = quantity("", "random vectors through which the spectrum was seen; none where it is known whole")
    steps: int = quantity("", "Hessian-vector products of each")
    lowest: float = quantity("loss / unit²", "lowest place that was seen; the spectrum reaches at least so far")
    largest: float = quantity("loss / unit²", "highest place that was seen")
    mean: Estimate = quantity("loss / unit²", "mean eigenvalue (trace over parameters), with its standard error")
    negative: Estimate = quantity(
        "", f"share of the eigenvalues below −{BAND:g} of the largest; error is half the 95 % interval"
    )
    near_zero: Estimate = quantity("", "share of the eigenvalues within that band around zero; error as above")
    positive: Estimate = quantity("", "share of the eigenvalues above it; error as above")
    width: float = quantity("loss / unit²", "standard deviation of the smoothing")
    engine: str = quantity("", "how Hessian-vector products were made")
    at: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()

    def draw(self) -> go.Figure:
        """The density on a logarithmic scale, with its standard error."""
        figure = plot.figure(
            title=self.title,
            x="eigenvalue",
            y="share of the eigenvalues per unit",
            log_y=True,
            summary=f"{self.near_zero.value:.0%} of the eigenvalues lie within {BAND:g} of the largest around zero, "
            f"{self.negative.value:.1%} below; the spectrum reaches from {self.lowest:.3g} to {self.largest:.3g}.",
        )
        floor = LOWEST_DRAWN * max(self.values)
        kept = np.maximum(self.values, floor)
        if self.errors:
            low, high = (np.maximum(kept + side * np.asarray(self.errors), floor) for side in (-1, 1))
            plot.line_with_spread(figure, self.at, kept, low, high, name="density", role="accent")
        else:
            plot.line(figure, self.at, kept, name="density", role="accent")
        return figure


@dataclass(frozen=True, kw_only=True)
class Density:
    """Stochastic Lanczos quadrature (Ghorbani, Krishnan, Xiao 2019); the eigenvalues themselves in small networks.

    Attributes:
        vectors: random vectors, two or more, so that there is a standard error.
        steps: products of each.
    """

    reads: ClassVar[type[Reading]] = DensityReading
    curvature: ClassVar[bool] = True
    once: ClassVar[bool] = False

    vectors: int = 3
    steps: int = 80

    def measure(self, view: View, budget: Budget) -> DensityReading:
        seen = self._seen(view)
        known = view.eigensystem is not None
        density = spectral_density(seen)
        shares = sign_shares(seen, dimension=view.problem.dimension, tolerance=BAND)
        means = [sum(n * w for n, w in zip(q.nodes, q.weights, strict=True)) for q in seen]
        error = 0.0 if known else float(np.std(means, ddof=1) / len(means) ** 0.5)
        return DensityReading(
            update=view.update,
            samples=view.samples,
            notes=view.finest.notes,
            dimension=view.problem.dimension,
            exact=known,
            vectors=0 if known else len(seen),
            steps=0 if known else max(len(quadrature.nodes) for quadrature in seen),
            lowest=min(quadrature.nodes[0] for quadrature in seen),
            largest=max(quadrature.nodes[-1] for quadrature in seen),
            mean=Estimate(float(np.mean(means)), error),
            negative=_half(shares.negative, exact=known),
            near_zero=_half(shares.near_zero, exact=known),
            positive=_half(shares.positive, exact=known),
            width=density.width,
            engine=view.finest.rung,
            at=density.at,
            values=density.value,
            errors=() if known else density.standard_error,
        )

    def _seen(self, view: View) -> tuple[Quadrature, ...]:
        if view.eigensystem is not None:
            return (view.eigensystem.quadrature,)
        seen = lanczos_quadratures(
            view.finest, steps=self.steps, count=max(2, self.vectors), generator=view.generator(61)
        )
        view.gradient_evaluations += 2 * len(view.blocks) * sum(len(quadrature.nodes) for quadrature in seen)
        return seen


def _half(share: Share, *, exact: bool) -> Estimate:
    margin = max(share.interval.high - share.value, share.value - share.interval.low)
    return Estimate(share.value, 0.0 if exact else margin)
