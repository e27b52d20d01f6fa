"""What the lecture says, line by line, and which study put it to the test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]

LANGUAGES: tuple[Language, ...] = ("en", "zh")


@dataclass(frozen=True)
class Text:
    """The same in English and in simplified Chinese."""

    en: str
    zh: str

    def in_language(self, language: Language) -> str:
        """One of the two."""
        return self.zh if language == "zh" else self.en


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture of the line's study that stands beneath it. In English, the study's own words say what it is.

    Attributes:
        picture: its name among the study's pictures.
        title: a few words, in Chinese.
        sees: what is seen on it, in Chinese.
    """

    picture: str
    title: str
    sees: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """One thing that the lecture says.

    Attributes:
        says: it, in our words.
        study: the one that put it to the test.
        gate: the measurement of that study whose gate decides; it stands beside the line.
        number: what that measurement is.
        correction: where the lecture is too simple, what is so instead.
        shows: pictures of the study.
    """

    says: Text
    study: str
    gate: str
    number: Text
    correction: Text | None = None
    shows: tuple[Shown, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """One chapter.

    Attributes:
        number: from 1 to 5.
        title: a few words.
        opens: the question that it answers.
        lines: in the lecture's order.
        summary: how the lecture itself sums it up.
    """

    number: Literal[1, 2, 3, 4, 5]
    title: Text
    opens: Text
    lines: tuple[Line, ...]
    summary: tuple[Line, ...]

    @property
    def studies(self) -> tuple[str, ...]:
        """Those that its lines rest on, each once, in their order."""
        return tuple(dict.fromkeys(line.study for line in (*self.lines, *self.summary)))
