"""Trials played by hand: which orders arms are given, which dose is taken, what is made of the ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import pytest
from tests import zoo
from tests.trials import Nothing, ground, unheard

from unstuck.remedies.lower_learning_rate import LowerLearningRate
from unstuck.remedy import Remedy
from unstuck.trial import ORDERS, SHORTEST, ArmRun, Ground, Task, best_dose, compare, horizon_for, updates_of

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
