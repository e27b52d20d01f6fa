"""Readings: what a probe found, as frozen numbers with units, errors and sentences.

A reading declares each number once (:func:`quantity`): its unit and what it means. Numbers that were
estimated are :class:`Estimate`, the value and a bound or standard error of it, or :class:`Within` an interval.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import plotly.graph_objects as go

from unstuck.budget import Budget, Cost
from unstuck.errors import MissingReading
from unstuck.view import View


@dataclass(frozen=True)
class Estimate:
    """An estimated number: ``value`` and ``error``, a bound on it or its standard error, as the field says."""

    value: float
    error: float

    @property
    def low(self) -> float:
        """value − error."""
        return self.value - self.error

    @property
    def high(self) -> float:
        """value + error."""
        return self.value + self.error


@dataclass(frozen=True)
class Within:
    """An estimated number within its 95 % interval, whose ends need not lie alike, nor be finite."""

    value: float
    low: float
    high: float


def quantity(unit: str, says: str) -> Any:
    """A field of a reading that is reported: its unit ("" for pure numbers) and what it means."""
    return field(metadata={"unit": unit, "says": says})


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What every reading carries. Fields made by :func:`quantity` are its numbers."""

    probe: ClassVar[str]
    title: ClassVar[str]
    chapter: ClassVar[int]
    """The lecture's chapter: 1 critical points, 2 batch and momentum, 3 learning rate, 4 loss,
    5 normalization, 0 beyond the lecture."""

    update: int
    samples: int
    notes: tuple[str, ...] = ()

    def draw(self) -> go.Figure | None:
        """The reading as a figure, made of its own fields alone; None where a table says it all."""
        return None

    def pictures(self) -> Mapping[str, go.Figure]:
        """All its figures by name: the one of :meth:`draw`, without a name, where a reading does not say more."""
        figure = self.draw()
        return {} if figure is None else {"": figure}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A reading, the settings of its probe, and what it did cost."""

    reading: Reading
    settings: Mapping[str, Any]
    cost: Cost


R_co = TypeVar("R_co", bound=Reading, covariant=True)
R = TypeVar("R", bound=Reading)


class Probe(Protocol[R_co]):
    """A measurement: a frozen dataclass whose fields are its settings."""

    reads: ClassVar[type[Reading]]
    """The reading it gives; its ``probe`` is the probe's name on the command line and in JSON."""

    curvature: ClassVar[bool]
    """Whether it needs second derivatives: dear, and skipped while a certain cause is on the table."""

    once: ClassVar[bool]
    """Whether the walk cannot change what it reads (the data, the wiring): read at the start alone."""

    def measure(self, view: View, budget: Budget) -> R_co:
        """Measure the problem at one snapshot. Never changes the view's problem."""
        ...


def measured(probe: Probe[Reading], view: View, budget: Budget) -> Measured:
    """Run one probe and account for what it did cost."""
    before, clock = view.gradient_evaluations, time.perf_counter()
    reading = probe.measure(view, budget)
    cost = Cost(
        gradient_evaluations=math.ceil(view.gradient_evaluations - before),
        seconds=time.perf_counter() - clock,
    )
    settings: dict[str, Any] = dataclasses.asdict(probe) if dataclasses.is_dataclass(probe) else {}
    return Measured(reading=reading, settings=settings, cost=cost)


@dataclass(frozen=True)
class History(Generic[R]):
    """The readings of one probe along the walk, earliest first; never empty."""

    readings: tuple[R, ...]

    @property
    def first(self) -> R:
        """The earliest."""
        return self.readings[0]

    @property
    def latest(self) -> R:
        """The last."""
        return self.readings[-1]

    def at(self, update: int) -> R:
        """The last one made at or before an update, or else the earliest."""
        return next((r for r in reversed(self.readings) if r.update <= update), self.readings[0])


class Readings:
    """All readings so far, looked up by type: ``readings[SpectrumReading].latest``."""

    def __init__(self, made: Iterable[Measured] = ()) -> None:
        self.made = tuple(made)

    def __getitem__(self, kind: type[R]) -> History[R]:
        found = self.get(kind)
        if found is None:
            raise MissingReading(f"needs the probe `{kind.probe}`, which was not run")
        return found

    def get(self, kind: type[R]) -> History[R] | None:
        """The history of one kind of reading; None where there is none."""
        found = tuple(m.reading for m in self.made if isinstance(m.reading, kind))
        return History(tuple(sorted(found, key=lambda reading: reading.update))) if found else None

    def __add__(self, more: Iterable[Measured]) -> Readings:
        return Readings((*self.made, *more))


def quantities(reading: Reading) -> dict[str, tuple[Any, float | tuple[float, float] | None, str, str]]:
    """Every reported number of a reading: name → (value, error or interval or None, unit, what it means)."""
    found: dict[str, tuple[Any, float | tuple[float, float] | None, str, str]] = {}
    for declared in dataclasses.fields(reading):
        if "unit" not in declared.metadata:
            continue
        held = getattr(reading, declared.name)
        says = (declared.metadata["unit"], declared.metadata["says"])
        match held:
            case Estimate(value=value, error=error):
                found[declared.name] = (value, error, *says)
            case Within(value=value, low=low, high=high):
                found[declared.name] = (value, (low, high), *says)
            case _:
                found[declared.name] = (held, None, *says)
    return found
