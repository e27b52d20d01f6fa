"""The command line: read the options, call one function of the library, write down what it gives.

Torch, and all that needs it, is loaded inside the commands, so that help comes at once.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unstuck.budget import DEFAULT_UPDATES
from unstuck.delivery import STANDARD_OUTPUT, Delivery, write_json
from unstuck.errors import InputError
from unstuck.launch import load_together, speaks
from unstuck.progress import Progress

if TYPE_CHECKING:
    from unstuck.prescription import Prescription
    from unstuck.problem import Problem

DONE, OUR_FAILURE, BAD_INPUT, NOT_HEALTHY, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes."""

UsageError: Any = typer.BadParameter.mro()[1]
"""What is wrong with the options themselves; typer gives it no name of its own."""


class Device(StrEnum):
    """Where to compute."""

    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"
    AUTO = "auto"


TARGET_HELP = "Your training: path/to/file.py:function or package.module:function, which returns an unstuck.Problem."
Target = Annotated[str, typer.Argument(metavar="TARGET", help=TARGET_HELP, show_default=False)]
TargetOrBuiltIn = Annotated[
    str | None,
    typer.Argument(metavar="TARGET", help=f"{TARGET_HELP} Left out: a built-in example.", show_default=False),
]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write the report as JSON to FILE, too; - is standard output, alone."),
]
Seed = Annotated[
    int, typer.Option(min=0, metavar="N", help="Decides samples, data orders and masks: same seed, same result.")
]
OnDevice = Annotated[
    Device | None,
    typer.Option(help="Compute there; auto takes the best there is. Left out: where the target put its model."),
]
Out = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder for the report, never overwritten. Left out: unstuck-runs/NAME-N."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Only results, warnings and errors: no progress, no notices.")]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"unstuck {version('unstuck')}")
        raise typer.Exit


def _examples(*lines: str) -> str:
    return "\n\n".join(("[bold]Examples[/bold]", *lines))


@app.callback(
    invoke_without_command=True,
    epilog="Exit codes: 0 done, whatever was found; 1 our own failure; 2 the input is at fault; 3 with --check, "
    "something was found; 130 interrupted, and what was measured so far is kept. UNSTUCK_DEBUG=1 shows tracebacks, "
    "NO_COLOR=1 takes the colours away.",
)
def root(
    context: typer.Context,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Find out why a network's training is stuck. Prove it. Fix it.

    Start with [bold]unstuck diagnose[/bold]: it diagnoses a built-in example.

    Then write a function without arguments that returns your training as an unstuck.Problem.

    Diagnose it by [bold]unstuck diagnose train.py:problem[/bold], where train.py is the file and problem the function.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(
    epilog=_examples(
        "unstuck diagnose",
        "unstuck diagnose train.py:problem --budget 5000",
        "unstuck diagnose train.py:problem --check --json - | jq .diagnosis",
        "torchrun --nproc-per-node=2 -m unstuck diagnose train.py:problem",
    )
)
def diagnose(
    context: typer.Context,
    target: TargetOrBuiltIn = None,
    budget: Annotated[
        int, typer.Option(min=1, metavar="N", help="Updates that watching and trials may walk, all together.")
    ] = DEFAULT_UPDATES,
    seed: Seed = 0,
    device: OnDevice = None,
    jobs: Annotated[
        int, typer.Option(min=1, metavar="N", help="Processes that walk trials at once; the result is the same.")
    ] = 1,
    check: Annotated[bool, typer.Option("--check", help="Exit with 3 unless the training is healthy.")] = False,
    out: Out = None,
    json_file: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Find out why a training is stuck, try the remedies, prescribe the one that works.

    Writes a folder with report.html, the page to read, and report.json, the same for programs.
    """
    delivery = Delivery(out=out, json_file=json_file)
    target = target or _built_in(quiet)
    interrupted = False
    with _working(quiet) as progress:
        from unstuck import diagnosis

        problem = _problem(context, target, device)
        try:
            report = diagnosis.diagnose(problem, budget=budget, seed=seed, target=target, jobs=jobs, progress=progress)
        except diagnosis.Interrupted as stop:
            report, interrupted = stop.report, True
        except diagnosis.Broken as stop:
            if speaks():
                delivery.give(stop.report.document)
            raise
    _deliver(delivery, report.document, quiet=quiet, interrupted=interrupted)
    if check and report.cause != "healthy":
        raise typer.Exit(NOT_HEALTHY)


@app.command(
    epilog=_examples(
        "unstuck measure train.py:problem",
        "unstuck measure train.py:problem spectrum gradient --json -",
    )
)
def measure(
    context: typer.Context,
    target: Target,
    probes: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROBE", help="What to measure, as spectrum. Left out: all.", show_default=False),
    ] = None,
    seed: Seed = 0,
    device: OnDevice = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="Time the ways to make Hessian-vector products and take the faster one.")
    ] = False,
    out: Out = None,
    json_file: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Measure a training where it stands, without a diagnosis: readings and their pictures."""
    delivery = Delivery(out=out, json_file=json_file)
    interrupted = False
    with _working(quiet) as progress:
        from unstuck import measuring

        problem = _problem(context, target, device)
        try:
            document = measuring.measure_document(
                problem, probes or (), target=target, seed=seed, tune=tune, progress=progress
            )
        except measuring.Interrupted as stop:
            document, interrupted = stop.document, True
    _deliver(delivery, document, quiet=quiet, interrupted=interrupted)


@app.command(
    epilog=_examples(
        "unstuck train train.py:problem --epochs 3",
        "unstuck train train.py:problem --updates 1000 --prescription unstuck-runs/problem-1/report.json",
    )
)
def train(
    context: typer.Context,
    target: TargetOrBuiltIn = None,
    updates: Annotated[
        int | None, typer.Option(metavar="N", help="How many updates to make. Left out: 1000.", show_default=False)
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="K", help="Instead, how many passes over the data.", show_default=False)
    ] = None,
    prescription: Annotated[
        Path | None,
        typer.Option(metavar="REPORT", help="Train with what this report.json prescribes. Left out: as it is."),
    ] = None,
    seed: Seed = 0,
    device: OnDevice = None,
    out: Out = None,
    json_file: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Train as it is, or with a prescription, and report the curve and the final losses.

    The losses are those of your own loss over the whole data, so that two runs can be compared.
    """
    delivery = Delivery(out=out, json_file=json_file)
    target = target or _built_in(quiet)
    interrupted = False
    with _working(quiet) as progress:
        from unstuck import training

        prescribed = None if prescription is None else _prescription(prescription)
        problem = _problem(context, target, device)
        try:
            trained = training.train(
                problem, updates=updates, epochs=epochs, prescription=prescribed, seed=seed, progress=progress
            )
        except training.Interrupted as stop:
            trained, interrupted = stop.training, True
        document = training.train_document(problem, trained, target=target)
    if trained.broke_at is not None:
        _say(document["notes"][0])
    page = _deliver(delivery, document, quiet=quiet, interrupted=interrupted)
    if page is None:
        return
    weights = training.save_weights(trained, page.parent)
    if not quiet:
        _say(f"the trained weights are in {weights}")


@app.command("report", epilog=_examples("unstuck report unstuck-runs/problem-1"))
def render(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or the report.json in one.")],
    json_file: JsonFile = None,
) -> None:
    """Draw the page of a run folder again, from its report.json, and say where it is."""
    from unstuck import report

    document = report.read_document(run)
    try:
        page = report.draw_page(document, run if run.is_dir() else run.parent)
    except OSError as error:
        raise InputError(f"{run}: the page cannot be written there ({error.strerror})") from error
    if json_file is not None:
        write_json(document, json_file)
    if json_file != STANDARD_OUTPUT:
        typer.echo(page)


def _deliver(delivery: Delivery, document: Mapping[str, Any], *, quiet: bool, interrupted: bool) -> Path | None:
    """Write the result down and tell it; gives the page, None where another process does all this.

    Ends the command where the work was interrupted.
    """
    from unstuck import terminal

    if not speaks():
        if interrupted:
            raise typer.Exit(INTERRUPTED)
        return None
    page = delivery.give(document)
    if delivery.json_file != STANDARD_OUTPUT:
        terminal.tell(document, page)
    elif not quiet:
        _say(f"the page is {page}")
    if interrupted:
        _say(f"interrupted; what was measured until then is in {page}")
        raise typer.Exit(INTERRUPTED)
    return page


@contextmanager
def _working(quiet: bool) -> Iterator[Progress]:
    from unstuck import terminal

    with terminal.working(quiet=quiet or not speaks()) as progress:
        yield progress


def _built_in(quiet: bool) -> str:
    """The target where none is given."""
    if not quiet:
        _say("no target was given; this is the built-in example")
    return "unstuck.specimens:DEFAULT"


def _problem(context: typer.Context, target: str, device: Device | None) -> Problem:
    """The problem of a target, on the device that is asked for."""
    from unstuck.device import place

    problem = load_together(target, context.call_on_close)
    return problem if device is None else place(problem, device)


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


def _say(text: str) -> None:
    """One line on standard error, of one process."""
    if speaks():
        print(f"unstuck: {' '.join(text.split())}", file=sys.stderr)


def run(arguments: list[str]) -> int:
    """Run one command line; gives its exit code. Whoever sets UNSTUCK_DEBUG=1 sees tracebacks."""
    try:
        code = app(arguments, prog_name="unstuck", standalone_mode=False)
        return code if isinstance(code, int) else DONE
    except InputError as error:
        _debug()
        _say(str(error))
        return BAD_INPUT
    except UsageError as error:
        verb = error.ctx.command_path if error.ctx else "unstuck"
        _say(f"{error.format_message().rstrip('.')}; see {verb} --help")
        return BAD_INPUT
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last one there is, and it reports
        _debug()
        told = f"{type(error).__name__}: {error}"
        _say(f"this is a failure of unstuck, not of your input: {told}; set UNSTUCK_DEBUG=1 to see where")
        return OUR_FAILURE


def _debug() -> None:
    if os.environ.get("UNSTUCK_DEBUG") == "1":
        traceback.print_exc()


def main() -> None:
    """The entry point of ``unstuck``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without a letter is no reason to fail
    sys.exit(run(sys.argv[1:]))
