"""Reads a part of a report that may be missing or of another kind: what is not there is empty."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

MARK = "non_finite"  # stands beside the null of a number that was not finite


def mapping(value: object) -> Mapping[str, Any]:
    """`value`, or nothing where it is no mapping."""
    return value if isinstance(value, Mapping) else {}


def entries(value: object) -> dict[str, Any]:
    """What a mapping holds, without the mark of what is not finite."""
    return {key: part for key, part in mapping(value).items() if key != MARK}


def sequence(value: object) -> Sequence[Any]:
    """`value`, or nothing where it is no list."""
    return value if isinstance(value, list | tuple) else ()


def mappings(value: object) -> list[Mapping[str, Any]]:
    """The mappings in a list."""
    return [part for part in sequence(value) if isinstance(part, Mapping)]


def is_number(value: object) -> TypeGuard[float]:
    """Whether `value` is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def numbers(value: object) -> list[float]:
    """The finite numbers in a list."""
    return [float(part) for part in sequence(value) if is_number(part)]
