"""The pages of studies: one for each, and a gallery that links them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from unstuck.page import frame, words
from unstuck.page.parts import mapping, mappings
from unstuck.page.picture import picture
from unstuck.page.tables import Table

Document = Mapping[str, Any]  # of one study, as a JSON document of `unstuck study` has it


def render_study(document: Document) -> str:
    """One offline HTML page: the claim and its verdict, why it is so, the gates, the pictures, and every number."""
    pictures = [
        picture(name, drawn, id=f"figures-{place}")
        for place, (name, drawn) in enumerate(mapping(document.get("pictures")).items())
    ]
    body = frame.TEMPLATES.get_template("study.html").render(
        study=document,
        paragraphs=str(document.get("explains", "")).split("\n\n"),
        gates=gates_of(document),
        pictures=pictures,
        numbers=numbers_of(document),
        chapter=chapter_of(document),
    )
    return frame.assemble(title=str(document.get("title")), body=Markup(body), pictures=pictures)


def render_gallery(documents: Sequence[Document], links: Sequence[str]) -> str:
    """One offline HTML page: of each study its claim, its verdict, its first picture, and a link to its own page."""
    pictures = []
    for place, document in enumerate(documents):
        first = next(iter(mapping(document.get("pictures")).items()), None)
        pictures.append(None if first is None else picture(first[0], first[1], id=f"figures-{place}"))
    shown = list(zip(documents, links, pictures, map(chapter_of, documents), strict=True))
    body = frame.TEMPLATES.get_template("gallery.html").render(shown=shown)
    drawn = [one for one in pictures if one is not None]
    return frame.assemble(title="Studies", body=Markup(body), pictures=drawn)


def gates_of(document: Document) -> list[dict[str, Any]]:
    """Each gate with what came out, if anything did."""
    found = [*mappings(document.get("statistics")), *({} for _ in mappings(document.get("gate")))]
    return [
        {**gate, **statistics, "outcome": outcome_of(gate, statistics), "within": _within(statistics)}
        for gate, statistics in zip(mappings(document.get("gate")), found, strict=False)
    ]


def outcome_of(gate: Mapping[str, Any], statistics: Mapping[str, Any]) -> str:
    """In a word: holds, fails, qualifies the claim, does not qualify it, or not judged."""
    if not statistics:
        return "not judged"
    if gate.get("role") == "qualification":
        return "qualifies" if statistics.get("holds") else "does not qualify"
    return "holds" if statistics.get("holds") else "fails"


def numbers_of(document: Document) -> Table | None:
    """Every measurement of every seed."""
    measurements = mappings(document.get("measurements"))
    if not measurements:
        return None
    seeds = list(dict.fromkeys(seed for each in measurements for seed in mapping(each.get("values")) if seed.isdigit()))
    return Table(
        caption="Every number of every seed",
        header=("measured", "unit", *(f"seed {seed}" for seed in seeds), "what it is"),
        rows=tuple(
            (
                str(each.get("name")),
                str(each.get("unit") or ""),
                *(_value(mapping(each.get("values")), seed) for seed in seeds),
                str(each.get("says")),
            )
            for each in measurements
        ),
    )


def _value(values: Mapping[str, Any], seed: str) -> str:
    if seed in values and values[seed] is None:
        return "not finite"
    return words.number(values.get(seed))


def chapter_of(document: Document) -> str:
    """In words."""
    chapter = document.get("chapter")
    return f"Chapter {chapter}, {words.CHAPTERS[chapter]}" if chapter in words.CHAPTERS else "Beyond the lecture"


def _within(statistics: Mapping[str, Any]) -> str:
    if not statistics:
        return ""
    return f"{statistics.get('agreeing')} of {statistics.get('seeds')}"
