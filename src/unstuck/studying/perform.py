"""One run of a study is one row of the ledger: everything that it depends on → what came out, both JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from unstuck.studying.catalogue import own_settings, study_of

PERFORM = f"{__name__}:perform"
"""What a driver is asked to have performed."""


def perform(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Perform one run of whichever study."""
    result: dict[str, Any] = _with_gaps(study_of(settings["study"]).run(**own_settings(dict(settings))))
    return result


def _with_gaps(value: Any) -> Any:
    """The same with null where a number is not finite, which JSON does not have."""
    match value:
        case float():
            return float(value) if math.isfinite(value) else None
        case Mapping():
            return {str(key): _with_gaps(part) for key, part in value.items()}
        case list() | tuple():
            return [_with_gaps(part) for part in value]
    return value
