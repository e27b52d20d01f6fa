"""How a long job tells where it is, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float], None]
"""Called with what is being done and the share of the whole job that is done, from 0 to 1."""


def silent(doing: str, done: float) -> None:
    """The listener for callers who do not want to know."""
