"""Optimizers by name: each is what it is called, keeps what the old one held, and goes on from where it was."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests import by_hand, zoo
from tests.untouched import assert_untouched, content
from torch import Tensor, nn
from torch.optim import lr_scheduler as torchs
from torch.utils.data import DataLoader, TensorDataset

from unstuck.errors import InputError
from unstuck.judged import judged_weights
from unstuck.methods.muon import hidden_matrices
from unstuck.methods.optimizers import OPTIMIZERS, with_optimizer
from unstuck.problem import Problem
from unstuck.snapshot import Snapshot
from unstuck.vector import Point
from unstuck.walk import walk

UPDATES = 11

BY_HAND: dict[str, tuple[dict[str, float], Callable[[Any], torch.optim.Optimizer]]] = {
    "gradient-descent": ({"weight_decay": 0.1}, lambda p: torch.optim.SGD(p, lr=0.02, weight_decay=0.1)),
    "sgd": ({"momentum": 0.5}, lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.5)),
    "momentum": ({}, lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9)),
    "nesterov": ({"momentum": 0.8}, lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.8, nesterov=True)),
    "adagrad": ({}, lambda p: torch.optim.Adagrad(p, lr=0.02)),
    "rmsprop": ({"memory": 0.9, "momentum": 0.5}, lambda p: torch.optim.RMSprop(p, lr=0.02, alpha=0.9, momentum=0.5)),
    "adam": ({"weight_decay": 0.1}, lambda p: torch.optim.Adam(p, lr=0.02, weight_decay=0.1)),
    "adamw": ({"momentum": 0.8}, lambda p: torch.optim.AdamW(p, lr=0.02, betas=(0.8, 0.999), weight_decay=0.0)),
    "radam": ({"memory": 0.99}, lambda p: torch.optim.RAdam(p, lr=0.02, betas=(0.9, 0.99))),
    "nadam": ({}, lambda p: torch.optim.NAdam(p, lr=0.02)),
    "adamax": ({}, lambda p: torch.optim.Adamax(p, lr=0.02)),
}
"""Settings, and the same optimizer as one would write it, at a rate of 0.02."""


def losses(problem: Problem, updates: int = UPDATES) -> list[float]:
    return [row.loss for row in walk(problem.branch(), updates).curve]


@pytest.mark.parametrize("name", BY_HAND)
def test_torchs_own(name: str) -> None:
    settings, built = BY_HAND[name]
    problem = zoo.ZOO["gradient descent"](torch.float64)
    treated = with_optimizer(problem.branch(), name, rate=0.02, **settings)
    expected = zoo.problem(zoo.perceptron, optimizer=built)
    assert type(treated.optimizer) is type(expected.optimizer)
    assert losses(treated) == losses(expected)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_goes_on_from_a_snapshot_and_looking_changes_nothing(name: str) -> None:
    # In single precision: torch's NAdam loads a product of its own, always single, in the type of the parameters.
    problem = with_optimizer(zoo.ZOO["batch norm"](torch.float32).branch(), name, rate=0.02, weight_decay=0.01)
    whole, looked_at = problem.branch(), problem.branch()
    sample = problem.data.sample(9, chunk=4, seed=0)
    run = walk(whole, UPDATES, snapshots=(5,))
    looked = walk(looked_at, UPDATES, sample=sample, checkpoints=range(UPDATES + 1))
    assert [row.loss for row in looked.curve] == [row.loss for row in run.curve]
    batches = problem.data.order(0)
    for _ in range(5):
        next(batches)
    rest = problem.branch(run.snapshots[0])
    resumed = walk(rest, UPDATES - 5, start=5, batches=batches)
    assert [row.loss for row in resumed.curve] == [row.loss for row in run.curve][5:]
    for each in (looked_at, rest):
        assert content(Snapshot.of(each).optimizer) == content(Snapshot.of(whole).optimizer)
        assert content(dict(Snapshot.of(each).tensors)) == content(dict(Snapshot.of(whole).tensors))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_nothing_of_the_callers_is_changed(name: str) -> None:
    problem = zoo.ZOO["schedule per update"](torch.float64)
    with assert_untouched(problem):
        walk(
            with_optimizer(problem.branch(), name, rate=0.02), 3, checkpoints=(2,), sample=[next(problem.data.order(0))]
        )


def grouped(**fields: Any) -> Problem:
    """Two groups, the second at a tenth of the rate and without decay; one weight in neither."""
    return zoo.problem(
        lambda: zoo.perceptron(nn.Linear(5, 5)),
        optimizer=lambda p: torch.optim.SGD(
            [{"params": p[:2], "lr": 0.1, "weight_decay": 0.5}, {"params": [*p[2:3], *p[4:]], "lr": 0.01}]
        ),
        **fields,
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_groups_stay(name: str) -> None:
    problem = grouped()
    treated = with_optimizer(problem.branch(), name, rate=0.3)
    named = {id(parameter): name for name, parameter in treated.model.named_parameters()}
    before = {id(parameter): name for name, parameter in problem.model.named_parameters()}
    groups = treated.optimizer.param_groups
    assert [[named[id(p)] for p in group["params"]] for group in groups] == [
        [before[id(p)] for p in group["params"]] for group in problem.optimizer.param_groups
    ]
    assert [float(group["lr"]) for group in groups] == pytest.approx([0.3, 0.03])
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
    left_out = treated.point()["1.bias"].clone()
    walk(treated, 3)
    assert torch.equal(treated.point()["1.bias"], left_out)
    assert not torch.equal(treated.point()["1.weight"], problem.point()["1.weight"])


def test_a_given_decay_is_that_of_the_groups_that_decay() -> None:
    treated = with_optimizer(grouped().branch(), "adamw", rate=0.3, weight_decay=0.2)
    assert [group["weight_decay"] for group in treated.optimizer.param_groups] == [0.2, 0.0]
    problem = zoo.ZOO["gradient descent"](torch.float64)
    treated = with_optimizer(problem.branch(), "adamw", rate=0.3, weight_decay=0.2)
    assert treated.optimizer.param_groups[0]["weight_decay"] == 0.2


SCHEDULERS: dict[str, dict[str, Any]] = zoo.SCHEDULES | {
    "of functions": {"scheduler": lambda o: torchs.LambdaLR(o, [lambda t: 1 / (1 + t)] * len(o.param_groups))},
    "cyclical, momentum too": {
        "scheduler": lambda o: torchs.CyclicLR(o, 0.01, 0.1, step_size_up=3, cycle_momentum=False),
        "schedule_every": "update",
    },
}


@pytest.mark.parametrize("name", [name for name, method in OPTIMIZERS.items() if method.scheduled])
@pytest.mark.parametrize("schedule", SCHEDULERS)
def test_the_schedule_goes_on_with_the_new_rate(schedule: str, name: str) -> None:
    problem = zoo.problem(zoo.perceptron, **SCHEDULERS[schedule])
    begun = problem.branch()
    walk(begun, 4)
    expected = [row.rate for row in walk(begun.branch(), 8, start=4).curve]
    base = problem.optimizer.param_groups[0]["initial_lr"]
    treated = with_optimizer(begun, name, rate=0.3)
    rates = [row.rate for row in walk(treated, 8, start=4).curve]
    assert rates == pytest.approx([0.3 / base * rate for rate in expected])


def test_momentum_that_a_schedule_moved_is_the_new_optimizers_own() -> None:
    def one_cycle(optimizer: torch.optim.Optimizer) -> Any:
        return torchs.OneCycleLR(optimizer, max_lr=0.1, total_steps=60)

    problem = zoo.problem(
        zoo.perceptron, optimizer=zoo.OPTIMIZERS["adam"], scheduler=one_cycle, schedule_every="update"
    )
    treated = with_optimizer(problem.branch(), "momentum", rate=0.01, momentum=0.7)
    walk(treated, 3)
    assert treated.optimizer.param_groups[0]["momentum"] == 0.7


def test_schedule_free_has_no_schedule_and_its_base_rate() -> None:
    begun = zoo.problem(zoo.perceptron, **zoo.SCHEDULES["per epoch"]).branch()
    walk(begun, 7)
    treated = with_optimizer(begun, "schedule-free", rate=0.3)
    assert treated.scheduler is None
    assert "initial_lr" not in treated.optimizer.param_groups[0]
    assert {row.rate for row in walk(treated, 12).curve} == {0.3}


def matrices(scale: float = 1.0) -> Problem:
    """Two layers without biases, under a loss times ``scale``."""
    cross_entropy = nn.CrossEntropyLoss()
    return zoo.problem(
        lambda: nn.Sequential(
            nn.Linear(zoo.FEATURES, 6, bias=False),
            nn.Tanh(),
            nn.Linear(6, 5, bias=False),
            nn.Tanh(),
            nn.Linear(5, 3, bias=False),
        ),
        loss=lambda outputs, targets: scale * cross_entropy(outputs, targets),
    )


def moved(problem: Problem, updates: int) -> Point:
    branch = problem.branch()
    walk(branch, updates)
    after = branch.point()
    return {name: after[name] - tensor for name, tensor in problem.point().items()}


def test_lars_moves_every_weight_by_a_share_of_itself() -> None:
    """C35: ‖Δw‖ = η trust ‖w‖."""
    problem = with_optimizer(matrices().branch(), "lars", rate=0.5, momentum=0.0, trust=0.01)
    for name, step in moved(problem, 1).items():
        assert float(step.norm()) == pytest.approx(0.5 * 0.01 * float(problem.point()[name].norm()), rel=1e-12)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_lamb_moves_every_weight_by_a_share_of_itself(weight_decay: float) -> None:
    """C35: ‖Δw‖ = η ‖w‖, up to its ε, which a large loss makes small; along Adam's first step, signs, and the decay."""
    problem = with_optimizer(matrices(1e6).branch(), "lamb", rate=0.03, weight_decay=weight_decay)
    slope = problem.gradient_at(problem.point(), next(problem.data.order(0)))
    for name, step in moved(problem, 1).items():
        weight = problem.point()[name]
        assert float(step.norm()) == pytest.approx(0.03 * float(weight.norm()), rel=1e-5)
        direction = 0.1 / 0.001**0.5 * slope[name].sign() + weight_decay * weight
        torch.testing.assert_close(step / step.norm(), -direction / direction.norm(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("name", "settings"), [("lars", {"trust": 0.01}), ("lamb", {})])
def test_the_size_of_the_loss_changes_nothing(name: str, settings: dict[str, float]) -> None:
    """C35: invariant under loss scaling."""
    small, large = (
        moved(with_optimizer(matrices(scale).branch(), name, rate=0.1, **settings), UPDATES) for scale in (1e6, 1e9)
    )
    for key, tensor in small.items():
        torch.testing.assert_close(large[key], tensor, rtol=1e-4, atol=1e-9)


def test_lamb_moves_what_is_zero_as_adam_would() -> None:
    problem = zoo.problem(zoo.perceptron)
    with torch.no_grad():
        problem.model.get_parameter("0.bias").zero_()
    step = moved(with_optimizer(problem.branch(), "lamb", rate=0.01), 1)["0.bias"]
    torch.testing.assert_close(step.abs(), torch.full_like(step, 0.01 * 0.1 / 0.001**0.5), rtol=1e-2, atol=0)


def wide() -> Problem:
    """Twelve features, layers of 12, 10 and 8 units with biases, and all samples in a batch."""
    generator = zoo.generator()
    inputs = torch.randn(64, 12, generator=generator, dtype=torch.float64)
    data = TensorDataset(inputs, torch.randint(0, 4, (64,), generator=generator))
    return zoo.problem(
        lambda: nn.Sequential(nn.Linear(12, 10), nn.Tanh(), nn.Linear(10, 8), nn.Tanh(), nn.Linear(8, 4)),
        train=DataLoader(data, batch_size=64),
    )


@pytest.mark.parametrize("name", ["0.weight", "2.weight"])
def test_muon_brings_singular_values_into_its_band(name: str) -> None:
    """C30, with the rounding of bfloat16; and the singular vectors stay those of the gradient, as C29 has them."""
    problem = with_optimizer(wide().branch(), "muon", rate=0.01)
    slope = problem.gradient_at(problem.point(), next(problem.data.order(0)))[name]
    left, values, right = torch.linalg.svd(slope, full_matrices=False)
    assert float((values / values.norm()).min()) > 1e-3
    step = moved(problem, 1)[name] / (-0.01 * 0.2 * max(slope.shape) ** 0.5)
    found = left.mT @ step @ right.mT
    assert 0.47 - 0.1 < float(found.diagonal().min()) < float(found.diagonal().max()) < 1.2 + 0.1
    assert float((found - found.diagonal().diag()).abs().max()) < 0.1


def test_muon_walks_hidden_matrices_and_adamw_the_rest() -> None:
    problem = wide()
    treated = with_optimizer(problem.branch(), "muon", rate=0.01, momentum=0.9, weight_decay=0.1)
    hidden = [problem.model.get_parameter(name) for name in ("0.weight", "2.weight")]
    others = [parameter for name, parameter in problem.model.named_parameters() if name not in ("0.weight", "2.weight")]
    by_user: tuple[torch.optim.Optimizer, ...] = (
        torch.optim.Muon(hidden, lr=0.01, momentum=0.9, weight_decay=0.1, adjust_lr_fn="match_rms_adamw", eps=1e-8),
        torch.optim.AdamW(others, lr=0.01, weight_decay=0.1),
    )
    for batch in itertools.islice(problem.data.order(0), UPDATES):
        by_hand.backward(problem, [batch])
        for optimizer in by_user:
            optimizer.step()
    walk(treated, UPDATES)
    assert content(treated.point()) == content(problem.point())


@pytest.mark.parametrize("name", zoo.MODELS)
def test_what_muon_takes(name: str) -> None:
    model = zoo.MODELS[name](torch.float64).model
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    taken = {names[id(matrix)] for matrix in hidden_matrices(model)}
    expected = {
        "attention": {"attention.in_proj_weight", "attention.out_proj.weight"},
        "transformer": {
            *("layer.self_attn.in_proj_weight", "layer.self_attn.out_proj.weight"),
            *("layer.linear1.weight", "layer.linear2.weight"),
        },
        "counting": {"layers.0.weight"},
        "own step": {"layers.0.weight"},
        "not to be copied": {"layers.0.weight"},
        "two inputs": {"left.weight"},
        "named inputs": {"left.weight"},
        **{key: {"0.weight"} for key in ("perceptron", "batch norm", "dropout", "layer norm")},
    }
    assert taken == expected.get(name, set())


def free(problem: Problem, rate: float, beta: float, updates: int) -> tuple[Point, Point]:
    """x and y after so many updates, by the paper's equations."""
    x = z = problem.point()
    for update, batch in enumerate(itertools.islice(problem.data.order(0), updates)):
        y = {name: (1 - beta) * z[name] + beta * x[name] for name in x}
        slope = problem.gradient_at(y, batch)
        z = {name: z[name] - rate * slope[name] for name in x}
        x = {name: x[name] + (z[name] - x[name]) / (update + 1) for name in x}
    return x, {name: (1 - beta) * z[name] + beta * x[name] for name in x}


def test_schedule_free_walks_at_y_and_is_judged_at_x() -> None:
    problem = zoo.ZOO["perceptron"](torch.float64)
    treated = with_optimizer(problem.branch(), "schedule-free", rate=0.5, momentum=0.8)
    sample = problem.data.sample(24, chunk=6, seed=0)
    (_, judged), *_ = walk(treated, UPDATES, sample=sample, checkpoints=(UPDATES,)).checkpoints
    x, y = free(problem, 0.5, 0.8, UPDATES)
    for name, tensor in treated.point().items():
        torch.testing.assert_close(tensor, y[name], rtol=1e-12, atol=1e-12)
    assert judged == pytest.approx(problem.mean_loss(sample, point=x), rel=1e-12)
    with judged_weights(treated, statistics=False):
        for name, tensor in treated.point().items():
            torch.testing.assert_close(tensor, x[name], rtol=1e-12, atol=1e-12)


def test_a_callers_schedule_free_problem_is_walked_whichever_mode_it_is_handed_over_in() -> None:
    problem = zoo.ZOO["perceptron"](torch.float64)
    treated = with_optimizer(problem.branch(), "schedule-free-adamw", rate=0.02)
    walk(treated, 5)
    optimizer: Any = treated.optimizer
    optimizer.eval()
    sample = problem.data.sample(24, chunk=6, seed=0)
    with assert_untouched(treated):
        walk(treated.branch(), 3)
        at_average = treated.mean_loss(sample)
    optimizer.train()
    assert treated.mean_loss(sample) == pytest.approx(at_average, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("adan", {}, "no optimizer is called 'adan'; there are gradient-descent, sgd, momentum"),
        ("adam", {"rate": 0.0}, "the rate of adam must be positive; got 0.0"),
        ("adam", {"rate": float("nan")}, "the rate of adam must be positive; got nan"),
        ("adam", {"trust": 0.1}, "adam has no trust; it takes rate, weight_decay, momentum, memory"),
        ("adagrad", {"momentum": 0.9}, "adagrad has no momentum; it takes rate, weight_decay$"),
        ("momentum", {"momentum": 1.0}, "the momentum of momentum must be at least 0 and below 1; got 1.0"),
        ("lamb", {"memory": -0.5}, "the memory of lamb must be at least 0 and below 1; got -0.5"),
        ("sam", {"radius": -1.0}, "the radius of sam must be at least 0; got -1.0"),
        ("adamw", {"weight_decay": -0.1}, "the weight_decay of adamw must be at least 0; got -0.1"),
        ("schedule-free", {"momentum": 0.0}, "schedule-free needs a momentum above 0"),
        ("schedule-free-adamw", {"momentum": 0.0}, "schedule-free needs a momentum above 0"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, settings: dict[str, float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        with_optimizer(zoo.ZOO["adam"](torch.float64).branch(), name, **{"rate": 0.1, **settings})


def test_muon_without_a_hidden_matrix_is_refused() -> None:
    with pytest.raises(InputError, match="muon walks hidden weight matrices, and this optimizer holds none"):
        with_optimizer(zoo.ZOO["batch norm of images"](torch.float64).branch(), "muon", rate=0.1)


@pytest.mark.parametrize(("name", "package"), [("lamb", "pytorch_optimizer"), ("schedule-free", "schedulefree")])
def test_a_missing_package_is_named(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=r'is not installed: pip install "unstuck\[optim\]"'):
        with_optimizer(zoo.ZOO["adam"](torch.float64).branch(), name, rate=0.1)


def test_a_rate_of_zero_has_no_ratio() -> None:
    problem = dataclasses.replace(zoo.ZOO["gradient descent"](torch.float64))
    problem.optimizer.param_groups[0]["lr"] = 0.0
    treated = with_optimizer(problem.branch(), "adam", rate=0.1)
    assert treated.optimizer.param_groups[0]["lr"] == 0.1


def test_a_tensor_for_a_rate() -> None:
    problem = zoo.problem(
        zoo.perceptron, optimizer=lambda p: torch.optim.Adam(p, lr=torch.tensor(0.1), foreach=False, capturable=False)
    )
    rate: float | Tensor = with_optimizer(problem.branch(), "adam", rate=0.1).optimizer.param_groups[0]["lr"]
    assert isinstance(rate, float)
