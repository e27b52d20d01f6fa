"""Comparisons played by hand: which orders arms are given, which dose is taken, when arms are looked at again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import pytest
from tests import zoo
from tests.trials import Nothing, compared, ground

from unstuck.comparison import LOOKS, Comparison
from unstuck.horizon import ORDERS, SHORTEST, Lengths, updates_of
from unstuck.plan import Candidate, Plan
from unstuck.remedies.lower_learning_rate import LowerLearningRate
from unstuck.trial import ArmRun, Ground, Task, Trial

Play = Callable[[Task], float]
"""The end of a task's run."""


class Stage:
    """A runner that walks nothing: each arm ends where the play says. It remembers what it was asked."""

    def __init__(
        self, play: Play, start: float = 2.0, failure: Callable[[Task], str | None] = lambda task: None
    ) -> None:
        self.play, self.start, self.failure = play, start, failure
        self.tasks: list[Task] = []

    def __call__(self, where: Ground, tasks: Sequence[Task]) -> Iterator[ArmRun]:
        for task in tasks:
            self.tasks.append(task)
            lengths = Lengths.of(task.horizon)
            yield ArmRun(
                curve=((where.snapshot.update, self.start),),
                half=self.start,
                full=self.play(task),
                updates=lengths.whole if task.whole else lengths.half,
                failure=self.failure(task),
            )

    def orders(self, name: str, *, whole: bool = True) -> list[int]:
        return [task.order for task in self.tasks if task.arm.name == name and task.whole is whole]


def jitter(task: Task) -> float:
    """A little, different for each order."""
    return 0.01 * math.sin(1 + task.order)


def number_of(task: Task) -> int | None:
    """Which dose of nothing a task walks with."""
    return next((remedy.number for remedy in task.arm.treatment if isinstance(remedy, Nothing)), None)


def cured_by(*numbers: int) -> Play:
    """Half of the loss goes under these doses; the others do nothing."""
    return lambda task: (0.5 if number_of(task) in numbers else 1.0) + jitter(task)


@pytest.fixture
def anywhere() -> Ground:
    return ground(zoo.problem(zoo.perceptron))


def candidate(cause: str, *numbers: int) -> tuple[str, tuple[Nothing, ...]]:
    return cause, tuple(Nothing(number=number) for number in numbers)


def trials(where: Ground, *candidates: tuple[str, tuple[Nothing, ...]], **given: object) -> tuple[Trial, ...]:
    return compared(where, *candidates, **given).trials  # type: ignore[arg-type]


def test_every_arm_is_told_of_under_its_name(anywhere: Ground) -> None:
    stage = Stage(cured_by(1))
    told: list[int] = []
    found = trials(anywhere, candidate("first", 1), candidate("second", 2), told=told.append, run=stage)
    assert [trial.arm for trial in found] == ["untouched", "a/a", "remedy", "remedy"]
    assert [trial.cause for trial in found] == [None, None, "first", "second"]
    assert [trial.verdict for trial in found] == ["reference", "reference", "better", "same"]
    assert [trial.remedy for trial in found] == [None, None, "nothing", "nothing"]
    assert [dict(trial.settings) for trial in found] == [{}, {}, {"number": 1}, {"number": 2}]
    assert {trial.measure for trial in found} == {anywhere.measure}
    assert found[2].treatment == (Nothing(number=1),)
    assert found[2].gain == pytest.approx(0.5, abs=0.02)
    assert found[2].mean == pytest.approx(sum(found[2].per_seed) / ORDERS)
    assert found[2].interval.low > 0
    assert sum(told) == Lengths.of(SHORTEST).whole * len(stage.tasks)


def test_arms_share_their_orders_but_the_arm_again_and_the_choice_of_a_dose_have_others(anywhere: Ground) -> None:
    stage = Stage(cured_by(2))
    trials(anywhere, candidate("a cause", 0, 1, 2, 3), run=stage)
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
        for task in tasks:
            half = 1.0 if task.whole else halves[number_of(task) or 0]
            yield ArmRun(curve=((0, 2.0),), half=half, full=half, updates=5)

    assert trials(anywhere, candidate("a cause", 0, 1, 2), run=run)[2].treatment == (Nothing(number=best),)


def test_a_single_dose_needs_no_choice(anywhere: Ground) -> None:
    stage = Stage(cured_by(1))
    trials(anywhere, candidate("a cause", 1), run=stage)
    assert stage.orders("remedy", whole=False) == []


# --- looks ----------------------------------------------------------------------------------------------------------


def torn(task: Task) -> float:
    """A treatment that helps under every order, the less the further it is from undecided."""
    return 1.0 + jitter(task) - (0.6 - 0.45 * (task.order % 100 < 2) if number_of(task) == 1 else 0.0)


def tossed(task: Task) -> float:
    """One that helps a good deal or does a good deal of harm, by turns: never decided."""
    if number_of(task) != 1:
        return 1.0 + jitter(task)
    return 1.0 - (0.9 if task.order % 3 == 0 else -0.05)


def test_more_orders_where_a_material_gain_is_undecided(anywhere: Ground) -> None:
    candidates = [candidate("undecided", 1), candidate("decided", 2)]
    short, long = Stage(torn), Stage(torn)
    few = trials(anywhere, *candidates, run=short)
    more = trials(anywhere, *candidates, run=long, growth=10_000)
    assert [len(trial.per_seed) for trial in few] == [3, 3, 3, 3]
    assert few[2].verdict == "same"
    assert few[2].undecided
    assert len(more[2].per_seed) > 3
    assert len(more[3].per_seed) == 3
    assert [len(trial.per_seed) for trial in more[:2]] == [len(more[2].per_seed)] * 2
    assert more[2].verdict == "better"
    assert not more[2].undecided
    assert len(set(long.orders("untouched"))) == len(more[0].per_seed)
    assert not set(long.orders("untouched")) & set(long.orders("a/a"))
    for first, second in zip(few, more, strict=True):
        assert second.per_seed[:3] == first.per_seed


def test_orders_are_added_until_the_looks_are_used_up(anywhere: Ground) -> None:
    found = trials(anywhere, candidate("undecided", 1), run=Stage(tossed), growth=100_000)
    assert [len(trial.per_seed) for trial in found] == [LOOKS * ORDERS] * 3
    assert found[2].verdict == "same"
    assert found[2].undecided


def test_growth_is_a_limit(anywhere: Ground) -> None:
    enough = updates_of(SHORTEST, [1.0, 1.0, 1.0])
    for growth, orders in ((enough - 1, 3), (enough, 6), (2 * enough - 1, 6), (2 * enough, 9)):
        found = trials(anywhere, candidate("undecided", 1), run=Stage(tossed), growth=growth)
        assert {len(trial.per_seed) for trial in found} == {orders}


def test_what_was_decided_at_one_look_stays_at_the_next(anywhere: Ground) -> None:
    """At the second look there is less of the error left to spend, and it is spent on what is open."""

    def play(task: Task) -> float:
        just = (0.66, 0.7, 0.74)[task.order % 3] + jitter(task)  # p between 0.0125 and 0.025 over three orders
        return just if number_of(task) == 2 else tossed(task)

    found = trials(anywhere, candidate("open", 1), candidate("decided", 2), run=Stage(play), growth=100_000)
    assert [len(trial.per_seed) for trial in found] == [12, 12, 12, 3]
    assert found[3].verdict == "better"


def test_every_look_spends_a_part_of_the_error(anywhere: Ground) -> None:
    """A gain that is significant at 5 % where there is one look is not yet so where there may be more."""

    def play(task: Task) -> float:
        return 1.0 + jitter(task) - ((0.17, 0.30, 0.43)[task.order % 3] if number_of(task) == 1 else 0.0)

    once = trials(anywhere, candidate("a cause", 1), run=Stage(play))
    again = trials(anywhere, candidate("a cause", 1), run=Stage(play), growth=updates_of(SHORTEST, [1.0] * 3))
    assert once[2].verdict == "better"
    assert len(again[2].per_seed) == 6


# --- where arms have to get to --------------------------------------------------------------------------------------


def test_how_far_above_the_best_constant_answer_an_arm_ends_says_nothing(anywhere: Ground) -> None:
    def play(task: Task) -> float:
        return 0.8 + jitter(task) if task.arm.cause == "learned" else (2.0, 8.0, 3.0)[task.order % 3]

    candidates = [candidate("learned", 1), candidate("nothing", 2)]
    plain = trials(anywhere, *candidates, run=Stage(play, start=9.0))
    capped = trials(anywhere, *candidates, run=Stage(play, start=9.0), ceiling=1.4)
    assert [trial.verdict for trial in plain[2:]] == ["same", "same"]  # drowned
    assert [trial.verdict for trial in capped[2:]] == ["better", "same"]
    assert capped[2].gain == pytest.approx(1 - 0.8 / 1.4, abs=0.02)


def test_where_no_arm_gets_below_it_a_constant_answer_may_be_all_there_is_to_learn(anywhere: Ground) -> None:
    """As at the lecture's saddle, whose one sample any constant can match."""
    assert trials(anywhere, candidate("a cause", 1), run=Stage(cured_by(1)), ceiling=0.0)[2].verdict == "better"


def test_a_run_without_an_end_is_no_crash(anywhere: Ground) -> None:
    def play(task: Task) -> float:
        return math.nan if task.arm.name != "remedy" else 0.5 + jitter(task)

    assert trials(anywhere, candidate("a cause", 1), run=Stage(play))[2].verdict == "better"


# --- longer walks ---------------------------------------------------------------------------------------------------


def slow(task: Task) -> float:
    """An arm whose gain grows with the walk: a tenth at the shortest, more later."""
    gain = 0.1 * task.horizon / SHORTEST if number_of(task) == 1 else 0.0
    return 1.0 + jitter(task) - gain


def test_what_looked_promising_is_walked_longer_on_other_orders(anywhere: Ground) -> None:
    stage = Stage(slow)
    first = compared(anywhere, candidate("slow", 1), candidate("nothing", 2), run=stage)
    assert [trial.verdict for trial in first.trials[2:]] == ["same", "same"]
    before = {task.order for task in stage.tasks}
    longer = first.longer(updates_of(3 * SHORTEST, [1.0] * 3))
    assert longer is not None
    assert longer.horizon == 3 * SHORTEST
    longer.run = stage
    longer.settle(10_000)
    assert [(trial.cause, trial.verdict) for trial in longer.trials[2:]] == [("slow", "better")]
    assert not before & {task.order for task in stage.tasks if task.horizon == 3 * SHORTEST}


def test_nothing_is_walked_longer_without_a_promise_or_room(anywhere: Ground) -> None:
    hopeless = compared(anywhere, candidate("nothing", 2), run=Stage(slow))
    assert hopeless.longer(10_000) is None
    assert compared(anywhere, candidate("slow", 1), run=Stage(slow)).longer(updates_of(SHORTEST, [1.0] * 3)) is None


# --- one on top of another ------------------------------------------------------------------------------------------


def test_a_remedy_on_top_of_another_is_compared_with_the_untouched(anywhere: Ground) -> None:
    def play(task: Task) -> float:
        return (0.5 if [each.number for each in task.arm.treatment] == [3, 1] else 1.0) + jitter(task)  # type: ignore[attr-defined]

    def planned(after: tuple[Nothing, ...]) -> Comparison:
        each = Candidate(cause="a cause", remedy="nothing", doses=(Nothing(number=1), Nothing(number=2)), after=after)
        return Comparison(plan=Plan.of(anywhere, [each]), horizon=SHORTEST, run=Stage(play))

    for after, expected in (((), "same"), ((Nothing(number=3),), "better")):
        comparison = planned(after)
        comparison.settle(10_000)
        trial = comparison.trials[2]
        assert trial.verdict == expected
        assert trial.treatment == (*after, Nothing(number=1))
    assert trial.because.startswith("after nothing, ")


# --- failures -------------------------------------------------------------------------------------------------------


def test_an_arm_that_fails_under_one_order_has_failed_and_the_others_are_decided_without_it(anywhere: Ground) -> None:
    def failure(task: Task) -> str | None:
        return "no such thing" if number_of(task) == 3 and task.order == 1 else None

    wide = {1: (0.17, 0.30, 0.43)}  # significant alone, not among three

    def play(task: Task) -> float:
        return 1.0 + jitter(task) - wide.get(number_of(task) or 0, (0.0,) * 3)[task.order % 3]

    candidates = [candidate("cured", 1), candidate("failed", 3), candidate("failed too", 3)]
    found = trials(anywhere, *candidates, run=Stage(play, failure=failure))
    assert [trial.verdict for trial in found[2:]] == ["better", "failed", "failed"]
    assert found[3].because == "no such thing"
    assert math.isnan(found[3].gain)


# --- opposites ------------------------------------------------------------------------------------------------------


def opposed(where: Ground, play: Play, limit: int = 10_000, **given: object) -> tuple[Comparison, bool]:
    comparison = compared(where, candidate("a cause", 1), run=Stage(play, **given))  # type: ignore[arg-type]
    return comparison, comparison.oppose(comparison.trials[2], limit)


def test_the_opposite_is_walked_under_the_same_orders_and_judged(anywhere: Ground) -> None:
    comparison, held = opposed(anywhere, lambda task: cured_by(1)(task) + (0.4 if number_of(task) == -1 else 0.0))
    assert held
    *_, remedy, opposite = comparison.trials
    assert (opposite.arm, opposite.remedy, opposite.cause) == ("opposite", "nothing", "a cause")
    assert dict(opposite.settings) == {"number": -1}
    assert opposite.verdict == "worse"
    assert remedy.verdict == "better"
    assert comparison.spent == updates_of(SHORTEST, [1.0] * 4)


def test_an_opposite_that_helps_as_much_is_better_too(anywhere: Ground) -> None:
    comparison, _ = opposed(anywhere, cured_by(1, -1))
    assert [trial.verdict for trial in comparison.trials[2:]] == ["better", "better"]


def test_an_opposite_that_the_budget_does_not_hold_is_not_walked(anywhere: Ground) -> None:
    enough = updates_of(SHORTEST, [1.0] * 4)
    for limit, arms in ((enough - 1, 3), (enough, 4)):
        comparison, held = opposed(anywhere, cured_by(1), limit)
        assert held is (arms == 4)
        assert len(comparison.trials) == arms


def test_where_there_is_no_sensible_opposite_nothing_is_walked(anywhere: Ground) -> None:
    stage = Stage(cured_by(0))
    comparison = compared(anywhere, candidate("a cause", 0), run=stage)
    walked = len(stage.tasks)
    assert comparison.oppose(comparison.trials[2], 0)
    assert len(stage.tasks) == walked


@pytest.mark.parametrize("horizon", [SHORTEST, 13, 15])
def test_updates_are_counted_as_they_are_walked(horizon: int) -> None:
    told: list[int] = []
    doses = (LowerLearningRate(factor=0.5), LowerLearningRate(factor=0.1))
    where = ground(zoo.problem(zoo.perceptron))
    comparison = compared(where, ("a", doses), ("b", (Nothing(),)), horizon=horizon, told=told.append)
    assert sum(told) == comparison.spent == updates_of(horizon, [1.0] * 4, [1.0] * 2)
    assert {trial.updates for trial in comparison.trials} == {Lengths.of(horizon).whole}
