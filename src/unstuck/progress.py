"""How a long job tells where it is, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unstuck.walk import Update

Progress = Callable[[str, float], None]
"""Called with what is being done and the share of the whole job that is done, from 0 to 1."""


def silent(doing: str, done: float) -> None:
    """The listener for callers who do not want to know."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """A look at a training under way.

    Attributes:
        made: the updates since the look before.
        updates: how many there will be in all.
        per_epoch: how many are a pass over the data.
    """

    made: tuple[Update, ...]
    updates: int
    per_epoch: int


Watcher = Callable[[Look], None]


def nobody(look: Look) -> None:
    """The watcher for callers who do not want to know."""
