"""Noise: how much of a batch's gradient is signal, in samples; and whether the samples' gradients agree.

With G the gradient over all data, Σ the covariance of one sample's gradient and H the Hessian, the best step on a batch
of B samples gains ΔL_max / (1 + B_noise / B), with B_noise = tr HΣ / G·HG, or tr Σ / ‖G‖² where H is taken for a
multiple of the identity (McCandlish et al. 2018, "An empirical model of large-batch training", section 2.2). Far below
the noise scale, twice the batch is worth twice the steps; far above, nearly nothing. A batch that is drawn without
replacement from N samples has noise in proportion to 1/B − 1/N: none at B = N. It is the theory of gradient descent;
momentum and Adam gain by other rules, at noise scales of the same size.

The gradients are of samples other than those that the Hessian is taken over, as far as there are others: the product of
a random gradient with a Hessian of the same samples is too large.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import plotly.graph_objects as go
import torch
from numpy.typing import NDArray
from torch import Tensor

from unstuck import plot
from unstuck.budget import Budget
from unstuck.data import Batch, first_samples, samples_at, samples_in
from unstuck.numerics.noise import GradientNoise, agreement, gradient_noise
from unstuck.numerics.statistics import Mean
from unstuck.passes.sample_gradients import TRIED, sample_gradients, way_for
from unstuck.reading import Estimate, Reading, Within, quantity
from unstuck.untouched import derived_seed
from unstuck.vector import flatten
from unstuck.view import View

Floats = NDArray[np.float64]

BATCHES, PRODUCTS = 16, 8
"""Batches whose gradients are compared; and, as products with the Hessian are dear, the fewer into which they are put
together for that."""

SMALLEST, LARGEST = 16, 64
"""Samples of such a batch: those of the batch that is trained on, within these bounds."""

PARTS = 8
"""Batches into which few data are cut at least."""

SINGLES, ONE_BY_ONE = 1024, 64
"""Samples whose own gradients are made, by vmap or one by one."""

NUMBERS = 2**25
"""Numbers that all single gradients may hold; of larger models fewer are made, but one of each batch at least."""

SMALL_GAIN = 0.1
"""Share of what an update without noise would gain, below which noise is most of it: the batch is a ninth of the noise
scale. Far below the scale, n times the batch is worth n times the updates (McCandlish et al. 2018, section 2.2)."""

ERRORS = 2.0
"""Standard errors between an estimate and the ends of its interval."""

BINS = 40
"""Of the histogram of cosines."""

COLUMNS = 2**20
"""Parameters whose numbers are in double precision at once."""


@dataclass(frozen=True, kw_only=True)
class NoiseReading(Reading):
    """Signal and noise of the gradient at one point."""

    probe: ClassVar[str] = "noise"
    title: ClassVar[str] = "What one update gains, by its batch"
    chapter: ClassVar[int] = 2

    batch: int = quantity("samples", "in the gradient of one update")
    population: int = quantity("samples", "in the training set")
    squared_norm: Estimate = quantity("(loss / unit)²", "‖G‖², unbiased, so that it may be negative; standard error")
    trace: Estimate = quantity("(loss / unit)²", "tr Σ, the variance of one sample's gradient; standard error")
    scale: Within = quantity(
        "samples", "gradient noise scale tr Σ / ‖G‖², by samples where each of them has its gradient, else by batches"
    )
    over_batch: Within = quantity(
        "", "noise of an update over its signal: the scale over the batch, less what drawing without replacement saves"
    )
    gain: Within = quantity("", "of what an update without noise gains, the share that one gains: 1 / (1 + the above)")
    scale_by_batches: Within = quantity("samples", "noise scale from gradients of batches, and of all of them together")
    scale_by_samples: Within | None = quantity("samples", "noise scale from gradients of single samples, maybe fewer")
    curvature: Estimate = quantity("loss³ / unit⁴", "G·HG, unbiased; standard error")
    curved_trace: Estimate = quantity("loss³ / unit⁴", "tr HΣ; standard error")
    curved_scale: Within | None = quantity("samples", "noise scale in units of the curvature, tr HΣ / G·HG")
    coherence: Estimate = quantity(
        "", "mean inner product of gradients of different samples over their mean square: 0 for noise; standard error"
    )
    cosine: Estimate = quantity("", "mean cosine between gradients of different samples; standard error")
    cosine_of_noise: float = quantity("", "the same without their common part: what noise alone gives")
    agreeing: Estimate = quantity("", "share of the pairs of samples with gradients within 90°; standard error")
    agreeing_of_noise: float = quantity("", "the same without their common part")
    compared: int = quantity("", "gradients among which agreement is looked at")
    samples_each: int = quantity("samples", "in each of these")
    way: str = quantity("", "how gradients of single samples were made: vmap, one by one, or not at all")
    engine: str = quantity("", "how Hessian-vector products were made")
    cosines: tuple[float, ...] = ()
    cosines_of_noise: tuple[float, ...] = ()

    @property
    def below_noise(self) -> bool:
        """Whether the gradient cannot be told from zero, so that the scale is bounded from below alone."""
        return math.isinf(self.scale.high)

    @property
    def mostly_noise(self) -> bool:
        """Whether an update gains but a small part of what one without noise would, beyond doubt."""
        return self.gain.high < SMALL_GAIN

    def gain_of(self, batch: float) -> Within:
        """The share that an update on so many samples gains of what one without noise would."""
        return _gain(_over(self.scale, batch, self.population))

    def taken_back(self, rate: float) -> Within:
        """What the noise of an update η g takes back of its gain, η tr(HΣ) (1/B − 1/N) / (2 ‖G‖²).

        From E ΔL = −η ‖G‖² + η²/2 (G·HG + tr(HΣ) (1/B − 1/N)), McCandlish et al. 2018, equation 2.4.
        """
        factor = rate * max(0.0, 1 / self.batch - 1 / self.population) / 2
        top, bottom = self.curved_trace, self.squared_norm

        def share(numerator: float, denominator: float) -> float:
            return factor * numerator / max(denominator, 1e-30)

        return Within(
            share(top.value, bottom.value),
            share(top.value - ERRORS * top.error, bottom.value + ERRORS * bottom.error),
            share(top.value + ERRORS * top.error, bottom.value - ERRORS * bottom.error),
        )

    def draw(self) -> go.Figure:
        """What an update gains, over the size of its batch."""
        figure = plot.figure(
            title=self.title,
            x="samples in a batch",
            y="gain of an update, as a share of one without noise",
            log_x=True,
            summary=f"An update on {self.batch} samples gains {self.gain.value:.1%} of what one without noise would "
            f"({self.gain.low:.1%} to {self.gain.high:.1%}).",
        )
        sizes = np.unique(np.geomspace(1, max(self.population, 2), 60).round()).tolist()
        gains = [self.gain_of(size) for size in sizes]
        plot.line_with_spread(
            figure,
            sizes,
            [gain.value for gain in gains],
            [gain.low for gain in gains],
            [gain.high for gain in gains],
            name="tr Σ / ‖G‖²",
            role="accent",
        )
        if self.curved_scale is not None:
            curved = [_gain(_over(self.curved_scale, size, self.population)).value for size in sizes]
            plot.line(figure, sizes, curved, name="with curvature, tr HΣ / G·HG", role="opposite")
        figure.add_scatter(
            x=[self.batch],
            y=[self.gain.value],
            mode="markers+text",
            text=[f"batch of {self.batch}"],
            textposition="bottom right",
            marker={"size": 11, "color": plot.COLOURS["accent"]},
            showlegend=False,
            hoverinfo="skip",
        )
        figure.update_yaxes(range=[0, 1.05])
        return figure

    def pictures(self) -> Mapping[str, go.Figure]:
        """The gain over the batch, and how the gradients of samples point to each other."""
        return {"batch": self.draw()} | ({"agreement": self._agreement()} if any(self.cosines) else {})

    def _agreement(self) -> go.Figure:
        what = "samples" if self.samples_each == 1 else f"batches of {self.samples_each}"
        figure = plot.figure(
            title=f"How gradients of different {what} agree",
            x="cosine between the gradients of a pair",
            y="share of the pairs",
            summary=f"{self.agreeing.value:.1%} of the pairs of {what} have gradients within 90°, where noise alone "
            f"would give {self.agreeing_of_noise:.1%}.",
        )
        edges = np.linspace(-1, 1, BINS + 1)
        figure.add_bar(
            x=((edges[:-1] + edges[1:]) / 2).tolist(),
            y=list(self.cosines),
            width=2 / BINS,
            name="as they are",
            marker_color=plot.COLOURS["accent"],
        )
        plot.line(
            figure,
            (edges[:-1] + edges[1:]) / 2,
            self.cosines_of_noise,
            name="without their common part",
            role="opposite",
        )
        return figure


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Gradients of batches and of single samples, and a few Hessian-vector products."""

    reads: ClassVar[type[Reading]] = NoiseReading
    curvature: ClassVar[bool] = True
    once: ClassVar[bool] = False

    def measure(self, view: View, budget: Budget) -> NoiseReading:
        batches, population = _batches(view), view.problem.data.samples
        counts = np.array([float(samples_in(batch)) for batch in batches])
        rows = _gradients(view, batches)
        products = _products(rows, rows)
        by_batches = gradient_noise(products, counts, population=population)
        curved = _curved(view, rows, counts)
        singles, way = _singles(view, batches)
        by_samples = None if singles is None else gradient_noise(singles, np.ones(len(singles)), population=population)
        noise = by_batches if by_samples is None or by_samples.trace.count < counts.sum() else by_samples
        agreed = agreement(products if singles is None else singles)
        batch = view.problem.data.batch_size * view.problem.accumulate
        over_batch = _over(_within(noise), batch, population)
        return NoiseReading(
            update=view.update,
            samples=int(counts.sum()),
            notes=(*view.finest.notes, *_notes(noise, curved, way)),
            batch=batch,
            population=population,
            squared_norm=_estimate(noise.squared_norm),
            trace=_estimate(noise.trace),
            scale=_within(noise),
            over_batch=over_batch,
            gain=_gain(over_batch),
            scale_by_batches=_within(by_batches),
            scale_by_samples=None if by_samples is None else _within(by_samples),
            curvature=_estimate(curved.squared_norm),
            curved_trace=_estimate(curved.trace),
            curved_scale=None if _downwards(curved) else _within(curved),
            coherence=_estimate(agreed.coherence),
            cosine=_estimate(agreed.cosine),
            cosine_of_noise=agreed.cosine_of_noise,
            agreeing=_estimate(agreed.share),
            agreeing_of_noise=agreed.share_of_noise,
            compared=agreed.cosine.count,
            samples_each=round(counts.mean()) if singles is None else 1,
            way=way or "not at all",
            engine=view.finest.rung,
            cosines=_histogram(agreed.cosines),
            cosines_of_noise=_histogram(agreed.cosines_of_noise),
        )


def _batches(view: View) -> list[Batch]:
    """Batches of samples of their own, of about the size that is trained on."""
    data = view.problem.data
    smallest = 2 if any(view.problem.modes("measuring").values()) else 1
    size = max(smallest, min(max(data.batch_size, SMALLEST), LARGEST, data.samples // PARTS))
    drawn = data.sample(BATCHES * size, chunk=size, seed=derived_seed(view.seed, 81))
    parts = [
        samples_at(batch, slice(start, start + size))  # recorded batches may be of any size
        for batch in drawn
        for start in range(0, max(1, samples_in(batch) - size + 1), size)
    ]
    return parts[:BATCHES]


def _gradients(view: View, batches: list[Batch]) -> Tensor:
    """The gradient of each batch, under masks of its own, shape (m, n)."""
    view.gradient_evaluations += len(batches)

    def gradient(numbered: tuple[int, Batch]) -> Tensor:
        number, batch = numbered
        return flatten(view.problem.gradient_at(view.point, batch, seed=derived_seed(view.seed, 82, number)))

    return torch.stack(view.problem.ranks.spread(gradient, enumerate(batches)))


def _curved(view: View, rows: Tensor, counts: Floats) -> GradientNoise:
    """Signal and noise in units of the curvature: G·HG and tr HΣ."""
    parts = np.array_split(np.arange(len(counts)), min(PRODUCTS, len(counts)))
    sizes = np.array([counts[part].sum() for part in parts])
    wide = rows.to(view.finest.dtype)
    shares = [wide.new_tensor(counts[part] / size) for part, size in zip(parts, sizes, strict=True)]
    fewer = torch.stack([share @ wide[part] for part, share in zip(parts, shares, strict=True)])
    view.gradient_evaluations += 2 * len(view.blocks) * len(fewer)
    return gradient_noise(_products(fewer, view.finest.block(fewer)), sizes, population=view.problem.data.samples)


def _singles(view: View, batches: list[Batch]) -> tuple[Floats | None, str | None]:
    """Inner products of the gradients of single samples, as many of each batch, and how they were made."""
    problem, point = view.problem, view.point
    way = way_for(problem, point, batches[0])
    view.gradient_evaluations += 1 + TRIED
    if way is None:
        return None, None
    most = max(len(batches), min(SINGLES if way == "vmap" else ONE_BY_ONE, NUMBERS // problem.dimension))
    chosen = [first_samples(batch, most // len(batches)) for batch in batches]
    view.gradient_evaluations += len(chosen) if way == "vmap" else sum(map(samples_in, chosen))

    def gradients(numbered: tuple[int, Batch]) -> Tensor:
        number, batch = numbered
        found = sample_gradients(problem, point, batch, way=way, seed=derived_seed(view.seed, 83, number))
        return torch.cat([rows.reshape(len(rows), -1) for rows in found.values()], dim=1)

    rows = torch.cat(problem.ranks.spread(gradients, enumerate(chosen)))
    return _products(rows, rows), way


def _products(left: Tensor, right: Tensor) -> Floats:
    """Inner products of the rows, summed in double precision, shape (m, m); made symmetric."""
    total = torch.zeros(len(left), len(left), dtype=torch.float64, device=left.device)
    for one, other in zip(left.split(COLUMNS, dim=1), right.split(COLUMNS, dim=1), strict=True):
        total += one.double() @ other.double().T
    products: Floats = ((total + total.T) / 2).cpu().numpy()
    return products


def _estimate(mean: Mean) -> Estimate:
    return Estimate(mean.value, mean.standard_error)


def _within(noise: GradientNoise) -> Within:
    return Within(noise.scale.value, noise.scale.interval.low, noise.scale.interval.high)


def _over(scale: Within, batch: float, population: int) -> Within:
    """Noise over signal of a batch: tr Σ (1/B − 1/N) / ‖G‖²."""
    left = max(0.0, 1.0 / batch - 1.0 / population)
    return Within(*(left * end if left else 0.0 for end in (scale.value, scale.low, scale.high)))


def _gain(over_batch: Within) -> Within:
    value, high, low = (1.0 / (1.0 + end) for end in (over_batch.value, over_batch.low, over_batch.high))
    return Within(value, low, high)


def _downwards(curved: GradientNoise) -> bool:
    """Whether the surface bends down along the gradient, or along its noise: then there is no best step."""
    return curved.squared_norm.interval().high < 0 or curved.trace.interval().high < 0


def _histogram(cosines: Floats) -> tuple[float, ...]:
    """Shares of the cosines in equal bins from −1 to 1."""
    counts, _ = np.histogram(cosines, bins=BINS, range=(-1, 1))
    return tuple((counts / max(1, len(cosines))).tolist())


def _notes(noise: GradientNoise, curved: GradientNoise, way: str | None) -> tuple[str, ...]:
    notes = []
    if math.isnan(noise.scale.value):
        notes.append("the gradient of every sample is zero, so there is neither signal nor noise")
    elif math.isinf(noise.scale.interval.high):
        notes.append(
            "the gradient cannot be told from zero in so many samples: its noise scale is bounded from below alone, "
            f"{noise.scale.interval.low:.3g} or more"
        )
    if _downwards(curved):
        notes.append(
            "the surface bends down along the gradient or its noise: a noise scale in units of curvature has no meaning"
        )
    if way is None:
        notes.append(
            "the gradient of a batch is not the mean over its samples' (batch normalization, or a loss that is no "
            "mean): agreement is that of batches"
        )
    return tuple(notes)
