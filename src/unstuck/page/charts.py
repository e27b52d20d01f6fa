"""The figures that follow from a report's numbers: what each arm of a trial gained, and the curve of a training."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from unstuck import plot
from unstuck.page import words
from unstuck.page.parts import is_number, numbers, sequence

Trial = Mapping[str, Any]  # one arm, as the report has it

REFERENCE = "untouched"  # the arm that a round of trials starts with, and is compared with
AGAIN = "a/a"  # the arm that shows how large a difference is by chance
ROLES: Mapping[str, plot.Role] = {
    REFERENCE: "untouched",
    AGAIN: "again",
    "remedy": "treated",
    "opposite": "opposite",
}
SYMBOLS: Mapping[plot.Role, str] = {"treated": "circle", "opposite": "x-thin-open"}  # else an open circle
ROW_HEIGHT, FRAME_HEIGHT = 46, 90  # pixels, of an arm and of all around the arms
FARTHEST = 3  # times the largest gain: how far to the left, where arms are worse, the axis goes at most


def rounds(trials: Sequence[Trial]) -> list[list[Trial]]:
    """The trials by the round they were run in; each starts with its untouched arm."""
    found: list[list[Trial]] = []
    for trial in trials:
        if trial.get("arm") == REFERENCE or not found:
            found.append([])
        found[-1].append(trial)
    return found


def gain(trial: Trial, trials: Sequence[Trial]) -> dict[str, object]:
    """By how much an arm ends below the untouched one of its round, with the interval of that difference."""
    reference, mean = trials[0].get("mean"), trial.get("mean")
    value = reference - mean if is_number(reference) and is_number(mean) else None
    if differences := numbers(trial.get("differences")):
        value = sum(differences) / len(differences)
    return {"value": value, "error": trial.get("interval"), "non_finite": value is None and trial.get("non_finite")}


def gains(trials: Sequence[Trial]) -> dict[str, object]:
    """What each arm of a round gained over the untouched one: a mark per order, a bar for the interval."""
    measure = words.spaced(trials[0].get("measure") or "loss")
    compared = [trial for trial in trials if trial.get("arm") != REFERENCE]
    figure = plot.figure(
        title=f"What each arm gained in {measure}",
        x=f"{measure} below the untouched arm",
        y="",
        summary=f"Right of the line is better than untouched. {_largest(compared, trials)}",
    )
    figure.add_vline(x=0, line={"color": plot.COLOURS["untouched"], "width": 2})
    for row, trial in enumerate(compared):
        _draw_arm(figure, row, trial, trials[0])
    noise = max((abs(end) for trial in compared if trial.get("arm") == AGAIN for end in _interval(trial)), default=0)
    if noise:
        figure.add_vrect(x0=-noise, x1=noise, fillcolor=plot.COLOURS["again"], opacity=0.12, line_width=0)
    _keep_in_sight(figure)
    figure.update_yaxes(range=[len(compared) - 0.5, -0.8], showticklabels=False, showgrid=False, ticks="")
    figure.update_layout(showlegend=False, height=FRAME_HEIGHT + ROW_HEIGHT * len(compared), margin={"l": 8})
    return plot.stored(figure)


def curve(rows: Sequence[Mapping[str, Any]], column: str) -> dict[str, object]:
    """One column of a training's curve over its updates."""
    points = [
        (row["update"], row[column]) for row in rows if is_number(row.get("update")) and is_number(row.get(column))
    ]
    name = words.spaced(column)
    says = f"No finite {name} was recorded."
    if points:
        (first, start), (last, end) = points[0], points[-1]
        says = (
            f"The {name} goes from {words.number(start)} at update {words.number(first)} "
            f"to {words.number(end)} at update {words.number(last)}."
        )
    figure = plot.figure(title=name.capitalize(), x="update", y=name, summary=says)
    plot.line(figure, [update for update, _ in points], [value for _, value in points], name=name)
    return plot.stored(figure)


def label(trial: Trial) -> str:
    """What an arm is called: by its remedy and the remedy's settings, else by its place in the comparison."""
    remedy, settings = trial.get("remedy"), words.settings(trial.get("settings"))
    name = str(remedy or trial.get("arm") or "arm")
    return f"{name} ({settings})" if remedy and settings else name


def _draw_arm(figure: go.Figure, row: int, trial: Trial, reference: Trial) -> None:
    """One arm in its row, under its name: a name before the row would leave a narrow screen no room."""
    role = ROLES.get(str(trial.get("arm")), "neutral")
    colour, name = plot.COLOURS[role], label(trial)
    pairs = zip(sequence(reference.get("per_seed")), sequence(trial.get("per_seed")), strict=False)
    differences = numbers(trial.get("differences")) or [
        before - after for before, after in pairs if is_number(before) and is_number(after)
    ]
    interval = _interval(trial) if differences else []
    figure.add_scatter(
        x=interval,
        y=[row] * len(interval),
        name=f"{name}, interval",
        mode="lines",
        line={"color": colour, "width": 4},
        opacity=0.45,
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=differences,
        y=[row] * len(differences),
        name=f"{name}, each order",
        mode="markers",
        marker={"color": colour, "symbol": SYMBOLS.get(role, "circle-open"), "size": 9},
        hovertemplate="%{x:.4~g}<extra></extra>",
    )
    figure.add_annotation(
        text=": ".join(filter(None, (name, trial.get("verdict")))),
        xref="paper",
        x=0,
        xanchor="left",
        y=row,
        yanchor="bottom",
        yshift=6,
        showarrow=False,
    )


def _keep_in_sight(figure: go.Figure) -> None:
    """Cut the axis on its left where an arm is so much worse that no gain could be seen beside it."""
    values = [value for trace in figure.data for value in trace.x]
    best, worst = max(values, default=0), min(values, default=0)
    if best > 0 and worst < -FARTHEST * best:
        figure.update_xaxes(range=[-FARTHEST * best, 1.1 * best])


def _interval(trial: Trial) -> list[float]:
    ends = numbers(trial.get("interval"))
    return ends if len(ends) == 2 else []


def _largest(compared: Sequence[Trial], trials: Sequence[Trial]) -> str:
    found = [(gain(trial, trials), label(trial)) for trial in compared]
    known = [(entry["value"], name, words.measured(entry)) for entry, name in found if is_number(entry["value"])]
    if not known:
        return "No arm came to a finite value."
    _, name, written = max(known)
    return f"The largest gain is that of {name}: {written}."
