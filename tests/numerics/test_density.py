"""The smoothed density against spectra that are known whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.numerics.matrices import diagonal, gaussian, generator, operator_of

from unstuck.numerics.density import lanczos_quadratures, spectral_density
from unstuck.numerics.eigensystem import eigensystem
from unstuck.numerics.krylov import Floats


def exact(values: Floats, at: Floats, width: float) -> Floats:
    kernels = np.exp(-0.5 * ((at[:, None] - values) / width) ** 2) / (width * np.sqrt(2 * np.pi))
    return np.asarray(kernels.mean(1))


def test_a_density_is_one_in_all() -> None:
    seen = lanczos_quadratures(operator_of(gaussian(200)), steps=40, count=4, generator=generator())
    density = spectral_density(seen)
    assert np.trapezoid(density.value, density.at) == pytest.approx(1.0, abs=0.01)
    for quadrature in seen:
        assert sum(quadrature.weights) == pytest.approx(1.0, abs=1e-12)


def test_two_bulks_within_the_standard_error() -> None:
    values = np.concatenate([np.linspace(-1.0, -0.8, 100), np.linspace(2.0, 3.0, 300)])
    seen = lanczos_quadratures(diagonal(values), steps=60, count=30, generator=generator())
    density = spectral_density(seen)
    expected = exact(values, np.asarray(density.at), density.width)
    distance = np.abs(np.asarray(density.value) - expected)
    error = np.asarray(density.standard_error)
    assert np.mean(distance <= 3 * error + 0.02 * expected.max()) > 0.97
    assert error[expected > 0.1].max() < 0.1 * expected.max()


def test_the_standard_error_is_that_of_repeated_estimates() -> None:
    operator = operator_of(gaussian(60))
    stream = generator(5)
    runs = [spectral_density(lanczos_quadratures(operator, steps=60, count=8, generator=stream)) for _ in range(60)]
    middle = len(runs[0].at) // 2
    spread = np.std([run.value[middle] for run in runs], ddof=1)
    said = np.sqrt(np.mean([run.standard_error[middle] ** 2 for run in runs]))
    assert said == pytest.approx(spread, rel=0.3)


def test_a_single_vector_has_no_error() -> None:
    seen = lanczos_quadratures(diagonal(np.arange(5.0)), steps=5, count=1, generator=generator())
    assert np.isnan(spectral_density(seen).standard_error).all()


def test_a_spectrum_of_one_value() -> None:
    seen = lanczos_quadratures(diagonal(np.full(7, 2.0)), steps=5, count=2, generator=generator())
    density = spectral_density(seen)
    assert density.at[int(np.argmax(density.value))] == pytest.approx(2.0, abs=density.width)
    assert np.trapezoid(density.value, density.at) == pytest.approx(1.0, abs=0.01)


def test_a_spectrum_that_is_known_whole() -> None:
    matrix = torch.from_numpy(gaussian(50))
    system = eigensystem(matrix, 1e-16)
    density = spectral_density([system.quadrature])
    np.testing.assert_allclose(
        density.value, exact(np.linalg.eigvalsh(matrix), np.asarray(density.at), density.width), rtol=1e-9, atol=1e-12
    )


def test_an_eigensystem_bounds_what_it_neglects() -> None:
    """Rounded to single precision and not quite symmetric: the bound holds for every eigenvalue."""
    whole = gaussian(80, seed=3)
    disturbed = torch.from_numpy(whole).float()
    disturbed[0, 1] += 1e-4
    system = eigensystem(disturbed, float(torch.finfo(torch.float32).eps))
    errors = np.abs(np.asarray(system.values) - np.linalg.eigvalsh(whole))
    assert 1e-6 < errors.max() <= 2 * system.error
    assert system.error < 1e-3
    torch.testing.assert_close(system.diagonal, torch.from_numpy(whole).diagonal(), rtol=0, atol=1e-3)
    ends = system.extremes(smallest=2, largest=3)
    assert ends.complete
    assert ends.largest.values == tuple(system.values[-3:].tolist())
    assert ends.smallest.values == tuple(system.values[:2].tolist())
    residual = torch.from_numpy(whole) @ ends.largest.vectors[-1] - ends.largest.values[-1] * ends.largest.vectors[-1]
    assert float(residual.norm()) < 1e-3
