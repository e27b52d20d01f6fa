"""Averages of the iterates, against their weights written out; and that a training is judged by them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tests import zoo
from tests.untouched import assert_untouched, content
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

from unstuck.accuracy import accuracy
from unstuck.data import Batch
from unstuck.errors import InputError
from unstuck.judged import judged_weights
from unstuck.methods.averaging import Averaged, share, with_averaging
from unstuck.methods.optimizers import with_optimizer
from unstuck.problem import Problem
from unstuck.snapshot import Snapshot
from unstuck.vector import Point
from unstuck.walk import walk

UPDATES = 13

OPTIMIZERS = {name: made for name, made in zoo.OPTIMIZERS.items() if name != "lbfgs"}


def iterates(problem: Problem, updates: int = UPDATES) -> list[Point]:
    """Where a branch is after each update."""
    branch, batches = problem.branch(), problem.data.order(0)
    points: list[Point] = []
    for update in range(updates):
        walk(branch, 1, start=update, batches=batches)
        points.append(branch.point())
    return points


def weighed(points: list[Point], weights: list[float]) -> Point:
    total = sum(weights)
    return {
        name: sum(weight / total * point[name] for weight, point in zip(weights, points, strict=True))  # type: ignore[misc]
        for name in points[0]
    }


def averages(branch: Problem) -> Point:
    with judged_weights(branch, statistics=False):
        return branch.point()


def assert_near(left: Point, right: Point, tolerance: float = 1e-13) -> None:
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        torch.testing.assert_close(tensor, right[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("decay", [1.0, 0.9, 0.5])
def test_weights_fall_as_powers_of_the_decay(name: str, decay: float) -> None:
    problem = zoo.ZOO[name](torch.float64)
    branch = with_averaging(problem.branch(), decay=decay)
    walk(branch, UPDATES)
    expected = weighed(iterates(problem), [decay ** (UPDATES - 1 - number) for number in range(UPDATES)])
    assert_near(averages(branch), expected)


def test_the_equal_mean_is_torchs() -> None:
    problem = zoo.ZOO["adam"](torch.float64)
    theirs = AveragedModel(problem.model)
    for point in iterates(problem):
        model = problem.branch().model
        model.load_state_dict(point)
        theirs.update_parameters(model)
    branch = with_averaging(problem.branch())
    walk(branch, UPDATES)
    assert_near(averages(branch), dict(theirs.module.named_parameters()))


@pytest.mark.parametrize(("start", "every", "taken"), [(4, 1, range(4, 13)), (0, 3, (2, 5, 8, 11)), (5, 4, (8, 12))])
def test_from_an_update_on_and_every_so_many(start: int, every: int, taken: Any) -> None:
    problem = zoo.ZOO["momentum"](torch.float64)
    branch = with_averaging(problem.branch(), start=start, every=every)
    walk(branch, UPDATES)
    points = iterates(problem)
    assert_near(averages(branch), weighed([points[number] for number in taken], [1.0] * len(taken)))


def test_before_it_starts_the_walk_itself_is_judged() -> None:
    branch = with_averaging(zoo.ZOO["momentum"](torch.float64).branch(), start=9)
    walk(branch, 5)
    assert content(averages(branch)) == content(branch.point())


def bouncing(rate: float) -> Problem:
    """L = w²/2 from w = 1: w_t = (1 − η)^t."""
    data = TensorDataset(torch.ones(4, 1, dtype=torch.float64), torch.zeros(4, 1, dtype=torch.float64))
    problem = zoo.problem(
        lambda: nn.Linear(1, 1, bias=False),
        loss=lambda outputs, targets: (outputs - targets).square().mean() / 2,
        train=DataLoader(data, batch_size=4),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=rate),
    )
    with torch.no_grad():
        next(problem.model.parameters()).fill_(1.0)
    return problem


def test_a_walk_that_bounces_between_the_walls_is_averaged_to_the_bottom() -> None:
    """The mean of (−0.9)^t for t = 1 … n is a geometric sum."""
    branch = with_averaging(bouncing(1.9).branch())
    walk(branch, 20)
    expected = -0.9 * (1 - 0.9**20) / 1.9 / 20
    assert float(averages(branch)["weight"]) == pytest.approx(expected, rel=1e-12)
    assert abs(expected) < 0.3 * abs(float(branch.point()["weight"]))


def test_shares() -> None:
    assert [share(1.0, count) for count in (1, 2, 4)] == [1.0, 0.5, 0.25]
    assert share(0.9, 1) == pytest.approx(1.0)
    assert share(0.9, 500) == pytest.approx(0.1)
    assert share(1 - 1e-9, 7) == pytest.approx(1 / 7, rel=1e-6)


@pytest.mark.parametrize(
    "name", [*OPTIMIZERS, "dropout", "batch norm", "schedule per update", "accumulating", "clipping"]
)
def test_the_walk_does_not_notice(name: str) -> None:
    problem = zoo.ZOO[name](torch.float64)
    plain, averaged = problem.branch(), with_averaging(problem.branch(), decay=0.9)
    sample = problem.data.sample(9, chunk=4, seed=0)
    run = walk(plain, UPDATES)
    judged = walk(averaged, UPDATES, sample=sample, checkpoints=range(UPDATES + 1))
    assert [(row.loss, row.rate) for row in run.curve] == [(row.loss, row.rate) for row in judged.curve]
    assert content(averaged.point()) == content(plain.point())
    assert content(dict(averaged.model.named_buffers())) == content(dict(plain.model.named_buffers()))


@pytest.mark.parametrize("name", [*OPTIMIZERS, "schedule per epoch", "schedule in sequence"])
def test_goes_on_from_a_snapshot(name: str) -> None:
    problem = with_averaging(zoo.ZOO[name](torch.float64).branch(), decay=0.9, start=2)
    whole = problem.branch()
    run = walk(whole, UPDATES, snapshots=(5,))
    batches = problem.data.order(0)
    for _ in range(5):
        next(batches)
    rest = problem.branch(run.snapshots[0])
    walk(rest, UPDATES - 5, start=5, batches=batches)
    assert content(averages(rest)) == content(averages(whole))
    assert content(Snapshot.of(rest).optimizer) == content(Snapshot.of(whole).optimizer)
    copied = whole.branch()
    assert content(averages(copied)) == content(averages(whole))


def test_copied_with_its_model_it_walks_the_copy() -> None:
    problem = zoo.ZOO["adam"](torch.float64)
    optimizer = Averaged(problem.optimizer)
    problem = dataclasses.replace(problem, optimizer=optimizer)
    model, other = copy.deepcopy((problem.model, optimizer))
    walk(dataclasses.replace(problem, model=model, optimizer=other), 3)
    assert other.param_groups is other.wrapped.param_groups
    assert other.param_groups[0]["iterates"] == 3
    assert optimizer.param_groups[0]["iterates"] == 0
    assert content(problem.point()) == content(problem.branch().point())


def test_groups_and_state_are_those_of_the_optimizer_inside() -> None:
    inside = zoo.ZOO["adam"](torch.float64).optimizer
    optimizer = Averaged(inside)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.step()
    scheduler.step()
    assert inside.param_groups[0]["lr"] == 0.005
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    optimizer.step()
    scheduler.step()
    assert inside.param_groups[0]["lr"] == 0.0025
    assert inside.param_groups is optimizer.param_groups
    assert inside.state is optimizer.state


def test_a_parameter_that_no_gradient_reaches_stays_without_state() -> None:
    """Adam begins where it finds no state: an average alone would make it stumble later."""
    problem = zoo.two_inputs(torch.float64)
    adam = torch.optim.Adam(problem.model.parameters(), lr=0.01)
    branch = with_averaging(dataclasses.replace(problem, optimizer=adam).branch())
    walk(branch, 3)
    unused = branch.model.get_parameter("unused")
    assert not branch.optimizer.state.get(unused)
    assert content(averages(branch)["unused"]) == content(branch.point()["unused"])


def test_around_an_optimizer_that_looks_twice() -> None:
    problem = with_optimizer(zoo.ZOO["batch norm"](torch.float64).branch(), "sam", rate=0.1)
    points = iterates(problem)
    branch = with_averaging(problem)
    walk(branch, UPDATES)
    assert_near(averages(branch), weighed(points, [1.0] * UPDATES))


@pytest.fixture(params=["batch norm", "batch norm of images", "dropout", "tied weights"])
def walked(request: pytest.FixtureRequest) -> Problem:
    branch = with_averaging(zoo.ZOO[request.param](torch.float64).branch(), decay=0.8)
    walk(branch, UPDATES)
    return branch


def test_the_loss_is_that_of_the_average(walked: Problem) -> None:
    sample = walked.data.sample(24, chunk=6, seed=0)
    there, mean = walked.point(), averages(walked)
    assert walked.mean_loss(sample) == walked.mean_loss(sample, point=mean)
    assert walked.mean_loss(sample) != walked.mean_loss(sample, point=there)


@pytest.mark.parametrize("mode", ["measuring", "evaluation"])
def test_afterwards_everything_is_as_before(walked: Problem, mode: Any) -> None:
    sample = walked.data.sample(24, chunk=6, seed=0)
    with assert_untouched(walked):
        walked.mean_loss(sample, mode=mode)
        accuracy(walked, sample)


def test_afterwards_everything_is_as_before_when_it_fails(walked: Problem) -> None:
    def broken() -> Iterator[Batch]:
        yield walked.data.sample(4, chunk=4, seed=0)[0]
        raise ZeroDivisionError

    with assert_untouched(walked), pytest.raises(ZeroDivisionError):
        walked.mean_loss(broken(), mode="evaluation")


def test_running_statistics_are_those_of_the_average() -> None:
    """Every channel is normalized, on the training data, to mean 0 and deviation 1: not so by the walk's statistics."""
    problem = zoo.problem(
        lambda: nn.Sequential(nn.Linear(zoo.FEATURES, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, zoo.CLASSES)),
        train=zoo.shuffled(*zoo.table(), batch=24),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=2.0),
    )
    branch = with_averaging(problem.branch())
    walk(branch, 5)

    def spread() -> Tensor:
        model = copy.deepcopy(branch.model).eval()
        inputs = zoo.table()[0]
        with torch.no_grad():
            normalized = (model[1](model[0](inputs)) - model[1].bias) / model[1].weight  # type: ignore[index]
        return torch.cat([normalized.mean(0), normalized.std(0) - 1])

    with judged_weights(branch, statistics=True):
        assert float(spread().abs().max()) < 1e-4
    with judged_weights(branch, statistics=False):
        assert float(spread().abs().max()) > 0.1


def test_looking_within_a_look_changes_nothing(walked: Problem) -> None:
    sample = walked.data.sample(24, chunk=6, seed=0)
    alone = walked.mean_loss(sample, mode="evaluation")
    with judged_weights(walked, statistics=True):
        assert walked.mean_loss(sample, mode="evaluation") == alone
        assert not walked.optimizer.param_groups[0]["train_mode"]
    assert walked.optimizer.param_groups[0]["train_mode"]


def test_a_branch_of_what_stands_at_the_average_walks_on_from_where_it_walked(walked: Problem) -> None:
    averaged: Any = walked.optimizer
    there = walked.point()
    averaged.eval()
    assert content(walked.point()) != content(there)
    assert content(walked.branch().point()) == content(there)
    with pytest.raises(InputError, match=r"is in eval mode: call its train\(\) before the next update"):
        averaged.step()


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("adam", {"decay": 0.0}, "the decay must be above 0 and at most 1, the equal mean; got 0.0"),
        ("adam", {"decay": 1.5}, "got 1.5"),
        ("adam", {"start": -1}, "`start` must be 0 or more and `every` 1 or more; got -1 and 1"),
        ("adam", {"every": 0}, "got 0 and 0"),
        ("lbfgs", {}, "L-BFGS takes few, long steps"),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        with_averaging(zoo.ZOO[name](torch.float64).branch(), **settings)


def test_an_average_is_not_averaged_again() -> None:
    once = with_averaging(zoo.ZOO["adam"](torch.float64).branch())
    with pytest.raises(InputError, match="Averaged is judged by an average of its own"):
        with_averaging(once)


def test_nothing_of_the_callers_is_changed() -> None:
    problem = zoo.ZOO["batch norm"](torch.float64)
    with assert_untouched(problem):
        walk(with_averaging(problem.branch()), 3)
