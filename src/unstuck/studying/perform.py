"""One run of a study is one row of the ledger: everything that it depends on → what came out, both JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unstuck.report import plain
from unstuck.studying.catalogue import own_settings, study_of

PERFORM = f"{__name__}:perform"
"""What a driver is asked to have performed."""


def perform(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Perform one run of whichever study."""
    result: dict[str, Any] = plain(study_of(settings["study"]).run(**own_settings(dict(settings))))
    return result
