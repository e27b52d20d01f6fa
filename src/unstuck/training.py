"""Training a problem as it is, or with a prescription; on a branch, in the one loop of :mod:`unstuck.walk`."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from unstuck import report
from unstuck.accuracy import accuracy
from unstuck.budget import Cost
from unstuck.check import check
from unstuck.data import Data
from unstuck.errors import InputError
from unstuck.judged import judged_weights
from unstuck.prescription import Prescription
from unstuck.problem import Problem
from unstuck.progress import Progress, silent
from unstuck.untouched import generators_kept, loader_generators
from unstuck.view import BLOCK
from unstuck.walk import CHECK_EVERY, Update, fixed_threads, threads_for, walk

DEFAULT_UPDATES = 1_000
"""Updates, where neither updates nor epochs are asked for."""

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
    curve: tuple[Update, ...] = field(repr=False)
    final: Final
    prescription: Prescription | None
    broke_at: int | None
    """The update whose loss was not finite, and where the training ended; None where it did not break."""
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
    prescription: Prescription | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Training:
    """Train a branch of a problem as it is, or with a prescription.

    Args:
        problem: the training; nothing of it is changed.
        updates: how many updates in all; default 1,000.
        epochs: instead of ``updates``, how many passes over the training data.
        prescription: applied after its ``from_update`` updates of the training as it is.
        seed: decides the order of the data and the masks.
        progress: told what is being done, and the share that is done.

    Raises:
        InputError: the problem cannot be trained as it was handed over, its length makes no sense, or the
            prescription does not fit it.
        Interrupted: Ctrl-C; carries the training so far.
    """
    with generators_kept(*loader_generators(problem.train), *loader_generators(problem.valid)):
        check(problem)
        total = _length(problem, updates, epochs, prescription)
        with fixed_threads(threads_for(problem)):
            course = _Course(branch=problem.branch(), updates=total, prescription=prescription, order=seed)
            try:
                course.walk(progress)
                progress("evaluating", 1.0)
                return course.training(_final(course.branch))
            except KeyboardInterrupt:
                raise Interrupted(course.training(Final())) from None


def _length(problem: Problem, updates: int | None, epochs: int | None, prescription: Prescription | None) -> int:
    """How many updates to make."""
    if updates is not None and epochs is not None:
        raise InputError("train: give the number of updates or the number of epochs, not both")
    for name, count in (("updates", updates), ("epochs", epochs)):
        if count is not None and count < 1:
            raise InputError(f"train: the number of {name} must be 1 or more; got {count}")
    if epochs is not None:
        updates = epochs * max(1, problem.data.batches_per_epoch // problem.accumulate)
    total = DEFAULT_UPDATES if updates is None else updates
    if prescription is not None and prescription.from_update >= total:
        raise InputError(
            f"train: the prescription is applied after {prescription.from_update} updates, and the training ends "
            f"after {total}; train for more"
        )
    return total


@dataclass(kw_only=True)
class _Course:
    """One training under way."""

    branch: Problem
    updates: int
    prescription: Prescription | None
    order: int
    curve: list[Update] = field(default_factory=list)
    broke_at: int | None = None
    began: float = field(default_factory=time.perf_counter)

    def walk(self, progress: Progress) -> None:
        """Walk in short pieces, the prescription applied when its time has come; ends where a piece breaks."""
        turn = self.updates if self.prescription is None else self.prescription.from_update
        batches = self.branch.data.order(self.order)
        while len(self.curve) < self.updates and self.broke_at is None:
            done = len(self.curve)
            progress("training", done / self.updates)
            if self.prescription is not None and done == turn:
                treated = _treated(self.branch, self.prescription)
                batches = batches if treated.train is self.branch.train else treated.data.order(self.order)
                self.branch = treated
            ahead = (turn if done < turn else self.updates) - done
            run = walk(self.branch, min(CHECK_EVERY, ahead), order=self.order, start=done, batches=batches)
            self.curve += run.curve
            self.broke_at = run.broke_at

    def training(self, final: Final) -> Training:
        """What has been walked, as a result."""
        return Training(
            problem=self.branch,
            curve=tuple(self.curve),
            final=final,
            prescription=self.prescription,
            broke_at=self.broke_at,
            cost=Cost(
                gradient_evaluations=len(self.curve) * self.branch.accumulate,
                updates=len(self.curve),
                seconds=time.perf_counter() - self.began,
            ),
        )


def _treated(branch: Problem, prescription: Prescription) -> Problem:
    try:
        return prescription.apply(branch)
    except InputError:
        raise
    except Exception as error:  # a remedy may fail in any way on a problem it was not tried on
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise InputError(
            f"the prescription of {prescription.remedy} does not fit this problem ({reason[0]}); "
            "diagnose the problem that is to be trained"
        ) from error


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
            "prescription": None if prescription is None else prescription.document(problem),
            "final": dataclasses.asdict(training.final),
            "curve": [_row(update) for update in _thinned(training.curve)],
            "broke_at": training.broke_at,
            "figures": {},
            "notes": [] if training.broke_at is None else [broke],
            "cost": dataclasses.asdict(training.cost),
        }
    )
    return document


def _row(made: Update) -> dict[str, float]:
    return {"update": made.update, "loss": made.loss, "rate": made.rate, "gradient_norm": made.gradient_norm}


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
