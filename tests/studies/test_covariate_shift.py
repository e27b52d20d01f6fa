"""The study of internal covariate shift: small runs, and what is made of runs by hand."""

from __future__ import annotations

from typing import Any

import pytest

from unstuck.studies.covariate_shift import (
    EARLY,
    MEASURED,
    RATES,
    SHAKEN_RATES,
    draw,
    measure,
    plan,
    run,
)
from unstuck.study import Run, Runs
from unstuck.study.experiments.smoothers import ARMS

SERIES = ("drift", "shift", "relative", "cosine", "range", "change", "once", "beta")


def test_a_small_run_measures_the_steps_on_its_way() -> None:
    result = run(seed=1, arm="batch, six layers", updates=20)
    assert result["updates"] == [*EARLY, 20]
    assert all(losses[-1] < losses[0] for losses in result["losses"])
    (steps,) = result["steps"].values()
    assert {*SERIES, "along"} == set(steps)
    assert all(len(steps[name]) == len(EARLY) + 1 for name in SERIES)
    assert all(-1.0 <= cosine <= 1.0 for cosine in steps["cosine"])
    assert all(change > 0.0 for changes in steps["along"] for change in changes)


def test_noise_is_run_at_its_rates() -> None:
    result = run(seed=1, arm="plain, shaken", updates=1)
    assert result["rates"] == list(SHAKEN_RATES)
    assert result["steps"] == {}


def by_hand(size: float, rates: tuple[float, ...]) -> dict[str, Any]:
    """A loss that halves from look to look, and ``size`` for all that a step changes."""
    count = len(EARLY) + 2
    return {
        "updates": list(range(count)),
        "rates": list(rates),
        "losses": [[4.0 * size * 0.5**look for look in range(count)] for _ in rates],
        "accuracy": 100.0 / (1.0 + size),
        "steps": {
            f"{rate:g}": {**dict.fromkeys(SERIES, [size] * count), "along": [[size] * 8] * count} for rate in MEASURED
        },
        "theorem": 0.0,
    }


def test_runs_are_compared_with_those_without_normalization() -> None:
    runs = []
    for settings in plan((7,), False):
        size = 2.0 if settings["arm"].startswith("plain") else 1.0
        rates = SHAKEN_RATES if ARMS[settings["arm"]][2] else RATES
        runs.append(Run(settings, by_hand(size, rates)))
    found = {each.name: each.values[7] for each in measure(Runs(runs))}
    assert found["covariate shift with over without, rate 0.05"] == 0.5
    assert found["covariate shift with over without, at equal loss"] == pytest.approx(0.5)
    assert found["gradient change without over with, rate 0.1"] == 2.0
    assert found["cosine with less without, rate 0.05"] == -1.0
    assert found["loss with l2 over without"] == 0.5
    assert found["loss with l∞ over batch normalization"] == 1.0
    assert found["drift of means with noise over without normalization"] == 0.5
    assert found["accuracy of a plain network with noise"] == pytest.approx(100.0 / 3.0)
    assert set(draw(Runs(runs))) == {"along", "shift", "cosine", "training"}
