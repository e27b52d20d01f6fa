"""Today's methods where they are known exactly."""

from __future__ import annotations

import pytest
import torch

from unstuck.study.experiments.today import adam_in_parts, muon_band, sam_cycle, shampoo_step, update_times


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_they_are_what_they_must_be(seed: int) -> None:
    generator = torch.Generator(device="cpu").manual_seed(seed)
    assert adam_in_parts(generator) < 1e-10
    assert shampoo_step(generator) < 1e-8
    low, high = muon_band(generator)
    assert 0.6 < low < 0.8
    assert 1.0 < high < 1.2


@pytest.mark.parametrize(("rate", "curvature", "radius"), [(0.1, 3.0, 0.05), (0.2, 1.0, 0.1)])
def test_sam_cycles(rate: float, curvature: float, radius: float) -> None:
    assert sam_cycle(rate, curvature, radius) < 1e-10


def test_times_are_over_those_of_the_first() -> None:
    times = update_times(0, ["gradient descent", "SAM"])
    assert times["gradient descent"] == 1.0
    assert times["SAM"] > 0.0
