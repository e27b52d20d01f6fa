"""The lecture's lines: each rests on a number that a study really has, and is told in both languages."""

from __future__ import annotations

import re

import pytest

from unstuck.lecture import CHAPTERS, Line
from unstuck.studies import ALL

LINES = [line for chapter in CHAPTERS for line in (*chapter.lines, *chapter.summary)]

CHINESE = re.compile(r"[\u4e00-\u9fff]")


def test_all_five_chapters_are_there_in_order() -> None:
    assert [chapter.number for chapter in CHAPTERS] == [1, 2, 3, 4, 5]
    assert all(chapter.lines and chapter.summary for chapter in CHAPTERS)


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line.study}: {line.gate}")
def test_a_line_rests_on_a_gate_that_decides_it(line: Line) -> None:
    """Of a qualification "holds" would speak against the line."""
    gates = {gate.measurement: gate for study in ALL if study.name == line.study for gate in study.gates}
    assert gates[line.gate].role in ("claim", "control")


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line.study}: {line.gate}")
def test_a_line_is_told_in_both_languages(line: Line) -> None:
    texts = [line.says, line.number, *([line.correction] if line.correction else [])]
    assert all(CHINESE.search(text.zh) and not CHINESE.search(text.en) for text in texts)
    assert all(CHINESE.search(shown.title) and CHINESE.search(shown.sees) for shown in line.shows)


def test_a_picture_is_shown_once() -> None:
    shown = [(line.study, each.picture) for line in LINES for each in line.shows]
    assert len(set(shown)) == len(shown) > len(CHAPTERS)


def test_no_line_is_told_twice_in_a_chapter() -> None:
    for chapter in CHAPTERS:
        told = [line.says.en for line in (*chapter.lines, *chapter.summary)]
        assert len(set(told)) == len(told)
