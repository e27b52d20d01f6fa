"""Arms as they are walked: they share batches and masks, and are annealed alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests import zoo
from tests.trials import Nothing, compared, ground, tried
from tests.untouched import assert_untouched
from torch import nn

from unstuck import specimens
from unstuck.classifier import classifier, loader, table
from unstuck.data import Data
from unstuck.horizon import ORDERS, SHORTEST
from unstuck.problem import Problem
from unstuck.remedies.cross_entropy import CrossEntropy
from unstuck.remedies.larger_batch import LargerBatch
from unstuck.remedies.lower_learning_rate import LowerLearningRate
from unstuck.remedies.raise_learning_rate import RaiseLearningRate
from unstuck.remedies.reinitialize import Reinitialize
from unstuck.remedies.smaller_batch import SmallerBatch
from unstuck.remedy import Remedy
from unstuck.trial import Trial
from unstuck.untouched import derived_seed
from unstuck.walk import fixed_threads, walk


@pytest.mark.parametrize(
    "name", ["dropout", "batch norm", "adam", "weighted loader", "stream loader", "schedule per epoch"]
)
def test_arms_share_batches_and_masks(name: str) -> None:
    """So that a remedy that does nothing ends, order for order, where the untouched arm ends."""
    problem = zoo.ZOO[name](torch.float64)
    with assert_untouched(problem):
        untouched, again, nothing = tried(ground(problem), Nothing())
    assert nothing.per_seed == untouched.per_seed
    assert nothing.half_per_seed == untouched.half_per_seed
    assert nothing.curves == untouched.curves
    assert nothing.verdict == "same"
    assert again.per_seed != untouched.per_seed


def test_the_same_seed_makes_the_same_trial() -> None:
    problem = zoo.ZOO["dropout"](torch.float64)
    first = tried(ground(problem), LowerLearningRate(factor=0.3))
    torch.rand(3)  # the process's generator decides nothing
    assert tried(ground(problem), LowerLearningRate(factor=0.3)) == first
    assert tried(ground(problem, seed=1), LowerLearningRate(factor=0.3))[0].per_seed != first[0].per_seed


def test_a_trial_starts_where_its_ground_is_and_leaves_it_there() -> None:
    where = ground(zoo.ZOO["adam"](torch.float64), after=7)
    expected = where.problem.branch(where.snapshot).mean_loss(where.sample)
    trials = tried(where, Reinitialize())
    assert {trial.from_update for trial in trials} == {7}
    for curve in (*trials[0].curves, *trials[1].curves):
        assert curve[0] == (0, expected)
        assert curve[-1][0] == 2 * SHORTEST
    assert where.problem.branch(where.snapshot).mean_loss(where.sample) == expected


class Ball:
    """Heavy ball on w²/2, by hand."""

    def __init__(self, rate: float, momentum: float) -> None:
        self.rate, self.momentum = rate, momentum
        self.place, self.movement = 1.0, 0.0

    def walk(self, updates: int, *, anneal: bool = False) -> Ball:
        for number in range(updates):
            rate = self.rate * (1 - number / updates) if anneal else self.rate
            self.movement = self.momentum * self.movement + self.place
            self.place -= rate * self.movement
        return self

    def copy(self) -> Ball:
        other = Ball(self.rate, self.momentum)
        other.place, other.movement = self.place, self.movement
        return other

    @property
    def loss(self) -> float:
        return self.place**2 / 2


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_rates_fall_to_zero_on_a_side_branch_and_the_trunk_goes_on_as_it_was(momentum: float) -> None:
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.ones_(model.weight)
    point = (torch.ones(1, 1).double(), torch.zeros(1, 1).double())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=momentum)
    problem = Problem(model, lambda outputs, targets: (outputs - targets).pow(2).mean() / 2, [point], optimizer)
    untouched, *_ = tried(ground(problem), Nothing(), horizon=16)
    ball = Ball(0.05, momentum)
    half = ball.walk(16).copy().walk(4, anneal=True).loss
    middle = ball.loss
    full = ball.walk(16).copy().walk(8, anneal=True).loss
    assert untouched.half_per_seed == pytest.approx([half] * ORDERS)
    assert untouched.per_seed == pytest.approx([full] * ORDERS)
    assert dict(untouched.curves[0])[16] == pytest.approx(middle)
    assert dict(untouched.curves[0])[32] == pytest.approx(ball.loss)


def noisy_classifier() -> Problem:
    """A classifier at a rate that many would call tuned: the noise of its last steps outweighs what is left to gain."""
    return classifier("classifier, noisy", rate=0.1, train=loader(*table(), batch=16))


def test_an_arm_that_only_lowers_the_noise_is_not_better() -> None:
    """After as many updates, its loss is lower under every order; annealed alike, it is not."""
    with fixed_threads(1):
        where = ground(noisy_classifier(), after=200)
        lower, raised = LowerLearningRate(factor=0.1), RaiseLearningRate(factor=3.0)
        for order in range(ORDERS):
            plain, lowered = where.problem.branch(where.snapshot), lower.apply(where.problem.branch(where.snapshot))
            for branch in (plain, lowered):
                walk(branch, 100, order=order, start=200)
            assert lowered.mean_loss(where.sample) < plain.mean_loss(where.sample)
        trials = tried(where, lower, raised, horizon=50)
    assert [trial.verdict for trial in trials[2:]] == ["same", "worse"]


def test_a_cure_is_better_and_its_opposite_is_worse() -> None:
    where = ground(specimens.rate_too_low())
    trials = tried(where, RaiseLearningRate(factor=1000.0), LowerLearningRate(factor=0.01), horizon=32)
    assert [trial.verdict for trial in trials[2:]] == ["better", "worse"]


def test_from_a_diverging_training_the_cure_is_told() -> None:
    untouched, _, cured = tried(ground(specimens.rate_too_high()), LowerLearningRate(factor=0.01))
    assert max(untouched.per_seed) > 1.5 * dict(untouched.curves[0])[0]
    assert cured.verdict == "better"


def test_a_dose_that_breaks_is_not_the_best() -> None:
    where = ground(zoo.problem(zoo.perceptron, loss=nn.MSELoss(), train=zoo.shuffled(*_regression())))
    doses = [RaiseLearningRate(factor=1e6), RaiseLearningRate(factor=1.1)]
    assert compared(where, ("a cause", doses), horizon=24).trials[2].treatment == (doses[1],)


def _regression() -> tuple[torch.Tensor, torch.Tensor]:
    inputs = zoo.table()[0]
    return inputs, inputs[:, :3].exp()


def test_outputs_are_restored_for_all_arms_alike() -> None:
    """A likelihood of scores has no lower end: judged as it is, the untouched arm would win by far."""
    problem = zoo.problem(zoo.perceptron, loss=nn.NLLLoss())
    where = ground(problem)
    ((inputs, targets),) = where.sample
    with torch.no_grad():
        entropy = float(F.cross_entropy(problem.model(inputs), targets))
    trials = tried(where, CrossEntropy(outputs="scores"), Nothing(), horizon=40)
    starts = [dict(curve)[0] for trial in trials for curve in trial.curves]
    assert starts == pytest.approx([entropy] * len(starts))
    assert min(loss for trial in trials for curve in trial.curves for _, loss in curve) > 0
    assert [trial.verdict for trial in trials[2:]] == ["better", "same"]
    assert trials[3].per_seed == trials[0].per_seed
    assert max(trials[0].per_seed) > entropy  # it follows the loss as it is, to where outputs mean nothing


# --- batches of another size ----------------------------------------------------------------------------------------


def two_hundred() -> Problem:
    """A classifier of 1,024 samples in batches of 32."""
    return classifier("classifier", rate=0.02)


@pytest.mark.parametrize(("remedy", "pace"), [(LargerBatch(factor=4), 1 / 4), (SmallerBatch(factor=4), 4)])
def test_arms_on_other_batches_see_as_many_samples(remedy: Remedy, pace: float) -> None:
    with fixed_threads(1):
        untouched, _, treated = tried(ground(two_hundred()), remedy, horizon=16)
    assert treated.samples == untouched.samples == 32 * untouched.updates
    assert treated.updates == treated.gradient_evaluations == pace * untouched.updates
    updates = [update for update, _ in treated.curves[0]]
    assert updates[0] == 0
    assert updates[-1] == 32  # as an update of the untouched arm, which has seen as many samples
    assert updates == sorted(updates)


def test_they_see_them_in_the_same_order() -> None:
    """The walk by hand: the trunk and the tails over one sequence of samples, cut into batches four times as large."""
    with fixed_threads(1):
        where = ground(two_hundred())
        treated = tried(where, LargerBatch(factor=4), horizon=16)[2]
        order = derived_seed(where.seed, 0, 71)
        plain = where.problem.branch(where.snapshot)
        drawn = plain.data.order(order)
        branch = where.problem.branch(where.snapshot)
        large = [
            tuple(torch.cat(part) for part in zip(*(next(drawn) for _ in range(4)), strict=True)) for _ in range(9)
        ]
        joined = Data(large).order(0)
        for _ in range(4):  # H of four large batches, a tail of one, and H once more
            walk(branch, 1, batches=joined)
        walk(branch.branch(), 1, batches=joined)
        walk(branch, 4, start=4, batches=joined)
        end = branch.mean_loss(where.sample)
    assert treated.curves[0][-1][1] == pytest.approx(end, rel=1e-6)


def test_the_gain_at_equal_cost_is_told_beside_that_at_equal_samples() -> None:
    """As many gradient evaluations: of the untouched curve its first quarter, where batches are four times as large."""
    with fixed_threads(1):
        where = ground(two_hundred())
        untouched, again, larger, smaller, same = tried(
            where, LargerBatch(factor=4), SmallerBatch(factor=4), Nothing(), horizon=20
        )

    def mean_at(trial: Trial, update: float) -> float:
        curves = [np.array(curve) for curve in trial.curves]
        return float(np.mean([np.interp(update, curve[:, 0], curve[:, 1]) for curve in curves]))

    early, end = mean_at(untouched, 10), mean_at(untouched, 40)
    assert larger.gain_at_equal_cost == pytest.approx((early - mean_at(larger, 40)) / early)
    assert smaller.gain_at_equal_cost == pytest.approx((end - mean_at(smaller, 10)) / end)
    assert untouched.gain_at_equal_cost is again.gain_at_equal_cost is same.gain_at_equal_cost is None


# --- failures -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Trap(Nothing):
    """Lets the model walk so many passes, and then raises."""

    passes: int = 0

    def apply(self, branch: Problem) -> Problem:
        left = [self.passes]

        def step(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
            left[0] -= 1
            if left[0] < 0:
                raise ValueError(f"after {self.passes} passes\nand a second line")
            return F.cross_entropy(model(batch[0]), batch[1])

        return branch.changed(training_step=step)


@pytest.mark.parametrize("passes", [0, 5, 20])
def test_what_a_treated_walk_raises_is_the_failure_of_its_arm(passes: int) -> None:
    problem = zoo.ZOO["dropout"](torch.float64)
    with assert_untouched(problem):
        _, _, trap, lower = tried(ground(problem), Trap(passes=passes), LowerLearningRate(factor=0.5))
    assert trap.verdict == "failed"
    assert trap.because == f"ValueError: after {passes} passes"
    assert trap.updates >= passes  # what was walked is counted
    assert lower.verdict != "failed"


def test_what_the_untouched_walk_raises_is_raised() -> None:
    problem = zoo.problem(zoo.perceptron)
    calls = [0]

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        if calls[0] > 30:
            raise RuntimeError("of no remedy's making")
        return F.cross_entropy(outputs, targets)

    with pytest.raises(RuntimeError, match="of no remedy's making"):
        tried(ground(problem.changed(loss=loss)), LowerLearningRate(factor=0.5))
