"""Plans: what every dose is known to do before anything walks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from tests import zoo
from tests.trials import Nothing, ground

from unstuck import specimens
from unstuck.errors import InputError
from unstuck.horizon import SHORTEST, Lengths, updates_of
from unstuck.plan import COMFORTABLE, Candidate, Plan
from unstuck.problem import Problem
from unstuck.remedies.cross_entropy import CrossEntropy
from unstuck.remedies.larger_batch import LargerBatch
from unstuck.remedies.lower_learning_rate import LowerLearningRate
from unstuck.remedies.smaller_batch import SmallerBatch
from unstuck.remedy import Remedy


@dataclass(frozen=True, kw_only=True)
class Refusing(Nothing):
    """Cannot be applied."""

    error: type[Exception] = InputError

    def apply(self, branch: Problem) -> Problem:
        raise self.error(f"not here, {self.number}\nnor there")


@dataclass(frozen=True, kw_only=True)
class Accumulating(Nothing):
    """Batches of the same size, four of them to an update."""

    def apply(self, branch: Problem) -> Problem:
        return branch.changed(accumulate=4)


def planned(problem: Problem, *candidates: tuple[Remedy, ...]) -> Plan:
    given = [Candidate(cause="a cause", remedy=doses[0].slug, doses=doses) for doses in candidates]
    return Plan.of(ground(problem), given)


def small(**fields: Any) -> Problem:
    return zoo.problem(zoo.perceptron, torch.float64, **fields)


def test_the_pace_is_how_many_updates_see_as_many_samples() -> None:
    problem = small()  # batches of 8
    more, fewer, other, many = (
        LargerBatch(factor=2),
        SmallerBatch(factor=4),
        LowerLearningRate(factor=0.1),
        Accumulating(),
    )
    known = planned(problem, (more,), (fewer,), (other,), (many,)).known
    size = problem.data.batch_size
    assert {dose: known[dose].pace for dose in known} == {
        more: size / (2 * size),
        fewer: size / (size // 4),
        other: 1.0,
        many: 1 / 4,
    }
    assert [known[dose].cost for dose in (more, fewer, other)] == [known[dose].pace for dose in (more, fewer, other)]
    assert known[many].cost == 1.0  # fewer updates, of more gradients each


@pytest.mark.parametrize("error", [InputError, RuntimeError])
def test_a_dose_that_cannot_be_applied_is_left_out(error: type[Exception]) -> None:
    plan = planned(small(), (Refusing(error=error), Nothing(number=2)), (Refusing(number=1, error=error),))
    assert [candidate.doses for candidate in plan.candidates] == [(Nothing(number=2),)]
    (failed,) = plan.failures()
    assert (failed.arm, failed.verdict, failed.remedy, failed.cause) == ("remedy", "failed", "nothing", "a cause")
    assert dict(failed.settings) == {"number": 1, "error": error}
    assert failed.because.startswith("not here, 1" if error is InputError else "RuntimeError: not here, 1")
    assert "\n" not in failed.because
    assert failed.per_seed == ()
    assert failed.updates == failed.samples == 0
    assert failed.measure == plan.ground.measure


def test_a_remedy_that_proposed_nothing_because_it_raised_has_failed_too() -> None:
    plan = Plan.of(ground(small()), [Candidate(cause="a cause", remedy="nothing", failure="KeyError: 'rate'")])
    (failed,) = plan.failures()
    assert (failed.remedy, dict(failed.settings), failed.because) == ("nothing", {}, "KeyError: 'rate'")


def test_outputs_are_restored_where_some_dose_restores_them() -> None:
    assert planned(small(), (Nothing(),)).ground.problem.restore is None
    assert planned(small(), (CrossEntropy(outputs="scores"),)).ground.problem.restore is not None


def test_what_it_takes_is_what_its_dearest_doses_take() -> None:
    plan = planned(specimens.healthy(), (SmallerBatch(factor=2), SmallerBatch(factor=4)), (Nothing(),))
    assert plan.updates(20) == updates_of(20, [1.0, 1.0, 4.0, 1.0], [2.0, 4.0])
    horizon = plan.horizon(5_000)
    assert plan.updates(horizon) <= 5_000 < plan.updates(horizon + 1)


def test_doses_on_small_batches_are_left_out_where_they_make_all_walks_short() -> None:
    plan = planned(specimens.healthy(), (SmallerBatch(factor=2), SmallerBatch(factor=4)), (Nothing(),))
    enough = plan.updates(COMFORTABLE)
    assert plan.within(enough) == plan
    fewer = plan.within(enough - 1)
    assert [candidate.doses for candidate in fewer.candidates] == [(SmallerBatch(factor=2),), (Nothing(),)]
    assert fewer.horizon(enough - 1) >= COMFORTABLE
    assert plan.within(1).candidates == fewer.candidates  # a remedy's last dose stays
    assert plan.within(1).horizon(1) == SHORTEST
    assert fewer.updates(SHORTEST) == 3 * (3 * Lengths.of(SHORTEST).whole + Lengths.of(SHORTEST, 2.0).whole)
