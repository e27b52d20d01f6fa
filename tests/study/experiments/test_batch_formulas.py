"""What is known of batch normalization, by torch's own implementation, and by a mistake that must be seen."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from unstuck.study.experiments.batch_formulas import coupling, errors, standardized, variance_of_batches


def test_what_is_known_holds() -> None:
    assert max(errors(3).values()) < 1e-12


def test_values_are_those_of_torch() -> None:
    values = torch.randn(9, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = F.batch_norm(values, None, None, training=True, eps=1e-14)
    assert torch.allclose(standardized(values), expected, atol=1e-12)


def test_samples_are_coupled_in_training_alone() -> None:
    training, testing = coupling(3)
    assert training > 0.05
    assert testing == 0.0


@pytest.mark.parametrize("size", [2, 8])
def test_the_variance_that_averages_take_is_unbiased(size: int) -> None:
    assert variance_of_batches(size, 1) == pytest.approx(1.0, abs=0.03)
