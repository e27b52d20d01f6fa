"""A problem: its pure functions against plain autograd, its branches, its snapshots, and what it refuses."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from tests import by_hand, zoo
from tests.untouched import content
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from unstuck.errors import InputError
from unstuck.problem import Problem
from unstuck.remedies.cross_entropy import CrossEntropy
from unstuck.remedies.decay_learning_rate import DecayLearningRate
from unstuck.remedies.escape_saddle import EscapeSaddle
from unstuck.remedies.normalize_inputs import NormalizeInputs
from unstuck.remedies.reinitialize import Reinitialize
from unstuck.remedies.train_all_parameters import TrainAllParameters
from unstuck.snapshot import Snapshot
from unstuck.vector import flatten
from unstuck.walk import walk

DOUBLE = torch.float64


def a_batch(problem: Problem) -> Any:
    return problem.data.sample(7, chunk=7, seed=4)[0]


@pytest.mark.parametrize("name", zoo.MODELS)
def test_loss_and_gradient_agree_with_autograd(name: str) -> None:
    problem, by_user = zoo.MODELS[name](DOUBLE), zoo.MODELS[name](DOUBLE)
    batch = a_batch(problem)
    by_user.model.train()
    torch.manual_seed(9)
    loss = by_hand.loss_of(by_user, batch)
    torch.autograd.backward(loss)
    torch.testing.assert_close(problem.loss_at(problem.point(), batch, seed=9), loss.detach(), rtol=1e-12, atol=0)
    gradient = problem.gradient_at(problem.point(), batch, seed=9)
    trainable = {name: p for name, p in by_user.model.named_parameters() if p.requires_grad}
    assert list(gradient) == list(trainable)
    for key, parameter in trainable.items():
        expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.to_dense()
        torch.testing.assert_close(gradient[key], expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("name", zoo.MODELS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_points_and_gradients_keep_the_type_of_the_parameters(name: str, dtype: torch.dtype) -> None:
    problem = zoo.MODELS[name](dtype)
    gradient = problem.gradient_at(problem.point(), a_batch(problem))
    assert {tensor.dtype for tensor in (*problem.point().values(), *gradient.values())} == {dtype}
    assert math.isfinite(problem.mean_loss(problem.data.sample(9, chunk=5, seed=0)))


def test_the_loss_is_that_of_the_point_it_is_given() -> None:
    problem, other = zoo.MODELS["lstm"](DOUBLE), zoo.MODELS["lstm"](DOUBLE)
    point = {name: 1.1 * tensor for name, tensor in problem.point().items()}
    with torch.no_grad():
        for name, parameter in other.model.named_parameters():
            parameter.copy_(point[name])
    batch = a_batch(problem)
    expected = by_hand.loss_of(other, batch).detach()
    torch.testing.assert_close(problem.loss_at(point, batch), expected, rtol=1e-12, atol=0)


def test_masks_are_fixed_by_the_seed() -> None:
    problem = zoo.MODELS["dropout"](DOUBLE)
    point, batch = problem.point(), a_batch(problem)
    losses = [float(problem.loss_at(point, batch, seed=seed)) for seed in (1, 1, 2)]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_modes() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Sequential(nn.BatchNorm1d(5)))
    problem = zoo.problem(lambda: model)
    model[3].eval()  # frozen statistics, by intention
    assert problem.modes("training") == {"": True, "0": True, "1": True, "2": True, "3": False, "3.0": False}
    assert problem.modes("measuring") == {"": False, "0": False, "1": True, "2": False, "3": False, "3.0": False}
    assert not any(problem.modes("evaluation").values())
    model.eval()
    assert all(problem.modes("training").values())


def test_measuring_leaves_dropout_out_and_normalizes_by_the_batch() -> None:
    problem = zoo.problem(lambda: zoo.perceptron(nn.BatchNorm1d(5), nn.Dropout(0.5)))
    batch, point = a_batch(problem), problem.point()
    by_user = problem.branch()
    by_user.model.train()
    by_user.model[2].eval()  # type: ignore[index]
    with torch.no_grad():
        assert float(problem.loss_at(point, batch, mode="measuring")) == float(by_hand.loss_of(by_user, batch))
        by_user = problem.branch()
        by_user.model.eval()
        assert float(problem.loss_at(point, batch, mode="evaluation")) == float(by_hand.loss_of(by_user, batch))


def test_mean_loss_weighs_ragged_batches_by_their_samples() -> None:
    problem = zoo.MODELS["perceptron"](DOUBLE)
    inputs, targets = zoo.table()
    ragged = [(inputs[:5], targets[:5]), (inputs[5:23], targets[5:23]), (inputs[23:], targets[23:])]
    assert problem.mean_loss(ragged) == pytest.approx(problem.mean_loss([(inputs, targets)]), rel=1e-12)
    doubled = dataclasses.replace(problem, weight=lambda batch: 3.0 * len(batch[1]))
    assert doubled.mean_loss(ragged) == pytest.approx(problem.mean_loss(ragged), rel=1e-12)
    first = dataclasses.replace(problem, weight=lambda batch: float(len(batch[1]) == 5))
    assert first.mean_loss(ragged) == pytest.approx(problem.mean_loss(ragged[:1]), rel=1e-12)


def test_mixed_precision_follows_autocast() -> None:
    problem = zoo.ZOO["mixed precision"](torch.float32)
    batch = a_batch(problem)
    outputs = problem.run_at(problem.point(), batch)[1]
    assert outputs.dtype is torch.bfloat16
    assert {tensor.dtype for tensor in problem.gradient_at(problem.point(), batch).values()} == {torch.float32}


@pytest.mark.parametrize("name", zoo.ZOO)
def test_a_branch_is_wired_to_itself(name: str) -> None:
    problem = zoo.ZOO[name](DOUBLE)
    walk(problem.branch(), 1)
    branch = problem.branch().branch()
    own = {id(parameter) for parameter in branch.model.parameters()}
    listed = [parameter for group in branch.optimizer.param_groups for parameter in group["params"]]
    assert {id(parameter) for parameter in listed} <= own
    assert len(listed) == sum(len(group["params"]) for group in problem.optimizer.param_groups)
    if branch.scheduler is not None:
        assert branch.scheduler.optimizer is branch.optimizer
    flags = {name: parameter.requires_grad for name, parameter in problem.model.named_parameters()}
    assert {name: parameter.requires_grad for name, parameter in branch.model.named_parameters()} == flags
    assert content(branch.model.state_dict()) == content(problem.model.state_dict())
    assert content(branch.optimizer.state_dict()) == content(problem.optimizer.state_dict())
    walk(branch, 2)
    assert content(branch.model.state_dict()) != content(problem.model.state_dict())


def test_tied_weights_stay_tied() -> None:
    model: Any = zoo.MODELS["tied weights"](DOUBLE).branch().model
    assert model.scores.weight is model.words.weight


@pytest.mark.parametrize("name", zoo.ZOO)
def test_a_snapshot_brings_a_branch_back(name: str) -> None:
    problem = zoo.ZOO[name](DOUBLE)
    branch = problem.branch()
    walk(branch, 2)
    here = Snapshot.of(branch, 2)
    before = content(branch.model.state_dict()), content(branch.optimizer.state_dict())
    tensors, optimizer = content(dict(here.tensors)), content(dict(here.optimizer))
    walk(branch, 3)
    here.restore(branch)
    assert (content(branch.model.state_dict()), content(branch.optimizer.state_dict())) == before
    walk(branch, 3)
    assert (content(dict(here.tensors)), content(dict(here.optimizer))) == (tensors, optimizer)


@pytest.mark.parametrize("name", ["perceptron", "counting", "named inputs", "schedule per epoch", "stream loader"])
def test_a_treated_branch_can_be_kept_and_brought_back(name: str) -> None:
    """The inputs' normalization puts a module around the model: every name changes, and buffers are added."""
    branch = NormalizeInputs(axis=1).apply(zoo.ZOO[name](DOUBLE).branch())
    treatment = (
        EscapeSaddle(way="perturbation", length=0.1, update=0),
        EscapeSaddle(way="negative curvature", length=0.1, update=0),
        CrossEntropy(outputs="scores"),
        DecayLearningRate(over=2),
        TrainAllParameters(),
        Reinitialize(),
    )
    for remedy in treatment:
        branch = remedy.apply(branch)
    here = Snapshot.of(branch)
    assert "model.mean" in here.tensors
    first = walk(branch, 3)
    here.restore(branch)
    second = walk(branch, 3)
    assert [row.loss for row in first.curve] == [row.loss for row in second.curve]
    again = branch.branch(here)
    assert [row.loss for row in walk(again, 3).curve] == [row.loss for row in first.curve]


def test_buffers_that_are_not_saved_are_kept_as_well() -> None:
    branch = zoo.MODELS["counting"](DOUBLE).branch()
    model = branch.model
    assert isinstance(model, zoo.Counting)
    here = Snapshot.of(branch)
    walk(branch, 2)
    assert float(model.average.abs().sum()) > 0
    assert float(model.calls) == 2
    here.restore(branch)
    assert float(model.average.abs().sum()) == 0
    assert float(model.calls) == 0


class Running(nn.Module):
    """A loss with a state of its own, and a parameter."""

    average: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones((), dtype=DOUBLE))
        self.register_buffer("average", torch.zeros((), dtype=DOUBLE))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        loss = nn.functional.cross_entropy(outputs * self.temperature, targets)
        self.average = 0.9 * self.average + 0.1 * loss.detach()
        return loss


def test_a_loss_with_a_state_is_branched_and_kept() -> None:
    model, loss = zoo.perceptron().double(), Running()
    optimizer = torch.optim.SGD([*model.parameters(), *loss.parameters()], lr=0.1, momentum=0.9)
    problem = Problem(model, loss, zoo.shuffled(*zoo.table()), optimizer)
    branch = problem.branch()
    first = walk(branch, 4, snapshots=(2,))
    assert isinstance(branch.loss, Running)
    assert loss.temperature.item() == 1.0
    assert branch.loss.temperature.item() != 1.0
    assert float(loss.average) == 0.0
    batches = problem.data.order(0)
    next(batches), next(batches)
    rest = walk(problem.branch(first.snapshots[0]), 2, start=2, batches=batches)
    assert [row.loss for row in rest.curve] == [row.loss for row in first.curve][2:]


def test_fresh_is_given_the_present_state() -> None:
    problem = zoo.MODELS["not to be copied"](DOUBLE)
    by_hand.train(problem, 3, problem.data.order(0))
    model: Any = problem.model
    model.layers[1].eval()
    model.layers[0].bias.requires_grad_(False)
    fired: list[str] = []

    def fresh() -> Problem:
        torch.rand(3)
        made = zoo.MODELS["not to be copied"](DOUBLE)
        made.model.register_forward_hook(lambda *given: fired.append("hook"))
        return made

    before = torch.get_rng_state()
    problem = dataclasses.replace(problem, fresh=fresh)
    branch = problem.branch()
    assert torch.equal(torch.get_rng_state(), before)
    assert content(branch.model.state_dict()) == content(problem.model.state_dict())
    assert content(branch.optimizer.state_dict()) == content(problem.optimizer.state_dict())
    assert branch.modes("training") == problem.modes("training")
    assert branch.point().keys() == problem.point().keys()
    assert branch.data is problem.data
    walk(branch, 1)
    assert not fired


def test_fresh_may_give_a_mapping() -> None:
    def fresh() -> dict[str, Any]:
        made = zoo.MODELS["not to be copied"](DOUBLE)
        return {field.name: getattr(made, field.name) for field in dataclasses.fields(Problem)}

    problem = dataclasses.replace(zoo.MODELS["not to be copied"](DOUBLE), fresh=fresh)
    assert content(problem.branch().model.state_dict()) == content(problem.model.state_dict())


def in_two_groups(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": parameters[:1]}, {"params": parameters[1:]}])


@pytest.mark.parametrize(
    ("fresh", "says"),
    [
        (None, "cannot be copied .*holds a lock.* give `fresh`"),
        (lambda: zoo.problem(zoo.perceptron), "`fresh` builds another model: model.0.bias is None in the problem"),
        (
            lambda: zoo.problem(zoo.Stubborn, optimizer=in_two_groups),
            r"`fresh` builds another optimizer: the problem's is SGD over \[6\] .* that of `fresh` SGD over \[1, 5\]",
        ),
        (
            lambda: zoo.problem(zoo.Stubborn, optimizer=zoo.OPTIMIZERS["adam"]),
            r"`fresh` builds another optimizer: the problem's is SGD .* that of `fresh` Adam over \[6\]; it must build",
        ),
    ],
)
def test_fresh_is_checked(fresh: Any, says: str) -> None:
    problem = dataclasses.replace(zoo.MODELS["not to be copied"](DOUBLE), fresh=fresh)
    with pytest.raises(InputError, match=says):
        problem.branch()


def given(**changes: Any) -> dict[str, Any]:
    model = zoo.perceptron()
    fields = {
        "model": model,
        "loss": nn.CrossEntropyLoss(),
        "train": zoo.shuffled(*zoo.table()),
        "optimizer": torch.optim.SGD(model.parameters()),
    }
    return {name: value for name, value in {**fields, **changes}.items() if value != "left out"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": "left out"}, "needs `model`, the torch.nn.Module"),
        ({"train": "left out"}, "needs `train`, a DataLoader"),
        ({"optimizer": "left out"}, "needs `optimizer`, the torch.optim.Optimizer"),
        ({"loss": "left out"}, "needs `loss` .* or `step`"),
        ({"model": 3}, "`model` must be a torch.nn.Module; got int"),
        ({"optimizer": "sgd"}, "`optimizer` must be a torch.optim.Optimizer; got str"),
        ({"loss": 3}, "`loss` must be callable; got int"),
        ({"step": 3}, "`step` must be callable"),
        ({"weight": 3}, "`weight` must be callable"),
        ({"fresh": 3}, "`fresh` must be callable"),
        ({"train": 3}, "`train` must be a DataLoader; got int"),
        ({"valid": 3}, "`valid` must be a DataLoader; got int"),
        ({"schedule_every": "day"}, "`schedule_every` must be 'epoch' or 'update'; got 'day'"),
        ({"accumulate": 0}, "`accumulate` must be a whole number of batches, 1 or more; got 0"),
        ({"accumulate": 1.5}, "`accumulate` must be a whole number"),
        ({"model": nn.Tanh()}, "`model` has no parameters"),
        ({"model": nn.Linear(2, 2)}, "`optimizer` holds parameters of another model: .* build it as"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Problem(**given(**changes))


def test_a_batch_that_is_no_pair_is_refused() -> None:
    problem = zoo.problem(zoo.perceptron, train=DataLoader(TensorDataset(zoo.table()[0]), batch_size=5))
    with pytest.raises(InputError, match=r"must be \(inputs, targets\); got list; for other batches give `step`"):
        problem.loss_at(problem.point(), a_batch(problem))


def test_dimension_and_point_count_what_is_trainable() -> None:
    problem = zoo.MODELS["frozen layer"](DOUBLE)
    assert problem.dimension == flatten(problem.point()).numel() == 5 * 3 + 3
    assert set(problem.point()) == {"2.weight", "2.bias"}
    assert zoo.MODELS["tied weights"](DOUBLE).dimension == 7 * 3
