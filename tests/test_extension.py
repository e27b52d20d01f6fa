"""Strangers' probes and causes are used like ours, and what fails in them is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from tests import zoo

from unstuck import causes, probes
from unstuck.budget import Budget
from unstuck.cause import Cause, Evidence, Judgement
from unstuck.causes.broken_wiring import BROKEN_WIRING
from unstuck.causes.healthy import HEALTHY
from unstuck.diagnosis import diagnose
from unstuck.probes.direction import DirectionReading
from unstuck.problem import Problem
from unstuck.reading import History, Reading, quantity
from unstuck.remedies.raise_learning_rate import RaiseLearningRate
from unstuck.view import View


@dataclass(frozen=True, kw_only=True)
class WeightReading(Reading):
    """How large the weights are."""

    probe: ClassVar[str] = "weight"
    title: ClassVar[str] = "Size of the weights"
    chapter: ClassVar[int] = 0
    size: float = quantity("unit", "root mean square of the parameters")


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A stranger's probe."""

    reads: ClassVar[type[Reading]] = WeightReading
    curvature: ClassVar[bool] = False
    once: ClassVar[bool] = False

    def measure(self, view: View, budget: Budget) -> WeightReading:
        square = sum(float(tensor.pow(2).sum()) for tensor in view.point.values())
        return WeightReading(update=view.update, samples=view.samples, size=(square / view.problem.dimension) ** 0.5)


def _lazy(weight: History[WeightReading], direction: History[DirectionReading]) -> Judgement:
    grown = weight.latest.size - weight.first.size
    says = f"in {direction.latest.updates} updates the weights grew by {grown:.2g}"
    evidence = Evidence(reading="weight", update=0, value=grown, unit="unit", expected="more", says=says)
    return Judgement(score=0.55 if abs(grown) < 1e-3 else 0.0, evidence=(evidence,))


def _fated(weight: History[WeightReading]) -> Judgement:
    return Judgement(score=0.9)


FATE = Cause(slug="fate", means="it was to be", chapter=0, judge=_fated)
"""Always sure, and without a remedy."""

LAZY = Cause(slug="lazy", means="the weights hardly move", chapter=0, judge=_lazy, remedies=(RaiseLearningRate,))


def small(**fields: Any) -> Problem:
    """A problem of 24 samples, on which a diagnosis takes a second."""
    return zoo.problem(zoo.perceptron, **fields)


def crawling() -> Problem:
    """Has something to learn and a rate too low for it."""
    inputs, _ = zoo.table()
    return small(
        train=zoo.shuffled(inputs, inputs[:, :3].argmax(1)),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1e-4),
    )


def test_a_strangers_probe_and_cause_are_used_like_ours() -> None:
    ours = [cause for cause in causes.ALL if cause.slug != "learning-rate-too-low"]
    report = diagnose(crawling(), budget=560, probes=[*probes.ALL, Weight], causes=[LAZY, FATE, *ours])
    assert report.cause == "lazy", report.summary
    assert [finding.cause for finding in report.findings[:2]] == ["lazy", "fate"]  # the diagnosed one, then by score
    assert "hardly move" in report.summary.lower()
    assert report.document["prescription"]["remedy"] == "raise-learning-rate"
    sizes = report.document["readings"]["weight"]
    assert [reading["update"] for reading in sizes] == [0, 28]
    assert sizes[0]["units"] == {"size": "unit"}


def test_only_what_some_cause_needs_is_measured() -> None:
    report = diagnose(small(), budget=30, probes=[*probes.ALL, Weight], causes=[LAZY])
    assert set(report.document["readings"]) == {"weight", "direction"}
    assert [finding.cause for finding in report.findings] == ["lazy"]


@pytest.mark.parametrize("error", [RuntimeError("no memory\nfor this"), KeyError("word"), IndexError(), TypeError("?")])
def test_a_probe_that_fails_leaves_a_note_and_an_unknown(error: Exception) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Failing(Weight):
        def measure(self, view: View, budget: Budget) -> WeightReading:
            raise error

    report = diagnose(small(), budget=30, probes=[*probes.ALL, Failing], causes=[BROKEN_WIRING, HEALTHY, LAZY])
    notes = [note for note in report.document["notes"] if "weight" in note]
    assert len(notes) == 2  # at the start, and at the end of the window
    assert all("\n" not in note for note in notes)
    (lazy,) = [finding for finding in report.findings if finding.cause == "lazy"]
    assert lazy.unknown_because is not None
    assert "weight" in lazy.unknown_because
    assert not lazy.signal
    assert report.cause in ("healthy", "unknown")


def test_a_cause_whose_probe_is_left_out_is_unknown() -> None:
    fewer = [probe for probe in probes.ALL if probe.reads.probe != "wiring"]
    report = diagnose(small(), budget=30, probes=fewer, causes=[BROKEN_WIRING, HEALTHY])
    unknown = {finding.cause for finding in report.findings if finding.unknown_because}
    assert unknown == {"broken-wiring"}
