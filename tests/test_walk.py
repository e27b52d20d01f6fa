"""The one loop, against a loop as a user would write it."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from typing import Any

import pytest
import torch
from tests import by_hand, zoo
from tests.untouched import content
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from unstuck.problem import Problem
from unstuck.snapshot import Snapshot
from unstuck.walk import CHECK_EVERY, Run, Update, walk

LONG = 13
"""Updates: more than two epochs of every loader but the one with batches of one."""


def state(problem: Problem) -> Any:
    """Everything that a walk changes, bit for bit."""
    model = {name: content(tensor) for name, tensor in problem.model.state_dict().items()}
    scheduler = None if problem.scheduler is None else content(problem.scheduler.state_dict())
    return model, content(problem.optimizer.state_dict()), scheduler


def losses(run: Run) -> list[float]:
    return [row.loss for row in run.curve]


@pytest.mark.filterwarnings("ignore:Seems like `optimizer.step")
@pytest.mark.parametrize("name", zoo.ZOO)
def test_agrees_bit_for_bit_with_a_loop_written_by_hand(name: str) -> None:
    walked, by_user = zoo.ZOO[name](torch.float64).branch(), zoo.ZOO[name](torch.float64)
    run = walk(walked, LONG, order=3)
    expected = by_hand.train(by_user, LONG, by_user.data.order(3), order=3)
    assert losses(run) == expected
    assert state(walked) == state(by_user)


@pytest.mark.parametrize("name", zoo.ZOO)
def test_a_resumed_walk_is_the_uninterrupted_one(name: str) -> None:
    problem = zoo.ZOO[name](torch.float64)
    whole = problem.branch()
    run = walk(whole, LONG, order=2, snapshots=(5,))
    (kept,) = run.snapshots
    for _ in range(2):  # a snapshot can be branched from again: walking on does not write into it
        rest = problem.branch(kept)
        batches = problem.data.order(2)
        for _ in range(5 * problem.accumulate):
            next(batches)
        resumed = walk(rest, LONG - 5, order=2, start=kept.update, batches=batches)
        assert losses(resumed) == losses(run)[5:]
        assert [row.update for row in resumed.curve] == list(range(5, LONG))
        assert state(rest) == state(whole)


@pytest.mark.parametrize("name", ["dropout", "batch norm", "lbfgs", "adam", "counting"])
def test_looking_does_not_change_the_walk(name: str) -> None:
    problem = zoo.ZOO[name](torch.float64)
    plain, looked_at = problem.branch(), problem.branch()
    sample = problem.data.sample(9, chunk=4, seed=0)
    told: list[Update] = []
    first = walk(plain, LONG, order=1)
    second = walk(
        looked_at, LONG, order=1, sample=sample, checkpoints=range(LONG + 1), snapshots=(0, 3), told=told.extend
    )
    assert first.curve == second.curve or losses(first) == losses(second)
    assert state(plain) == state(looked_at)
    assert [update for update, _ in second.checkpoints] == list(range(LONG + 1))
    assert second.checkpoints[0][1] == problem.mean_loss(sample)
    assert second.checkpoints[-1][1] == looked_at.mean_loss(sample)
    assert [snapshot.update for snapshot in second.snapshots] == [0, 3]
    assert [row.update for row in told] == list(range(LONG))
    assert tuple(told) == second.curve or losses(first) == [row.loss for row in told]


@pytest.mark.parametrize("name", ["dropout", "shuffled by the process loader", "weighted loader", "sequential loader"])
def test_the_seed_makes_the_run(name: str) -> None:
    problem = zoo.ZOO[name](torch.float64)
    runs = []
    for order in (4, 4, 7):
        torch.rand(7)  # the process's generator decides nothing
        runs.append(losses(walk(problem.branch(), LONG, order=order)))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_curve_tells_rate_norm_and_cosine() -> None:
    problem = zoo.ZOO["gradient descent"](torch.float64)
    batches = [next(order) for order in [problem.data.order(0)] for _ in range(3)]
    run = walk(problem.branch(), 3, cosines=True)
    flat: list[Tensor] = []
    for batch in batches:
        by_hand.backward(problem, [batch])
        flat.append(torch.cat([p.grad.reshape(-1).clone() for p in problem.model.parameters() if p.grad is not None]))
        problem.optimizer.step()
    assert [row.gradient_norm for row in run.curve] == pytest.approx([float(g.norm()) for g in flat], rel=1e-12)
    assert math.isnan(run.curve[0].cosine)
    cosines = [float(torch.cosine_similarity(a, b, dim=0)) for a, b in itertools.pairwise(flat)]
    assert [row.cosine for row in run.curve[1:]] == pytest.approx(cosines, rel=1e-12)
    assert {row.rate for row in run.curve} == {0.1}


def test_annealing_lets_the_rate_fall_to_zero_and_puts_it_back() -> None:
    problem = zoo.ZOO["schedule per update"](torch.float64)
    branch = problem.branch()
    walk(branch, 4)
    rate, before = branch.optimizer.param_groups[0]["lr"], branch.scheduler.state_dict()
    run = walk(branch, 8, start=4, anneal=True)
    assert [row.rate for row in run.curve] == pytest.approx([rate * (1 - k / 8) for k in range(8)])
    assert branch.optimizer.param_groups[0]["lr"] == rate
    assert branch.scheduler.state_dict() == before


def test_annealing_keeps_the_ratio_of_groups() -> None:
    problem = zoo.problem(
        zoo.perceptron,
        optimizer=lambda parameters: torch.optim.SGD(
            [{"params": parameters[:2], "lr": 0.1}, {"params": parameters[2:], "lr": torch.tensor(0.01)}], foreach=False
        ),
    )
    branch = problem.branch()
    walk(branch, 4, anneal=True)
    assert [float(group["lr"]) for group in branch.optimizer.param_groups] == pytest.approx([0.1, 0.01])
    assert [float(group["lr"]) for group in problem.optimizer.param_groups] == pytest.approx([0.1, 0.01])


def test_clipping_bounds_the_update() -> None:
    problem = dataclasses.replace(zoo.ZOO["gradient descent"](torch.float64), clip_norm=0.01)
    branch = problem.branch()
    run = walk(branch, 1)
    moved = torch.cat(
        [(a - b).reshape(-1) for a, b in zip(branch.point().values(), problem.point().values(), strict=True)]
    )
    assert run.curve[0].gradient_norm > 0.1
    assert float(moved.norm()) == pytest.approx(0.1 * 0.01, rel=1e-4)


def test_accumulated_batches_are_one_large_batch() -> None:
    inputs, targets = zoo.table()
    small = [(inputs[i : i + 6], targets[i : i + 6]) for i in range(0, 24, 6)]
    large = [(inputs[i : i + 12], targets[i : i + 12]) for i in range(0, 24, 12)]
    runs = [
        losses(walk(zoo.problem(zoo.perceptron, train=batches, accumulate=count).branch(), 6))
        for batches, count in ((small, 2), (large, 1))
    ]
    assert runs[0] == pytest.approx(runs[1], rel=1e-12)


@pytest.mark.parametrize(("accumulate", "update"), [(1, 3), (2, 1)])
def test_a_spoiled_batch_ends_the_walk_and_is_named(accumulate: int, update: int) -> None:
    inputs, targets = zoo.table()
    inputs[17, 2] = math.nan
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=zoo.BATCH)
    run = walk(zoo.problem(zoo.perceptron, train=loader, accumulate=accumulate).branch(), 40)
    assert run.broke_at == update
    assert len(run.curve) <= update + CHECK_EVERY
    assert run.suspect is not None
    assert torch.equal(run.suspect[1], targets[15:20])


def test_a_suspect_is_the_batch_as_it_was_also_where_samples_are_drawn_at_random() -> None:
    inputs, targets = zoo.table()
    inputs[17, 2] = math.nan
    seen: list[Tensor] = []

    class Augmented(TensorDataset):
        def __getitem__(self, index: int) -> Any:
            sample, target = super().__getitem__(index)  # type: ignore[no-untyped-call]
            return sample + torch.randn(()) + random.random(), target

    def noting(model: nn.Module, batch: Any) -> Tensor:
        seen.append(batch[0])
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    loader = DataLoader(Augmented(inputs, targets), batch_size=zoo.BATCH)
    run = walk(zoo.problem(zoo.perceptron, train=loader, loss=None, step=noting).branch(), 40, order=3)
    assert run.broke_at is not None
    assert run.suspect is not None
    assert content(run.suspect[0]) == content(seen[run.broke_at])


def test_a_gradient_that_is_not_finite_ends_the_walk() -> None:
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(()))

        def forward(self, inputs: Tensor) -> Tensor:
            return inputs * self.weight.square().sqrt()  # 0/0 in the derivative

    run = walk(zoo.problem(Root).branch(), 40, order=3)
    assert math.isfinite(run.curve[0].loss)
    assert run.broke_at == 0


def test_an_exploding_walk_ends() -> None:
    inputs, _ = zoo.table()
    problem = zoo.problem(
        lambda: nn.Linear(zoo.FEATURES, 1),
        loss=nn.MSELoss(),
        train=zoo.shuffled(inputs, inputs[:, :1]),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1e30),
    )
    run = walk(
        problem.branch(), 200, snapshots=(200,), checkpoints=(200,), sample=problem.data.sample(5, chunk=5, seed=0)
    )
    assert run.broke_at is not None
    assert run.broke_at < 20
    assert all(math.isfinite(loss) for loss in losses(run)[: run.broke_at])
    assert not math.isfinite(losses(run)[run.broke_at])
    assert (run.snapshots, run.checkpoints) == ((), ())


def test_schedule_per_epoch_and_per_update() -> None:
    per_epoch = walk(zoo.ZOO["schedule per epoch"](torch.float64).branch(), 12)
    assert [row.rate for row in per_epoch.curve] == [0.05] * 5 + [0.025] * 5 + [0.0125] * 2
    problem = dataclasses.replace(zoo.ZOO["schedule per epoch"](torch.float64), schedule_every="update")
    assert [row.rate for row in walk(problem.branch(), 4).curve] == [0.05, 0.025, 0.0125, 0.00625]
    problem = dataclasses.replace(zoo.ZOO["schedule per epoch"](torch.float64), accumulate=2)
    assert [row.rate for row in walk(problem.branch(), 5).curve] == [0.05] * 2 + [0.025] * 2 + [0.0125]


def test_a_plateau_schedule_waits_for_the_callers_own_loss() -> None:
    problem = zoo.problem(zoo.perceptron, scheduler=lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0))
    assert {row.rate for row in walk(problem.branch(), 20).curve} == {0.05}


def test_lbfgs_solves_a_quadratic() -> None:
    inputs, _ = zoo.table()
    targets = inputs @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]], dtype=torch.float64) + 0.25
    problem = zoo.problem(
        lambda: nn.Linear(zoo.FEATURES, 1),
        loss=nn.MSELoss(),
        train=zoo.shuffled(inputs, targets, batch=zoo.SAMPLES),
        optimizer=lambda parameters: torch.optim.LBFGS(parameters, max_iter=20, line_search_fn="strong_wolfe"),
    )
    branch = problem.branch()
    walk(branch, 4)
    point = branch.point()
    torch.testing.assert_close(
        point["weight"], torch.tensor([[1.0, -2.0, 0.5, 3.0]], dtype=torch.float64), rtol=1e-5, atol=0
    )
    assert float(point["bias"]) == pytest.approx(0.25, rel=1e-5)


def test_a_loss_that_knows_the_callers_model_does_not_fill_its_gradients() -> None:
    model = zoo.perceptron().double()

    def penalized(outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets) + next(model.parameters()).square().sum()

    problem = zoo.problem(lambda: model, loss=penalized)
    walk(problem.branch(), 3)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_the_loss_does_not_reach_stays() -> None:
    problem = zoo.problem(zoo.perceptron, loss=lambda outputs, targets: outputs.detach().sum())
    branch = problem.branch()
    run = walk(branch, 2, cosines=True)
    assert [row.gradient_norm for row in run.curve] == [0.0, 0.0]
    assert all(math.isnan(row.cosine) for row in run.curve)
    assert Snapshot.of(branch).tensors.keys() == Snapshot.of(problem).tensors.keys()
    assert all(torch.equal(tensor, problem.point()[name]) for name, tensor in branch.point().items())


def test_a_loss_of_one_entry_is_a_loss() -> None:
    by_number = zoo.problem(zoo.perceptron)
    by_vector = zoo.problem(zoo.perceptron, loss=lambda *given: nn.functional.cross_entropy(*given).reshape(1))
    runs = [walk(each.branch(), LONG) for each in (by_number, by_vector)]
    assert losses(runs[0]) == losses(runs[1])
