"""The figures that follow from a report's numbers: the arms of its trials, and the curve of a training."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from unstuck import plot
from unstuck.page import words
from unstuck.page.parts import numbers

ROLES: Mapping[str, plot.Role] = {
    "untouched": "untouched",
    "a/a": "again",
    "remedy": "treated",
    "opposite": "opposite",
}
ROW_HEIGHT, FRAME_HEIGHT = 46, 80  # pixels, of an arm and of all around the arms
LOGARITHMIC_FROM = 30  # times the smallest value: a range that a linear axis would squeeze
SYMBOLS: Mapping[plot.Role, str] = {"treated": "circle", "opposite": "x-thin-open"}  # else an open circle


def arms(trials: Sequence[Mapping[str, object]], measure: str) -> dict[str, object]:
    """The arms judged by `measure`, in their order: a mark for each seed and a bar for the interval."""
    values = [value for trial in trials for value in numbers(trial.get("per_seed"))]
    name = words.spaced(measure)
    figure = plot.figure(
        title=f"Every arm, every seed: {name}",
        x=f"{name} at the end of the trial",
        y="",
        summary=(
            "A mark for each seed, a bar for the interval of the mean, a dashed line at the untouched mean. "
            + _extremes(trials)
        ),
        log_x=bool(values) and min(values) > 0 and max(values) > LOGARITHMIC_FROM * min(values),
    )
    for row, trial in enumerate(trials):
        _draw_arm(figure, row, trial)
    untouched = next((trial.get("mean") for trial in trials if trial.get("arm") == "untouched"), None)
    if untouched is not None:
        figure.add_vline(x=untouched, line={"color": plot.COLOURS["untouched"], "dash": "dash", "width": 1})
    figure.update_yaxes(range=[len(trials) - 0.5, -0.8], tickvals=list(range(len(trials))), showticklabels=False)
    figure.update_layout(showlegend=False, height=FRAME_HEIGHT + ROW_HEIGHT * len(trials), margin={"l": 8})
    return plot.stored(figure)


def _draw_arm(figure: go.Figure, row: int, trial: Mapping[str, object]) -> None:
    """One arm in its row, under its name: a name before the row would leave a narrow screen no room."""
    role = ROLES.get(str(trial.get("arm")), "neutral")
    colour, name = plot.COLOURS[role], label(trial)
    seeds, interval = numbers(trial.get("per_seed")), numbers(trial.get("interval"))
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
        x=seeds,
        y=[row] * len(seeds),
        name=f"{name}, seeds",
        mode="markers",
        marker={"color": colour, "symbol": SYMBOLS.get(role, "circle-open"), "size": 9},
        hovertemplate="%{x:.4g}<extra></extra>",
    )
    figure.add_annotation(
        text=name if seeds else f"{name}: not finite",
        xref="paper",
        x=0,
        xanchor="left",
        y=row,
        yanchor="bottom",
        yshift=6,
        showarrow=False,
    )


def curve(rows: Sequence[Mapping[str, object]], column: str) -> dict[str, object]:
    """One column of a training's curve over its updates."""
    points = [(row.get("update"), row.get(column)) for row in rows]
    shown = [point for point in points if len(numbers(point)) == 2]
    name = words.spaced(column)
    says = (
        f"The {name} goes from {words.number(shown[0][1])} at update {words.number(shown[0][0])} "
        f"to {words.number(shown[-1][1])} at update {words.number(shown[-1][0])}."
        if shown
        else f"No finite {name} was recorded."
    )
    figure = plot.figure(title=name.capitalize(), x="update", y=name, summary=says)
    plot.line(figure, *zip(*shown, strict=True), name=name)
    return plot.stored(figure)


def label(trial: Mapping[str, object]) -> str:
    """What an arm is called: by its remedy and the remedy's settings, else by its place in the comparison."""
    remedy, settings = trial.get("remedy"), words.settings(trial.get("settings"))
    name = str(remedy or trial.get("arm") or "arm")
    return f"{name} ({settings})" if remedy and settings else name


def _extremes(trials: Sequence[Mapping[str, object]]) -> str:
    means = [(mean, label(trial)) for trial in trials if isinstance(mean := trial.get("mean"), int | float)]
    if not means:
        return "No arm came to a finite value."
    (low, lowest), (high, highest) = min(means), max(means)
    return f"Lowest is {lowest} with {words.number(low)}, highest {highest} with {words.number(high)}."
