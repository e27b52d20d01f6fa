"""Fleets: each member against the same training alone, in plain torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import pytest
import torch
from tests.fleets import CLASSES, FEATURES, MODELS, SAMPLES, Build, cross_entropy, perceptron, squared_error, table
from tests.test_device_discipline import DevicesGiven
from torch import Tensor, nn

from unstuck import fleet as fleets
from unstuck.errors import InputError
from unstuck.fleet import Fleet, Member, epochs, train_fleet
from unstuck.methods.schedule import inverse_square_root
from unstuck.methods.update import adam, adamw, gradient_descent, heavy_ball, nesterov, rmsprop
from unstuck.untouched import seeded

UPDATES = 40

Optimizer = Callable[[Any], torch.optim.Optimizer]


MIXED: list[tuple[Member, Optimizer]] = [
    (
        Member(rule=adam(0.01), batch_size=8, seed=1),
        lambda p: torch.optim.Adam(p, lr=0.01),
    ),
    (
        Member(rule=adam(0.03, 0.5, 0.99, decay=0.1), batch_size=5, seed=2),
        lambda p: torch.optim.Adam(p, lr=0.03, betas=(0.5, 0.99), weight_decay=0.1),
    ),
    (
        Member(rule=heavy_ball(0.05), batch_size=20, seed=3, schedule=lambda update: inverse_square_root(update, 4)),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    ),
    (
        Member(rule=gradient_descent(0.1), batch_size=SAMPLES, seed=1, order=7),
        lambda p: torch.optim.SGD(p, lr=0.1),
    ),
    (
        Member(rule=nesterov(0.02, decay=0.01), batch_size=8, seed=1, order=8, loss=squared_error),
        lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True, weight_decay=0.01),
    ),
    (
        Member(rule=adamw(0.01, decay=0.2), batch_size=13, seed=5, schedule=lambda update: 1 - update / UPDATES),
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.2),
    ),
    (
        Member(rule=rmsprop(0.003), batch_size=3, seed=6, loss=squared_error),
        lambda p: torch.optim.RMSprop(p, lr=0.003),
    ),
]


def alone(build: Build, member: Member, optimizer: Optimizer, updates: int = UPDATES) -> tuple[Tensor, nn.Module]:
    """A plain loop: the losses, and the model at its end."""
    inputs, targets = table()
    with seeded(member.seed):
        model = build()
    walker = optimizer(model.parameters())
    order = member.seed if member.order is None else member.order
    batches = chain.from_iterable(epochs(SAMPLES, member.batch_size, order))
    losses = []
    for update, chosen in zip(range(updates), batches, strict=False):  # batches never end
        walker.param_groups[0]["lr"] = float(member.rule.rate) * member.schedule(update)
        walker.zero_grad()
        loss = (member.loss or cross_entropy)(model(inputs[chosen]), targets[chosen]).mean()
        torch.autograd.backward(loss)
        walker.step()
        losses.append(loss.detach())
    return torch.stack(losses), model


def train(build: Build, members: Sequence[Member], updates: int = UPDATES) -> Fleet:
    return train_fleet(build, cross_entropy, *table(), members, updates)


def check_against_alone(fleet: Fleet, build: Build) -> None:
    for k, (member, optimizer) in enumerate(MIXED):
        losses, model = alone(build, member, optimizer)
        torch.testing.assert_close(fleet.losses[k], losses, rtol=1e-10, atol=1e-12)
        found, expected = fleet.state(k), model.state_dict()
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-10, atol=1e-12, msg=f"{k}: {name}")
    assert fleet.diverged == (None,) * len(MIXED)


@pytest.mark.parametrize("name", MODELS)
def test_each_member_is_as_it_were_alone(name: str) -> None:
    """Methods, rates, schedules, losses, seeds, orders and batch sizes all different."""
    check_against_alone(train(MODELS[name], [member for member, _ in MIXED]), MODELS[name])


@pytest.mark.parametrize("name", ["perceptron", "batch norm", "tied and frozen"])
@pytest.mark.parametrize(("limit", "value"), [("NUMBERS", 1), ("NUMBERS", 300), ("RECORDED", 1), ("LOOK_EVERY", 7)])
def test_sizes_change_how_and_not_what(name: str, limit: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each alone, a few at a time, with operations recorded, with other looks."""
    monkeypatch.setattr(fleets, limit, value)
    check_against_alone(train(MODELS[name], [member for member, _ in MIXED]), MODELS[name])


def test_members_that_fit_are_run_together(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def counted(outputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return cross_entropy(outputs, targets)

    members = [Member(rule=adam(0.01), batch_size=8, seed=seed) for seed in range(10)]
    train_fleet(perceptron(), counted, *table(), members, 20)
    assert calls < 20 + 10
    monkeypatch.setattr(fleets, "NUMBERS", 1)
    train_fleet(perceptron(), counted, *table(), members, 20)
    assert calls > 10 * 20


def test_a_member_that_diverges_disturbs_no_other() -> None:
    calm = [Member(rule=gradient_descent(0.1), batch_size=8, seed=seed, loss=squared_error) for seed in range(3)]
    wild = Member(rule=gradient_descent(100.0), batch_size=8, seed=9, loss=squared_error)
    fleet = train(perceptron(nn.Identity), [calm[0], wild, *calm[1:]], 300)
    losses, _ = alone(perceptron(nn.Identity), wild, lambda p: torch.optim.SGD(p, lr=100.0), 300)
    first = losses.isfinite().tolist().index(False)
    assert 0 < first < 300
    assert fleet.diverged == (None, first, None, None)
    assert bool(fleet.losses[1, first:].isnan().all())
    assert bool(fleet.losses[1, :first].isfinite().all())
    assert bool(fleet.parameters[1].isnan().all())
    undisturbed = train(perceptron(nn.Identity), calm, 300)
    torch.testing.assert_close(fleet.parameters[[0, 2, 3]], undisturbed.parameters, rtol=1e-10, atol=0)


def test_a_gradient_that_is_not_finite_at_the_last_update() -> None:
    """√|z| at z = 0: the loss is finite, its gradient is not."""

    def steep(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.abs().sqrt().sum(1)

    zero = {"0.weight": torch.zeros(CLASSES, FEATURES), "0.bias": torch.zeros(CLASSES)}
    members = [
        Member(rule=gradient_descent(0.1), batch_size=8, initial=zero),
        Member(rule=gradient_descent(1e-9), batch_size=8),
    ]
    fleet = train_fleet(lambda: nn.Sequential(nn.Linear(FEATURES, CLASSES).double()), steep, *table(), members, 1)
    assert fleet.diverged == (0, None)


def test_all_diverged_ends_early() -> None:
    calls = 0

    def counted(outputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return squared_error(outputs, targets)

    members = [Member(rule=gradient_descent(1e9), batch_size=8, seed=seed) for seed in range(2)]
    fleet = train_fleet(perceptron(), counted, *table(), members, 5000)
    assert None not in fleet.diverged
    assert calls < 500


# Seeds


@pytest.mark.parametrize("name", ["perceptron", "recurrent"])
def test_the_same_seeds_give_the_same(name: str) -> None:
    """Bit for bit, whatever torch's own generator has been through; and it does not notice."""
    members = [member for member, _ in MIXED]
    first = train(MODELS[name], members)
    torch.rand(7)
    before = torch.get_rng_state()
    second = train(MODELS[name], members)
    torch.testing.assert_close(torch.get_rng_state(), before, rtol=0, atol=0)
    torch.testing.assert_close(second.parameters, first.parameters, rtol=0, atol=0)
    torch.testing.assert_close(second.losses, first.losses, rtol=0, atol=0)


def test_masks_of_dropout_follow_the_order() -> None:
    members = [Member(rule=adam(0.01), batch_size=8, seed=0, order=order) for order in (0, 0, 1)]
    fleet = train(perceptron(lambda: nn.Dropout(0.5)), members)
    torch.testing.assert_close(fleet.losses[0], fleet.losses[1], rtol=0, atol=0)
    assert not torch.equal(fleet.losses[0], fleet.losses[2])
    dry = train(perceptron(lambda: nn.Dropout(0.0)), members[:1])
    assert not torch.allclose(fleet.losses[0], dry.losses[0])


@pytest.mark.parametrize("batch_size", [1, 7, SAMPLES])
def test_an_epoch_meets_each_sample_once(batch_size: int) -> None:
    source = epochs(SAMPLES, batch_size, 5)
    first, second = next(source), next(source)
    whole = SAMPLES // batch_size * batch_size
    assert first.shape == (SAMPLES // batch_size, batch_size)
    assert len(set(first.flatten().tolist())) == whole
    assert first.tolist() != second.tolist()
    assert first.tolist() == next(epochs(SAMPLES, batch_size, 5)).tolist()
    assert first.tolist() != next(epochs(SAMPLES, batch_size, 6)).tolist()


# What comes out


def test_outputs_are_those_of_the_loaded_model_in_eval_mode() -> None:
    build = MODELS["batch norm"]
    fleet = train(build, [member for member, _ in MIXED])
    inputs, _ = table()
    outputs = fleet.outputs(inputs)
    assert outputs.shape == (len(MIXED), SAMPLES, CLASSES)
    for k in range(len(MIXED)):
        model = build()
        model.load_state_dict(fleet.state(k))
        torch.testing.assert_close(outputs[k], model.eval()(inputs), rtol=1e-10, atol=1e-12)


def test_initial_values_in_place_of_the_built_ones() -> None:
    weight = torch.full((CLASSES, 5), 0.25, dtype=torch.float64)
    members = [Member(rule=gradient_descent(1e-300), batch_size=8, initial={"2.weight": weight}), MIXED[0][0]]
    fleet = train(perceptron(), members, 1)
    torch.testing.assert_close(fleet.state(0)["2.weight"], weight, rtol=0, atol=0)
    assert not torch.equal(fleet.state(1)["2.weight"], weight)


def test_types_are_the_models() -> None:
    inputs, targets = table()
    build = lambda: nn.Sequential(nn.Linear(FEATURES, CLASSES))  # noqa: E731
    fleet = train_fleet(build, cross_entropy, inputs.float(), targets, [member for member, _ in MIXED], 3)
    assert fleet.parameters.dtype == torch.float32


def test_tensors_are_made_where_the_model_is() -> None:
    with DevicesGiven() as given:
        train(MODELS["batch norm"], [member for member, _ in MIXED], 3)
    assert not given.without


# Bad input


def member(batch_size: int = 8, **settings: Any) -> Member:
    return Member(rule=gradient_descent(0.1), batch_size=batch_size, **settings)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: member(batch_size=0), "`batch_size`.*positive whole number; got 0"),
        (lambda: train(perceptron(), []), "at least one member"),
        (lambda: train(perceptron(), [member()], 0), "`updates`.*got 0"),
        (lambda: train(perceptron(), [member(batch_size=41)]), "41 samples.*whole set of 40"),
        (
            lambda: train_fleet(perceptron(), cross_entropy, table()[0][:9], table()[1], [member()], 1),
            "9 inputs and 40 targets",
        ),
        (
            lambda: train_fleet(perceptron(), cross_entropy, [table()], table()[1], [member()], 1),  # type: ignore[arg-type]
            "`inputs`.*one tensor of all samples; got list",
        ),
        (
            lambda: train_fleet(perceptron(), nn.CrossEntropyLoss(), *table(), [member()], 1),
            r'each of the 8 samples.*shape \(\).*reduction="none"',
        ),
        (
            lambda: train_fleet(perceptron(), lambda o, t: 0.0 * t, *table(), [member()], 1),
            "depends on none",
        ),
        (
            lambda: train(perceptron(), [member(initial={"9.weight": torch.zeros(1)})]),
            r"`initial`.*`9.weight`.*the model holds `0.weight` \(5, 6\)",
        ),
        (lambda: train(lambda: nn.Tanh(), [member()]), "no parameters"),
        (lambda: train(growing(), [member(), member(seed=1)]), "built alike"),
    ],
)
def test_what_does_not_fit(call: Callable[[], Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        call()


def growing() -> Build:
    """A function that builds another model every time."""
    widths = iter(range(4, 10))

    def build() -> nn.Module:
        width = next(widths)
        return nn.Sequential(nn.Linear(FEATURES, width), nn.Linear(width, CLASSES)).double()

    return build


def test_what_is_kept_on_the_way_is_where_a_shorter_training_ends() -> None:
    members = [member for member, _ in MIXED]
    long = train_fleet(perceptron(), cross_entropy, *table(), members, UPDATES, keep=(0, 25, UPDATES))
    short = train(perceptron(), [member for member, _ in MIXED], 25)
    assert torch.equal(long.at(25).parameters, short.parameters)
    assert torch.equal(long.at(25).outputs(table()[0]), short.outputs(table()[0]))
    assert torch.equal(long.at(UPDATES).parameters, long.parameters)


def test_of_a_member_that_diverged_only_what_was_finite_is_kept() -> None:
    members = [Member(rule=gradient_descent(rate), batch_size=8, loss=squared_error) for rate in (1e-3, 100.0)]
    fleet = train_fleet(perceptron(nn.Identity), cross_entropy, *table(), members, 300, keep=(0, 300))
    assert fleet.at(0).parameters.isfinite().all()
    assert fleet.at(300).parameters.isfinite().all(1).tolist() == [True, False]
