"""Trials: arms that share batches and masks, annealed alike; played by hand, and walked."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from tests import zoo
from tests.untouched import assert_untouched
from torch import nn

from unstuck import specimens
from unstuck.errors import InputError
from unstuck.executor import processes
from unstuck.jobs import Origin, on_processes
from unstuck.problem import Problem, Snapshot
from unstuck.reading import Readings
from unstuck.remedies.cross_entropy import CrossEntropy
from unstuck.remedies.lower_learning_rate import LowerLearningRate
from unstuck.remedies.raise_learning_rate import RaiseLearningRate
from unstuck.remedies.reinitialize import Reinitialize
from unstuck.remedy import Intervention, Remedy
from unstuck.specimens.small import classifier, loader, table
from unstuck.target import load
from unstuck.trial import (
    ORDERS,
    SHORTEST,
    ArmRun,
    Ground,
    Task,
    Trial,
    best_dose,
    compare,
    horizon_for,
    in_turn,
    updates_of,
)
from unstuck.walk import fixed_threads, walk


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """A remedy that does nothing; ``number`` tells one dose from another."""

    slug: ClassVar[str] = "nothing"
    chapter: ClassVar[int] = 0
    intervention: ClassVar[Intervention] = Intervention.WIRING
    lowers_rate: ClassVar[bool] = False
    number: int = 0

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Nothing, ...]:  # noqa: ARG003 - the same for every problem
        return (cls(),)

    def apply(self, branch: Problem) -> Problem:
        return branch

    def says(self) -> str:
        return "do nothing"

    def diff(self, problem: Problem) -> str:
        return "+pass"


def ground(problem: Problem, *, seed: int = 0, after: int = 0) -> Ground:
    """Where the problem is after some updates, with its first 24 samples or more."""
    branch = problem.branch()
    walk(branch, after, order=99)
    return Ground(
        problem=branch,
        snapshot=Snapshot.of(branch, after),
        sample=branch.data.sample(64, chunk=64, seed=0),
        seed=seed,
    )


def unheard(updates: int) -> None:
    """Nobody listens."""


def tried(where: Ground, *remedies: Remedy, horizon: int = SHORTEST) -> tuple[Trial, ...]:
    return compare(where, [("a cause", (remedy,)) for remedy in remedies], horizon=horizon, told=unheard)


# --- played by hand -------------------------------------------------------------------------------------------------

Play = Callable[[Task], float]
"""The end of a task's run."""


class Stage:
    """A runner that walks nothing: each arm ends where the play says. It remembers what it was asked."""

    def __init__(self, play: Play, start: float = 2.0) -> None:
        self.play, self.start = play, start
        self.tasks: list[Task] = []

    def __call__(self, where: Ground, tasks: Sequence[Task]) -> Iterator[ArmRun]:
        for task in tasks:
            self.tasks.append(task)
            end = self.play(task)
            yield ArmRun(curve=((where.snapshot.update, self.start),), half=self.start, full=end, updates=10)

    def orders(self, name: str, *, whole: bool = True) -> list[int]:
        return [task.order for task in self.tasks if task.arm.name == name and task.whole is whole]


def jitter(task: Task) -> float:
    """A little, different for each order."""
    return 0.01 * math.sin(1 + task.order)


def cured_by(*numbers: int) -> Play:
    """Half of the loss goes under these doses; the others do nothing."""

    def play(task: Task) -> float:
        cures = any(isinstance(remedy, Nothing) and remedy.number in numbers for remedy in task.arm.treatment)
        return (0.5 if cures else 1.0) + jitter(task)

    return play


@pytest.fixture
def anywhere() -> Ground:
    return ground(zoo.problem(zoo.perceptron))


def test_every_arm_is_told_of_under_its_name(anywhere: Ground) -> None:
    stage = Stage(cured_by(1))
    told: list[int] = []
    candidates = [("first", (Nothing(number=1),)), ("second", (Nothing(number=2),))]
    trials = compare(anywhere, candidates, horizon=12, measure="valid_loss", told=told.append, run=stage)
    assert [trial.arm for trial in trials] == ["untouched", "a/a", "remedy", "remedy"]
    assert [trial.cause for trial in trials] == [None, None, "first", "second"]
    assert [trial.verdict for trial in trials] == ["reference", "reference", "better", "same"]
    assert [trial.remedy for trial in trials] == [None, None, "nothing", "nothing"]
    assert [dict(trial.settings) for trial in trials] == [{}, {}, {"number": 1}, {"number": 2}]
    assert {trial.measure for trial in trials} == {"valid_loss"}
    assert trials[2].treatment == (Nothing(number=1),)
    assert trials[2].gain == pytest.approx(0.5, abs=0.02)
    assert trials[2].mean == pytest.approx(sum(trials[2].per_seed) / ORDERS)
    assert trials[2].interval.low > 0
    assert sum(told) == 10 * len(stage.tasks)


def test_arms_share_their_orders_but_the_arm_again_and_the_choice_of_a_dose_have_others(anywhere: Ground) -> None:
    stage = Stage(cured_by(2))
    doses = tuple(Nothing(number=number) for number in range(4))
    compare(anywhere, [("a cause", doses)], horizon=12, told=unheard, run=stage)
    assert len(set(stage.orders("untouched"))) == ORDERS
    assert stage.orders("remedy") == stage.orders("untouched")
    pilot = stage.orders("remedy", whole=False)
    assert len(pilot) == 4
    assert len(set(pilot)) == 1
    assert not set(stage.orders("a/a")) & set(stage.orders("untouched"))
    assert not set(pilot) & set(stage.orders("untouched") + stage.orders("a/a"))


@pytest.mark.parametrize(
    ("halves", "best"),
    [([0.5, 0.3, 0.4], 1), ([math.nan, math.inf, 0.4], 2), ([math.inf, math.inf, math.inf], 0), ([0.5, 0.5, 0.5], 0)],
)
def test_the_best_dose_is_taken(halves: list[float], best: int, anywhere: Ground) -> None:
    def run(where: Ground, tasks: Sequence[Task]) -> Iterator[ArmRun]:
        return (ArmRun(curve=(), half=half, full=half, updates=5) for half, _ in zip(halves, tasks, strict=True))

    doses = [Nothing(number=number) for number in range(3)]
    assert best_dose(anywhere, doses, 12, told=unheard, run=run) == doses[best]


def test_a_single_dose_needs_no_choice(anywhere: Ground) -> None:
    stage = Stage(cured_by(1))
    assert best_dose(anywhere, [Nothing(number=1)], 12, told=unheard, run=stage) == Nothing(number=1)
    assert stage.tasks == []


def torn(task: Task) -> float:
    """A treatment that helps under every order, the less the further it is from undecided."""
    cured = task.arm.treatment == (Nothing(number=1),)
    return 1.0 + jitter(task) - (0.6 - 0.45 * (task.order % 100 < 2) if cured else 0.0)


def test_more_orders_where_a_material_gain_is_undecided(anywhere: Ground) -> None:
    candidates = [("undecided", (Nothing(number=1),)), ("decided", (Nothing(number=2),))]
    short, long = Stage(torn), Stage(torn)
    few = compare(anywhere, candidates, horizon=12, told=unheard, run=short, growth=0)
    more = compare(anywhere, candidates, horizon=12, told=unheard, run=long, growth=10_000)
    assert [len(trial.per_seed) for trial in few] == [3, 3, 3, 3]
    assert [len(trial.per_seed) for trial in more] == [6, 6, 6, 3]
    assert len(set(long.orders("untouched"))) == 6
    assert not set(long.orders("untouched")) & set(long.orders("a/a"))
    assert few[2].verdict == "same"
    assert more[2].verdict == "better"
    for first, second in zip(few, more, strict=True):
        assert second.per_seed[:3] == first.per_seed


def test_growth_is_a_limit(anywhere: Ground) -> None:
    candidates = [("undecided", (Nothing(number=1),))]
    enough = updates_of(3, 0, 12)
    for growth, orders in ((enough - 1, 3), (enough, 6)):
        trials = compare(anywhere, candidates, horizon=12, told=unheard, run=Stage(torn), growth=growth)
        assert {len(trial.per_seed) for trial in trials} == {orders}


def test_how_far_above_the_best_constant_answer_an_arm_ends_says_nothing(anywhere: Ground) -> None:
    def play(task: Task) -> float:
        return 0.8 + jitter(task) if task.arm.cause == "learned" else (2.0, 8.0, 3.0)[task.order % 3]

    candidates = [("learned", (Nothing(number=1),)), ("nothing", (Nothing(number=2),))]
    plain = compare(anywhere, candidates, horizon=12, told=unheard, run=Stage(play, start=9.0))
    capped = compare(anywhere, candidates, horizon=12, told=unheard, run=Stage(play, start=9.0), ceiling=1.4)
    assert [trial.verdict for trial in plain[2:]] == ["same", "same"]  # drowned
    assert [trial.verdict for trial in capped[2:]] == ["better", "same"]
    assert capped[2].gain == pytest.approx(1 - 0.8 / 1.4, abs=0.02)


def test_where_no_arm_gets_below_it_a_constant_answer_may_be_all_there_is_to_learn(anywhere: Ground) -> None:
    """As at the lecture's saddle, whose one sample any constant can match."""
    trials = compare(
        anywhere, [("a cause", (Nothing(number=1),))], horizon=12, told=unheard, run=Stage(cured_by(1)), ceiling=0.0
    )
    assert trials[2].verdict == "better"


def test_a_run_without_an_end_is_no_crash(anywhere: Ground) -> None:
    def play(task: Task) -> float:
        return math.nan if task.arm.name != "remedy" else 0.5 + jitter(task)

    trials = compare(anywhere, [("a cause", (Nothing(),))], horizon=12, told=unheard, run=Stage(play))
    assert trials[2].verdict == "better"


# --- budgets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("remedies", "doses"), [(1, 0), (1, 3), (4, 0), (4, 13)])
@pytest.mark.parametrize("updates", [500, 1_330, 5_000])
def test_the_horizon_is_the_longest_that_fits(updates: int, remedies: int, doses: int) -> None:
    horizon = horizon_for(updates, remedies=remedies, doses=doses)
    assert updates_of(remedies + 2, doses, horizon + 1) > updates
    assert horizon == SHORTEST or updates_of(remedies + 2, doses, horizon) <= updates


def test_it_is_never_shorter_than_the_shortest() -> None:
    assert horizon_for(10, remedies=4, doses=10) == SHORTEST


@pytest.mark.parametrize("horizon", [SHORTEST, 13, 15])
def test_updates_are_counted_as_they_are_walked(horizon: int) -> None:
    told: list[int] = []
    doses = (LowerLearningRate(factor=0.5), LowerLearningRate(factor=0.1))
    candidates: list[tuple[str, Sequence[Remedy]]] = [("a", doses), ("b", (Nothing(),))]
    compare(ground(zoo.problem(zoo.perceptron)), candidates, horizon=horizon, told=told.append)
    assert sum(told) == updates_of(4, 2, horizon)


# --- walked ---------------------------------------------------------------------------------------------------------


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
    assert best_dose(where, doses, 24, told=unheard, run=in_turn) == doses[1]


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


# --- on other processes ---------------------------------------------------------------------------------------------

TARGET = """
import torch
from torch import nn
from unstuck.specimens import softmax_twice


def steady():
    return softmax_twice()


def fickle():
    model, batch = nn.Linear(2, 1), (torch.randn(4, 2), torch.zeros(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return {"model": model, "loss": nn.MSELoss(), "train": [batch], "optimizer": optimizer}
"""


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of targets, and a path that is put back."""
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "targets_of_a_trial.py"
    path.write_text(TARGET, encoding="utf-8")
    return str(path)


def test_other_processes_find_the_same_bit_for_bit(target: str) -> None:
    """Also where an earlier step has treated the problem, and where a remedy restores outputs."""
    first = LowerLearningRate(factor=0.5)
    with fixed_threads(1):
        given = load(f"{target}:steady")
        started = Snapshot.of(given)
        treated = first.apply(given.branch(started))
        walk(treated, 5)
        where = dataclasses.replace(
            ground(treated, after=3), sample=treated.data.sample(512, chunk=256, seed=0), problem=treated
        )
        candidates: list[tuple[str, Sequence[Remedy]]] = [
            ("a", (LowerLearningRate(factor=0.5), LowerLearningRate(factor=0.1))),
            ("b", (CrossEntropy(outputs="probabilities"),)),
        ]
        here = compare(where, candidates, horizon=12, told=unheard)
        origin = Origin.of(where, f"{target}:steady", [(started, first)])
        with processes(2) as executor:
            there = compare(where, candidates, horizon=12, told=unheard, run=on_processes(executor, origin))
    assert there == here


def test_a_target_that_gives_other_data_each_time_is_refused(target: str) -> None:
    where = ground(load(f"{target}:fickle"))
    with pytest.raises(InputError, match="other data each time"):
        Origin.of(where, f"{target}:fickle", []).ground()
