"""Causes that are proved, and what stands in the way of a proof."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from tests import zoo
from tests.test_diagnosis import without_seconds
from tests.trials import Nothing, compared, ground
from tests.untouched import assert_untouched
from torch import nn

from unstuck import causes, probes, specimens
from unstuck.cause import Cause, Mediator
from unstuck.causes.broken_wiring import BROKEN_WIRING
from unstuck.causes.healthy import HEALTHY
from unstuck.causes.learning_rate_too_high import LEARNING_RATE_TOO_HIGH
from unstuck.causes.learning_rate_too_low import LEARNING_RATE_TOO_LOW
from unstuck.causes.saddle_point import SADDLE_POINT
from unstuck.diagnosis import diagnose
from unstuck.errors import InputError
from unstuck.probes.outputs import OutputsReading
from unstuck.problem import Problem
from unstuck.proof import Proof
from unstuck.proving import Proving
from unstuck.remedies.add_normalization import AddNormalization
from unstuck.remedies.larger_batch import LargerBatch
from unstuck.remedies.normalize_inputs import NormalizeInputs
from unstuck.remedies.raise_learning_rate import RaiseLearningRate
from unstuck.remedies.reinitialize import Reinitialize
from unstuck.remedy import Ladder, Remedy
from unstuck.report import Report
from unstuck.trial import Arm, Task, perform, replanted
from unstuck.walk import fixed_threads, walk

BUDGET = 3_000

EXPECTED = {
    LEARNING_RATE_TOO_HIGH: {"opposite": "passed", "dose-response": "passed", "re-planting": "passed"},
    BROKEN_WIRING: {"opposite": "not applicable", "dose-response": "not applicable", "re-planting": "passed"},
    SADDLE_POINT: {"opposite": "passed", "dose-response": "passed", "re-planting": "not applicable"},
}


def examined(cause: Cause, budget: int, *, prove: bool = True) -> Report:
    """Its first sick specimen, of which only this cause is asked for."""
    return diagnose(cause.sick[0](), budget=budget, prove=prove, causes=(cause, HEALTHY))


@functools.cache
def proved(cause: Cause) -> Report:
    return examined(cause, BUDGET)


def outcomes(report: Report) -> dict[str, str]:
    return {proof["element"]: proof["outcome"] for proof in report.document["diagnosis"]["proofs"]}


@pytest.mark.parametrize("cause", EXPECTED, ids=lambda cause: cause.slug)
def test_causes_are_proved_by_all_that_applies_to_them(cause: Cause) -> None:
    report = proved(cause)
    assert report.cause == cause.slug
    assert report.proof == "proved", report.document["diagnosis"]["proofs"]
    assert outcomes(report) == {"control": "passed", "mediator": "passed"} | EXPECTED[cause]
    assert report.document["cost"]["updates"] <= BUDGET
    assert ("dose-response" in report.document["figures"]) is (outcomes(report)["dose-response"] == "passed")
    assert report.confidence > 0.9


def test_the_diagnosis_is_that_of_a_third_of_the_budget() -> None:
    report, plain = proved(SADDLE_POINT), examined(SADDLE_POINT, BUDGET // 3, prove=False)
    for part in ("findings", "prescription", "readings", "trials"):
        assert without_seconds(report.document[part]) == without_seconds(plain.document[part])
    assert plain.document["diagnosis"]["proofs"] == []
    assert plain.proof == "likely"


def test_the_same_seed_gives_the_same_proof() -> None:
    first = without_seconds(proved(SADDLE_POINT).document)
    torch.rand(5)
    assert without_seconds(examined(SADDLE_POINT, BUDGET).document) == first


def test_where_nothing_is_wrong_there_is_nothing_to_prove() -> None:
    report = diagnose(specimens.bowl(), budget=600, prove=True)
    assert report.cause == "healthy"
    assert report.document["diagnosis"]["proofs"] == []
    assert report.document["cost"]["updates"] <= 200


def test_nothing_of_the_callers_is_changed() -> None:
    problem = specimens.product_at_origin()
    with assert_untouched(problem):
        diagnose(problem, budget=1_500, prove=True, causes=(SADDLE_POINT, HEALTHY))


# --- one winner on its way to a proof -------------------------------------------------------------------------------


def crawling() -> Problem:
    """Has something to learn and a rate a thousand times too low for it."""
    inputs, _ = zoo.table()
    return zoo.problem(
        zoo.perceptron,
        train=zoo.shuffled(inputs, inputs[:, :3].argmax(1)),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1e-3),
    )


def proving(
    remedy: Remedy, *, cause: Cause = LEARNING_RATE_TOO_LOW, limit: int = 100_000, made: Any = crawling, **given: Any
) -> Proving:
    comparison = compared(ground(made()), (cause.slug, (remedy,)), horizon=16)
    won = next(trial for trial in comparison.trials if trial.arm == "remedy")
    given = {"probes": probes.ALL} | given
    return Proving(comparison=comparison, won=won, cause=cause, limit=limit, **given)


RAISE = RaiseLearningRate(factor=1000.0)


def by_element(under_way: Proving) -> dict[str, Proof]:
    return {proof.element: proof for proof in under_way.elements()}


def test_a_proof_takes_no_more_than_its_limit() -> None:
    spent = proving(RAISE).comparison.spent
    for more in (0, 100, 450, 5_000):
        under_way = proving(RAISE, limit=spent + more)
        found = by_element(under_way)
        assert under_way.comparison.spent <= spent + more
        left_out = [name for name, proof in found.items() if proof.outcome == "not run"]
        assert bool(left_out) is (more < 5_000)
        assert all("budget" in found[name].says for name in left_out)


def test_the_opposite_is_walked_where_it_was_not() -> None:
    under_way = proving(RAISE)
    found = under_way.opposite()
    assert found.outcome == "passed"
    assert [trial.arm for trial in under_way.comparison.trials][-1] == "opposite"
    assert under_way.opposite() == found  # and once


def test_a_mediator_that_no_probe_reads_is_left_out() -> None:
    assert proving(RAISE, cause=replace(LEARNING_RATE_TOO_LOW, mediator=None)).mediator().outcome == "not applicable"
    assert proving(RAISE, probes=()).mediator().outcome == "not applicable"


def of_outputs(value: Callable[[OutputsReading], float]) -> Mediator:
    return Mediator(says="what the outputs tell", reads=OutputsReading, value=value, rises=True)


def constant(outputs: OutputsReading) -> float:
    """The loss of the best constant answer."""
    return math.nan if outputs.constant is None else outputs.constant


def broken(outputs: OutputsReading) -> float:
    """What nobody knows."""
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("value", "made", "outcome"),
    [
        (constant, crawling, "failed"),  # it never moves
        (broken, crawling, "not run"),
        (constant, lambda: crawling().changed(loss=None, step=own_loss), "not applicable"),  # NaN
    ],
)
def test_a_mediator_that_does_not_move_or_cannot_be_read(value: Any, made: Any, outcome: str) -> None:
    cause = replace(LEARNING_RATE_TOO_LOW, mediator=of_outputs(value))
    found = proving(RAISE, cause=cause, made=made).mediator()
    assert found.outcome == outcome, found.says


def own_loss(model: nn.Module, batch: Any) -> torch.Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


@dataclass(frozen=True, kw_only=True)
class Laddered(Nothing):
    """Nothing, in doses; some cannot be applied."""

    fit: int = 4

    def apply(self, branch: Problem) -> Problem:
        if self.number > self.fit:
            raise InputError("too much")
        return branch

    def ladder(self) -> Ladder:
        return Ladder(setting="number", doses=tuple(replace(self, number=number) for number in (1, 2, 3, 4)))


def test_doses_that_do_nothing_show_no_response() -> None:
    found = proving(Laddered(number=1)).doses()
    assert found.outcome == "failed"
    assert len(set(found.numbers["losses"])) == 1


def test_a_ladder_of_too_few_doses_that_can_be_applied_is_none() -> None:
    found = proving(Laddered(number=1, fit=3)).doses()
    assert found.outcome == "not applicable"
    assert "3" in found.says


# --- re-planting ----------------------------------------------------------------------------------------------------


def test_the_fault_is_put_back_at_the_treated_weights() -> None:
    problem = crawling()
    where = ground(problem)
    treated = RAISE.apply(where.problem.branch(where.snapshot))
    walk(treated, 5)
    back = replanted(treated, where)
    assert all(torch.equal(back.point()[name], tensor) for name, tensor in treated.point().items())
    assert back.optimizer.param_groups[0]["lr"] == problem.optimizer.param_groups[0]["lr"]
    assert not back.optimizer.state
    walk(back, 1)
    assert not any(torch.equal(back.point()[name], tensor) for name, tensor in treated.point().items())  # its own


def test_also_where_the_model_stands_inside_another() -> None:
    where = ground(crawling())
    treated = NormalizeInputs(axis=1).apply(where.problem.branch(where.snapshot))
    walk(treated, 3)
    back = replanted(treated, where)
    for mine, theirs in zip(back.model.parameters(), treated.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_another_network_has_no_place_for_the_fault() -> None:
    where = ground(crawling())
    treated = AddNormalization(kind="layer").apply(where.problem.branch(where.snapshot))
    with pytest.raises(InputError, match="another network"):
        replanted(treated, where)


@pytest.mark.parametrize("remedy", [Reinitialize(), AddNormalization(kind="layer")])
def test_re_planting_does_not_apply_to_them(remedy: Remedy) -> None:
    assert proving(remedy).replanting().outcome == "not applicable"


@pytest.mark.parametrize("at", [5, 16, 21])
@pytest.mark.parametrize("remedy", [RAISE, LargerBatch(factor=2)])
def test_a_replanted_walk_is_the_treated_one_and_then_the_untouched_ones_recipe(at: int, remedy: Remedy) -> None:
    """By hand: so many updates with the remedy, the rest without, over one sequence of samples."""
    with fixed_threads(1):
        where = ground(specimens.healthy())
        arm = Arm(name="remedy", treatment=(remedy,), replanted_at=at)
        plain = perform(where, Task(arm=Arm(name="remedy", treatment=(remedy,)), order=0, horizon=16))
        run = perform(where, Task(arm=arm, order=0, horizon=16))
    shared = dict(run.curve).keys() & dict(plain.curve).keys()
    differ = {update for update in shared if dict(run.curve)[update] != dict(plain.curve)[update]}
    assert min(differ) > at - 1
    assert max(shared - differ) >= min(at, 16) - 2
    assert run.samples == pytest.approx(plain.samples, abs=64)
    assert run.curve[-1][0] == 32


def test_nothing_comes_back_where_nothing_was_wrong() -> None:
    found = proving(Nothing()).replanting()
    assert found.outcome == "failed"


def test_the_mediator_of_every_cause_is_read_by_some_probe() -> None:
    read = {probe.reads for probe in probes.ALL}
    mediators = {cause.slug: cause.mediator for cause in causes.ALL if cause.mediator is not None}
    assert "learning-rate-too-high" in mediators
    assert all(mediator.reads in read for mediator in mediators.values())
