"""From the folder of a training that was stopped to the course it is on, at its last checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unstuck.checkpoint import Checkpoint, Record
from unstuck.course import Course, origin_of
from unstuck.errors import InputError
from unstuck.prescription import Prescription
from unstuck.problem import Problem
from unstuck.recipe import HYPHENS, Recipe
from unstuck.report import read_document

LENGTHS = ("updates", "epochs")


def taken_up(problem: Problem, folder: Path, asked: Recipe, *, target: str | None = None) -> Course:
    """The course of a training, as its last checkpoint has it.

    Args:
        problem: the same that was trained.
        folder: of the training.
        asked: settings it is to agree with; ``updates`` may be another number where nothing is laid out for it.
        target: where the problem comes from.

    Raises:
        InputError: there is no checkpoint, the training is finished, or it is one with other settings; says which.
    """
    checkpoint = Checkpoint.read(folder)
    if is_finished(folder):
        raise InputError(f"{folder}: this training is finished, and its report is there; train in another folder")
    settings = checkpoint.settings
    _check_origin(folder, origin_of(problem, target), settings["origin"])
    stored = Recipe(**settings["recipe"])
    prescribed = settings["prescription"]
    course = Course.of(
        problem,
        _agreed(folder, stored, asked),
        None if prescribed is None else Prescription.of(prescribed),
        target=target,
        every=settings["every"],
    )
    _check_length(folder, course, stored, checkpoint.snapshot.update)
    record = Record(folder)
    made, size = record.first(checkpoint.snapshot.update)
    course.threads = settings["threads"]
    course.go_on_from(checkpoint, made)
    with course.branch.ranks.together():
        if course.branch.ranks.rank == 0:
            record.go_on(course.recipe.toml(), size)
            course.record = record
    return course


def is_finished(folder: Path) -> bool:
    """Whether a training came to its end there; after an interruption its report says that it did not.

    Raises:
        InputError: the report that is there is no training's.
    """
    if not (folder / "report.json").exists():
        return False
    document = read_document(folder)
    if "final" not in document:
        raise InputError(f"{folder}: holds a report of another kind beside a training; move it elsewhere")
    return bool(document.get("finished", True))


def _agreed(folder: Path, stored: Recipe, asked: Recipe) -> Recipe:
    """The stored recipe for the length that is asked for."""
    for name, value in asked.given.items():
        was = getattr(stored, name)
        if name not in LENGTHS and was != value:
            key = name.translate(HYPHENS)
            raise InputError(
                f"{folder}: this training was started {f'with {key} {was}' if was is not None else f'without {key}'}, "
                f"and {key} {value} is asked for; leave it out, or start another training"
            )
    return stored.overridden({name: asked.given[name] for name in LENGTHS if name in asked.given})


def _check_length(folder: Path, course: Course, stored: Recipe, done: int) -> None:
    if course.updates < done:
        raise InputError(f"{folder}: {done} updates were made already, and {course.updates} are asked for; give more")
    laid_out = [each for each in (stored.schedule, stored.averaging) if each not in (None, "constant", "exponential")]
    if course.updates != stored.updates and laid_out:
        raise InputError(
            f"{folder}: {laid_out[0]} was laid out for {stored.updates} updates, and {course.updates} are asked for; "
            "leave them out, or start another training"
        )


def _check_origin(folder: Path, now: Mapping[str, Any], then: Mapping[str, Any]) -> None:
    for name, was in then.items():
        if now[name] not in (was, None):  # nobody says where a problem comes from that is handed over in Python
            told = "other data" if name == "data" else f"{name.replace('_', ' ')} {was} then, {now[name]} now"
            raise InputError(f"{folder}: this training is of another problem ({told}); give the one it started with")
