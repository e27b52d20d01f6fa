"""The one style of every picture: colours with a role, a light and a dark theme, lines with their spread.

A reading draws itself with these functions. A notebook shows the figure as it is, in the light theme; a
report keeps it without any theme (`stored`), and its page dresses it in the theme the reader's system asks
for. So the colour of a role is the same in both themes: each has a contrast of at least 3 to 1 against
either paper (WCAG 2.2, 1.4.11). The hues are those of Okabe and Ito (2008, "Color Universal Design"), which
stay apart under the common kinds of colour blindness; a role has a dash as well, so that colour never speaks
alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

Role = Literal["untouched", "again", "treated", "opposite", "neutral", "accent"]
Numbers = Sequence[float] | npt.NDArray[np.floating] | npt.NDArray[np.integer]

FONT = '"Segoe UI", Roboto, "Noto Sans", "Helvetica Neue", "Liberation Sans", Arial, sans-serif'
COLOURS: Mapping[Role, str] = {
    "untouched": "#6f7883",
    "again": "#6f7883",  # the untouched run once more: the same colour, dotted
    "treated": "#147fc4",
    "opposite": "#d55e00",
    "neutral": "#87909b",
    "accent": "#147fc4",
}
DASHES: Mapping[Role, str] = {
    "untouched": "solid",
    "again": "dot",
    "treated": "solid",
    "opposite": "dash",
    "neutral": "longdash",
    "accent": "solid",
}
# For series without a role, in this order: a colour and a dash. Green and purple are Okabe and Ito's.
SERIES = (COLOURS["accent"], COLOURS["opposite"], "#009e73", "#cc79a7", COLOURS["untouched"], "#a219e6")
SERIES_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
DIVERGING = ((0, COLOURS["accent"]), (0.5, "#d9dadb"), (1, COLOURS["opposite"]))  # around zero
SPREAD_OPACITY = 0.18
ROW_HEIGHT = 28  # pixels, of a table
LOG_TICKS = 4  # few enough that plotly takes 1, 2, 5 or whole decades, where it would write every digit
SIGNIFICANT_DIGITS = 6  # of a stored coordinate: finer than any screen, a third of the bytes


@dataclass(frozen=True, kw_only=True)
class Theme:
    """What changes between light and dark: the surfaces, the lines on them, and the ink."""

    ground: str  # behind everything
    paper: str  # behind a figure or a card
    ink: str  # text
    quiet: str  # text that stands back: captions, ticks
    rule: str  # hairlines and grids
    link: str  # the accent as text


LIGHT = Theme(ground="#f7f7f5", paper="#ffffff", ink="#1b1f24", quiet="#59616b", rule="#e2e4e7", link="#005f96")
DARK = Theme(ground="#121519", paper="#191d22", ink="#e7e9ec", quiet="#a4acb6", rule="#31373f", link="#6bb8ea")


def figure(*, title: str, x: str, y: str, summary: str = "", log_x: bool = False, log_y: bool = False) -> go.Figure:
    """An empty figure in our style.

    `x` and `y` name the axes with their units. `summary` says in a sentence or two what the picture shows,
    for those who cannot see it; it is kept in `layout.meta`.
    """
    drawn = go.Figure(layout={"template": template(LIGHT), "title": title, "meta": {"summary": summary}})
    drawn.update_xaxes(title=x, **_scale(log_x))
    drawn.update_yaxes(title=y, **_scale(log_y))
    return drawn


def table(
    *, title: str, header: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[float], summary: str = ""
) -> go.Figure:
    """A table as a figure, of as many rows as it is high; `widths` are those of its columns, relative."""
    drawn = figure(title=title, x="", y="", summary=summary)
    looks = {"fill": {"color": "rgba(0,0,0,0)"}, "line": {"color": COLOURS["neutral"]}, "align": "left"}
    drawn.add_table(
        header={"values": [f"<b>{name}</b>" for name in header], **looks},
        cells={"values": list(zip(*rows, strict=True)), "height": ROW_HEIGHT, **looks},
        columnwidth=list(widths),
    )
    return drawn.update_layout(height=ROW_HEIGHT * (len(rows) + 4))


def line(figure: go.Figure, x: Numbers, y: Numbers, *, name: str, role: Role | None = None) -> None:
    """Add one line, in the look of its role or in the next free one; all lines answer to the pointer together."""
    colour, dash = _look(figure, role)
    figure.add_scatter(
        x=x,
        y=y,
        name=name,
        mode="lines",
        line={"color": colour, "dash": dash},
        legendgroup=name,
        hovertemplate="%{y:.4~g}",
    )
    figure.update_layout(hovermode="x unified")


def points(figure: go.Figure, x: Numbers, y: Numbers, *, name: str, role: Role | None = None) -> None:
    """Add points, in the colour of their role or in the next free one."""
    colour, _ = _look(figure, role)
    figure.add_scatter(
        x=x,
        y=y,
        name=name,
        mode="markers",
        marker={"color": colour, "size": 7, "opacity": 0.75},
        hovertemplate="%{x:.4~g}, %{y:.4~g}",
    )


def band(figure: go.Figure, x: Numbers, low: Numbers, high: Numbers, *, name: str, role: Role | None = None) -> None:
    """Shade between `low` and `high`; a line of the same `name` is shown and hidden together with it."""
    edge = {"mode": "lines", "line": {"width": 0}, "legendgroup": name, "showlegend": False}
    figure.add_scatter(x=x, y=low, name=f"{name}, low", hoverinfo="skip", **edge)
    figure.add_scatter(
        x=x,
        y=high,
        name=f"{name}, high",
        fill="tonexty",
        fillcolor=_transparent(_look(figure, role)[0]),
        hoverinfo="skip",
        **edge,
    )


def line_with_spread(
    figure: go.Figure,
    x: Numbers,
    middle: Numbers,
    low: Numbers,
    high: Numbers,
    *,
    name: str,
    role: Role | None = None,
) -> None:
    """A line in the middle of its band: a mean within its interval, or a median within its quartiles."""
    band(figure, x, low, high, name=name, role=role)
    line(figure, x, middle, name=name, role=role)
    figure.data[-1].update(
        customdata=np.column_stack([low, high]),
        hovertemplate="%{y:.4~g} (%{customdata[0]:.4~g} to %{customdata[1]:.4~g})",
    )


def stored(figure: go.Figure) -> dict[str, object]:
    """The figure as a report keeps it: JSON types alone, a gap for what is not finite, and no theme."""
    layout = figure.layout.to_plotly_json()
    layout.pop("template", None)
    return {"data": [_plain(trace.to_plotly_json()) for trace in figure.data], "layout": _plain(layout)}


def template(theme: Theme) -> go.layout.Template:
    """The style of every figure in one theme, as a plotly template."""
    axis = {
        "gridcolor": theme.rule,
        "linecolor": theme.rule,
        "zerolinecolor": theme.quiet,
        "zeroline": False,
        "showline": True,
        "ticks": "outside",
        "tickcolor": theme.rule,
        "tickfont": {"color": theme.quiet, "size": 12},
        "title": {"standoff": 10, "font": {"color": theme.quiet, "size": 13}},
        "automargin": True,
        "exponentformat": "power",
    }
    scene_axis = {
        "backgroundcolor": theme.paper,
        "gridcolor": theme.rule,
        "zerolinecolor": theme.rule,
        "tickfont": {"color": theme.quiet, "size": 11},
        "title": {"font": {"color": theme.quiet, "size": 13}},
    }
    colour_bar = {"outlinewidth": 0, "thickness": 12, "tickfont": {"color": theme.quiet}}
    shaded = {"colorscale": "Viridis", "colorbar": colour_bar}
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 13, "color": theme.ink},
            "title": {"x": 0, "xref": "container", "xanchor": "left", "pad": {"l": 16}, "font": {"size": 16}},
            "paper_bgcolor": theme.paper,
            "plot_bgcolor": theme.paper,
            "colorway": SERIES,
            "colorscale": {"sequential": "Viridis", "sequentialminus": "Viridis", "diverging": DIVERGING},
            "margin": {"l": 56, "r": 16, "t": 64, "b": 48},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "hoverlabel": {"bgcolor": theme.paper, "bordercolor": theme.rule, "font": {"color": theme.ink}},
            "shapedefaults": {"line": {"color": theme.quiet, "width": 1}},
            "annotationdefaults": {"arrowcolor": theme.quiet},
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": theme.quiet, "activecolor": theme.link},
            "xaxis": axis,
            "yaxis": axis,
            "scene": {
                "xaxis": scene_axis,
                "yaxis": scene_axis,
                "zaxis": scene_axis,
                "camera": {"eye": {"x": 1.7, "y": 1.7, "z": 1.0}, "center": {"x": 0, "y": 0, "z": -0.15}},
            },
        },
        data={
            "bar": [{"marker": {"line": {"width": 0}}}],
            "heatmap": [shaded],
            "contour": [shaded],
            "surface": [shaded],
            "histogram2d": [shaded],
        },
    )


def _look(figure: go.Figure, role: Role | None) -> tuple[str, str]:
    """Colour and dash of a role; without one, those that no line of the figure has yet, as long as they last."""
    if role is not None:
        return COLOURS[role], DASHES[role]
    place = sum(trace.type == "scatter" and trace.showlegend is not False for trace in figure.data)
    return SERIES[place % len(SERIES)], SERIES_DASHES[place % len(SERIES)]


def _scale(logarithmic: bool) -> dict[str, object]:
    """A logarithmic axis with each tick written out; else plotly tells numbers from categories."""
    return {"type": "log", "nticks": LOG_TICKS, "tickformat": "~g"} if logarithmic else {}


def _transparent(colour: str) -> str:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{SPREAD_OPACITY})"


def _plain(value: object) -> object:
    """`value` in JSON types; floats are rounded to SIGNIFICANT_DIGITS, and not finite becomes None."""
    match value:
        case np.ndarray() | np.generic():
            return _plain(value.tolist())
        case float():
            return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if math.isfinite(value) else None
        case Mapping():
            return {str(key): _plain(part) for key, part in value.items()}
        case list() | tuple():
            return [_plain(part) for part in value]
    return value
