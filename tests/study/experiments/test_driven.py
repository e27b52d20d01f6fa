"""Steps by given gradients, against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from unstuck.methods.update import adagrad, adagrad_mean, gradient_descent
from unstuck.study.experiments.driven import STRETCH, closed_forms, driven, online, stream, two_scales


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def test_steps_are_those_of_the_given_gradients() -> None:
    gradients = torch.tensor([[3.0], [-4.0]], dtype=torch.float64)
    assert driven(gradient_descent(0.5), gradients)[:, 0].tolist() == [-1.5, 2.0]
    assert driven(adagrad(0.5, epsilon=0.0), gradients)[:, 0].tolist() == pytest.approx([-0.5, 0.4])
    assert driven(adagrad_mean(0.5), gradients)[:, 0].tolist() == pytest.approx([-0.5, 0.4 * 2**0.5])
    assert closed_forms(generator()) < 1e-12


def test_rates_differ_as_gradients_do_and_steps_do_not() -> None:
    rate, length = two_scales(generator()).values()
    assert rate == pytest.approx(1_000.0, rel=0.15)
    assert length == pytest.approx(1.0, rel=0.15)


def test_rmsprop_forgets_a_steep_stretch_and_adagrad_does_not() -> None:
    recovered, rates = stream(generator())
    # The mean of squares of 200 small and 100 large gradients, over that of the small ones alone, is 34.
    assert recovered["rate after a steep stretch, Adagrad of the lecture"] == pytest.approx(34**-0.5, rel=0.05)
    assert recovered["rate after a steep stretch, RMSProp"] == pytest.approx(1.0, rel=0.15)
    assert all(len(own) == 3 * STRETCH for own in rates.values())


@pytest.mark.parametrize(("method", "end"), [("Adam", 0.9987), ("AMSGrad", -0.9990), ("SGD", -0.9971)])
def test_reddis_problem_ends_as_in_the_paper(method: str, end: float) -> None:
    assert online(method, place=0.0, phase=0) == pytest.approx(end, abs=2e-4)
