"""The study of the spectrum during training: the gap it looks for, and its results at a small size."""

import numpy as np
import pytest
import torch

from unstuck.studies.spectrum_during_training import gap_at, measure, run
from unstuck.study import Run, Runs


def test_the_gap_is_looked_for_after_as_many_as_there_are_classes_or_one_less() -> None:
    values = torch.tensor([100.0, 90.0, 9.0, 6.0, 1.0])
    assert gap_at(values, 2) == pytest.approx(10.0)
    assert gap_at(values, 3) == pytest.approx(10.0)
    assert gap_at(values, 4) == pytest.approx(6.0)


def test_a_short_training() -> None:
    result = run(seed=1, classes=2, shift=0.0, stages=[0, 5, 40])
    assert result["loss"] == sorted(result["loss"], reverse=True)
    assert all(0.0 <= share <= 1.0 for name in ("negative", "bulk", "gradient_share") for share in result[name])
    assert result["negative"][0] > result["negative"][-1]
    assert result["highest_off"] < 1e-6
    for density in result["densities"]:
        assert np.trapezoid(density["value"], density["at"]) == pytest.approx(1.0, abs=0.02)


def test_arms_are_compared_seed_by_seed() -> None:
    def done(seed: int, classes: int, shift: float, top: float) -> Run:
        result = {
            "loss": [2.0, 1.0, 0.5],
            "negative": [0.4, 0.3, 0.1],
            "bulk": [0.5] * 3,
            "gap": [1.0] * 3,
            "gradient_share": [0.1] * 3,
            "top": [[top]] * 3,
            "mean_off": 0.0,
            "highest_off": 0.0,
        }
        return Run({"seed": seed, "classes": classes, "shift": shift}, result)

    runs = [done(seed, classes, 0.0, 1.0 + seed) for seed in (0, 1) for classes in (2, 5, 10)]
    runs += [done(seed, 10, 1.0, 8.0) for seed in (0, 1)]
    found = {each.name: each.values for each in measure(Runs(runs))}
    assert found["highest curvature with a mean in the inputs over without"] == {0: 8.0, 1: 4.0}
    assert found["correlation of the loss with the share of ways down"] == pytest.approx({0: 1.0, 1: 1.0})
    assert found["fall of the share of ways down, 10 classes"] == pytest.approx({0: 0.3, 1: 0.3})
