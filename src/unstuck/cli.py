"""The command line: read the options, call one function of the library, write down what it gives.

Torch, and all that needs it, is loaded inside the commands, so that help comes at once.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from unstuck.budget import DEFAULT_UPDATES, PROVING_UPDATES
from unstuck.commands import lecture as lectures
from unstuck.commands import study as studies
from unstuck.commands import ward as wards
from unstuck.commands.options import JsonFile, OnDevice, Out, Quiet, Seed, Target, TargetOrBuiltIn, examples
from unstuck.commands.train import EXAMPLES, train
from unstuck.commands.work import INTERRUPTED, built_in, deliver, problem_of, say, working
from unstuck.delivery import STANDARD_OUTPUT, Delivery, write_json
from unstuck.errors import InputError
from unstuck.launch import speaks

DONE, OUR_FAILURE, BAD_INPUT, NOT_HEALTHY = 0, 1, 2, 3
"""Exit codes; after Ctrl-C it is 130."""

UsageError: Any = typer.BadParameter.mro()[1]
"""What is wrong with the options themselves; typer gives it no name of its own."""


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"unstuck {version('unstuck')}")
        raise typer.Exit


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
    epilog=examples(
        "unstuck diagnose",
        "unstuck diagnose train.py:problem --budget 5000",
        "unstuck diagnose train.py:problem --prove",
        "unstuck diagnose train.py:problem --check --json - | jq .diagnosis",
        "torchrun --nproc-per-node=2 -m unstuck diagnose train.py:problem",
    )
)
def diagnose(
    context: typer.Context,
    target: TargetOrBuiltIn = None,
    budget: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Updates that watching and trials may walk, all together. "
            f"Left out: {DEFAULT_UPDATES}, with --prove {PROVING_UPDATES}.",
            show_default=False,
        ),
    ] = None,
    prove: Annotated[
        bool,
        typer.Option("--prove", help="Put the cause to the proof: doses, what moves first, the fault planted again."),
    ] = False,
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
    target = target or built_in(quiet)
    interrupted = False
    with working(quiet) as progress:
        from unstuck import diagnosis

        problem = problem_of(target, device, context.call_on_close)
        try:
            report = diagnosis.diagnose(
                problem, budget=budget, prove=prove, seed=seed, target=target, jobs=jobs, progress=progress
            )
        except diagnosis.Interrupted as stop:
            report, interrupted = stop.report, True
        except diagnosis.Broken as stop:
            if speaks():
                delivery.give(stop.report.document)
            raise
    deliver(delivery, report.document, quiet=quiet, interrupted=interrupted)
    if check and report.cause != "healthy":
        raise typer.Exit(NOT_HEALTHY)


@app.command(
    epilog=examples(
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
    with working(quiet) as progress:
        from unstuck import measuring

        problem = problem_of(target, device, context.call_on_close)
        try:
            document = measuring.measure_document(
                problem, probes or (), target=target, seed=seed, tune=tune, progress=progress
            )
        except measuring.Interrupted as stop:
            document, interrupted = stop.document, True
    deliver(delivery, document, quiet=quiet, interrupted=interrupted)


app.command(epilog=EXAMPLES)(train)
app.command(epilog=studies.EXAMPLES)(studies.study)
app.command(epilog=lectures.EXAMPLES)(lectures.lecture)
app.command(epilog=wards.EXAMPLES)(wards.ward)


@app.command("report", epilog=examples("unstuck report unstuck-runs/problem-1"))
def render(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or the report.json in one.")],
    json_file: JsonFile = None,
) -> None:
    """Draw the page of a run folder again, from its report.json, and say where it is."""
    from unstuck import report

    document = report.read_document(run)
    try:
        folder = run if run.is_dir() else run.parent
        page = _drawn_studies(document, folder) if "studies" in document else report.draw_page(document, folder)
    except OSError as error:
        raise InputError(f"{run}: the page cannot be written there ({error.strerror})") from error
    if json_file is not None:
        write_json(document, json_file)
    if json_file != STANDARD_OUTPUT:
        typer.echo(page)


def _drawn_studies(document: dict[str, Any], folder: Path) -> Path:
    from unstuck.studying import gallery

    return gallery.write_pages(document["studies"], folder)


def run(arguments: list[str]) -> int:
    """Run one command line; gives its exit code. Whoever sets UNSTUCK_DEBUG=1 sees tracebacks."""
    try:
        code = app(arguments, prog_name="unstuck", standalone_mode=False)
        return code if isinstance(code, int) else DONE
    except InputError as error:
        _debug()
        say(str(error))
        return BAD_INPUT
    except UsageError as error:
        verb = error.ctx.command_path if error.ctx else "unstuck"
        say(f"{error.format_message().rstrip('.')}; see {verb} --help")
        return BAD_INPUT
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last one there is, and it reports
        _debug()
        told = f"{type(error).__name__}: {error}"
        say(f"this is a failure of unstuck, not of your input: {told}; set UNSTUCK_DEBUG=1 to see where")
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
