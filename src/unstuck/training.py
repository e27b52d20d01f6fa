"""Training a problem as it is, or with a prescription; on a branch, in the one loop of :mod:`unstuck.walk`."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from unstuck import report
from unstuck.accuracy import accuracy
from unstuck.budget import Cost
from unstuck.checkpoint import EVERY, row
from unstuck.course import Course
from unstuck.data import Data
from unstuck.judged import judged_weights
from unstuck.prescription import Prescription
from unstuck.problem import Problem
from unstuck.progress import Progress, Watcher, nobody, silent
from unstuck.recipe import Recipe
from unstuck.resuming import taken_up
from unstuck.untouched import generators_kept, loader_generators
from unstuck.view import BLOCK
from unstuck.walk import Update, fixed_threads

ROWS = 500
"""Rows of a stored curve, at most."""


@dataclass(frozen=True, kw_only=True)
class Final:
    """Means over the whole set in eval mode, the loss being the problem's own; None where unknown."""

    train_loss: float | None = None
    valid_loss: float | None = None
    train_accuracy: float | None = None
    valid_accuracy: float | None = None


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a training came to."""

    problem: Problem = field(repr=False)
    """The trained one: a branch, with its own model and optimizer, which can walk on. One that averages has an
    ``eval()``, which puts the weights into the model that ``final`` is of."""
    recipe: Recipe
    """For how long and with which methods, its defaults written out."""
    curve: tuple[Update, ...] = field(repr=False)
    final: Final
    finished: bool
    """Whether it came to its end: to its last update, or to where it broke."""
    prescription: Prescription | None
    broke_at: int | None
    """The update whose loss was not finite, and where the training ended; None where it did not break."""
    notes: tuple[str, ...]
    """On what the methods changed, and what they left."""
    cost: Cost


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in the middle; ``training`` holds what was walked until then, its final losses unknown."""

    def __init__(self, training: Training) -> None:
        super().__init__("interrupted")
        self.training = training


def train(
    problem: Problem,
    *,
    updates: int | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    recipe: Recipe | None = None,
    prescription: Prescription | None = None,
    folder: str | Path | None = None,
    every: int = EVERY,
    progress: Progress = silent,
    watcher: Watcher = nobody,
) -> Training:
    """Train a branch of a problem as it is, with the methods of a recipe, or with a prescription.

    Args:
        problem: the training; nothing of it is changed.
        updates: how many updates in all; default 1,000.
        epochs: instead of ``updates``, how many passes over the training data.
        seed: decides the order of the data and the masks; default 0.
        recipe: for how long and with which methods; the arguments before override it.
        prescription: applied after its ``from_update`` updates of the training as it is.
        folder: where curve, checkpoints and recipe are written down as the training goes, for :func:`resume`.
        every: updates between checkpoints; 0 for none.
        progress: told what is being done, and the share that is done.
        watcher: shown the updates, some at a time.

    Raises:
        InputError: the problem cannot be trained as it was handed over, what is asked for does not fit it, or the
            folder holds a training already.
        Interrupted: Ctrl-C; carries the training so far.
    """
    asked = {"updates": updates, "epochs": epochs, "seed": seed}
    recipe = (recipe or Recipe()).overridden({name: value for name, value in asked.items() if value is not None})
    course = Course.of(problem, recipe, prescription, every=0 if folder is None else every)
    if folder is not None:
        course.write_to(Path(folder))
    return walked(course, progress, watcher)


def resume(
    problem: Problem,
    folder: str | Path,
    *,
    recipe: Recipe | None = None,
    progress: Progress = silent,
    watcher: Watcher = nobody,
) -> Training:
    """Go on with a training from the last checkpoint in its folder, as if it had not been stopped.

    Args:
        problem: the same that was trained.
        folder: of the training.
        recipe: what it is to agree with, in what is given there; more updates where nothing is laid out for them.
        progress: as for :func:`train`.
        watcher: as for :func:`train`.

    Raises:
        InputError: there is no training to go on with, or it is another one.
        Interrupted: Ctrl-C; carries the training so far.
    """
    return walked(taken_up(problem, Path(folder), recipe or Recipe()), progress, watcher)


def walked(course: Course, progress: Progress = silent, watcher: Watcher = nobody) -> Training:
    """Walk a course to its end, and evaluate. Raises Interrupted on Ctrl-C."""
    loaders = (course.problem.train, course.problem.valid)
    with generators_kept(*itertools.chain(*map(loader_generators, loaders))), fixed_threads(course.threads):
        try:
            course.go(progress, watcher)
            progress("evaluating", 1.0)
            return _training(course, _final(course.branch), finished=True)
        except KeyboardInterrupt:
            raise Interrupted(_training(course, Final(), finished=False)) from None


def _training(course: Course, final: Final, *, finished: bool) -> Training:
    """What has been walked, as a result."""
    updates = len(course.curve)
    return Training(
        problem=course.branch,
        recipe=course.recipe,
        curve=tuple(course.curve),
        final=final,
        finished=finished,
        prescription=course.prescription,
        broke_at=course.broke_at,
        notes=course.notes,
        cost=Cost(gradient_evaluations=updates * course.branch.accumulate, updates=updates, seconds=course.seconds),
    )


def _final(trained: Problem) -> Final:
    with judged_weights(trained, statistics=True):
        train_loss, train_accuracy = _score(trained, trained.data)
        valid_loss, valid_accuracy = (None, None) if trained.valid_data is None else _score(trained, trained.valid_data)
    return Final(
        train_loss=train_loss, valid_loss=valid_loss, train_accuracy=train_accuracy, valid_accuracy=valid_accuracy
    )


def _score(problem: Problem, data: Data) -> tuple[float, float | None]:
    """Own loss and accuracy over a whole set."""
    return problem.mean_loss(data.whole(chunk=BLOCK), mode="evaluation"), accuracy(problem, data.whole(chunk=BLOCK))


def train_document(problem: Problem, training: Training, *, target: str | None = None) -> dict[str, Any]:
    """A training as one document of JSON types (schema 1): what ``unstuck train`` writes."""
    prescription = training.prescription
    broke = f"the loss stopped being finite at update {training.broke_at}, where the training ended"
    document: dict[str, Any] = report.plain(
        {
            "schema": report.SCHEMA,
            "tool": report.tool(),
            "problem": report.card(problem, target),
            "recipe": training.recipe.document(),
            "prescription": None if prescription is None else prescription.document(problem),
            "finished": training.finished,
            "final": dataclasses.asdict(training.final),
            "curve": [row(update) for update in _thinned(training.curve)],
            "broke_at": training.broke_at,
            "figures": {},
            "notes": [*training.notes, *([] if training.broke_at is None else [broke])],
            "cost": dataclasses.asdict(training.cost),
        }
    )
    return document


def _thinned(curve: Sequence[Update]) -> list[Update]:
    """At most :data:`ROWS` of the rows, evenly spread, the first and the last among them."""
    if len(curve) <= ROWS:
        return list(curve)
    step = (len(curve) - 1) / (ROWS - 1)
    return [curve[round(place * step)] for place in range(ROWS)]


def save_weights(training: Training, folder: Path) -> Path:
    """Write the trained model's state dict, moved to the CPU, as weights.pt into a folder; gives its path.

    They are the weights that the training is judged by, where its optimizer walks with others.
    """
    path = folder / "weights.pt"
    with judged_weights(training.problem, statistics=True):
        torch.save({name: tensor.cpu() for name, tensor in training.problem.model.state_dict().items()}, path)
    return path
