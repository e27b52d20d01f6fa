"""Networks that are normalized by other norms than the deviation, and shaken."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unstuck.study.experiments.smoothers import FACTORS, MEANS, SINGLE, WIDTH, Normalization, Shaken, network


@pytest.mark.parametrize(("kind", "order"), [("l1", 1.0), ("l2", 2.0), ("l∞", torch.inf)])
def test_values_are_divided_by_their_norm_over_the_batch(kind: str, order: float) -> None:
    values = 1.0 + torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(0))
    size = torch.linalg.vector_norm(values, order, dim=0) / (1.0 if order == torch.inf else 50 ** (1.0 / order))
    expected = (values - values.mean(0)) / size
    torch.testing.assert_close(Normalization(kind)(values), expected, rtol=1e-4, atol=1e-5)


def test_noise_moves_units_together_and_is_not_in_testing() -> None:
    torch.manual_seed(0)
    shaken = Shaken()
    nothing = torch.zeros(2_000, WIDTH)
    moved = shaken(nothing)
    assert moved.abs().max() <= MEANS + SINGLE
    assert moved.std(0).max() < 2.0 * SINGLE
    assert moved.mean(0).std() > 0.2
    factors = shaken(nothing + 1e6).mean(0) / 1e6
    assert 1.0 - SINGLE / 10 < float(factors.min()) < float(factors.max()) < 1.0 + FACTORS + SINGLE / 10
    assert torch.equal(shaken.eval()(nothing), nothing)


@pytest.mark.parametrize(
    ("kind", "shaken", "kinds"),
    [
        ("plain", False, [nn.Linear, nn.ReLU]),
        ("default", False, [nn.Linear, nn.ReLU]),
        ("batch", True, [nn.Linear, nn.BatchNorm1d, Shaken, nn.ReLU]),
        ("l1", False, [nn.Linear, Normalization, nn.ReLU]),
    ],
)
def test_layers_are_where_they_are_said_to_be(kind: str, shaken: bool, kinds: list[type[nn.Module]]) -> None:
    assert [type(layer) for layer in network(kind, 2, shaken=shaken)] == [*kinds, *kinds, nn.Linear]


def test_values_neither_grow_nor_shrink_from_he() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(200, 64)
    sizes = {kind: float(network(kind, 16)(inputs).detach().square().mean()) for kind in ("plain", "default")}
    assert 0.3 < sizes["plain"] < 8.0
    assert sizes["default"] < 0.05
