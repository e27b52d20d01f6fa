"""A training that was stopped and goes on is the uninterrupted one bit for bit; another one is refused."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import zoo
from tests.untouched import assert_untouched, content
from torch import nn

from unstuck.checkpoint import CHECKPOINT, CURVE, RECIPE, Checkpoint
from unstuck.errors import InputError
from unstuck.methods.optimizers import OPTIMIZERS
from unstuck.prescription import Gain, Prescription
from unstuck.problem import Problem
from unstuck.progress import Look
from unstuck.recipe import Recipe, read
from unstuck.remedies.lower_learning_rate import LowerLearningRate
from unstuck.remedies.normalize_inputs import NormalizeInputs
from unstuck.report import save
from unstuck.training import Training, resume, train, train_document

UPDATES, EVERY = 41, 18
LOOKS, CHECKPOINTS = (16, 18, 34, 36, 41), (0, 18, 36)
"""Updates after which a training is looked at, and those after whose look there is a checkpoint."""


class Killed(BaseException):
    """As if the process were gone: nothing is written any more."""


def killed_after(updates: int) -> Callable[[Look], None]:
    """A watcher that ends it all when so many updates were made."""

    def watcher(look: Look) -> None:
        if look.made[-1].update + 1 == updates:
            raise Killed

    return watcher


def state(problem: Problem) -> Any:
    """Everything that a training changes, bit for bit."""
    scheduler = None if problem.scheduler is None else content(problem.scheduler.state_dict())
    model = {name: content(tensor) for name, tensor in problem.model.state_dict().items()}
    return model, content(problem.optimizer.state_dict()), scheduler


def rows(training: Training) -> list[Any]:
    """The curve without its cosines, which a training does not measure."""
    return [dataclasses.replace(row, cosine=0.0) for row in training.curve]


def stop(problem: Problem, folder: Path, *, after: int = 34, **settings: Any) -> None:
    """Train, and be killed."""
    with pytest.raises(Killed):
        train(problem, updates=UPDATES, folder=folder, every=EVERY, watcher=killed_after(after), **settings)


def assert_goes_on(make: Callable[[], Problem], folder: Path, *, after: int = 34, **settings: Any) -> None:
    """Whole and in two parts it comes to the same."""
    whole = train(make(), updates=UPDATES, folder=folder / "whole", every=EVERY, **settings)
    stop(make(), folder / "parts", after=after, **settings)
    assert Checkpoint.read(folder / "parts").snapshot.update == max(each for each in CHECKPOINTS if each < after)
    rest = resume(make(), folder / "parts")
    assert rows(rest) == rows(whole)
    assert state(rest.problem) == state(whole.problem)
    assert rest.final == whole.final
    assert (folder / "parts" / CURVE).read_bytes() == (folder / "whole" / CURVE).read_bytes()
    assert (folder / "parts" / RECIPE).read_bytes() == (folder / "whole" / RECIPE).read_bytes()


@pytest.mark.filterwarnings("ignore:Seems like `optimizer.step")
@pytest.mark.parametrize("name", [name for name in zoo.ZOO if name != "counting"])  # which counts in an attribute
def test_everything_goes_on_where_it_was(name: str, tmp_path: Path) -> None:
    assert_goes_on(lambda: zoo.ZOO[name](torch.float64), tmp_path)


def deep() -> Problem:
    return zoo.problem(
        lambda: nn.Sequential(
            nn.Linear(zoo.FEATURES, 6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)
        )
    )


def needs_a_package(name: str) -> bool:
    return name in ("lars", "lamb") or name.startswith("schedule-free")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_on_where_it_was(name: str, tmp_path: Path) -> None:
    package = "schedulefree" if name.startswith("schedule-free") else "pytorch_optimizer"
    if needs_a_package(name) and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    assert_goes_on(deep, tmp_path, recipe=Recipe(optimizer=name, rate=0.01, weight_decay=0.01))


ALL_METHODS = Recipe(
    seed=3,
    batch_size=7,
    shuffle=True,
    normalization="batch",
    ghost_batch=3,
    loss="squared-error-on-softmax",
    optimizer="adamw",
    rate=0.01,
    schedule="warm-up-cosine",
    warm_up=5,
    clip_norm=0.5,
    averaging="stochastic",
)


@pytest.mark.parametrize("after", LOOKS)
def test_all_methods_together_go_on_wherever_they_are_stopped(after: int, tmp_path: Path) -> None:
    assert_goes_on(deep, tmp_path, after=after, recipe=ALL_METHODS)


@pytest.mark.parametrize("kind", ["layer", "group", "weight", "spectral", "batch-renorm", "feature"])
def test_normalized_models_go_on(kind: str, tmp_path: Path) -> None:
    assert_goes_on(deep, tmp_path, recipe=Recipe(normalization=kind, averaging="exponential"))


@pytest.mark.parametrize(("turn", "after"), [(0, 34), (8, 34), (18, 34), (20, 20), (36, 34)])
def test_a_prescription_goes_on_before_and_after_its_turn(turn: int, after: int, tmp_path: Path) -> None:
    steps = (NormalizeInputs(axis=1), LowerLearningRate(factor=0.5))
    gain = Gain(fraction=0.5, interval=(0.1, 0.2), says="so")
    prescription = Prescription(from_update=turn, steps=steps, gain=gain)
    assert_goes_on(deep, tmp_path, after=after, prescription=prescription)


def test_a_training_that_is_stopped_after_its_last_update_is_evaluated(tmp_path: Path) -> None:
    def ended(doing: str, done: float) -> None:
        if doing == "evaluating":
            raise Killed

    with pytest.raises(Killed):
        train(deep(), updates=UPDATES, folder=tmp_path, every=EVERY, progress=ended)
    rest, whole = resume(deep(), tmp_path), train(deep(), updates=UPDATES)
    assert Checkpoint.read(tmp_path).snapshot.update == UPDATES
    assert (rest.final, rows(rest)) == (whole.final, rows(whole))


def test_what_is_stopped_again_goes_on_again(tmp_path: Path) -> None:
    whole = train(deep(), updates=UPDATES)
    stop(deep(), tmp_path / "run", after=16)
    for after in (18, 34):
        with pytest.raises(Killed):
            resume(deep(), tmp_path / "run", watcher=killed_after(after))
    rest = resume(deep(), tmp_path / "run")
    assert rows(rest) == rows(whole)
    assert state(rest.problem) == state(whole.problem)
    assert rest.cost.updates == UPDATES


def test_a_training_that_is_laid_out_for_no_length_may_become_longer(tmp_path: Path) -> None:
    stop(deep(), tmp_path / "run", recipe=Recipe(optimizer="adam", rate=0.01))
    longer = resume(deep(), tmp_path / "run", recipe=Recipe(updates=50))
    assert rows(longer) == rows(train(deep(), updates=50, recipe=Recipe(optimizer="adam", rate=0.01)))
    assert read(tmp_path / "run" / RECIPE) == longer.recipe


def test_going_on_touches_nothing_of_the_callers(tmp_path: Path) -> None:
    stop(deep(), tmp_path / "run", recipe=ALL_METHODS)
    problem = deep()
    with assert_untouched(problem):
        resume(problem, tmp_path / "run")


def larger() -> Problem:
    return zoo.problem(lambda: zoo.perceptron(nn.Linear(5, 5)))


def on_other_data() -> Problem:
    inputs, targets = zoo.table()
    return dataclasses.replace(deep(), train=zoo.shuffled(inputs + 1, targets))


def with_other_settings() -> Problem:
    return dataclasses.replace(deep(), name="mine")


OTHERS: dict[str, tuple[Callable[[], Problem], dict[str, Any], str]] = {
    "rate": (deep, {"rate": 0.1}, "was started with rate 0.01, and rate 0.1 is asked for; leave it out"),
    "optimizer": (deep, {"optimizer": "sgd"}, "with optimizer adam, and optimizer sgd is asked for"),
    "schedule": (deep, {"clip_norm": 1.0}, "was started without clip-norm, and clip-norm 1.0 is asked for"),
    "seed": (deep, {"seed": 1}, "was started with seed 0, and seed 1 is asked for"),
    "too few updates": (deep, {"updates": 17}, "18 updates were made already, and 17 are asked for; give more"),
    "too few epochs": (deep, {"epochs": 1}, "18 updates were made already, and 5 are asked for; give more"),
    "other updates": (deep, {"updates": 60}, "cosine was laid out for 41 updates, and 60 are asked for"),
    "another model": (larger, {}, "of another problem (parameters 93 then, 73 now)"),
    "other data": (on_other_data, {}, "of another problem (other data)"),
    "another name": (with_other_settings, {}, "of another problem (name problem then, mine now)"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_training_is_refused_and_nothing_changes(name: str, tmp_path: Path) -> None:
    stop(deep(), tmp_path, recipe=Recipe(optimizer="adam", rate=0.01, schedule="cosine"))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    make, settings, says = OTHERS[name]
    with pytest.raises(InputError) as raised:
        resume(make(), tmp_path, recipe=Recipe(**settings))
    assert says in str(raised.value)
    assert str(tmp_path) in str(raised.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_agrees_may_be_said_again(tmp_path: Path) -> None:
    recipe = Recipe(optimizer="adam", rate=0.01, seed=4)
    stop(deep(), tmp_path, recipe=recipe)
    assert resume(deep(), tmp_path, recipe=recipe.overridden({"updates": UPDATES})).finished


def test_a_finished_training_says_so(tmp_path: Path) -> None:
    problem = deep()
    training = train(problem, updates=5, folder=tmp_path)
    save(train_document(problem, training), tmp_path)
    with pytest.raises(InputError, match="this training is finished, and its report is there"):
        resume(deep(), tmp_path)


def test_an_interrupted_training_goes_on_whatever_its_report_says(tmp_path: Path) -> None:
    problem = deep()
    stop(problem, tmp_path)
    part = dataclasses.replace(train(problem, updates=34), finished=False)
    save(train_document(problem, part), tmp_path)
    assert len(resume(deep(), tmp_path).curve) == UPDATES


def test_a_report_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    stop(deep(), tmp_path)
    (tmp_path / "report.json").write_text(json.dumps({"schema": 1, "readings": {}}), encoding="utf-8")
    with pytest.raises(InputError, match="holds a report of another kind beside a training"):
        resume(deep(), tmp_path)


def test_a_folder_without_a_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"holds no {CHECKPOINT} to go on from"):
        resume(deep(), tmp_path)
    train(deep(), updates=3, folder=tmp_path / "none", every=0)
    with pytest.raises(InputError, match=f"holds no {CHECKPOINT} to go on from"):
        resume(deep(), tmp_path / "none")
