"""From a recipe to a branch: each method is applied as by hand, in one order, and settings that clash are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests import zoo
from torch import nn

from unstuck.errors import InputError
from unstuck.methods.averaging import Averaged, with_averaging
from unstuck.methods.batch import with_batch_size, with_ghost_batches, with_shuffle
from unstuck.methods.loss import with_loss
from unstuck.methods.optimizers import with_optimizer
from unstuck.methods.schedule import Cosine, WarmUp, named, with_schedule
from unstuck.problem import Problem
from unstuck.recipe import Recipe
from unstuck.surgery.insertion import with_normalization
from unstuck.treatment import DECAY, Treated, treated
from unstuck.walk import walk

UPDATES = 12


def deep() -> nn.Module:
    """Two hidden layers that a normalization can be put into."""
    return nn.Sequential(nn.Linear(zoo.FEATURES, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, zoo.CLASSES))


def problem(**fields: Any) -> Problem:
    return zoo.problem(deep, **fields)


def of(given: Problem, **settings: Any) -> Treated:
    return treated(given.branch(), Recipe(**{"updates": UPDATES, **settings}))


def walked(branch: Problem) -> list[tuple[float, float, float]]:
    return [(row.loss, row.rate, row.gradient_norm) for row in walk(branch, UPDATES).curve]


def rates(branch: Problem, updates: int = UPDATES) -> list[float]:
    return [row.rate for row in walk(branch, updates).curve]


BY_HAND: dict[str, tuple[dict[str, Any], Callable[[Problem], Problem]]] = {
    "batch size": ({"batch_size": 10}, lambda b: with_batch_size(b, 10, rule="linear")),
    "square root": (
        {"batch_size": 10, "batch_rule": "square-root"},
        lambda b: with_batch_size(b, 10, rule="square-root"),
    ),
    "no shuffling": ({"shuffle": False}, lambda b: with_shuffle(b, on=False)),
    "normalization": ({"normalization": "batch"}, lambda b: with_normalization(b, "batch").problem),
    "after": (
        {"normalization": "layer", "placement": "after"},
        lambda b: with_normalization(b, "layer", place="after activation").problem,
    ),
    "loss": ({"loss": "squared-error-on-softmax"}, lambda b: with_loss(b, "squared-error-on-softmax")),
    "optimizer": (
        {"optimizer": "adam", "rate": 0.01, "momentum": 0.8, "weight_decay": 0.1},
        lambda b: with_optimizer(b, "adam", rate=0.01, momentum=0.8, weight_decay=0.1),
    ),
    "schedule": (
        {"schedule": "warm-up-cosine", "warm_up": 4},
        lambda b: with_schedule(b, named("warm-up-cosine", updates=UPDATES, warm_up=4)),
    ),
    "clipping": ({"clip_norm": 0.1}, lambda b: b.changed(clip_norm=0.1)),
    "exponential": ({"averaging": "exponential"}, lambda b: with_averaging(b, decay=DECAY)),
    "stochastic": ({"averaging": "stochastic"}, lambda b: with_averaging(b, start=9)),
}
"""Settings, and the same by the methods themselves."""


@pytest.mark.parametrize("name", BY_HAND)
def test_a_method_is_applied_as_by_hand(name: str) -> None:
    settings, by_hand = BY_HAND[name]
    given = problem()
    made, expected = of(given, **settings).problem, by_hand(given.branch())
    assert walked(made) == walked(expected)
    sample = given.data.sample(zoo.SAMPLES, chunk=zoo.SAMPLES, seed=0)
    assert made.mean_loss(sample) == expected.mean_loss(sample)


def test_all_of_them_in_the_order_of_the_documentation() -> None:
    given = problem()
    settings = {
        "averaging": "exponential",
        "clip_norm": 0.5,
        "schedule": "linear",
        "optimizer": "nesterov",
        "rate": 0.02,
        "loss": "squared-error-on-logits",
        "ghost_batch": 4,
        "normalization": "batch",
        "shuffle": True,
        "batch_size": 8,
    }
    branch = with_batch_size(given.branch(), 8, rule="none")
    branch = with_shuffle(branch)
    branch = with_normalization(branch, "batch").problem
    branch = with_ghost_batches(branch, 4)
    branch = with_loss(branch, "squared-error-on-logits")
    branch = with_optimizer(branch, "nesterov", rate=0.02)
    branch = with_schedule(branch, named("linear", updates=UPDATES))
    branch = with_averaging(branch.changed(clip_norm=0.5), decay=DECAY)
    assert walked(of(given, **settings).problem) == walked(branch)


def test_without_methods_it_is_the_training_as_it_is() -> None:
    given = problem()
    made = treated(given.branch(), Recipe())
    assert walked(made.problem) == walked(given.branch())
    assert (made.updates, made.recipe.given, made.notes) == (1_000, {"updates": 1_000, "seed": 0}, ())


@pytest.mark.parametrize(
    ("settings", "resolved"),
    [
        ({"epochs": 3}, {"updates": 15, "seed": 0}),
        ({"epochs": 3, "batch_size": 12}, {"updates": 6, "seed": 0, "batch_size": 12, "batch_rule": "linear"}),
        (
            {"batch_size": 8, "rate": 0.1},
            {"updates": 1_000, "seed": 0, "batch_size": 8, "batch_rule": "none", "rate": 0.1},
        ),
        ({"normalization": "layer"}, {"updates": 1_000, "seed": 0, "normalization": "layer", "placement": "before"}),
        ({"updates": 7, "seed": 5, "clip_norm": 2.0}, {"updates": 7, "seed": 5, "clip_norm": 2.0}),
    ],
)
def test_defaults_are_written_out_and_epochs_are_counted_in_the_new_batches(
    settings: dict[str, Any], resolved: dict[str, Any]
) -> None:
    made = treated(problem().branch(), Recipe(**settings))
    assert made.recipe.given == resolved
    assert made.updates == resolved["updates"]
    again = treated(problem().branch(), made.recipe)
    assert again.recipe == made.recipe


def test_what_the_recipe_does_not_say_is_noted() -> None:
    assert of(problem(), batch_size=10).notes == (
        "with the batch size the rate goes from 0.05 to 0.1, by the linear rule",
    )
    put, left = of(problem(), normalization="batch").notes
    assert put.startswith("normalization was put into 0 (Linear): batch normalization of its 6 channels")
    assert left == "normalization was left out of 4 (Linear): it is an output layer"
    assert of(problem(), clip_norm=1.0).notes == ()


def own_schedule(optimizer: torch.optim.Optimizer) -> Any:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda update: min(1.0, (update + 1) / 4))


SCHEDULED: dict[str, Any] = {"scheduler": own_schedule, "schedule_every": "update"}


def test_a_rate_alone_is_the_base_of_the_schedule_that_is_there() -> None:
    assert rates(of(problem(**SCHEDULED), rate=0.4).problem, 5) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])
    assert rates(of(problem(), rate=0.4).problem, 2) == [0.4, 0.4]


def test_a_rate_keeps_the_ratio_of_the_groups() -> None:
    def groups(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD([{"params": parameters[:2], "lr": 0.1}, {"params": parameters[2:], "lr": 0.01}])

    made = of(problem(optimizer=groups), rate=0.3).problem
    assert [group["lr"] for group in made.optimizer.param_groups] == pytest.approx([0.3, 0.03])


def test_a_schedule_takes_the_place_of_the_one_that_is_there_on_its_base_rates() -> None:
    made = of(problem(**SCHEDULED), schedule="cosine").problem
    assert rates(made) == pytest.approx([0.05 * Cosine(updates=UPDATES)(t) for t in range(UPDATES)])
    made = of(problem(**SCHEDULED), schedule="cosine", optimizer="adam", rate=0.2).problem
    assert rates(made) == pytest.approx([0.2 * Cosine(updates=UPDATES)(t) for t in range(UPDATES)])


def test_a_warm_up_alone_goes_before_the_schedule_that_is_there() -> None:
    warm = WarmUp(updates=6, then=lambda _: 1.0)
    made = of(problem(**SCHEDULED), warm_up=6).problem
    assert rates(made) == pytest.approx([0.05 * min(1, (t + 1) / 4) * warm(t) for t in range(UPDATES)])
    assert rates(of(problem(), warm_up=6).problem) == pytest.approx([0.05 * warm(t) for t in range(UPDATES)])


def test_momentum_and_decay_alone_are_those_of_the_optimizer_that_is_there() -> None:
    (group,) = of(problem(), momentum=0.5, weight_decay=0.01).problem.optimizer.param_groups
    assert (group["momentum"], group["weight_decay"], group["lr"]) == (0.5, 0.01, 0.05)
    adam = problem(optimizer=zoo.OPTIMIZERS["adam"])
    (group,) = of(adam, momentum=0.5).problem.optimizer.param_groups
    assert group["betas"] == (0.5, 0.999)


def test_decay_is_that_of_the_groups_that_decay_already() -> None:
    def groups(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        spared: dict[str, Any] = {"params": parameters[1::2], "weight_decay": 0.0}
        return torch.optim.AdamW([{"params": parameters[::2]}, spared], weight_decay=0.1)

    made = of(problem(optimizer=groups), weight_decay=0.3).problem
    assert [group["weight_decay"] for group in made.optimizer.param_groups] == [0.3, 0.0]


def test_averages_are_around_whatever_optimizer_there_is() -> None:
    made = of(problem(), optimizer="sam", rate=0.1, averaging="stochastic").problem
    assert isinstance(made.optimizer, Averaged)
    assert made.optimizer.param_groups[0]["average_start"] == 9


def begun() -> Problem:
    """A training whose optimizer has begun without momentum, and needs a buffer for it."""
    given = problem(optimizer=lambda parameters: torch.optim.RMSprop(parameters, lr=0.01))
    walk(given, 2)
    return given


REFUSED: dict[str, tuple[Callable[[], Problem], dict[str, Any], str]] = {
    "two lengths": (problem, {"epochs": 2}, "`updates` or the number of `epochs`, not both"),
    "a rule without a size": (problem, {"batch_rule": "linear"}, "`batch-rule` needs `batch-size`; give both"),
    "a place without a kind": (problem, {"placement": "after"}, "`placement` needs `normalization`; give both"),
    "an optimizer without a rate": (problem, {"optimizer": "adam"}, "`optimizer` needs `rate`; give both"),
    "a rate and a rule": (
        problem,
        {"rate": 0.1, "batch_size": 8, "batch_rule": "linear"},
        "`rate` says what the rate is, and `batch-rule` linear what it becomes",
    ),
    "too long a warm-up": (
        problem,
        {"schedule": "cosine", "warm_up": UPDATES},
        "a schedule of 12 updates has no room for a warm-up of 12",
    ),
    "a warm-up of all": (problem, {"warm_up": 20}, "a schedule of 12 updates has no room for a warm-up of 20"),
    "a schedule of what has none": (
        problem,
        {"optimizer": "schedule-free", "rate": 1.0, "schedule": "cosine"},
        "schedule-free averages in place of a schedule; leave `schedule` out",
    ),
    "two averages": (
        problem,
        {"optimizer": "schedule-free", "rate": 1.0, "averaging": "exponential"},
        "leave `averaging` out",
    ),
    "momentum of what has none": (
        lambda: problem(optimizer=lambda p: torch.optim.Adagrad(p, lr=0.1)),
        {"momentum": 0.9},
        "Adagrad, the training's optimizer, has no momentum; give `optimizer` and `rate` as well",
    ),
    "momentum taken up": (begun, {"momentum": 0.9}, "RMSprop has begun without momentum"),
    "decay of what has none": (
        lambda: problem(optimizer=zoo.OPTIMIZERS["lbfgs"]),
        {"weight_decay": 0.1},
        "LBFGS, the training's optimizer, has no weight decay",
    ),
    "a rate in place of none": (
        lambda: problem(optimizer=lambda p: torch.optim.SGD(p, lr=0.0)),
        {"rate": 0.1},
        "the optimizer's rate is 0, so that no `rate` is a multiple of it",
    ),
    "a setting of another method": (
        problem,
        {"optimizer": "adagrad", "rate": 0.1, "momentum": 0.9},
        "adagrad has no momentum",
    ),
    "ghosts without batch normalization": (problem, {"ghost_batch": 4}, "the model has none of torch's layers"),
    "no layer": (
        lambda: zoo.problem(lambda: nn.Linear(zoo.FEATURES, zoo.CLASSES)),
        {"normalization": "batch"},
        "no layer of the model qualifies",
    ),
    "cross-entropy of a regression": (
        lambda: zoo.problem(
            lambda: nn.Linear(zoo.FEATURES, 1),
            loss=nn.MSELoss(),
            train=zoo.shuffled(zoo.table()[0], zoo.table()[0][:, :1]),
        ),
        {"loss": "cross-entropy"},
        "cross-entropy needs targets that are class numbers",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_go_together_is_refused(name: str) -> None:
    make, settings, says = REFUSED[name]
    with pytest.raises(InputError, match=says.replace("(", r"\(")):
        of(make(), **settings)
