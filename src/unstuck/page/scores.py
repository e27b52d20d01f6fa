"""A page of tables and pictures that are no report: what a table of scores looks like."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from unstuck.page import frame
from unstuck.page.picture import picture
from unstuck.page.tables import Table


def render_scores(title: str, lead: str, tables: Sequence[Table], figures: Mapping[str, Mapping[str, Any]]) -> str:
    """One offline HTML page: a sentence or two, pictures as plotly JSON by their names, and tables."""
    pictures = [picture(key, figure, id=f"figures-{place}") for place, (key, figure) in enumerate(figures.items())]
    body = frame.TEMPLATES.get_template("scores.html").render(title=title, lead=lead, tables=tables, pictures=pictures)
    return frame.assemble(title=title, body=Markup(body), pictures=pictures)
