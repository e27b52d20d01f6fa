"""The density against spectra that are known: closed forms where it is seen, eigenvalues where it is exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests import by_hand, zoo
from tests.probes.linear import DIMENSION, regression, second_moments
from tests.probes.look import look, quadratic, view
from torch import Tensor

from unstuck.probes.density import BAND, Density, DensityReading


def descent(parameters: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


@pytest.fixture(scope="module")
def seen() -> DensityReading:
    reading: DensityReading = look(Density(), regression())
    return reading


def test_what_is_seen_is_the_spectrum_in_closed_form(seen: DensityReading) -> None:
    values = torch.linalg.eigvalsh(second_moments(regression()))
    assert not seen.exact
    assert (seen.dimension, seen.vectors) == (DIMENSION, 3)
    assert seen.largest == pytest.approx(float(values[-1]), rel=1e-6)
    assert seen.lowest == pytest.approx(float(values[0]), rel=1e-6)
    assert abs(seen.mean.value - float(values.mean())) < 4 * seen.mean.error
    for share, true in (
        (seen.negative, 0.0),
        (seen.near_zero, float((values.abs() <= BAND * values[-1]).double().mean())),
        (seen.positive, float((values > BAND * values[-1]).double().mean())),
    ):
        assert share.low - 1e-9 <= true <= share.high + 1e-9


def test_a_density_integrates_to_one(seen: DensityReading) -> None:
    assert np.trapezoid(seen.values, seen.at) == pytest.approx(1.0, rel=0.02)
    assert len(seen.errors) == len(seen.values)


def test_a_small_network_shows_its_own_eigenvalues() -> None:
    problem = zoo.problem(zoo.perceptron)
    reading: DensityReading = look(Density(), problem)
    batches = view(problem).sample
    flat = torch.cat([parameter.detach().flatten() for parameter in problem.model.parameters()])
    hessian = torch.autograd.functional.hessian(lambda at: by_hand.mean_loss(problem, batches, at), flat)
    values = torch.linalg.eigvalsh(hessian)
    scale = float(values.abs().max())
    assert reading.exact
    assert (reading.vectors, reading.steps, reading.errors) == (0, 0, ())
    assert (reading.lowest, reading.largest) == pytest.approx((float(values[0]), float(values[-1])), rel=1e-8)
    assert reading.negative.value == pytest.approx(float((values < -BAND * scale).double().mean()), abs=1e-12)
    assert reading.positive.value == pytest.approx(float((values > BAND * scale).double().mean()), abs=1e-12)
    assert (reading.negative.error, reading.positive.error, reading.mean.error) == (0.0, 0.0, 0.0)


def test_negative_curvature_has_its_share() -> None:
    reading: DensityReading = look(Density(), quadratic([-2.0, -1.0, 0.0, 4.0], [0.1] * 4, descent))
    assert reading.negative.value == pytest.approx(0.5)
    assert reading.near_zero.value == pytest.approx(0.25)
    assert reading.positive.value == pytest.approx(0.25)


def test_the_same_seed_gives_the_same_density(seen: DensityReading) -> None:
    assert look(Density(), regression()).values == seen.values
    assert look(Density(), regression(), seed=1).values != seen.values


def test_the_picture_has_a_logarithmic_scale_and_the_spread(seen: DensityReading) -> None:
    figure = seen.draw()
    assert figure.layout.yaxis.type == "log"
    drawn = next(trace for trace in figure.data if trace.name == "density")
    assert max(drawn.y) == pytest.approx(max(seen.values))
    assert min(min(trace.y) for trace in figure.data) > 0
