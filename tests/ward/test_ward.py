"""Some of the ward in every test run: a case for each cause, and one for every fourth way of being healthy.

All are of the calibration part and on hosts that are fast. The floors say what has been reached, so that a change
which loses it is noticed; one case is left for a machine that rounds otherwise. They are no figures to report, which
``unstuck ward`` makes of all cases.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import pytest

from unstuck.budget import DEFAULT_UPDATES
from unstuck.driver import drive
from unstuck.executor import workers
from unstuck.ledger import Counts, Ledger
from unstuck.ward import design, scores
from unstuck.ward.case import Case
from unstuck.ward.run import PERFORM, settings_of
from unstuck.ward.scores import Diagnosed

FAST_HOSTS = ("perceptron", "autoencoder")

WRONG = 4
"""Faults of 18, at most, whose cause is not named first."""

MISSED = 2
"""Faults, at most, whose cause is not among the first two."""

FALSE_ALARMS = 0
"""Healthy trainings, at most, in which a fault is named."""


def spread() -> list[Case]:
    """By causes and by ways of being healthy, each time the next of the cases that there are."""
    causes, ways = defaultdict(list), defaultdict(list)
    for case in design.chosen(design.every_case(), part="calibration", of_hosts=FAST_HOSTS):
        if case.group == "faulty":
            causes[case.faults[0].cause].append(case)
        elif case.group == "healthy":
            ways[case.kinds[0]].append(case)
    asked = (*causes.values(), *list(ways.values())[::4])
    return [cases[place % len(cases)] for place, cases in enumerate(asked)]


@pytest.fixture(scope="module")
def diagnosed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Diagnosed]]:
    with Ledger(tmp_path_factory.mktemp("ward") / "ledger.sqlite") as ledger:
        ledger.enter(settings_of("diagnosis", case, budget=DEFAULT_UPDATES) for case in spread())
        done = drive(ledger, PERFORM, workers(threads=1))
        assert done == Counts(done=len(spread())), [row.error for row in ledger.rows() if row.error]
        yield scores.diagnosed(ledger.rows())


def wrong(cases: list[Diagnosed]) -> list[str]:
    return [f"{case.case.name}: {case.result['cause']}" for case in cases]


def test_the_cases_are_spread() -> None:
    cases = spread()
    assert len(cases) >= 22
    assert {case.host for case in cases} == set(FAST_HOSTS)
    assert len({case.optimizer for case in cases}) == 3
    assert len({kind for case in cases for kind in case.kinds}) == len(cases)


def test_causes_are_named(diagnosed: list[Diagnosed]) -> None:
    found = wrong([case for case in scores.grouped(diagnosed, "faulty") if not case.right])
    assert len(found) <= WRONG, found


def test_causes_are_among_the_first_two(diagnosed: list[Diagnosed]) -> None:
    found = wrong([case for case in scores.grouped(diagnosed, "faulty") if not case.right_in_two])
    assert len(found) <= MISSED, found


def test_the_healthy_are_left_alone(diagnosed: list[Diagnosed]) -> None:
    found = wrong([case for case in diagnosed if case.false_alarm])
    assert len(found) <= FALSE_ALARMS, found
