"""The trace against sums that are known: closed forms where it is estimated, eigenvalues where it is exact."""

from __future__ import annotations

import pytest
import torch
from tests import by_hand, zoo
from tests.probes.linear import DIMENSION, OUTPUTS, regression, second_moments
from tests.probes.look import look, quadratic, view
from torch import Tensor, nn

from unstuck.probes.trace import Trace, TraceReading


def descent(parameters: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


@pytest.fixture(scope="module")
def estimated() -> TraceReading:
    reading: TraceReading = look(Trace(vectors=200), regression())
    return reading


def test_the_estimate_lies_within_its_error_of_the_closed_form(estimated: TraceReading) -> None:
    moments = second_moments(regression())
    assert not estimated.exact
    assert (estimated.dimension, estimated.vectors) == (DIMENSION, 200)
    true = OUTPUTS * float(moments.trace())
    assert abs(estimated.trace.value - true) < 3 * estimated.trace.error
    assert 0 < estimated.trace.error < 0.05 * true
    assert estimated.mean_eigenvalue.value == pytest.approx(estimated.trace.value / DIMENSION)
    norm = OUTPUTS**0.5 * float(moments.norm())
    assert abs(estimated.frobenius_norm.value - norm) < 3 * estimated.frobenius_norm.error


def test_the_standard_error_is_that_of_signs(estimated: TraceReading) -> None:
    """Of independent signs, zᵀHz has the variance 2 (‖H‖_F² − Σ H_ii²)."""
    moments = second_moments(regression())
    variance = 2 * OUTPUTS * float(moments.square().sum() - moments.diagonal().square().sum())
    assert estimated.trace.error == pytest.approx((variance / 200) ** 0.5, rel=0.2)


def test_each_parameter_has_its_share(estimated: TraceReading) -> None:
    diagonal = second_moments(regression()).diagonal()
    assert estimated.names == ("weight", "bias")
    true = (OUTPUTS * float(diagonal[:-1].sum()), OUTPUTS * float(diagonal[-1]))
    for found, error, value in zip(estimated.traces, estimated.errors, true, strict=True):
        assert abs(found - value) < 3 * error + 1e-12
    assert sum(estimated.traces) == pytest.approx(estimated.trace.value, rel=1e-12)


def test_a_small_network_is_summed_whole() -> None:
    problem = zoo.problem(zoo.perceptron)
    reading: TraceReading = look(Trace(), problem)
    batches = view(problem).sample
    flat = torch.cat([parameter.detach().flatten() for parameter in problem.model.parameters()])
    hessian = torch.autograd.functional.hessian(lambda at: by_hand.mean_loss(problem, batches, at), flat)
    assert reading.exact
    assert reading.vectors == 0
    assert reading.trace.value == pytest.approx(float(hessian.trace()), rel=1e-9)
    assert reading.frobenius_norm.value == pytest.approx(float(hessian.norm()), rel=1e-9)
    blocks = hessian.diagonal().split([parameter.numel() for parameter in problem.model.parameters()])
    assert reading.traces == pytest.approx([float(block.sum()) for block in blocks], rel=1e-9)


def test_a_negative_trace_is_no_reason_to_stop() -> None:
    reading: TraceReading = look(Trace(), quadratic([-3.0, 1.0], [0.1, 0.2], descent))
    assert reading.trace.value == pytest.approx(-2.0, rel=1e-9)


def test_the_same_seed_gives_the_same_estimate(estimated: TraceReading) -> None:
    assert look(Trace(vectors=200), regression()).trace == estimated.trace
    assert look(Trace(vectors=200), regression(), seed=1).trace != estimated.trace


def test_one_vector_would_have_no_error() -> None:
    reading: TraceReading = look(Trace(vectors=1), regression())
    assert reading.vectors == 2


def test_the_picture_shows_every_parameter_with_its_error(estimated: TraceReading) -> None:
    (bars,) = estimated.draw().data
    assert list(bars.x) == list(estimated.names)
    assert list(bars.y) == list(estimated.traces)
    assert list(bars.error_y.array) == list(estimated.errors)
    (exact,) = look(Trace(), zoo.problem(lambda: nn.Sequential(nn.Linear(4, 3)))).draw().data
    assert exact.error_y.array is None
