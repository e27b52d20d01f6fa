"""What neighbours share, against regressions and classes known by construction, and against chance."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unstuck.numerics.neighbours import NEAREST, shared_by_neighbours

COUNT = 512


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def shared(inputs: Tensor, targets: Tensor) -> tuple[float, float]:
    found = shared_by_neighbours(inputs, targets, generator=torch.Generator().manual_seed(0))
    assert found is not None
    return found


def test_a_smooth_function_is_shared_and_noise_upon_it_is_not() -> None:
    """|tᵢ − tⱼ|² is 2σ² between neighbours on a curve, and 2(σ² + var f) between any two."""
    inputs = torch.linspace(0, 1, COUNT, dtype=torch.float64)[:, None]
    curve, noise = (20 * inputs).sin(), drawn(COUNT, 1)
    assert shared(inputs, curve)[0] == pytest.approx(1.0, abs=0.01)
    share, error = shared(inputs, curve + noise)
    variance = float(curve.var())
    assert share == pytest.approx(variance / (variance + 1), abs=3 * error)


def test_classes_in_groups_are_shared_and_their_numbers_are_names() -> None:
    kinds = torch.arange(COUNT) % 4
    inputs = 100 * torch.stack([kinds % 2, kinds // 2], 1).double() + drawn(COUNT, 2)
    assert shared(inputs, kinds)[0] == pytest.approx(1.0)
    assert shared(inputs, torch.tensor([7, 0, -100, 1000])[kinds])[0] == pytest.approx(1.0)
    half = torch.where(torch.arange(COUNT) % 8 < 4, kinds, 9)  # in each group half are of another class
    same = 1 / 2
    among_all = 1 - (4 * (1 / 8) ** 2 + (1 / 2) ** 2)
    share, error = shared(inputs, half)
    assert share == pytest.approx(1 - same / among_all, abs=3 * error)


@pytest.mark.parametrize("kind", ["classes", "numbers", "sequences"])
def test_targets_that_were_dealt_out_share_what_chance_gives(kind: str) -> None:
    found = []
    for seed in range(30):
        inputs = drawn(COUNT // 4, 5, seed=seed)
        generator = torch.Generator().manual_seed(100 + seed)
        targets = {
            "classes": torch.randint(0, 3, (len(inputs),), generator=generator),
            "numbers": torch.randn(len(inputs), 2, generator=generator),
            "sequences": torch.randint(0, 3, (len(inputs), 6), generator=generator),
        }[kind]
        share, error = shared(inputs, targets)
        found.append(share / error)
    deviations = torch.tensor(found)
    assert float(deviations.mean()) == pytest.approx(0.0, abs=0.6)
    assert 0.6 < float(deviations.std()) < 1.5
    assert float(deviations.abs().max()) < 5


def test_features_count_alike_whatever_their_units() -> None:
    inputs = drawn(COUNT, 2)
    targets = (2 * inputs[:, :1]).sin()
    scaled = inputs * torch.tensor([1e-3, 1e4], dtype=torch.float64) + 7
    assert shared(scaled, targets) == pytest.approx(shared(inputs, targets), rel=1e-6)
    constant = torch.cat([inputs, torch.full((COUNT, 1), 3.0, dtype=torch.float64)], 1)
    assert shared(constant, targets) == pytest.approx(shared(inputs, targets), rel=1e-6)


def test_nothing_to_share() -> None:
    generator = torch.Generator()
    few = drawn(2 * NEAREST - 1, 2)
    assert shared_by_neighbours(few, few, generator=generator) is None
    inputs = drawn(COUNT, 2)
    assert shared_by_neighbours(inputs, torch.ones(COUNT), generator=generator) is None
    assert shared_by_neighbours(inputs, drawn(COUNT - 1, 1), generator=generator) is None
