"""Updates to match: the first look at which an accuracy was seen."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unstuck.study.experiments.matching import Arm

ARM = Arm(rates=(0.1, 0.2), looks=(10, 20, 40), accuracy=np.array([[0.1, 0.92, 0.7], [0.95, 0.9, 0.9]]), best=1)


@pytest.mark.parametrize(("goal", "updates"), [(0.05, 10), (0.5, 20), (0.92, 20)])
def test_the_first_look_counts_even_if_it_gets_worse_later(goal: float, updates: float) -> None:
    assert ARM.updates(ARM.at(0.1), goal) == updates


def test_what_was_never_seen_has_no_number_and_took_all_updates_at_least() -> None:
    assert math.isnan(ARM.updates(ARM.at(0.2), 0.99))
    assert ARM.updates_at_best(0.99) == 40
    assert ARM.updates_at_best(0.94) == 10
