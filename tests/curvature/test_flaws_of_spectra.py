"""What goes wrong in computing spectra, one flaw a test: each has been seen in a published tool."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import eigsh
from tests import zoo
from tests.curvature import naive
from tests.numerics.matrices import generator, operator_of, rotated
from tests.probes.look import look, view
from torch import Tensor, nn

from unstuck.numerics.density import lanczos_quadratures
from unstuck.numerics.lanczos import Eigenpairs, extreme_eigenpairs
from unstuck.numerics.trace import hutchinson
from unstuck.probes.density import Density, DensityReading
from unstuck.probes.spectrum import Spectrum, SpectrumReading
from unstuck.probes.trace import Trace, TraceReading
from unstuck.problem import Problem

DOUBLE = torch.float64
Values = NDArray[np.float64]


def wide(dtype: torch.dtype = DOUBLE) -> Problem:
    """A network of 2,403 parameters, too many for the whole matrix."""
    return zoo.problem(
        lambda: nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 60), nn.Tanh(), nn.Linear(60, 3)), dtype
    )


@dataclass(frozen=True)
class Ends:
    """Eigenvalues at both ends, ascending."""

    low: Values
    high: Values


@pytest.fixture(scope="module")
def arpack() -> Ends:
    """Five at each end by scipy's solver, on products made the plain way."""
    problem = wide()
    hessian = naive.operator(problem, tuple(problem.data.whole(chunk=10**6)))
    low, high = (eigsh(hessian, k=5, which=end, return_eigenvectors=False) for end in ("SA", "LA"))
    return Ends(np.sort(low), np.sort(high))


@pytest.mark.parametrize("seed", range(3))
def test_the_most_negative_eigenvalue_comes_with_its_bound(arpack: Ends, seed: int) -> None:
    """Flaw: eigenvalues of large magnitude are all there is, so that no saddle is ever seen; or no error is known."""
    reading: SpectrumReading = look(Spectrum(), wide(), seed=seed)
    lowest = arpack.low[0]
    assert not reading.exact
    assert reading.lowest.low - 1e-12 <= lowest <= reading.lowest.high + 1e-12
    assert reading.negative
    assert lowest < 0
    assert reading.lowest_plausible <= lowest


@pytest.mark.parametrize("name", ["weight norm", "old weight norm", "sparse embedding"])
def test_nothing_is_proved_by_a_wrong_derivative(name: str) -> None:
    """Flaw: torch's second derivative is taken at its word where it is not symmetric, 20 % off along a direction."""
    reading: SpectrumReading = look(Spectrum(), zoo.MODELS[name](DOUBLE))
    assert reading.engine == "finite difference"
    assert reading.proved is None
    assert any("second derivative" in note for note in reading.notes)
    proved = look(Spectrum(), zoo.MODELS["perceptron"](DOUBLE)).proved
    assert proved is not None
    assert proved.high < 0


def hold(pairs: Eigenpairs, known: Values, rounding: float) -> bool:
    """Whether the interval of each value contains a true eigenvalue."""
    return all(
        np.abs(known - value).min() <= bound + rounding for value, bound in zip(pairs.values, pairs.bounds, strict=True)
    )


@pytest.mark.parametrize("dtype", [DOUBLE, torch.float32])
@pytest.mark.parametrize("seed", range(3))
def test_every_eigenvalue_lies_in_its_interval(arpack: Ends, dtype: torch.dtype, seed: int) -> None:
    """Flaw: iterations stop when a value changes little, which says nothing about how far off it is."""
    found = view(wide(dtype), seed=seed).extremes
    rounding = 1e-12 if dtype is DOUBLE else 1e-6  # of the parameters themselves
    assert hold(found.smallest, arpack.low, rounding)
    assert hold(found.largest, arpack.high, rounding)
    assert all(found.smallest.converged + found.largest.converged)
    assert max(found.smallest.bounds + found.largest.bounds) <= 0.1 * arpack.high[-1]
    # They are the ends themselves, none left out between them.
    tolerance = 2e-3 * arpack.high[-1]
    np.testing.assert_allclose(found.smallest.values, arpack.low[:3], atol=tolerance)
    np.testing.assert_allclose(found.largest.values, arpack.high[-3:], atol=tolerance)


@pytest.mark.parametrize("products", [2, 4, 8, 16])
def test_intervals_hold_before_anything_has_settled(products: int) -> None:
    """Flaw: a search that is cut short gives its last values as if they were eigenvalues."""
    spectrum = np.concatenate([np.linspace(-1.0, 2.0, 180), [-5.0, 7.0]])
    matrix = rotated(spectrum)[0]
    for seed in range(5):
        found = extreme_eigenpairs(operator_of(matrix), generator=generator(seed), max_products=products)
        assert hold(found.smallest, spectrum, 1e-12)
        assert hold(found.largest, spectrum, 1e-12)
        settled = abs(found.largest.values[0] - 7.0) <= 0.01
        assert settled or not all(found.largest.converged)


def test_the_weights_of_a_density_sum_to_one() -> None:
    """Flaw: squares of the whole eigenvector matrix are taken for weights, so that one vector's sum to its steps."""
    problem = wide()
    hessian = view(problem).hessian
    seen = lanczos_quadratures(hessian, steps=20, count=3, generator=generator())
    for quadrature in seen:
        assert len(quadrature.weights) == 20
        assert sum(quadrature.weights) == pytest.approx(1.0, rel=1e-12)
        assert min(quadrature.weights) >= 0.0
    reading: DensityReading = look(Density(vectors=3, steps=20), problem)
    assert (reading.exact, reading.vectors, reading.steps) == (False, 3, 20)
    assert sum(reading.values) * (reading.at[1] - reading.at[0]) == pytest.approx(1.0, abs=0.01)
    assert reading.negative.value + reading.near_zero.value + reading.positive.value == pytest.approx(1.0)


@pytest.mark.parametrize(("name", "values"), [("negative", (-4.0, 1.0)), ("cancelling", (-2.0, 2.0))])
def test_a_trace_that_is_not_positive(name: str, values: tuple[float, float]) -> None:
    """Flaw: the change of the mean is divided by the signed trace, so that a negative one stops the probes at once."""
    spectrum = np.linspace(*values, 60)
    found = hutchinson(operator_of(rotated(spectrum)[0]), count=100, generator=generator(1))
    assert (found.trace.count, len(found.samples)) == (100, 100)
    assert abs(found.trace.value - spectrum.sum()) <= 3 * found.trace.standard_error
    assert 0 < found.trace.standard_error < 5


def upside_down(problem: Problem) -> Problem:
    """The loss with its sign turned: what were minima are maxima."""
    loss = problem.loss
    assert loss is not None
    return problem.changed(loss=lambda outputs, targets: -loss(outputs, targets))


def test_the_negative_trace_of_a_network() -> None:
    """The same flaw on a network at the top of a hill: every vector that was asked for is used."""
    hill = upside_down(wide())
    reading: TraceReading = look(Trace(vectors=50), hill)
    (batch,) = hill.data.whole(chunk=10**6)
    gradient, leaves = naive.gradient_pieces(hill, [batch], naive.place(hill))
    assert (reading.exact, reading.vectors) == (False, 50)
    assert abs(reading.trace.value - summed(gradient, leaves)) <= 3 * reading.trace.error
    assert reading.trace.high < 0


def summed(gradient: Tensor, leaves: list[nn.Parameter]) -> float:
    """Σ ∂g_i/∂θ_i, one entry after the other."""
    total, place = 0.0, 0
    for leaf in leaves:
        for entry in range(leaf.numel()):
            (row,) = torch.autograd.grad(gradient[place + entry], leaf, retain_graph=True)
            total += float(row.reshape(-1)[entry])
        place += leaf.numel()
    return total
