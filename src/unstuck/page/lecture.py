"""The page of the lecture: what it says, line by line, and what came out when it was tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from unstuck.page import frame
from unstuck.page.parts import mapping, mappings
from unstuck.page.picture import Picture, picture
from unstuck.page.studies import Document, outcome_of

WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "title": "The lecture, replayed",
        "lead": "What to do when a network fails to train: each line of the lecture, and beside it what came out when "
        "it was tried here. These are first looks, with few seeds; unstuck study NAME runs a study in full.",
        "correction": "More exactly:",
        "summary": "The lecture's own summary",
        "study": "study",
        "numbers": "The numbers of this picture",
        "holds": "holds",
        "fails": "does not hold here",
        "not judged": "not judged",
        "agrees": "agrees",
        "agrees with qualification": "agrees with qualification",
        "does not reproduce here": "does not reproduce here",
    },
    "zh": {
        "title": "重演讲义",
        "lead": "网络训练不起来怎么办：讲义的每一句话，旁边是在这里实际测试的结果。这里只用少数随机种子快速试验；"
        "unstuck study NAME 可完整运行一项研究。",
        "correction": "更准确地说：",
        "summary": "讲义自己的总结",
        "study": "研究",
        "numbers": "这张图的数值",
        "holds": "成立",
        "fails": "在此不成立",
        "not judged": "未判定",
        "agrees": "一致",
        "agrees with qualification": "一致，但有保留",
        "does not reproduce here": "在此未能重现",
    },
}


@dataclass(frozen=True, kw_only=True)
class Captioned:
    """A picture of the study beneath a line.

    Attributes:
        picture: its name among the study's pictures.
        title: in the page's language; empty where the study's own words will do.
        sees: what is seen on it, likewise.
    """

    picture: str
    title: str = ""
    sees: str = ""


@dataclass(frozen=True, kw_only=True)
class Told:
    """A line as the page shows it: the words of one language, and what the study's gate gave.

    Attributes:
        says: the line.
        correction: where it is too simple; empty where it is not.
        study: the name of the study.
        measurement: whose gate decides.
        number: what the measurement is.
        pictures: those beneath it.
    """

    says: str
    correction: str
    study: str
    measurement: str
    number: str
    pictures: tuple[Captioned, ...]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A chapter as the page shows it."""

    number: int
    title: str
    opens: str
    lines: tuple[Told, ...]
    summary: tuple[Told, ...]


def render_lecture(parts: Sequence[Part], studies: Sequence[Document], language: str) -> str:
    """One offline HTML page.

    Args:
        parts: the chapters.
        studies: the documents of the studies that their lines name.
        language: ``en`` or ``zh``.
    """
    named = {str(study["name"]): study for study in studies}
    words = WORDS[language]
    drawn: list[Picture] = []

    def lines(told: Sequence[Told]) -> list[dict[str, Any]]:
        return [_line(each, named.get(each.study, {}), drawn) for each in told]

    chapters = [{"part": part, "lines": lines(part.lines), "summary": lines(part.summary)} for part in parts]
    body = frame.TEMPLATES.get_template("lecture.html").render(chapters=chapters, words=words, language=language)
    return frame.assemble(title=words["title"], body=Markup(body), pictures=drawn)


def _line(told: Told, study: Document, drawn: list[Picture]) -> dict[str, Any]:
    """A line with its number, its outcome, and its pictures, which join those that are drawn."""
    statistics = next(
        (each for each in mappings(study.get("statistics")) if each.get("measurement") == told.measurement), {}
    )
    figures = mapping(study.get("pictures"))
    pictures = [
        _captioned(told.study, shown, mapping(figures[shown.picture]))
        for shown in told.pictures
        if shown.picture in figures
    ]
    drawn += pictures
    return {
        "told": told,
        "value": statistics.get("value"),
        "outcome": outcome_of({"role": "claim"}, statistics),
        "verdict": study.get("verdict"),
        "pictures": pictures,
    }


def _captioned(study: str, shown: Captioned, figure: Mapping[str, object]) -> Picture:
    drawn = picture(shown.picture, figure, id=f"{study}-{shown.picture}")
    return replace(drawn, title=shown.title or drawn.title, summary=shown.sees or drawn.summary)
