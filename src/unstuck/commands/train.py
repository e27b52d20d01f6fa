"""``unstuck train``: as it is, with named methods or a prescription, and on from where a training was stopped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unstuck.commands import methods
from unstuck.commands.options import JsonFile, OnDevice, Out, Quiet, TargetOrBuiltIn, examples
from unstuck.commands.work import built_in, deliver, problem_of, say, watching
from unstuck.delivery import RUNS, STANDARD_OUTPUT, Delivery, write_json
from unstuck.errors import InputError
from unstuck.launch import speaks

if TYPE_CHECKING:
    from unstuck.course import Course
    from unstuck.prescription import Prescription
    from unstuck.recipe import Recipe

EXAMPLES = examples(
    "unstuck train train.py:problem --epochs 3",
    "unstuck train train.py:problem --optimizer adam --rate 1e-3 --schedule warm-up-cosine --warm-up 100",
    "unstuck train train.py:problem --batch-size 256 --normalization batch --clip-norm 1 --averaging exponential",
    "unstuck train train.py:problem --recipe unstuck-runs/problem-1/recipe.toml --rate 0.01",
    "unstuck train train.py:problem --updates 1000 --prescription unstuck-runs/problem-1/report.json",
    "unstuck train --resume unstuck-runs/problem-1",
)

RecipeFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Settings in TOML, by the names of the options below, which override them."),
]
PrescriptionFile = Annotated[
    Path | None, typer.Option(metavar="REPORT", help="Train with what this report.json prescribes.")
]
Resume = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN",
        help="Go on with the training in this run folder, from its last checkpoint, as if it had not been stopped. "
        "Nothing else needs to be given.",
    ),
]
Every = Annotated[
    int, typer.Option(min=0, metavar="N", help="Updates between checkpoints in the run folder; 0 keeps none.")
]


def train(
    context: typer.Context,
    target: TargetOrBuiltIn = None,
    recipe: RecipeFile = None,
    prescription: PrescriptionFile = None,
    resume: Resume = None,
    checkpoint_every: Every = 250,
    updates: methods.Updates = None,
    epochs: methods.Epochs = None,
    seed: methods.Seed = None,
    batch_size: methods.BatchSize = None,
    batch_rule: methods.BatchRule = None,
    shuffle: methods.Shuffle = None,
    ghost_batch: methods.GhostBatch = None,
    normalization: methods.Normalization = None,
    placement: methods.Placement = None,
    loss: methods.Loss = None,
    optimizer: methods.Optimizer = None,
    rate: methods.Rate = None,
    momentum: methods.Momentum = None,
    weight_decay: methods.WeightDecay = None,
    schedule: methods.Schedule = None,
    warm_up: methods.WarmUp = None,
    clip_norm: methods.ClipNorm = None,
    averaging: methods.Averaging = None,
    device: OnDevice = None,
    out: Out = None,
    json_file: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Train as it is, with methods by name, or with a prescription; report the curve and the final losses.

    The losses are those of your own loss over the whole data, so that two runs can be compared.
    """
    delivery = Delivery(out=resume or out, json_file=json_file, begun=resume is not None)
    if resume is not None:
        _check_alone(out=out, prescription=prescription)
        if _finished(resume, json_file, quiet=quiet):
            return
    interrupted = False
    with watching(quiet) as (progress, watcher):
        from unstuck import training

        asked = _asked(context.params, recipe)
        if resume is None:
            course = _started(context, target or built_in(quiet), asked, prescription, device, checkpoint_every)
            delivery = delivery.opened(course.problem.name) if speaks() else delivery
            course.write_to(delivery.out or RUNS)
        else:
            course = _resumed(context, target, asked, resume, device)
        try:
            trained = training.walked(course, progress, watcher)
        except training.Interrupted as stop:
            trained, interrupted = stop.training, True
        document = training.train_document(course.problem, trained, target=course.origin["target"])
    if trained.broke_at is not None:
        say(document["notes"][-1])
    if interrupted and course.every:
        document["notes"].append(f"it was interrupted; unstuck train --resume {delivery.out} goes on with it")
    page = deliver(delivery, document, quiet=quiet, interrupted=interrupted)
    if page is not None:
        weights = training.save_weights(trained, page.parent)
        if not quiet:
            say(f"the trained weights are in {weights}")


def _asked(options: Mapping[str, Any], file: Path | None) -> Recipe:
    """The recipe of a file, overridden by the options that are a recipe's settings."""
    from unstuck.recipe import Recipe, of_options, read

    given = of_options({name: options[name] for name in Recipe.model_fields})
    return given if file is None else read(file).overridden(given.given)


def _started(
    context: typer.Context, target: str, asked: Recipe, prescription: Path | None, device: str | None, every: int
) -> Course:
    """A new training."""
    from unstuck.course import Course

    prescribed = None if prescription is None else _prescription(prescription)
    problem = problem_of(target, device, context.call_on_close)
    return Course.of(problem, asked, prescribed, target=target, every=every)


def _resumed(context: typer.Context, target: str | None, asked: Recipe, run: Path, device: str | None) -> Course:
    """A training that was stopped, of the target and on the device that it was started with where none are given."""
    from unstuck.checkpoint import Checkpoint
    from unstuck.resuming import taken_up

    origin = Checkpoint.read(run).settings["origin"]
    target = target or origin["target"]
    if target is None:
        raise InputError(f"{run}: this training was started from Python, where no target is known; give its target")
    problem = problem_of(target, device or origin["device"], context.call_on_close)
    return taken_up(problem, run, asked, target=target)


def _check_alone(**given: Path | None) -> None:
    """Raise InputError where something is given that a resumed training has already."""
    for name, value in given.items():
        if value is not None:
            raise InputError(f"--{name} {value}: a resumed training has its own; leave it out")


def _finished(run: Path, json_file: Path | None, *, quiet: bool) -> bool:
    """Tell the result of a training that there is nothing left of; gives whether it is one."""
    from unstuck import resuming, terminal
    from unstuck.report import read_document

    if not resuming.is_finished(run):
        return False
    document = read_document(run)
    if not quiet:
        say(f"{run}: this training is finished; nothing was done")
    if json_file is not None and speaks():
        write_json(document, json_file)
    if json_file != STANDARD_OUTPUT and speaks():
        terminal.tell(document, run / "report.html")
    return True


def _prescription(path: Path) -> Prescription:
    from unstuck.report import Report

    report = Report.read(path)
    try:
        found = report.prescription
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: its prescription cannot be read ({error!r}); diagnose again") from error
    if found is None:
        raise InputError(f"{path}: nothing is prescribed there, as no trial showed a gain; train without it")
    return found
