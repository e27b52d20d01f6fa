"""Unshuffled data: what batches hold differs by more than chance allows, and by much."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.readings import GRADIENT, ORDER, finding, only

from unstuck.causes.unshuffled_data import UNSHUFFLED_DATA
from unstuck.probes.order import MATERIAL, SIGNIFICANT, OrderReading

SORTED = replace(ORDER, target_share=0.9, target_p=1e-4, varies=False)
TOGETHER = replace(ORDER, repeated=0.9, repeated_together=0.5, expected_together=0.02, repeated_p=1e-4)


@pytest.mark.parametrize(
    ("order", "signal"),
    [
        (SORTED, True),
        (replace(ORDER, input_share=0.9, input_p=1e-4), True),
        (replace(SORTED, input_share=None, input_p=None), True),
        (TOGETHER, True),
        (ORDER, False),
        (replace(ORDER, target_share=0.0, target_p=1.0), False),
        (replace(ORDER, target_share=None, target_p=None, input_share=None, input_p=None), False),
        (replace(ORDER, repeated=0.9), False),
    ],
    ids=[
        "sorted by class",
        "file by file",
        "inputs unknown",
        "copies together",
        "shuffled",
        "balanced",
        "nothing can be told",
        "copies apart",
    ],
)
def test_batches_that_are_no_samples(order: OrderReading, signal: bool) -> None:
    found = finding(UNSHUFFLED_DATA, order)
    assert found.signal is signal
    assert found.judgement.certain is signal


@pytest.mark.parametrize(("times", "signal"), [(0.99, False), (1.01, True)])
def test_they_differ_by_much(times: float, signal: bool) -> None:
    share = times * MATERIAL * ORDER.expected_share
    assert finding(UNSHUFFLED_DATA, replace(SORTED, target_share=share)).signal is signal
    assert finding(UNSHUFFLED_DATA, replace(ORDER, input_share=share, input_p=1e-4)).signal is signal
    together = times * MATERIAL * TOGETHER.expected_together
    assert finding(UNSHUFFLED_DATA, replace(TOGETHER, repeated_together=together)).signal is signal


@pytest.mark.parametrize(("times", "signal"), [(1.01, False), (0.99, True)])
def test_they_differ_beyond_chance(times: float, signal: bool) -> None:
    """The smallest of three probabilities counts three times (Holm 1979)."""
    assert finding(UNSHUFFLED_DATA, replace(SORTED, target_p=times * SIGNIFICANT / 3)).signal is signal


def test_the_loader_is_read_at_the_start() -> None:
    found = finding(UNSHUFFLED_DATA, SORTED, replace(ORDER, update=100))
    assert found.signal
    assert found.judgement.evidence[0].value == SORTED.excess
    assert not finding(UNSHUFFLED_DATA, ORDER, replace(SORTED, update=100)).signal


def test_how_batches_differ_is_told() -> None:
    (evidence,) = finding(UNSHUFFLED_DATA, SORTED).judgement.evidence
    assert evidence.value == pytest.approx(30.0)
    assert evidence.says == (
        "batches differ 30 times as much as random ones would (between them lies of the targets' variance 0.9; of the "
        "inputs' variance 0.03, by chance 0.03); their order is the same one every epoch"
    )
    unknown = replace(ORDER, target_share=None, target_p=None, input_share=None, input_p=None, varies=None)
    says = finding(UNSHUFFLED_DATA, unknown).judgement.evidence[0].says
    assert "nothing that can be told" in says
    assert says.endswith("as it was recorded")
    assert finding(UNSHUFFLED_DATA, ORDER).judgement.evidence[0].says.endswith("another one every epoch")


def test_copies_are_told_where_they_are_what_differs() -> None:
    _, copies = finding(UNSHUFFLED_DATA, TOGETHER).judgement.evidence
    assert copies.says == "50.0% of the samples equal another one of their own batch, by chance 2.0% would"


def test_shuffling_moves_what_it_works_through() -> None:
    mediator = UNSHUFFLED_DATA.mediator
    assert mediator is not None
    assert not mediator.rises
    assert mediator.value(SORTED) > MATERIAL > mediator.value(ORDER)


def test_unknown_without_its_probe() -> None:
    assert "`order`" in str(UNSHUFFLED_DATA.finding(only(GRADIENT)).unknown_because)
