"""Loss mismatch: what the outputs are against what the loss computes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.readings import FINITE, OUTPUTS, finding, only
from torch import nn

from unstuck.causes.loss_mismatch import LOSS_MISMATCH

MISMATCHED = [
    ("probabilities", "cross-entropy"),
    ("probabilities", "squared error"),
    ("probabilities", "negative log-likelihood"),
    ("shares", "binary cross-entropy of scores"),
    ("shares", "cross-entropy"),
    ("shares", "negative log-likelihood"),
    ("scores", "negative log-likelihood"),
]

FITTING = [
    ("scores", "cross-entropy"),
    ("log-probabilities", "negative log-likelihood"),
    ("log-probabilities", "cross-entropy"),  # a second log-softmax changes nothing
    ("scores", "squared error"),
    ("shares", "binary cross-entropy"),
    ("scores", "binary cross-entropy of scores"),
    ("scores", "unknown"),
    ("probabilities", "unknown"),
    ("unknown", "unknown"),
]


@pytest.mark.parametrize(("kind", "form"), MISMATCHED)
def test_what_does_not_fit_is_a_fact(kind: str, form: str) -> None:
    found = finding(LOSS_MISMATCH, replace(OUTPUTS, kind=kind, form=form))
    assert found.signal
    assert found.judgement.certain
    assert found.judgement.evidence[0].value == f"{kind} under {form}"


@pytest.mark.parametrize(("kind", "form"), FITTING)
def test_what_fits_is_no_sign(kind: str, form: str) -> None:
    found = finding(LOSS_MISMATCH, replace(OUTPUTS, kind=kind, form=form))
    assert found.score == 0.0
    assert not found.judgement.certain


@pytest.mark.parametrize("binary", [True, False], ids=["classes", "shares to be matched"])
def test_squared_error_of_a_sigmoid_is_a_mismatch_for_classes_alone(binary: bool) -> None:
    outputs = replace(OUTPUTS, kind="shares", form="squared error", binary_targets=binary)
    assert finding(LOSS_MISMATCH, outputs).signal is binary


@pytest.mark.parametrize("classes", [2, 4, 10])
def test_the_floor_of_softmax_twice_is_its_loss_at_certainty(classes: int) -> None:
    outputs = replace(OUTPUTS, kind="probabilities", form="cross-entropy", classes=classes)
    certain = torch.eye(classes, dtype=torch.float64)[:1]
    expected = float(nn.functional.cross_entropy(certain, torch.tensor([0])))
    assert f"cannot fall below {expected:.3g}" in finding(LOSS_MISMATCH, outputs).judgement.evidence[0].says


def test_the_slope_is_told_where_it_is_known() -> None:
    outputs = replace(OUTPUTS, kind="probabilities", form="squared error", slope_over_error=0.03)
    assert any(evidence.value == 0.03 for evidence in finding(LOSS_MISMATCH, outputs).judgement.evidence)


def test_unknown_without_its_probe() -> None:
    assert "outputs" in str(LOSS_MISMATCH.finding(only(FINITE)).unknown_because)
