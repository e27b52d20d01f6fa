"""Studies and their runs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from tests.own_study import STUDY

from unstuck.errors import InputError
from unstuck.study import Gate, Run, Runs

RUNS = Runs(
    [
        Run({"seed": seed, "arm": arm, "size": 4}, {"loss": None if seed == 2 else seed + factor})
        for seed in (2, 0, 1)
        for arm, factor in (("one", 0.0), ("other", 0.5))
    ]
)


def test_runs_are_chosen_by_their_settings() -> None:
    assert RUNS.seeds == (0, 1, 2)
    assert len(RUNS.where(arm="one")) == 3
    assert len(RUNS.where(arm="one", seed=1)) == 1
    assert len(RUNS.where(colour="red")) == 0
    assert RUNS.where(arm="other").of_seed(1) == {"loss": 1.5}


def test_numbers_by_seed_have_a_gap_where_none_was_finite() -> None:
    values = RUNS.where(arm="one").per_seed("loss")
    assert (values[0], values[1]) == (0.0, 1.0)
    assert math.isnan(values[2])


def test_two_runs_of_a_seed_are_not_one() -> None:
    with pytest.raises(InputError, match="there are 2 runs of seed 0"):
        RUNS.per_seed("loss")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "Logistic map"}, "small letters with hyphens"),
        ({"gates": (Gate(measurement="rest", says="so", low=0.0, role="control"),)}, "none of its gates is the claim"),
        ({"gates": STUDY.gates * 2}, "two of its gates say the same"),
    ],
)
def test_studies_that_are_none(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        replace(STUDY, **changes)


def test_numbers_of_results_are_measured_by_seed() -> None:
    runs = Runs(
        [
            Run({"seed": 3}, {"numbers": {"first": 1.5, "second": None}}),
            Run({"seed": 4}, {"numbers": {"first": 2.5}}),
            Run({"seed": 3, "part": "pictures"}, {"walk": [0.0]}),
        ]
    )
    first, second = runs.measured({"first": "one of two", "second": "the other"}, missing=math.inf)
    assert (first.name, first.says, first.values) == ("first", "one of two", {3: 1.5, 4: 2.5})
    assert second.values == {3: math.inf}
