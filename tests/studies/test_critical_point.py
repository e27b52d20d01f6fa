"""The critical-point study: what its saddles cost, and its counting of gradients."""

import math

import pytest

from unstuck.studies import critical_point
from unstuck.study import Run, Runs
from unstuck.study.experiments.escape import METHODS


def test_the_fainter_the_way_down_the_dearer_is_gradient_descent() -> None:
    """ln(½/ε)·κ updates: three times the faintness is about three times the price; the whole Hessian costs 2 n."""
    result = critical_point.run(seed=7, part="faint", faintness=[10, 30])
    perturbed = result["gradients"]["perturbed gradient descent"]
    assert 2.0 < perturbed[1] / perturbed[0] < 4.0
    whole = result["gradients"]["whole Hessian"]
    assert whole[0] == whole[1] == pytest.approx(2 * critical_point.DIRECTIONS + 22)


def test_digits_saddle_is_left_by_every_method() -> None:
    result = critical_point.run(seed=7, part="digits")
    assert result["gradient"] < 1e-10
    assert result["drop_ratio"] == pytest.approx(1.0, abs=1e-3)
    for own in result["best"].values():
        assert own["left"][-1] <= 0.5 + 1e-12
        assert own["at"] == sorted(own["at"])
        assert own["at"][-1] == own["gradients"]


def test_a_method_that_never_leaves_is_no_number() -> None:
    best = {
        name: {"gradients": 10.0 * (place + 1), "at": [0.0], "left": [1.0]}
        for place, name in enumerate((*METHODS, "small batches"))
    }
    best["small batches"] = {"gradients": None, "at": [], "left": []}
    runs = [Run({"seed": 0, "part": "digits"}, {"best": best, "drop_ratio": 1.0})]
    measured = {each.name: each.values for each in critical_point.measure(Runs(runs))}
    assert math.isnan(measured["gradients by Lanczos over those by small batches"][0])
    assert measured["gradients by whole Hessian over those by perturbed gradient descent"][0] == 4.0
