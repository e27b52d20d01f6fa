"""``unstuck ward``: for developers, the ward of planted failures and what is made of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unstuck.budget import DEFAULT_UPDATES
from unstuck.commands.options import JsonFile, Quiet, examples
from unstuck.commands.work import say, working
from unstuck.delivery import RUNS, STANDARD_OUTPUT, write_json
from unstuck.errors import InputError

if TYPE_CHECKING:
    from unstuck.ledger import Row, Shard
    from unstuck.ward.case import Case

EXAMPLES = examples(
    "unstuck ward --part calibration --jobs 2",
    "unstuck ward --kinds softmax-twice,zero-weights --hosts perceptron",
    "unstuck ward --part held-out --shard 1/4 --controls --results benchmarks/RESULTS.md",
    "unstuck ward --verify --jobs 2",
)


class Part(StrEnum):
    """Which cases."""

    CALIBRATION = "calibration"
    HELD_OUT = "held-out"
    ALL = "all"


SEARCHED = 4
"""One in so many curable faults is searched by remedies at random."""


def ward(
    part: Annotated[Part, typer.Option(help="Cases that thresholds may be chosen on, those that none has seen.")] = (
        Part.CALIBRATION
    ),
    kinds: Annotated[str, typer.Option(metavar="A,B", help="Kinds of faults or of health. Left out: all.")] = "",
    hosts: Annotated[str, typer.Option(metavar="A,B", help="Hosts. Left out: all.")] = "",
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="So many cases, evenly spread. Left out: all.")
    ] = None,
    budget: Annotated[int, typer.Option(min=1, metavar="N", help="Updates of each diagnosis.")] = DEFAULT_UPDATES,
    controls: Annotated[
        bool, typer.Option("--controls", help="Also the grids of rates, and every remedy on one fault in four.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Instead, train everything anew: which faults hurt, who is healthy?")
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="Instead, say which cases there are.")] = False,
    shard: Annotated[str, typer.Option(metavar="i/n", help="The i-th of n parts of the runs.")] = "1/1",
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Runs at once.")] = 1,
    ledger: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where runs are kept: to run again is to go on. Left out: one in unstuck-runs for each state of the "
            "code.",
        ),
    ] = None,
    results: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A page of results whose section on the ward is exchanged.")
    ] = None,
    json_file: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """For developers: diagnose a ward of planted failures and healthy trainings, and score what is named.

    Every run is a row of the ledger; the page of the scores is written beside it.
    """
    from unstuck.ledger import Shard

    part_of_runs = Shard.parse(shard)
    with working(quiet) as progress:
        from unstuck.ward import design, run
        from unstuck.ward.case import Case

        cases = design.chosen(
            design.all_candidates() if verify else design.every_case(),
            part=None if part is Part.ALL or verify else part.value,
            kinds=_names(kinds),
            of_hosts=_names(hosts),
            limit=limit,
        )
        ledger = ledger or RUNS / f"ward-{run.code()}.sqlite"
        runs = _runs(cases, budget=budget, controls=controls, verify=verify)
        rows = [] if listed else _driven(ledger, runs, part_of_runs, jobs, progress)
    for row in rows:
        if row.state == "failed":
            say(f"{Case.of(row.settings['case']).name}: {(row.error or '').strip().splitlines()[-1]}")
    if listed:
        typer.echo("\n".join(f"{design.part_of(case)}  {case.name}" for case in cases))
    elif verify:
        _keep_ends(rows)
    else:
        _tell(rows, page=ledger.with_suffix(".html"), results=results, json_file=json_file)


def _tell(rows: Sequence[Row], *, page: Path, results: Path | None, json_file: Path | None) -> None:
    """What came out, wherever it is wanted."""
    from unstuck.ward import score_page

    document = score_page.document_of(rows)
    score_page.write_page(document, page)
    if results is not None:
        score_page.write_results(rows, results)
    if json_file is not None:
        write_json(document, json_file)
    if json_file != STANDARD_OUTPUT:
        typer.echo(score_page.markdown(score_page.tables_of(rows)[0]))
        say(f"the page is {page}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _runs(cases: Sequence[Case], *, budget: int, controls: bool, verify: bool) -> list[dict[str, Any]]:
    """The settings of what is to be performed."""
    from unstuck.ward.run import settings_of

    if verify:
        return [settings_of("ends", case) for case in cases]
    runs = [settings_of("diagnosis", case, budget=budget) for case in cases]
    if controls:
        single = [case for case in cases if case.group == "faulty"]
        rates = {(case.host, case.optimizer, case.seed): case for case in single if case.faults[0].rates}
        curable = [case for case in single if case.faults[0].curable]
        runs += [settings_of("rates", case) for case in rates.values()]
        runs += [settings_of("search", case, budget=budget) for case in curable[::SEARCHED]]
    return runs


def _driven(ledger: Path, runs: Sequence[dict[str, Any]], shard: Shard, jobs: int, progress: Any) -> list[Row]:
    """Perform what the ledger does not have yet; gives the rows of these runs."""
    from unstuck.driver import drive
    from unstuck.executor import workers
    from unstuck.ledger import Ledger
    from unstuck.ward.run import PERFORM, code

    with Ledger(ledger) as opened:
        if any(row.settings["code"] != code() for row in opened.rows()):
            raise InputError(f"{ledger}: it holds runs of other code than there is now; give another")
        opened.choose(runs)
        drive(opened, PERFORM, workers(jobs=jobs, threads=1), shard=shard, progress=progress)
        return list(opened.rows())


def _keep_ends(rows: Sequence[Row]) -> None:
    """Write down where trainings end, beside those that were not asked for."""
    from unstuck.ward import design
    from unstuck.ward.case import Case

    kept = json.loads(design.ENDS.read_text(encoding="utf-8")) if design.ENDS.is_file() else {}
    kept |= {Case.of(row.settings["case"]).name: row.result for row in rows if row.state == "done"}
    ordered = {case.name: kept[case.name] for case in design.all_candidates() if case.name in kept}
    try:
        design.ENDS.write_text(json.dumps(ordered, indent=0) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{design.ENDS}: cannot be written ({error.strerror})") from error
    hurting, well = len(design.faulty()), len(design.healthy_cases())
    typer.echo(f"{hurting} faults hurt, {well} healthy trainings get where they should; written to {design.ENDS}")
