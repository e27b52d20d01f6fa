"""Generalization: the loss on held-out data against that on training data, both as the training is judged.

In eval mode, with the problem's own loss, at the point of the view. Both are samples of what is to be learned, so that
they differ by chance before anything is learned: a gap is claimed where its interval leaves zero out. Beside it stands
the best answer that ignores the inputs, fitted on the held-out targets themselves: a model that is no better there has
learned nothing that holds. Along a walk every view takes the same samples, so that whether the held-out loss has risen
since is asked part by part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import plotly.graph_objects as go
import torch
from torch import Tensor

from unstuck import plot
from unstuck.accuracy import accuracy
from unstuck.budget import Budget
from unstuck.data import Batch, samples_at, samples_in
from unstuck.forward import split
from unstuck.judged import judged_weights
from unstuck.numerics.statistics import Mean, Paired, paired_difference, share_interval
from unstuck.passes.constant_answer import best_constant, kind_of, loss_of_constant
from unstuck.reading import Estimate, History, Reading, Within, quantity
from unstuck.view import SAMPLE, View

PART, PARTS = 16, 8
"""Samples of which a loss is taken at once, and parts at least: how they differ is what tells the error."""

UNKNOWN = (
    "no held-out data were given, so that nothing is known of data that it does not train on: give `valid`, a loader "
    "of such data"
)


@dataclass(frozen=True, kw_only=True)
class GeneralizationReading(Reading):
    """Training and held-out loss at one point."""

    probe: ClassVar[str] = "generalization"
    title: ClassVar[str] = "Loss on training data and on held-out data"
    chapter: ClassVar[int] = 0

    train_loss: Estimate = quantity("loss", "own loss on a sample of the training data, in eval mode; standard error")
    valid_loss: Estimate | None = quantity("loss", "the same on held-out data; unknown where none were given")
    gap: Within | None = quantity("loss", "held-out loss less training loss; 95 % interval")
    train_accuracy: Within | None = quantity(
        "", "share of right answers on the training sample, where there are classes; 95 % interval"
    )
    valid_accuracy: Within | None = quantity("", "the same on held-out data")
    constant: float | None = quantity("loss", "on held-out data, of the best output that ignores the inputs")
    over_constant: Within | None = quantity("loss", "held-out loss less that of this constant; 95 % interval")
    valid_samples: int | None = quantity("samples", "of held-out data that were looked at")
    train_losses: tuple[float, ...] = ()
    valid_losses: tuple[float, ...] = ()

    @property
    def generalizes(self) -> bool | None:
        """Whether held-out answers are better than the constant's beyond chance; None where that is not known."""
        return None if self.over_constant is None else self.over_constant.high < 0

    def risen_since(self, earlier: GeneralizationReading) -> Paired | None:
        """By how much the held-out loss has risen since an earlier reading, part by part; None without such."""
        if not self.valid_losses or len(self.valid_losses) != len(earlier.valid_losses):
            return None
        return paired_difference(self.valid_losses, earlier.valid_losses)

    def draw(self) -> go.Figure:
        """The loss of every part of both samples, and their means."""
        figure = plot.figure(title=self.title, x="loss", y="", summary=self._summary())
        rows: list[tuple[str, Estimate, tuple[float, ...], plot.Role]] = [
            ("training", self.train_loss, self.train_losses, "untouched")
        ]
        if self.valid_loss is not None:
            rows.append(("held-out", self.valid_loss, self.valid_losses, "accent"))
        for name, mean, losses, role in rows:
            figure.add_scatter(
                x=losses,
                y=[name] * len(losses),
                mode="markers",
                marker={"color": plot.COLOURS[role], "opacity": 0.4},
                name=f"{name}, by parts",
                hovertemplate="%{x:.4~g}",
            )
            figure.add_scatter(
                x=[mean.value],
                y=[name],
                mode="markers",
                marker={"color": plot.COLOURS[role], "size": 13, "symbol": "diamond"},
                error_x={"array": [2 * mean.error], "thickness": 2, "width": 8},
                name=f"{name}, mean ± 2 standard errors",
                hovertemplate="%{x:.4~g}",
            )
        if self.constant is not None:
            colour, dash = plot.COLOURS["opposite"], plot.DASHES["opposite"]
            figure.add_vline(x=self.constant, line={"dash": dash, "color": colour, "width": 1})
            figure.add_scatter(
                x=[self.constant],
                y=["constant answer,<br>held-out"],
                mode="markers",
                marker={"color": colour, "size": 13, "symbol": "diamond"},
                name="constant answer",
                hovertemplate="%{x:.4~g}",
            )
        return figure

    def _summary(self) -> str:
        if self.valid_loss is None or self.gap is None:
            return f"The training loss is {self.train_loss.value:.4g}; of held-out data nothing is known."
        return (
            f"The held-out loss is {self.valid_loss.value:.4g}, {abs(self.gap.value):.3g} "
            f"{'above' if self.gap.value >= 0 else 'below'} that on training data ({self.gap.low:.3g} to "
            f"{self.gap.high:.3g})."
        )


def lowest(history: History[GeneralizationReading]) -> GeneralizationReading | None:
    """The reading with the lowest held-out loss; None where there are no held-out data."""
    known = [(reading.valid_loss.value, reading) for reading in history.readings if reading.valid_loss is not None]
    return min(known, key=lambda pair: pair[0])[1] if known else None


@dataclass(frozen=True, kw_only=True)
class Generalization:
    """Forward passes over a sample of the training data and as many held-out samples."""

    reads: ClassVar[type[Reading]] = GeneralizationReading
    curvature: ClassVar[bool] = False
    once: ClassVar[bool] = False

    def measure(self, view: View, budget: Budget) -> GeneralizationReading:
        held_out = view.problem.valid_data
        train = _passed(view, view.sample)
        valid = None if held_out is None else _passed(view, held_out.sample(SAMPLE, chunk=PART, seed=view.seed))
        on_train = _mean(train.losses, train.weights)
        on_valid = None if valid is None else _mean(valid.losses, valid.weights)
        constants = None if valid is None else _losses_of_constant(view, valid)
        return GeneralizationReading(
            update=view.update,
            samples=train.samples,
            notes=(UNKNOWN,) if valid is None else (),
            train_loss=_estimate(on_train),
            valid_loss=None if on_valid is None else _estimate(on_valid),
            gap=None if on_valid is None else _difference(on_valid, on_train),
            train_accuracy=_accuracy(view, train),
            valid_accuracy=None if valid is None else _accuracy(view, valid),
            constant=None if valid is None or constants is None else _mean(constants, valid.weights).value,
            over_constant=None if valid is None or constants is None else _over(valid, constants),
            valid_samples=None if valid is None else valid.samples,
            train_losses=train.losses,
            valid_losses=() if valid is None else valid.losses,
        )


@dataclass(frozen=True, kw_only=True)
class Passed:
    """Parts of a sample after their forward passes.

    Attributes:
        parts: the batches.
        losses: of each.
        weights: the terms that each loss is the mean of.
        outputs, targets: of each, where the model gives one tensor and has targets that are one; else empty.
    """

    parts: tuple[Batch, ...]
    losses: tuple[float, ...]
    weights: tuple[float, ...]
    outputs: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]

    @property
    def samples(self) -> int:
        """In all parts."""
        return sum(map(samples_in, self.parts))


def _passed(view: View, batches: Sequence[Batch]) -> Passed:
    """The sample cut into small parts, and run at the weights that the training is judged by."""
    problem, count = view.problem, sum(map(samples_in, batches))
    size = max(1, min(PART, count // PARTS))
    starts = [(batch, start) for batch in batches for start in range(0, samples_in(batch), size)]
    parts = tuple(samples_at(batch, slice(start, start + size)) for batch, start in starts)
    with judged_weights(problem, statistics=True):
        point = problem.point()

        def run(part: Batch) -> tuple[float, Any, Any]:
            with torch.no_grad():
                loss, outputs = problem.run_at(point, part, mode="evaluation", own=True)
            if not isinstance(outputs, Tensor):
                return float(loss), None, None
            wide = problem.restored(outputs).to(torch.promote_types(outputs.dtype, torch.float32))
            return float(loss), wide, split(problem.to_device(part))[1]

        found = problem.ranks.spread(run, parts)
    view.gradient_evaluations += count / samples_in(view.sample[0]) / 3
    whole = all(isinstance(each, Tensor) for _, *pair in found for each in pair)
    return Passed(
        parts=parts,
        losses=tuple(loss for loss, _, _ in found),
        weights=tuple(problem.terms(part) for part in parts),
        outputs=tuple(outputs for _, outputs, _ in found) if whole else (),
        targets=tuple(targets for _, _, targets in found) if whole else (),
    )


def _losses_of_constant(view: View, valid: Passed) -> tuple[float, ...] | None:
    """The loss, part by part, of the output that suits all targets best; None where there is none."""
    loss = view.problem.loss
    if loss is None or not valid.outputs:
        return None
    try:
        outputs, targets = torch.cat(valid.outputs), torch.cat(valid.targets)
    except RuntimeError:  # outputs of several lengths
        return None
    kind = kind_of(outputs)
    # Scores may well lie within 0 and 1, as shares do.
    found = [
        best_constant(loss, outputs, targets, each) for each in (("scores", kind) if kind == "shares" else (kind,))
    ]
    best = min(
        (constant for constant in found if constant is not None),
        key=lambda constant: loss_of_constant(loss, constant, outputs, targets),
        default=None,
    )
    if best is None:
        return None
    return tuple(loss_of_constant(loss, best, *pair) for pair in zip(valid.outputs, valid.targets, strict=True))


def _mean(values: Sequence[float], weights: Sequence[float]) -> Mean:
    """Σ wᵢ xᵢ / Σ wᵢ with its standard error."""
    count, total = len(values), sum(weights)
    value = sum(weight * each for weight, each in zip(weights, values, strict=True)) / total
    squares = sum((weight * (each - value)) ** 2 for weight, each in zip(weights, values, strict=True))
    error = math.sqrt(squares * count / (count - 1)) / total if count > 1 else math.inf
    return Mean(value=value, standard_error=error, count=count)


def _difference(one: Mean, other: Mean) -> Within:
    """The difference of two independent means, with Student's interval."""
    error = math.hypot(one.standard_error, other.standard_error)
    return _within(Mean(value=one.value - other.value, standard_error=error, count=one.count + other.count - 1))


def _over(valid: Passed, constants: Sequence[float]) -> Within:
    """How far the loss lies above the constant's, on the same parts."""
    return _within(_mean([a - b for a, b in zip(valid.losses, constants, strict=True)], valid.weights))


def _within(mean: Mean) -> Within:
    interval = mean.interval()
    return Within(mean.value, interval.low, interval.high)


def _estimate(mean: Mean) -> Estimate:
    return Estimate(mean.value, mean.standard_error)


def _accuracy(view: View, passed: Passed) -> Within | None:
    """The share of right answers, with Wilson's interval."""
    share = accuracy(view.problem, passed.parts)
    if share is None:
        return None
    view.gradient_evaluations += passed.samples / samples_in(view.sample[0]) / 3
    interval = share_interval(share, passed.samples)
    return Within(share, interval.low, interval.high)
