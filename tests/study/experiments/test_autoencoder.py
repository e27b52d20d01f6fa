"""The linear autoencoder: its losses and gradients against torch's, its critical points against what is known."""

import pytest
import torch
from torch.func import grad, hessian

from unstuck.study.experiments.autoencoder import Autoencoder


@pytest.fixture
def surface() -> Autoencoder:
    generator = torch.Generator().manual_seed(3)
    return Autoencoder(torch.randn(40, 5, generator=generator) * torch.tensor([3.0, 1.0, 2.0, 0.5, 1.5]))


def plain(surface: Autoencoder, row: torch.Tensor) -> torch.Tensor:
    inward, outward = row.chunk(2)
    loss: torch.Tensor = (surface.inputs - (surface.inputs @ inward)[:, None] * outward).square().sum(1).mean()
    return loss


def test_loss_and_gradient_are_those_of_the_network(surface: Autoencoder) -> None:
    rows = torch.randn(3, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gradients = surface.gradients(rows, surface.inputs)
    for row, loss, gradient in zip(rows, surface.losses(rows), gradients, strict=True):
        torch.testing.assert_close(loss, plain(surface, row))
        torch.testing.assert_close(gradient, grad(lambda at: plain(surface, at))(row))


@pytest.mark.parametrize("component", [1, 2, 3, 4, 5])
def test_critical_points(surface: Autoencoder, component: int) -> None:
    point = surface.critical_point(component)
    moments = surface.moments
    assert moments.tolist() == sorted(moments.tolist(), reverse=True)
    assert surface.gradients(point[None], surface.inputs).abs().max() < 1e-12
    torch.testing.assert_close(surface.losses(point), moments.sum() - moments[component - 1])
    curvatures = torch.linalg.eigvalsh(hessian(lambda at: plain(surface, at))(point))
    assert int((curvatures < -1e-9).sum()) == component - 1
    if component > 1:
        assert float(curvatures[0]) == pytest.approx(surface.lowest_curvature(component))
