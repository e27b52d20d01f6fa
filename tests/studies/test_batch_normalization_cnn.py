"""The study of batch normalization in a convolutional network: what counts as matched, and a small run of each kind."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unstuck.studies.batch_normalization_cnn import (
    BASE,
    IN_FULL,
    QUICK,
    RATES,
    draw,
    goal,
    measure,
    plan,
    run,
    to_match,
)
from unstuck.study import Run, Runs
from unstuck.study.experiments.convolutional import KINDS
from unstuck.study.experiments.matching import Arm


def _arm(*curves: list[float]) -> Arm:
    rates = (BASE, 5 * BASE, 30 * BASE)[: len(curves)]
    return Arm(rates=rates, looks=(10, 20, 40), accuracy=np.array(curves), best=0)


def test_matched_is_where_the_best_of_the_plain_network_was_first_seen() -> None:
    arms = {"plain": _arm([0.1, 0.8, 0.7]), "BN": _arm([0.5, 0.8, 0.9], [0.8, 0.8, 0.8], [0.7, 0.7, 0.79])}
    assert goal(arms) == 0.8
    assert [to_match(arms, row) for row in ("plain", "BN", "BN ×5")] == [20, 20, 10]
    assert math.isnan(to_match(arms, "BN ×30"))


def test_plain_and_normalized_have_the_same_rates_in_full_and_the_papers_are_among_the_quick() -> None:
    assert IN_FULL["plain"] == IN_FULL["BN"] == IN_FULL["plain, He"] == RATES
    assert all({settings["kind"] for settings in plan((1,), quick)} == set(KINDS) for quick in (False, True))
    assert {BASE, 5 * BASE, 30 * BASE} <= set(QUICK["BN"])


@pytest.fixture(scope="module")
def runs() -> Runs:
    """Each kind for a few updates."""
    made = []
    for settings in plan((1,), True):
        short = dict(settings) | {"updates": 12}
        made.append(Run(short, run(**short)))
    return Runs(made)


def test_a_small_run_is_measured_and_drawn(runs: Runs) -> None:
    for each in runs:
        assert np.array(each.result["accuracy"]).shape == (len(each.settings["rates"]), len(each.result["looks"]))
        assert each.result["looks"][-1] == 12
    found = {each.name: each.values[1] for each in measure(runs)}
    assert 0.0 < found["highest accuracy of plain"] <= 100.0
    assert found["highest accuracy of sigmoid at any rate"] < 30.0
    table = draw(runs)["steps-to-match"], draw(runs)["table"].data[0]
    assert len(table[1].cells["values"][0]) == 6
    assert {trace.name for trace in table[0].data} >= {"plain", "BN ×30", "matched"}
