"""Training and held-out loss against sums over the whole sets, and what is claimed of their difference."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tests import zoo
from tests.closed_forms.made import DOUBLE, descent, normal
from tests.probes.look import look, view
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from unstuck.budget import Budget
from unstuck.classifier import classifier, loader, table
from unstuck.methods.averaging import with_averaging
from unstuck.probes.generalization import PART, UNKNOWN, Generalization, GeneralizationReading
from unstuck.problem import Problem
from unstuck.specimens import healthy
from unstuck.walk import walk

INPUTS, TARGETS = table()


def read(problem: Problem, seed: int = 0) -> GeneralizationReading:
    reading: GeneralizationReading = look(Generalization(), problem, seed=seed)
    return reading


def held_out(samples: int, valid: int = 512, **changes: Any) -> Problem:
    """The classifier on its first samples; the others are held out."""
    out = DataLoader(TensorDataset(INPUTS[-valid:], TARGETS[-valid:]), batch_size=64)
    return classifier("held out", train=loader(INPUTS[:samples], TARGETS[:samples]), valid=out, **changes)


def overfitted(updates: int = 150) -> Problem:
    branch = held_out(48).branch()
    walk(branch, updates)
    return branch


def loss_of(problem: Problem, inputs: Tensor, targets: Tensor) -> Tensor:
    with torch.no_grad():
        return nn.functional.cross_entropy(problem.model.eval()(inputs), targets, reduction="none")


def test_losses_are_those_of_the_sets() -> None:
    problem = overfitted()
    reading = read(problem)
    train, valid = loss_of(problem, INPUTS[:48], TARGETS[:48]), loss_of(problem, INPUTS[-512:], TARGETS[-512:])
    assert (reading.samples, reading.valid_samples) == (48, 512)
    assert reading.train_loss.value == pytest.approx(float(train.mean()), rel=1e-5)
    assert reading.valid_loss is not None
    assert reading.valid_loss.value == pytest.approx(float(valid.mean()), rel=1e-5)
    assert reading.valid_loss.error == pytest.approx(float(valid.std()) / 512**0.5, rel=0.3)
    assert reading.gap is not None
    assert reading.gap.value == pytest.approx(float(valid.mean() - train.mean()), rel=1e-5)
    right = problem.model(INPUTS[-512:]).argmax(1).eq(TARGETS[-512:]).double().mean()
    assert reading.valid_accuracy is not None
    assert reading.valid_accuracy.value == pytest.approx(float(right))
    assert reading.valid_accuracy.low < float(right) < reading.valid_accuracy.high
    assert reading.train_accuracy is not None
    assert (reading.train_accuracy.value, reading.train_accuracy.high) == pytest.approx((1.0, 1.0))
    assert reading.train_accuracy.low < 0.95  # of 48 samples no more is known


def test_the_constant_answer_is_the_best_there_is() -> None:
    reading = read(held_out(48))
    shares = torch.bincount(TARGETS[-512:], minlength=4).double() / 512
    entropy = float(-(shares * shares.log()).sum())
    assert reading.constant == pytest.approx(entropy, rel=1e-4)
    assert reading.over_constant is not None
    assert reading.valid_loss is not None
    assert reading.over_constant.value == pytest.approx(reading.valid_loss.value - entropy, rel=1e-3)


def test_what_gives_the_same_to_all_does_not_generalize() -> None:
    """Whatever it gives: equal shares, say, which are better than those of a small sample."""
    for seed in range(5):
        targets = torch.randint(0, 10, (300,), generator=torch.Generator().manual_seed(seed))
        model = nn.Linear(20, 10)
        with torch.no_grad():
            model.weight.zero_()
            model.bias.zero_()
        data = [(INPUTS[part], targets[part]) for part in (slice(150), slice(150, 300))]
        reading = read(classifier("equal shares", model=model, train=data[:1], valid=data[1:]))
        assert reading.generalizes is False


def test_a_gap_is_claimed_only_beyond_chance() -> None:
    """Before training, the two sets differ by chance; of that, one in forty is claimed."""
    claimed = 0
    for seed in range(25):
        mixed = torch.randperm(len(INPUTS), generator=torch.Generator().manual_seed(seed))
        out = [(INPUTS[mixed[400:800]], TARGETS[mixed[400:800]])]
        train = loader(INPUTS[mixed[:400]], TARGETS[mixed[:400]])
        gap = read(classifier("untrained", train=train, valid=out)).gap
        assert gap is not None
        claimed += gap.low > 0
    assert claimed <= 3
    after = read(overfitted())
    assert after.gap is not None
    assert after.gap.low > 0.5


def test_what_it_says_of_the_constant() -> None:
    assert read(held_out(512)).generalizes is False  # nothing is learned yet
    learned = held_out(512).branch()
    walk(learned, 200)
    assert read(learned).generalizes
    assert read(overfitted(400)).generalizes is False  # certain, and often wrong
    assert read(healthy()).generalizes is None


def test_the_held_out_curve_comes_from_readings_along_the_walk() -> None:
    problem = held_out(48)
    readings = [read(problem)]
    for updates in (12, 300):
        branch = problem.branch()
        walk(branch, updates)
        readings.append(read(branch))
    start, best, end = readings
    fallen, risen = best.risen_since(start), end.risen_since(best)
    assert fallen is not None
    assert risen is not None
    assert fallen.interval.high < 0 < risen.interval.low
    assert end.valid_loss is not None
    assert best.valid_loss is not None
    assert risen.mean == pytest.approx(end.valid_loss.value - best.valid_loss.value, rel=1e-6)
    # Part by part the interval is narrower than that of two separate means.
    assert risen.interval.high - risen.interval.low < 4 * math.hypot(end.valid_loss.error, best.valid_loss.error)
    assert end.risen_since(read(healthy())) is None


def test_without_held_out_data_it_says_so() -> None:
    reading = read(healthy())
    assert reading.notes == (UNKNOWN,)
    assert "give `valid`" in UNKNOWN
    numbers = (reading.valid_loss, reading.gap, reading.constant, reading.over_constant, reading.valid_accuracy)
    assert all(number is None for number in numbers)
    assert reading.train_loss.value == pytest.approx(1.4, abs=0.05)
    assert reading.draw() is not None


@pytest.mark.parametrize("name", zoo.MODELS)
def test_every_kind_of_model(name: str) -> None:
    problem = zoo.MODELS[name](DOUBLE)
    reading = read(problem.changed(valid=problem.train))
    assert reading.gap is not None
    assert reading.gap.value == pytest.approx(0.0, abs=1e-12)
    whole = problem.branch().mean_loss(problem.data.whole(chunk=100), mode="evaluation")
    assert reading.train_loss.value == pytest.approx(whole, rel=1e-9)
    assert (reading.constant is None) == (problem.loss is None)


def one_weight(count: int, seed: int, valid: int) -> Problem:
    """Linear regression with as many weights as samples, nearly: it learns its noise."""
    inputs, noise = normal(count + valid, 20, seed=seed), normal(count + valid, 1, seed=seed + 1)
    model = nn.Linear(20, 1, bias=False, dtype=DOUBLE)
    train, out = (TensorDataset(inputs[part], noise[part]) for part in (slice(count), slice(count, None)))
    with torch.no_grad():
        model.weight.copy_(torch.linalg.lstsq(inputs[:count], noise[:count]).solution.T)
    return Problem(model, nn.MSELoss(), DataLoader(train, 8), descent()([*model.parameters()]), DataLoader(out, 50))


def test_the_gap_of_least_squares_is_in_its_interval() -> None:
    """Of n samples of noise, variance 1, d weights leave a loss of 1 − d/n, and one of 1 + d/(n − d − 1) on others."""
    held = []
    for seed in range(0, 60, 2):
        reading = read(one_weight(60, seed, 400))
        assert reading.gap is not None
        assert reading.train_accuracy is None
        held.append(reading.gap.low <= 20 / 60 + 20 / 39 <= reading.gap.high)
        assert reading.constant == pytest.approx(1.0, abs=0.3)
    assert sum(held) >= 0.8 * len(held)  # the truth is a mean over weights, of which each seed has its own


def test_outputs_that_happen_to_lie_within_0_and_1_have_a_free_constant() -> None:
    model = nn.Linear(3, 1, dtype=DOUBLE)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.fill_(0.5)
    data = TensorDataset(normal(200, 3), 5.0 + normal(200, 1, seed=1))
    problem = Problem(
        model, nn.MSELoss(), DataLoader(data, 20), descent()([*model.parameters()]), valid=DataLoader(data, 20)
    )
    assert read(problem).constant == pytest.approx(float(data.tensors[1].var(correction=0)), rel=1e-4)


@pytest.mark.parametrize("between", [nn.Dropout(0.5), nn.BatchNorm1d(5)])
def test_it_is_judged_as_it_will_be_used(between: nn.Module) -> None:
    """Dropout is off, and batch normalization uses its running statistics."""
    problem = zoo.problem(lambda: zoo.perceptron(between))
    walk(branch := problem.branch(), 5)
    inputs, targets = zoo.table()
    with torch.no_grad():
        expected = float(nn.functional.cross_entropy(branch.branch().model.eval()(inputs), targets))
    assert read(branch).train_loss.value == pytest.approx(expected, rel=1e-9)


def test_averaged_weights_are_those_that_are_judged() -> None:
    averaged = with_averaging(held_out(512).branch(), decay=1.0)
    walk(averaged, 20)
    expected = averaged.mean_loss(averaged.data.whole(chunk=64), mode="evaluation")
    walking = averaged.mean_loss(averaged.data.whole(chunk=64), point=averaged.point(), mode="evaluation")
    assert read(averaged).train_loss.value == pytest.approx(expected, rel=1e-5)
    assert abs(walking - expected) > 1e-3 * expected


def test_samples_of_unequal_weight_count_by_their_terms() -> None:
    weights = torch.tensor([1.0, 2.0, 9.0], dtype=DOUBLE)
    problem = zoo.problem(
        zoo.perceptron, loss=nn.CrossEntropyLoss(weights), weight=lambda batch: float(weights[batch[1]].sum())
    )
    inputs, targets = zoo.table()
    with torch.no_grad():
        expected = float(nn.functional.cross_entropy(problem.model(inputs), targets, weight=weights))
    assert read(problem).train_loss.value == pytest.approx(expected, rel=1e-9)


def test_cost_and_parts() -> None:
    seen = view(held_out(512))
    reading = Generalization().measure(seen, Budget())
    assert len(reading.train_losses) == len(reading.valid_losses) == 512 // PART
    assert seen.gradient_evaluations == pytest.approx(4 * 512 / 32 / 3)  # both sets, for the loss and the answers
    one = read(classifier("one", train=loader(INPUTS[:40], TARGETS[:40]), valid=[(INPUTS[:1], TARGETS[:1])]))
    assert one.valid_loss is not None
    assert math.isinf(one.valid_loss.error)
    assert one.gap is not None
    assert (one.gap.low, one.gap.high) == (-math.inf, math.inf)


def test_the_picture() -> None:
    reading = read(overfitted())
    traces = {trace.name: trace for trace in reading.draw().data}
    assert list(traces["held-out, by parts"].x) == list(reading.valid_losses)
    assert reading.valid_loss is not None
    assert list(traces["held-out, mean ± 2 standard errors"].x) == [reading.valid_loss.value]
    assert list(traces["constant answer"].x) == [reading.constant]
    assert "above that on training data" in reading.draw().layout.meta["summary"]
