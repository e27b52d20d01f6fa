"""``unstuck lecture``: the lecture in its own order, on one page."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from unstuck.commands.options import JsonFile, Quiet, examples
from unstuck.commands.study import LEDGER, Jobs, LedgerFile, delivery_to
from unstuck.commands.work import INTERRUPTED, say, working
from unstuck.delivery import STANDARD_OUTPUT, write_json

EXAMPLES = examples("unstuck lecture", "unstuck lecture 2", "unstuck lecture 1-2 --lang zh")


class Language(StrEnum):
    """Of the page."""

    EN = "en"
    ZH = "zh"


def lecture(
    chapters: Annotated[
        str | None, typer.Argument(metavar="1-5", help="A chapter, as 2, or several, as 1-2. Left out: all.")
    ] = None,
    lang: Annotated[Language, typer.Option(help="Of the page: English or Chinese.")] = Language.EN,
    jobs: Jobs = None,
    ledger: LedgerFile = LEDGER,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the page. Left out: unstuck-runs/lecture-N.")
    ] = None,
    json_file: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Replay the lecture in its own order: each of its lines, and what comes out when it is tried.

    Makes a first look at every study that the lines rest on, and writes one page, lecture.html.
    """
    delivery = delivery_to(out, json_file)
    with working(quiet) as progress:
        from unstuck.executor import cores, workers
        from unstuck.studying import gallery, replay
        from unstuck.studying.catalogue import Asked
        from unstuck.studying.conduct import conduct

        chosen = replay.chapters_of(chapters)
        on = workers(jobs=jobs or cores(), threads=1)
        conducted = conduct(replay.studies_of(chosen), ledger, on, Asked(quick=True), progress=progress)
    folder = delivery.opened("lecture").out
    assert folder is not None
    page = replay.write_lecture(chosen, conducted.studies, folder, lang.value)
    if json_file is not None:
        write_json(gallery.document_of(conducted.studies), json_file)
    if json_file != STANDARD_OUTPUT:
        typer.echo(page)
    if conducted.interrupted:
        say(f"interrupted; what was done is kept in {ledger}, and the same command goes on")
        raise typer.Exit(INTERRUPTED)
    failed = [one["name"] for one in conducted.studies if one["failed"]]
    if failed:
        say(f"not all runs have a result: {', '.join(failed)}; `unstuck study {failed[0]} --quick` tells why")
        raise typer.Exit(1)
