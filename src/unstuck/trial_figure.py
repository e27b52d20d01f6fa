"""The curves of a trial: every arm under the same orders, with their spread."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from unstuck import plot
from unstuck.trial import Trial

ROLES: dict[str, plot.Role] = {"untouched": "untouched", "a/a": "again", "remedy": "treated", "opposite": "opposite"}


FARTHEST = 1.0
"""How far above their start arms are shown, over how far the best got below it."""

MARGIN = 0.05


def draw(trials: Sequence[Trial]) -> go.Figure:
    """Own loss on the fixed sample against the update; the band is the range over the orders."""
    trials = [trial for trial in trials if trial.curves]
    remedies = [trial for trial in trials if trial.arm == "remedy" and math.isfinite(trial.mean)]
    best = min(remedies, key=lambda trial: trial.mean, default=None)
    summary = "" if best is None else f"Best is {best.remedy}: it ends at {best.mean:.3g}."
    figure = plot.figure(
        title="Trials: as it is and treated", x="update", y="loss on the fixed sample", summary=summary
    )
    for trial in trials:
        shared = sorted(set.intersection(*(set(dict(curve)) for curve in trial.curves)))
        if not shared:
            continue
        columns = [[dict(curve)[update] for curve in trial.curves] for update in shared]
        name = trial.remedy or ("as it is, again" if trial.arm == "a/a" else "as it is")
        name += ", the opposite" if trial.arm == "opposite" else ""
        plot.line_with_spread(
            figure,
            shared,
            [sum(column) / len(column) for column in columns],
            [min(column) for column in columns],
            [max(column) for column in columns],
            name=name,
            role="neutral" if trial.arm == "remedy" and trial is not best else ROLES[trial.arm],
        )
    _keep_in_sight(figure, trials)
    return figure


def _keep_in_sight(figure: go.Figure, trials: Sequence[Trial]) -> None:
    """Cut the axis above where the arms began, if some went so far up that nothing could be seen below."""
    curves = [curve for trial in trials for curve in trial.curves if curve]
    losses = [loss for curve in curves for _, loss in curve if math.isfinite(loss)]
    start, low = max((curve[0][1] for curve in curves), default=0.0), min(losses, default=0.0)
    if start > low and max(losses) > start + FARTHEST * (start - low):
        figure.update_yaxes(range=[low - MARGIN * (start - low), start + FARTHEST * (start - low)])
