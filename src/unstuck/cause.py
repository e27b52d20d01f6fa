"""Causes: why a training is stuck. A cause is a value; its one function judges readings.

``judge`` states its needs by its parameters: each is annotated ``History[SomeReading]``, or
``History[SomeReading] | None`` where the reading is welcome but not needed. The annotations are read once.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from unstuck.measures import MeasureName
from unstuck.problem import Problem
from unstuck.reading import History, Reading, Readings
from unstuck.remedy import Remedy

SIGNAL = 0.5
"""The score from which a cause's own signal counts as present."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One sentence of evidence, with the number it rests on."""

    reading: str
    update: int
    value: float | str
    unit: str
    expected: str
    says: str


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a cause makes of the readings: 0 no sign of it, 1 certain; :data:`SIGNAL` and above is a signal."""

    score: float
    evidence: tuple[Evidence, ...] = ()
    advice: str = ""
    certain: bool = False
    """Whether the signal is a fact rather than an estimate (a parameter that is not in the optimizer)."""
    treatable: bool = True
    """Whether a remedy of the cause can help here; False where the caller's code or data has to change."""
    from_update: int | None = None
    """The snapshot that explains the symptom, where it is not the first."""
    unknown_because: str | None = None
    """Why the readings, though they are there, do not tell."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A cause, how strongly the readings support it, and why."""

    cause: str
    means: str
    chapter: int
    judgement: Judgement
    unknown_because: str | None = None

    @property
    def score(self) -> float:
        """From 0 to 1; 0 where it could not be judged."""
        return self.judgement.score

    @property
    def signal(self) -> bool:
        """Whether the cause's own signal is present."""
        return self.unknown_because is None and self.score >= SIGNAL


@dataclass(frozen=True, kw_only=True)
class Mediator:
    """The number through which a cause works.

    Attributes:
        says: what it is, as it stands in a sentence.
        reads: the reading it is taken from.
        value: takes it; NaN where it cannot be read.
        rises: whether a cure lets it rise, or fall.
    """

    says: str
    reads: type[Reading]
    value: Callable[[Any], float]
    rises: bool


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One entry of the vocabulary: what it means, how it is judged, what is tried against it.

    Attributes:
        measure: what its trials are judged by.
        mediator: what its remedy has to move before the loss follows; None where no probe reads it.
        fault: whether it is something to be cured.
        sick: problems that have it; well: problems that do not. Both are tests.
    """

    slug: str
    means: str
    chapter: int
    judge: Callable[..., Judgement]
    remedies: tuple[type[Remedy], ...] = ()
    measure: MeasureName = "train_loss"
    mediator: Mediator | None = None
    fault: bool = True
    sick: tuple[Callable[[], Problem], ...] = field(default=(), repr=False)
    well: tuple[Callable[[], Problem], ...] = field(default=(), repr=False)

    @cached_property
    def needs(self) -> dict[str, tuple[type[Reading], bool]]:
        """Parameter of ``judge`` → (reading type, whether it can do without)."""
        hints = {k: v for k, v in typing.get_type_hints(self.judge).items() if k != "return"}
        return {name: _need(hint) for name, hint in hints.items()}

    def finding(self, readings: Readings) -> Finding:
        """Judge the readings; where a needed one is missing the answer is unknown, and says why."""
        given: dict[str, History[Any] | None] = {}
        for name, (kind, optional) in self.needs.items():
            given[name] = readings.get(kind)
            if given[name] is None and not optional:
                because = f"the probe `{kind.probe}` gave no reading"
                return self._found(Judgement(score=0.0, unknown_because=because))
        return self._found(self.judge(**given))

    def _found(self, judgement: Judgement) -> Finding:
        return Finding(
            cause=self.slug,
            means=self.means,
            chapter=self.chapter,
            judgement=judgement,
            unknown_because=judgement.unknown_because,
        )


def _need(hint: Any) -> tuple[type[Reading], bool]:
    """``History[X]`` → (X, False), ``History[X] | None`` → (X, True)."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        inner = next(part for part in typing.get_args(hint) if part is not type(None))
        return _need(inner)[0], True
    (kind,) = typing.get_args(hint)
    return kind, False
