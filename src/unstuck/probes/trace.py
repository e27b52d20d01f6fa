"""Trace: the sum of the Hessian's eigenvalues, and of each parameter's own block."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import plotly.graph_objects as go

from unstuck import plot
from unstuck.budget import Budget
from unstuck.numerics.trace import hutchinson
from unstuck.reading import Estimate, Reading, quantity
from unstuck.view import View


@dataclass(frozen=True, kw_only=True)
class TraceReading(Reading):
    """The trace of the Hessian over the sample, and how it is shared out among the parameters."""

    probe: ClassVar[str] = "trace"
    title: ClassVar[str] = "The Hessian's trace, parameter by parameter"
    chapter: ClassVar[int] = 1

    dimension: int = quantity("", "trainable parameters")
    exact: bool = quantity("", "whether it was summed instead of estimated")
    vectors: int = quantity("", "random vectors of the estimate; none where it was summed")
    trace: Estimate = quantity("loss / unit²", "sum of the eigenvalues, with its standard error")
    mean_eigenvalue: Estimate = quantity("loss / unit²", "trace over parameters, with its standard error")
    frobenius_norm: Estimate = quantity(
        "loss / unit²", "root of the sum of the squared eigenvalues, with its standard error"
    )
    engine: str = quantity("", "how Hessian-vector products were made")
    names: tuple[str, ...] = ()
    traces: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()

    def draw(self) -> go.Figure:
        """The trace of each parameter's diagonal block, with standard errors."""
        figure = plot.figure(
            title=self.title,
            x="",
            y="trace of the parameter's block",
            summary=f"The trace is {self.trace.value:.4g} ± {self.trace.error:.2g}.",
        )
        figure.add_bar(
            x=list(self.names),
            y=list(self.traces),
            error_y=None if self.exact else {"type": "data", "array": list(self.errors)},
            marker_color=plot.COLOURS["accent"],
            name="trace",
            showlegend=False,
        )
        return figure


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Hutchinson's estimate; the sum itself in small networks.

    Attributes:
        vectors: random vectors, two or more; all of them are used.
    """

    reads: ClassVar[type[Reading]] = TraceReading
    curvature: ClassVar[bool] = True
    once: ClassVar[bool] = False

    vectors: int = 20

    def measure(self, view: View, budget: Budget) -> TraceReading:
        return _exact(view) if view.eigensystem is not None else self._estimated(view)

    def _estimated(self, view: View) -> TraceReading:
        lengths = [tensor.numel() for tensor in view.point.values()]
        found = hutchinson(view.finest, count=max(2, self.vectors), generator=view.generator(71), groups=lengths)
        view.gradient_evaluations += 2 * len(view.blocks) * found.trace.count
        n = sum(lengths)
        return TraceReading(
            update=view.update,
            samples=view.samples,
            notes=view.finest.notes,
            dimension=n,
            exact=False,
            vectors=found.trace.count,
            trace=Estimate(found.trace.value, found.trace.standard_error),
            mean_eigenvalue=Estimate(found.trace.value / n, found.trace.standard_error / n),
            frobenius_norm=Estimate(found.frobenius_norm.value, found.frobenius_norm.standard_error),
            engine=view.finest.rung,
            names=tuple(view.point),
            traces=tuple(group.value for group in found.groups),
            errors=tuple(group.standard_error for group in found.groups),
        )


def _exact(view: View) -> TraceReading:
    system = view.eigensystem
    if system is None:
        raise ValueError("the network is too large for all its eigenvalues")
    n = len(system.values)
    blocks = system.diagonal.split([tensor.numel() for tensor in view.point.values()])
    trace, error = float(system.values.sum()), system.error * n
    return TraceReading(
        update=view.update,
        samples=view.samples,
        notes=view.finest.notes,
        dimension=n,
        exact=True,
        vectors=0,
        trace=Estimate(trace, error),
        mean_eigenvalue=Estimate(trace / n, system.error),
        frobenius_norm=Estimate(float(system.values.norm()), system.error * math.sqrt(n)),
        engine=view.finest.rung,
        names=tuple(view.point),
        traces=tuple(float(block.sum()) for block in blocks),
    )
