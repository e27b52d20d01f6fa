"""Write docs/lecture.md and docs/studies-results.md from what ``unstuck study --all --json REPORT.json`` found.

python docs/make_lecture.py REPORT.json
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from unstuck.lecture import CHAPTERS, Line
from unstuck.page import words
from unstuck.page.studies import gates_of

HERE = Path(__file__).parent

Studies = Mapping[str, Mapping[str, Any]]


def lecture(studies: Studies) -> Iterator[str]:
    """The claims of the lecture in its order, each with its study, verdict and number."""
    yield "# The lecture, claim by claim"
    yield ""
    yield (
        'Hung-yi Lee, *Machine Learning* 2021, "What to do when a network fails to train". Each claim in our words, '
        "the study that put it to the test, what came out, and, where the lecture is too simple, what is so instead. "
        "Made by `docs/make_lecture.py` from the runs of [studies-results.md](studies-results.md); `unstuck lecture` "
        "replays it."
    )
    for chapter in CHAPTERS:
        yield from ("", f"## {chapter.number} · {chapter.title.en}", "", chapter.opens.en, "")
        yield "| the lecture says | study | measured | verdict | more exactly |"
        yield "| --- | --- | --- | --- | --- |"
        for line in chapter.lines:
            yield _row(line, studies)
        if chapter.summary:
            yield from ("", "Its own summary:", "")
            yield "| the lecture says | study | measured | verdict | more exactly |"
            yield "| --- | --- | --- | --- | --- |"
            for line in chapter.summary:
                yield _row(line, studies)


def _row(line: Line, studies: Studies) -> str:
    study = studies[line.study]
    for shown in line.shows:
        if shown.picture not in study["pictures"]:
            raise SystemExit(f"{line.study} has no picture {shown.picture!r}, which the lecture shows")
    gate = next(gate for gate in gates_of(study) if gate["measurement"] == line.gate)
    outcome = "holds" if gate["holds"] else "does not hold here"
    link = f"[{line.study}](../src/unstuck/studies/{line.study.replace('-', '_')}.py)"
    correction = line.correction.en if line.correction else ""
    measured = f"{outcome}: {line.number.en} {words.number(gate['value'])}"
    return f"| {line.says.en} | {link} | {measured} | {study['verdict']} | {correction} |"


def results(document: Mapping[str, Any]) -> Iterator[str]:
    """Every gate of every study, and what came out."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "scipy", "scikit-learn"))
    yield "# Results of the studies"
    yield ""
    yield (
        "Made by `unstuck study --all --json REPORT.json` and `python docs/make_lecture.py REPORT.json`, with unstuck "
        f"{document['tool']['version']}, {packages} and Python {platform.python_version()}. A gate was fixed before "
        "the runs that it judges; a qualification that holds qualifies the claim."
    )
    for study in document["studies"]:
        seeds = ", ".join(map(str, study["seeds"]))
        yield from ("", f"## {study['name']}: {study['verdict']}", "", f"{study['claim']} ({study['source']})", "")
        yield f"{study['setting']} Seeds {seeds}, {study['runs']} runs."
        yield from ("", "| gate | role | outcome | measured | seeds within |", "| --- | --- | --- | --- | --- |")
        for gate in gates_of(study):
            cells = (f"{gate['says']}: {gate['inequality']}", gate["role"], gate["outcome"])
            yield f"| {' | '.join((*cells, words.number(gate['value']), gate['within']))} |"


def main(report: str) -> None:
    """Write both pages."""
    document = json.loads(Path(report).read_text(encoding="utf-8"))
    studies = {study["name"]: study for study in document["studies"]}
    for name, lines in (("lecture.md", lecture(studies)), ("studies-results.md", results(document))):
        (HERE / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
