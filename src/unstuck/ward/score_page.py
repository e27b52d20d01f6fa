"""What the ward has to tell: a page, a document for programs, and a section of Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unstuck import plot
from unstuck.errors import InputError
from unstuck.ledger import Row
from unstuck.page import Table, render_scores
from unstuck.report import plain, tool
from unstuck.ward import score_tables, scores

BEGIN, END = "<!-- ward: made by unstuck ward -->", "<!-- end of ward -->"
"""Between which a page of results holds this section."""

IN_MARKDOWN = 5
"""Tables that go into the results; the list of failures is on the page."""


def tables_of(rows: Sequence[Row]) -> list[Table]:
    """All of them, the figures to reach first."""
    cases = scores.diagnosed(rows)
    return [
        score_tables.figures(cases, rows),
        score_tables.controls(cases, rows),
        score_tables.by(cases, "kind", lambda case: case.case.kinds[0]),
        score_tables.by(cases, "host", lambda case: case.case.host),
        score_tables.healthy(cases),
        score_tables.failures(cases),
    ]


def lead_of(rows: Sequence[Row]) -> str:
    """What the figures rest on, in a sentence or two."""
    cases = scores.diagnosed(rows)
    counts = {group: len(scores.grouped(cases, group)) for group in ("faulty", "healthy", "double")}
    failed = sum(row.state == "failed" for row in rows)
    of_code = sorted({row.settings["code"] for row in scores.done(rows, "diagnosis")})
    return (
        f"{counts['faulty']} trainings with one fault that hurts, {counts['double']} with two, {counts['healthy']} "
        f"with none; code {', '.join(of_code) or 'none'}. Thresholds may be chosen on the calibration part alone."
        + (f" Runs that broke off, and are in no figure: {failed}." if failed else "")
    )


def document_of(rows: Sequence[Row]) -> dict[str, Any]:
    """Tables, pictures and every diagnosis as JSON."""
    cases = scores.diagnosed(rows)
    document: dict[str, Any] = plain(
        {
            "schema": 1,
            "tool": tool(),
            "lead": lead_of(rows),
            "tables": [{"caption": each.caption, "header": each.header, "rows": each.rows} for each in tables_of(rows)],
            "figures": {
                "confusion": plot.stored(score_tables.draw_confusion(cases)),
                "reliability": plot.stored(score_tables.draw_reliability(cases)),
            },
            "rows": [{"settings": row.settings, "result": row.result} for row in rows if row.state == "done"],
        }
    )
    return document


def write_page(document: dict[str, Any], path: Path) -> None:
    """The page of such a document."""
    tables = [
        Table(caption=each["caption"], header=tuple(each["header"]), rows=tuple(map(tuple, each["rows"])))
        for each in document["tables"]
    ]
    text = render_scores("The ward of planted failures", document["lead"], tables, document["figures"])
    path.write_text(text, encoding="utf-8")


def write_results(rows: Sequence[Row], path: Path) -> None:
    """Exchange the section between the marks of a page of results.

    Raises:
        InputError: it has no such marks.
    """
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise InputError(f"{path}: it has no place for this section; put a line {BEGIN} and one {END} into it")
    section = "\n\n".join((lead_of(rows), *map(markdown, tables_of(rows)[:IN_MARKDOWN])))
    path.write_text(f"{before}{BEGIN}\n\n{section}\n\n{END}{after}", encoding="utf-8")


def markdown(table: Table) -> str:
    """A table as text, under its caption."""
    lines = (table.header, ["---"] * len(table.header), *table.rows)
    return "\n".join((f"**{table.caption}**", "", *(f"| {' | '.join(line)} |" for line in lines)))
