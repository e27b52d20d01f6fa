"""One run of a study."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.own_study import STUDY

from unstuck.studying import catalogue
from unstuck.studying.perform import perform


def test_what_is_not_finite_becomes_null_and_nothing_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(seed: int) -> dict[str, Any]:
        return {"losses": (1.0, float("nan")), "ends": {"a": float("inf"), 3: np.float64(2.5)}, "seed": seed}

    monkeypatch.setitem(catalogue.BUILT_IN, STUDY.name, replace(STUDY, run=run))
    assert perform({"study": STUDY.name, "code": "0", "seed": 4}) == {
        "losses": [1.0, None],
        "ends": {"a": None, "3": 2.5},
        "seed": 4,
    }
