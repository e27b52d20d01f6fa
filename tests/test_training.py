"""Training: the one loop in pieces, prescriptions in their place, and final losses against plain torch."""

import copy
import dataclasses
import json
import math
from typing import Any

import pytest
import torch
from tests.untouched import assert_untouched
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from unstuck import specimens
from unstuck.budget import Cost
from unstuck.errors import InputError
from unstuck.prescription import Gain, Prescription
from unstuck.problem import Problem
from unstuck.recipe import Recipe
from unstuck.remedies.cross_entropy import CrossEntropy
from unstuck.remedies.normalize_inputs import NormalizeInputs
from unstuck.remedies.raise_learning_rate import RaiseLearningRate
from unstuck.remedies.reinitialize import Reinitialize
from unstuck.training import ROWS, Final, Interrupted, Training, train, train_document
from unstuck.walk import Update, walk


def prescribed(*steps: Any, from_update: int = 0) -> Prescription:
    """A prescription of these steps."""
    return Prescription(from_update=from_update, steps=steps, gain=Gain(fraction=0.5, interval=(0.1, 0.2), says="so"))


def with_dropout(**changes: Any) -> Problem:
    """A classifier with dropout and batch normalization, held-out data, and a generator in its loader."""
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(70, 3, generator=generator, dtype=torch.float64)
    targets = (inputs.sum(1) > 0).long()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2)).double()
    data, held_out = TensorDataset(inputs[:50], targets[:50]), TensorDataset(inputs[50:], targets[50:])
    fields: dict[str, Any] = {
        "model": model,
        "loss": nn.CrossEntropyLoss(),
        "train": DataLoader(data, batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(2)),
        "valid": DataLoader(held_out, batch_size=7),
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
    }
    return Problem(**{**fields, **changes})


def state(problem: Problem) -> dict[str, Tensor]:
    return dict(problem.model.state_dict())


def same(a: Problem, b: Problem) -> bool:
    return all(torch.equal(x, y) for x, y in zip(state(a).values(), state(b).values(), strict=True))


def test_the_pieces_are_one_walk() -> None:
    problem = with_dropout()
    branch = problem.branch()
    run = walk(branch, 45, order=7)
    training = train(problem, updates=45, seed=7)
    assert [dataclasses.replace(row, cosine=0.0) for row in training.curve] == [
        dataclasses.replace(row, cosine=0.0) for row in run.curve
    ]
    assert same(training.problem, branch)
    assert training.broke_at is None
    assert (training.cost.updates, training.cost.gradient_evaluations) == (45, 45)


def test_the_final_losses_are_means_over_all_data_in_eval_mode() -> None:
    problem = with_dropout()
    training = train(problem, updates=20)
    model = copy.deepcopy(training.problem.model).eval()
    for loader, loss, accuracy in (
        (problem.train, training.final.train_loss, training.final.train_accuracy),
        (problem.valid, training.final.valid_loss, training.final.valid_accuracy),
    ):
        inputs, targets = loader.dataset.tensors  # type: ignore[union-attr]
        with torch.no_grad():
            outputs = model(inputs)
        assert loss == pytest.approx(float(nn.functional.cross_entropy(outputs, targets)), rel=1e-12)
        assert accuracy == pytest.approx(float((outputs.argmax(1) == targets).double().mean()), rel=1e-12)


def test_what_is_unknown_is_none() -> None:
    final = train(specimens.bowl(), updates=2).final
    assert final.train_loss is not None
    assert (final.valid_loss, final.train_accuracy, final.valid_accuracy) == (None, None, None)


def test_nothing_of_the_callers_is_touched() -> None:
    problem = with_dropout()
    with assert_untouched(problem):
        train(problem, updates=5, prescription=prescribed(Reinitialize(), from_update=2))


def test_the_same_seed_gives_the_same_training_and_another_seed_another() -> None:
    first, again, other = (train(with_dropout(), updates=12, seed=seed) for seed in (3, 3, 4))
    assert first.final == again.final
    assert same(first.problem, again.problem)
    assert not same(first.problem, other.problem)


def test_a_prescription_is_applied_after_its_updates() -> None:
    problem = with_dropout()
    prescription = prescribed(RaiseLearningRate(factor=3.0), from_update=20)
    treated, as_it_is = train(problem, updates=33, prescription=prescription), train(problem, updates=33)
    rates = [row.rate for row in treated.curve]
    assert rates == [0.1] * 20 + [pytest.approx(0.3)] * 13
    losses, untouched = ([row.loss for row in training.curve] for training in (treated, as_it_is))
    assert losses[:21] == untouched[:21]  # the first treated update starts where the last untouched one ended
    assert losses[21:] != untouched[21:]


def test_the_treated_walk_goes_on_with_the_same_data() -> None:
    problem = with_dropout()
    prescription = prescribed(Reinitialize(), from_update=4)
    branch = problem.branch()
    batches = branch.data.order(0)
    walk(branch, 4, batches=batches)
    branch = prescription.apply(branch)
    walk(branch, 6, start=4, batches=batches)
    assert same(train(problem, updates=10, prescription=prescription).problem, branch)


def test_a_remedy_that_trains_on_another_loss_is_judged_by_the_own_one() -> None:
    problem = specimens.softmax_twice()
    inputs, targets = problem.train.dataset.tensors  # type: ignore[attr-defined]
    prescription = prescribed(CrossEntropy(outputs="probabilities"))
    training, as_it_is = train(problem, updates=30, prescription=prescription), train(problem, updates=30)
    with torch.no_grad():
        outputs = training.problem.model(inputs)
    assert torch.allclose(outputs.sum(1), torch.ones(len(outputs)))  # the model fits the caller's code as before
    assert training.final.train_loss == pytest.approx(float(nn.functional.cross_entropy(outputs, targets)), rel=1e-5)
    assert (training.final.train_accuracy or 0) > (as_it_is.final.train_accuracy or 1)


@pytest.mark.parametrize(("accumulate", "updates"), [(1, 14), (3, 4)])
def test_epochs_are_passes_over_the_data(accumulate: int, updates: int) -> None:
    assert len(train(with_dropout(accumulate=accumulate), epochs=2).curve) == updates


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"updates": 0}, "updates must be at least 1; got 0"),
        ({"updates": -1}, "updates must be at least 1; got -1"),
        ({"epochs": 0}, "epochs must be at least 1; got 0"),
        ({"updates": 5, "epochs": 1}, "not both"),
        ({"updates": 5, "prescription": prescribed(Reinitialize(), from_update=5)}, "train for more"),
        ({"updates": 5, "prescription": prescribed(NormalizeInputs(axis=9))}, "does not fit this problem"),
    ],
)
def test_lengths_and_prescriptions_that_make_no_sense_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        train(with_dropout(), **changes)


@pytest.mark.parametrize("updates", [1, ROWS, ROWS + 1, 3 * ROWS + 7])
def test_a_curve_is_stored_in_at_most_500_rows_with_the_first_and_the_last(updates: int) -> None:
    problem = specimens.product_at_origin()
    curve = tuple(Update(update=i, loss=1 / (i + 1), rate=0.1, gradient_norm=2.0, cosine=0.5) for i in range(updates))
    training = Training(
        problem=problem,
        recipe=Recipe(updates=updates),
        curve=curve,
        final=Final(),
        finished=False,
        prescription=None,
        broke_at=None,
        notes=(),
        cost=Cost(updates=updates),
    )
    rows = train_document(problem, training)["curve"]
    numbers = [row["update"] for row in rows]
    assert len(rows) == min(updates, ROWS)
    assert (numbers[0], numbers[-1]) == (0, updates - 1)
    assert numbers == sorted(set(numbers))
    assert rows[-1] == {"update": updates - 1, "loss": 1 / updates, "rate": 0.1, "gradient_norm": 2.0}


def test_a_walk_that_breaks_ends_early_and_the_document_says_so() -> None:
    model = nn.Linear(3, 1)
    inputs = torch.ones(8, 3)
    problem = Problem(
        model,
        lambda outputs, targets: (outputs - targets).pow(4).mean(),
        DataLoader(TensorDataset(inputs, torch.zeros(8, 1)), batch_size=4),
        torch.optim.SGD(model.parameters(), lr=100.0),
    )
    training = train(problem, updates=200)
    assert training.broke_at is not None
    assert len(training.curve) < 200
    assert not math.isfinite(training.curve[training.broke_at].loss + training.curve[training.broke_at].gradient_norm)
    document = train_document(problem, training)
    json.dumps(document, allow_nan=False)
    assert document["final"]["train_loss"] is None
    assert document["final"]["non_finite"] is True
    assert document["curve"][-1]["loss"] is None
    assert document["curve"][-1]["non_finite"] is True
    assert document["broke_at"] == training.broke_at
    assert f"at update {training.broke_at}" in document["notes"][0]


def test_an_interruption_keeps_what_was_walked() -> None:
    calls = 0

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 40:
            raise KeyboardInterrupt
        return nn.functional.cross_entropy(outputs, targets)

    problem = with_dropout(loss=loss)
    with assert_untouched(problem), pytest.raises(Interrupted) as caught:
        train(problem, updates=100)
    training = caught.value.training
    assert 16 <= len(training.curve) < 40
    assert training.final.train_loss is None
    assert train_document(problem, training)["cost"]["updates"] == len(training.curve)


def test_progress_grows_to_the_end() -> None:
    told: list[tuple[str, float]] = []
    train(specimens.bowl(), updates=40, progress=lambda doing, done: told.append((doing, done)))
    shares = [done for _, done in told]
    assert shares == sorted(shares)
    assert (shares[0], told[-1]) == (0.0, ("evaluating", 1.0))


def test_the_document_is_that_of_the_contract() -> None:
    problem = with_dropout()
    training = train(problem, updates=3, prescription=prescribed(Reinitialize()))
    document = train_document(problem, training, target="somewhere.py:problem")
    assert document == json.loads(json.dumps(document, allow_nan=False))
    assert document["schema"] == 1
    assert document["problem"]["target"] == "somewhere.py:problem"
    assert document["final"] == dataclasses.asdict(training.final)
    assert document["prescription"]["steps"][0]["remedy"] == "reinitialize"
    assert set(document) >= {"tool", "problem", "curve", "final", "figures", "notes", "cost"}
