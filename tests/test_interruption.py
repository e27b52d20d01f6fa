"""Ctrl-C: what was measured until then is kept."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.untouched import assert_untouched

from unstuck import specimens
from unstuck.diagnosis import Interrupted, diagnose
from unstuck.report import Report


def interrupting(at: str, times: int = 1) -> Callable[[str, float], None]:
    """A listener that presses Ctrl-C when it is told for the n-th time of something."""
    heard = 0

    def progress(doing: str, done: float) -> None:
        nonlocal heard
        heard += doing.startswith(at)
        if heard == times:
            raise KeyboardInterrupt

    return progress


def interrupted(at: str, times: int = 1) -> Report:
    problem = specimens.product_at_origin()
    with assert_untouched(problem), pytest.raises(Interrupted) as raised:
        diagnose(problem, budget=600, progress=interrupting(at, times))
    json.dumps(raised.value.report.document, allow_nan=False)
    return raised.value.report


def test_interrupted_at_once() -> None:
    report = interrupted("walking")
    assert report.cause == "unknown"
    assert report.document["readings"] == {}
    assert report.findings == ()


def test_interrupted_before_curvature_the_cheap_readings_are_kept() -> None:
    report = interrupted("measuring curvature")
    assert report.cause == "unknown"
    assert "nterrupted" in report.summary
    assert {"gradient", "direction", "outputs"} <= set(report.document["readings"])
    assert report.findings


def test_interrupted_in_a_trial_all_readings_are_kept() -> None:
    report = interrupted("trying", times=4)
    assert report.cause == "unknown"
    assert report.prescription is None
    assert report.document["cost"]["updates"] > 24
    assert {"spectrum", "escape", "step"} <= set(report.document["readings"])
    assert "saddle-point" in [finding.cause for finding in report.findings if finding.signal]


def test_interrupted_after_a_cure_it_is_kept() -> None:
    report = interrupted("examining the treated problem")
    assert report.cause == "saddle-point"
    assert report.prescription is not None
    assert report.document["trials"]
