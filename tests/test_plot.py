"""The style: what is stored is plain JSON, and the colours can be told apart on both papers."""

import itertools
import json
import math

import numpy as np
import plotly.graph_objects as go
import pytest

from unstuck import plot

DISTINCT = sorted({*plot.COLOURS.values(), *plot.SERIES} - {plot.COLOURS["neutral"]})

# Linear RGB as seen without one kind of cone: Machado, Oliveira, Fernandes (2009), severity 1.0.
COLOUR_BLINDNESS = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "none": np.eye(3).tolist(),
}


def linear(colour: str) -> np.ndarray:
    channels = np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def luminance(colour: str) -> float:
    return float(np.array([0.2126, 0.7152, 0.0722]) @ linear(colour))


def contrast(one: str, other: str) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    ratio = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.95047, 1.0, 1.08883])
    x, y, z = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("theme", [plot.LIGHT, plot.DARK])
def test_every_role_can_be_seen_on_either_paper(theme: plot.Theme) -> None:
    for colour in {*plot.COLOURS.values(), *plot.SERIES}:
        assert contrast(colour, theme.paper) >= 3, colour


@pytest.mark.parametrize("theme", [plot.LIGHT, plot.DARK])
@pytest.mark.parametrize("ink", ["ink", "quiet", "link"])
def test_text_is_legible_on_paper_and_ground(theme: plot.Theme, ink: str) -> None:
    assert contrast(getattr(theme, ink), theme.paper) >= 4.5
    assert contrast(getattr(theme, ink), theme.ground) >= 4.5


@pytest.mark.parametrize("kind", sorted(COLOUR_BLINDNESS))
def test_series_stay_apart_under_colour_blindness(kind: str) -> None:
    seen = [lab(np.array(COLOUR_BLINDNESS[kind]) @ linear(colour)) for colour in DISTINCT]
    closest = min(float(np.linalg.norm(one - other)) for one, other in itertools.combinations(seen, 2))
    assert closest > 10  # CIE76; a difference of 2.3 is just noticeable


def test_roles_of_one_colour_differ_in_dash() -> None:
    arms: list[plot.Role] = ["untouched", "again", "treated", "opposite"]
    assert len({(plot.COLOURS[role], plot.DASHES[role]) for role in arms}) == len(arms)


def test_a_stored_figure_is_plain_json_without_a_theme() -> None:
    drawn = plot.figure(title="Loss", x="update", y="loss", summary="It falls.", log_y=True)
    plot.line(drawn, np.arange(3), np.array([1 / 3, math.nan, math.inf]), name="untouched", role="untouched")
    drawn.add_heatmap(z=np.ones((2, 2), dtype=np.float32))
    kept = plot.stored(drawn)
    line, heatmap = json.loads(json.dumps(kept, allow_nan=False))["data"]
    assert line["x"] == [0, 1, 2]
    assert line["y"] == [0.333333, None, None]
    assert heatmap["z"] == [[1.0, 1.0], [1.0, 1.0]]
    layout = kept["layout"]
    assert isinstance(layout, dict)
    assert "template" not in layout
    assert layout["meta"] == {"summary": "It falls."}
    assert layout["yaxis"]["type"] == "log"
    assert "template" in drawn.layout  # a notebook still shows it in our style


def test_a_stored_figure_can_be_drawn_again_by_plotly() -> None:
    drawn = plot.figure(title="Loss", x="update", y="loss")
    plot.line_with_spread(drawn, [0, 1], [2.0, 1.0], [1.5, 0.5], [2.5, 1.5], name="treated", role="treated")
    again = go.Figure(plot.stored(drawn))
    assert [trace.name for trace in again.data] == ["treated, low", "treated, high", "treated"]
    assert list(again.data[1].y) == [2.5, 1.5]


def test_a_line_and_its_spread_are_switched_together_and_listed_once() -> None:
    drawn = plot.figure(title="Loss", x="update", y="loss")
    plot.line_with_spread(drawn, [0, 1], [2.0, 1.0], [1.5, 0.5], [2.5, 1.5], name="treated", role="treated")
    assert {trace.legendgroup for trace in drawn.data} == {"treated"}
    assert [trace.showlegend for trace in drawn.data] == [False, False, None]
    assert drawn.data[2].customdata.tolist() == [[1.5, 2.5], [0.5, 1.5]]


def test_lines_without_a_role_are_told_apart_by_colour_and_dash() -> None:
    drawn = plot.figure(title="Loss", x="update", y="loss")
    for name in ("one", "two", "three"):
        plot.line_with_spread(drawn, [0, 1], [2.0, 1.0], [1.5, 0.5], [2.5, 1.5], name=name)
    lines = [trace.line for trace in drawn.data[2::3]]
    assert len({line.color for line in lines}) == len({line.dash for line in lines}) == 3
    assert lines[0].color == plot.COLOURS["accent"]
    red, green, blue = (int(lines[1].color[start : start + 2], 16) for start in (1, 3, 5))
    assert drawn.data[4].fillcolor.startswith(f"rgba({red},{green},{blue},")


def test_the_templates_differ_in_surfaces_alone() -> None:
    light, dark = (plot.template(theme).to_plotly_json() for theme in (plot.LIGHT, plot.DARK))
    assert light["layout"]["colorway"] == dark["layout"]["colorway"]
    assert light["layout"]["paper_bgcolor"] != dark["layout"]["paper_bgcolor"]


def test_a_table_has_its_rows_and_is_as_high_as_they_are() -> None:
    rows = (("one", "1"), ("two", "2"), ("three", "3"))
    drawn = plot.table(title="Numbers", header=("name", "number"), rows=rows, widths=(2, 1), summary="They rise.")
    assert [list(column) for column in drawn.data[0].cells.values] == [["one", "two", "three"], ["1", "2", "3"]]
    fewer = plot.table(title="Numbers", header=("name", "number"), rows=rows[:1], widths=(2, 1))
    assert drawn.layout.height > fewer.layout.height > 0
