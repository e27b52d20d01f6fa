"""Remedies: changes to a problem, each a frozen dataclass whose fields are its settings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Protocol, Self

from unstuck.problem import Problem
from unstuck.reading import Readings


class Intervention(IntEnum):
    """How much a remedy interferes, least first. Where several cure equally, the least is prescribed."""

    WIRING = 0
    DATA = 1
    LOSS = 2
    RATE = 3
    BATCH = 4
    DECAY = 5
    CLIPPING = 6
    OPTIMIZER = 7
    POINT = 8
    INITIALIZATION = 9
    ARCHITECTURE = 10


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """Doses of one remedy that differ in one setting, weakest first.

    Attributes:
        setting: its name.
        doses: four or more.
        peaks: whether too much of it is predicted to be worse than the best dose, as with learning rates.
    """

    setting: str
    doses: tuple[Remedy, ...]
    peaks: bool = False


class Remedy(Protocol):
    """A change to a problem. The settings are plain values: a remedy goes to JSON and comes back."""

    slug: ClassVar[str]
    chapter: ClassVar[int]
    intervention: ClassVar[Intervention]
    lowers_rate: ClassVar[bool]
    """Whether it makes steps shorter. Such an arm looks better for a while even where nothing is wrong, so its
    gain must not shrink as the horizon doubles."""
    panacea: ClassVar[bool]
    """Whether it helps against most causes, so that its success says little of any."""

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:
        """Doses to try, best guess first; empty where the readings give no reason for any."""
        ...

    def apply(self, branch: Problem) -> Problem:
        """The treated problem. ``branch`` is given away: it may be changed, it is nobody else's."""
        ...

    def opposite(self) -> Remedy | None:
        """The contrary change, which should not help; None where there is no sensible one.

        A remedy whose opposite helps as much is no evidence for its cause.
        """
        ...

    def ladder(self) -> Ladder | None:
        """Doses from weak to strong with this one among them; None where there is only yes or no."""
        ...

    def says(self) -> str:
        """What it does, with its settings, in a sentence."""
        ...

    def diff(self, problem: Problem) -> str:
        """The change to the caller's code, as lines starting with "-", "+" or a space."""
        ...
