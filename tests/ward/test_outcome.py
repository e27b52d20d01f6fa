"""Ends of trainings, and what is made of two of them."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from tests import by_hand

from unstuck.prescription import Gain, Prescription
from unstuck.remedies.larger_batch import LargerBatch
from unstuck.ward import design, hosts
from unstuck.ward.case import Case
from unstuck.ward.outcome import ORDER, Twins, measure_of, of_constant, reached, updates_of


def case_of(kind: str, severity: float | None = None, host: str = "perceptron") -> Case:
    return Case(group="faulty", kinds=(kind,), severities=(severity,), host=host, optimizer="sgd", seed=0)


def test_where_a_training_ends_is_where_torch_gets_by_hand() -> None:
    parts = hosts.BY_NAME["perceptron"].parts("sgd", 0)
    problem = parts.problem("by hand")
    branch = problem.branch()
    by_hand.train(branch, 30, branch.data.order(ORDER))
    with torch.no_grad():
        expected = float(F.cross_entropy(branch.model(parts.train[0]), parts.train[1]))
        unseen = float(F.cross_entropy(branch.model(parts.valid[0]), parts.valid[1]))
        wrong = float((branch.model(parts.train[0]).argmax(1) != parts.train[1]).double().mean())
    assert reached(problem, 30, "train_loss") == pytest.approx(expected, rel=1e-5)
    assert reached(problem, 30, "valid_loss") == pytest.approx(unseen, rel=1e-5)
    assert reached(problem, 30, "train_error") == pytest.approx(wrong)


def test_a_training_that_breaks_ends_nowhere() -> None:
    parts = hosts.BY_NAME["perceptron"].parts("sgd", 0).ruled(rate=1e12)
    assert reached(parts.problem("broken"), 20, "train_loss") == math.inf


def test_batches_of_another_size_see_as_many_samples() -> None:
    parts = hosts.BY_NAME["perceptron"].parts("sgd", 0)
    problem = parts.problem("batches")
    gain = Gain(fraction=0.0, interval=(0.0, 0.0), says="")
    prescribed = Prescription(from_update=0, steps=(LargerBatch(factor=4),), gain=gain)
    treated = prescribed.apply(problem)
    branch = treated.branch()
    by_hand.train(branch, 10, branch.data.order(ORDER))
    with torch.no_grad():
        expected = float(F.cross_entropy(branch.model(parts.train[0]), parts.train[1]))
    assert reached(problem, 40, "train_loss", prescribed) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("host", ["perceptron", "transformer", "autoencoder"])
def test_a_constant_answer_by_search(host: str) -> None:
    parts = hosts.BY_NAME[host].parts("sgd", 0)
    targets = parts.train[1]
    if host == "autoencoder":
        expected = float(F.mse_loss(targets.mean(0).expand_as(targets), targets))
    else:
        scores = torch.bincount(targets.flatten()).double().log()
        expected = float(F.cross_entropy(scores.expand(targets.numel(), -1), targets.flatten()))
        commonest = int(torch.bincount(targets.flatten()).argmax())
        wrong = float((targets != commonest).double().mean())
        assert of_constant(parts, "train_error") == pytest.approx(wrong)
    assert of_constant(parts, "train_loss") == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("faulty", "mended", "hurts"),
    [(1.0, 0.2, True), (0.1, 0.09, False), (0.0, 0.0, False), (0.02, 0.01, True), (0.001, 0.0001, False)],
)
def test_what_hurts(faulty: float, mended: float, hurts: bool) -> None:
    assert Twins(faulty=faulty, mended=mended, constant=1.0).hurts is hurts


def test_the_share_of_a_gap_that_is_closed() -> None:
    twins = Twins(faulty=0.9, mended=0.1, constant=1.0)
    assert [round(twins.closed(end), 9) for end in (0.9, 0.5, 0.1, 0.02, math.inf)] == [0, 0.5, 1, 1.1, -0.125]


def test_a_case_is_measured_by_what_its_fault_leaves_alone() -> None:
    assert measure_of(case_of("softmax-twice")) == "train_error"
    assert measure_of(case_of("few-samples", 32)) == "valid_loss"
    assert measure_of(design.well()[0]) == "train_loss"
    assert updates_of(case_of("tiny-batch", 1), 1) == 300 * 32
    assert updates_of(case_of("huge-batch", 2048), 2048) == round(2 * hosts.UPDATES * 32 / 2048)
