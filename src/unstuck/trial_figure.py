"""The curves of a trial: every arm under the same orders, with their spread."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from unstuck import plot
from unstuck.trial import Trial

ROLES: dict[str, plot.Role] = {"untouched": "untouched", "a/a": "again", "remedy": "treated", "opposite": "opposite"}


def draw(trials: Sequence[Trial]) -> go.Figure:
    """Own loss on the fixed sample against the update; the band is the range over the orders."""
    remedies = [trial for trial in trials if trial.remedy is not None]
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
        plot.line_with_spread(
            figure,
            shared,
            [sum(column) / len(column) for column in columns],
            [min(column) for column in columns],
            [max(column) for column in columns],
            name=name,
            role=ROLES[trial.arm] if trial is best or trial.remedy is None else "neutral",
        )
    return figure
