"""A stored figure as the page shows it: title and summary as text, numbers as tables, and the drawing."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unstuck.page import words
from unstuck.page.parts import mapping, mappings, sequence
from unstuck.page.tables import Table

# plotly reads some HTML in every text it draws. These tags may stay; any other `<` is shown as it is.
FOREIGN_TAG = re.compile(r"<(?!/?(?:b|i|br|sub|sup|extra)\s*/?>)")
ANY_KEPT_TAG = re.compile(r"</?(?:b|i|br|sub|sup|extra)\s*/?>")

HEIGHT, SOLID_HEIGHT = 360, 440  # pixels, of a flat picture and of one in three dimensions
TOP_MARGIN, LEGEND_MARGIN = 16, 44  # pixels, without and with a legend; the title stands outside
MOST_ROWS, MOST_COLUMNS = 60, 12  # of a table of numbers; more are thinned out evenly

Numbers = Sequence[object]
Traced = Mapping[str, object]  # a trace or a layout, as plotly writes it


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One figure of the page. `data` and `layout` go to plotly.js into the element called `id`."""

    id: str
    title: str
    summary: str
    tables: tuple[Table, ...]
    data: object
    layout: object


def picture(key: str, figure: Traced, *, id: str) -> Picture:
    """The picture of a figure stored under `key` in the report."""
    traces = mappings(figure.get("data"))
    layout = dict(mapping(figure.get("layout")))
    title = _text(layout.pop("title", None)) or words.spaced(key)
    summary = mapping(layout.pop("meta", None)).get("summary") or _describe(traces, layout)
    solid = any("surface" in str(trace.get("type")) or "3d" in str(trace.get("type")) for trace in traces)
    layout.setdefault("height", SOLID_HEIGHT if solid else HEIGHT)
    layout["margin"] = _margin(traces, layout, solid=solid) | dict(mapping(layout.get("margin")))
    return Picture(
        id=id,
        title=title,
        summary=str(summary),
        tables=tuple(_tables(traces, layout)),
        data=_drawable(traces),
        layout=_drawable(layout),
    )


def _margin(traces: Sequence[Traced], layout: Traced, *, solid: bool) -> dict[str, int]:
    if solid:
        return dict.fromkeys("lrtb", 0)
    listed = [trace for trace in traces if trace.get("showlegend") is not False and trace.get("z") is None]
    has_legend = layout.get("showlegend", len(listed) > 1)
    return {"t": LEGEND_MARGIN if has_legend else TOP_MARGIN}


def _drawable(value: object) -> object:
    """JSON that plotly may draw: foreign tags are text, and what is not finite is a gap."""
    match value:
        case str():
            return FOREIGN_TAG.sub("&lt;", value)
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(key): _drawable(part) for key, part in value.items()}
        case list() | tuple():
            return [_drawable(part) for part in value]
    return value


def _describe(traces: Sequence[Traced], layout: Traced) -> str:
    """What can be said of a figure that says nothing itself: its series and its axes."""
    names = [str(trace["name"]) for trace in traces if trace.get("name") and trace.get("showlegend") is not False]
    parts = {
        "Across": _axis(layout, "xaxis"),
        "Up": _axis(layout, "yaxis"),
        "Shown": ", ".join(names),
    }
    return " ".join(f"{part}: {text}." for part, text in parts.items() if text)


def _tables(traces: Sequence[Traced], layout: Traced) -> list[Table]:
    x, y = _axis(layout, "xaxis") or "x", _axis(layout, "yaxis") or "y"
    grids = [trace for trace in traces if _is_grid(trace.get("z"))]
    tables = [_grid_table(grid, x, y) for grid in grids]
    series = [(str(trace.get("name") or y), *_points(trace)) for trace in traces if trace not in grids]
    series = [(name, across, up) for name, across, up in series if up]
    if series:
        tables.insert(0, _series_table(series, x, y))
    return tables


def _series_table(series: Sequence[tuple[str, Numbers, Numbers]], x: str, y: str) -> Table:
    """A column for each series where all share their abscissae, else a row for each point."""
    shared = series[0][1]
    if all(across == shared for _, across, _ in series):
        columns = [shared, *(up for _, _, up in series)]
        return _table((x, *(name for name, _, _ in series)), list(zip(*columns, strict=False)))
    rows = [(name, *point) for name, across, up in series for point in zip(across, up, strict=False)]
    return _table(("series", x, y), rows)


def _grid_table(trace: Traced, x: str, y: str) -> Table:
    grid = [sequence(row) for row in sequence(trace.get("z"))]
    across = sequence(trace.get("x")) or range(len(grid[0]))
    up = sequence(trace.get("y")) or range(len(grid))
    kept = _evenly(len(across), MOST_COLUMNS)
    rows = [
        (up[row], *(grid[row][column] for column in kept if column < len(grid[row])))
        for row in _evenly(min(len(up), len(grid)), MOST_COLUMNS)
    ]
    header = (f"{y} down, {x} across", *(words.number(across[column]) for column in kept))
    thinned = len(rows) < len(grid) or len(kept) < len(across)
    return _table(header, rows, of=f"{len(grid)} × {len(across)} numbers" if thinned else "")


def _table(header: Sequence[str], rows: Sequence[Sequence[object]], *, of: str = "") -> Table:
    kept = [rows[index] for index in _evenly(len(rows), MOST_ROWS)]
    if len(kept) < len(rows):
        of = f"{len(rows):,} rows"
    return Table(
        caption=f"An even choice from {of}; report.json has them all." if of else "All numbers of the picture.",
        header=tuple(header),
        rows=tuple(tuple(words.number(cell) for cell in row) for row in kept),
    )


def _evenly(count: int, most: int) -> list[int]:
    """At most `most` of `range(count)`, evenly spaced, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(step * (count - 1) / (most - 1)) for step in range(most)]


def _points(trace: Traced) -> tuple[Numbers, Numbers]:
    """Abscissae and ordinates; a trace with values alone (a histogram) is counted along."""
    across, up = sequence(trace.get("x")), sequence(trace.get("y"))
    values = up or across
    return (across if across and up else range(1, len(values) + 1)), values


def _axis(layout: Traced, axis: str) -> str:
    return _text(mapping(layout.get(axis)).get("title"))


def _text(title: object) -> str:
    """The words of a plotly title, which is a text or a mapping with one."""
    words_of_it = title.get("text") if isinstance(title, Mapping) else title
    return ANY_KEPT_TAG.sub(" ", str(words_of_it or "")).strip()


def _is_grid(value: object) -> bool:
    rows = sequence(value)
    return bool(rows) and all(isinstance(row, list | tuple) for row in rows)
