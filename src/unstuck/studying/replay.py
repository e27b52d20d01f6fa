"""The lecture replayed: its lines, the studies that they rest on, and one page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unstuck.errors import InputError
from unstuck.lecture import CHAPTERS, Chapter, Language, Line
from unstuck.page import Captioned, Part, Told, render_lecture
from unstuck.studying.gallery import document_of

PAGE = "lecture.html"


def chapters_of(text: str | None) -> tuple[Chapter, ...]:
    """From ``2`` or ``1-5``; all where nothing is given.

    Raises:
        InputError: this is no chapter, or none that can be replayed.
    """
    if text is None:
        return CHAPTERS
    first, _, last = text.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal()):
        raise InputError(f"chapter {text!r}: give a number, as 2, or a range, as 1-2")
    wanted = range(int(first), int(last or first) + 1)
    found = tuple(chapter for chapter in CHAPTERS if chapter.number in wanted)
    if len(found) < len(wanted) or not found:
        there = ", ".join(str(chapter.number) for chapter in CHAPTERS)
        raise InputError(f"chapter {text}: those that can be replayed are {there}")
    return found


def studies_of(chapters: Sequence[Chapter]) -> tuple[str, ...]:
    """Those that the lines rest on, each once."""
    return tuple(dict.fromkeys(name for chapter in chapters for name in chapter.studies))


def write_lecture(
    chapters: Sequence[Chapter], studies: Sequence[Mapping[str, Any]], folder: Path, language: Language
) -> Path:
    """Write the page, and report.json beside it; gives the page's path. Raises InputError where that cannot be."""
    parts = [_part(chapter, language) for chapter in chapters]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(document_of(studies), indent=1, ensure_ascii=False)
        (folder / "report.json").write_text(text + "\n", encoding="utf-8")
        page = folder / PAGE
        page.write_text(render_lecture(parts, studies, language), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder}: the page cannot be written ({error.strerror}); give another folder") from error
    return page


def _part(chapter: Chapter, language: Language) -> Part:
    return Part(
        number=chapter.number,
        title=chapter.title.in_language(language),
        opens=chapter.opens.in_language(language),
        lines=tuple(_told(line, language) for line in chapter.lines),
        summary=tuple(_told(line, language) for line in chapter.summary),
    )


def _told(line: Line, language: Language) -> Told:
    return Told(
        says=line.says.in_language(language),
        correction="" if line.correction is None else line.correction.in_language(language),
        study=line.study,
        measurement=line.gate,
        number=line.number.in_language(language),
        pictures=tuple(
            Captioned(picture=shown.picture, title=shown.title, sees=shown.sees)
            if language == "zh"
            else Captioned(picture=shown.picture)
            for shown in line.shows
        ),
    )
