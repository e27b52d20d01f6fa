"""Reads a part of a report that may be missing or of another kind: what is not there is empty."""

from collections.abc import Mapping, Sequence
from typing import Any


def mapping(value: object) -> Mapping[str, Any]:
    """`value`, or nothing where it is no mapping."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: object) -> Sequence[Any]:
    """`value`, or nothing where it is no list."""
    return value if isinstance(value, list | tuple) else ()


def mappings(value: object) -> list[Mapping[str, Any]]:
    """The mappings in a list."""
    return [part for part in sequence(value) if isinstance(part, Mapping)]


def numbers(value: object) -> list[float]:
    """The numbers in a list, without the gaps of what was not finite."""
    return [float(part) for part in sequence(value) if isinstance(part, int | float)]
