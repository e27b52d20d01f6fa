"""``unstuck study``: the experiments behind the lecture, and whether they reproduce."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unstuck.commands.options import Device, JsonFile, Quiet, examples
from unstuck.commands.work import INTERRUPTED, say, working
from unstuck.delivery import RUNS, STANDARD_OUTPUT, Delivery, write_json
from unstuck.errors import InputError

if TYPE_CHECKING:
    from unstuck.studying.catalogue import Asked

LEDGER = RUNS / "studies.sqlite"

EXAMPLES = examples(
    "unstuck study --list",
    "unstuck study minimum-ratio --quick",
    "unstuck study batch-accuracy sharp-minima --seeds 5-9 --jobs 2",
    "unstuck study --all --quick",
    "unstuck study my_study.py:STUDY",
    "unstuck study --all --on dask://scheduler:8786 --jobs 16",
)

LedgerFile = Annotated[
    Path, typer.Option(metavar="FILE", help="Where runs are kept: to run again is to go on, and several may share it.")
]
On = Annotated[str, typer.Option(metavar="WHERE", help="local, dask (a cluster here), dask://HOST:PORT, or ray.")]
Jobs = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Runs at once. Left out: as many as there are cores.")
]


def study(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Studies, or path/to/file.py:NAME of your own.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Say which there are, and what was found last.")] = False,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer seeds and shorter runs: a first look.")] = False,
    seeds: Annotated[
        str | None, typer.Option(metavar="0-4", help="Seeds, as in 0-4 or 7,8,9. Left out: the study's own.")
    ] = None,
    data: Annotated[
        str, typer.Option(metavar="DATA", help="digits, waves, fashion-mnist, or a folder with files like MNIST's.")
    ] = "digits",
    device: Annotated[Device, typer.Option(help="Where studies of time measure.")] = Device.CPU,
    jobs: Jobs = None,
    on: On = "local",
    ledger: LedgerFile = LEDGER,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the pages. Left out: unstuck-runs/study-N.")
    ] = None,
    json_file: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Run the lecture's experiments: each a claim, gates that were fixed before, and a verdict.

    Writes a folder with index.html, the gallery, a page of each study, and report.json, the same for programs.
    """
    if listed:
        _list(ledger)
        return
    if bool(names) == every:
        raise InputError("name studies, or give --all; `unstuck study --list` says which there are")
    delivery = delivery_to(out, json_file)
    with working(quiet) as progress:
        from unstuck.device import torch_device
        from unstuck.executor import cores, workers
        from unstuck.studying.catalogue import BUILT_IN, Asked
        from unstuck.studying.conduct import conduct

        asked = Asked(seeds=_seeds(seeds), quick=quick, data=data, device=str(torch_device(device)))
        performers = workers(on, jobs=jobs or cores(), threads=1)
        conducted = conduct(names or list(BUILT_IN), ledger, performers, asked, progress=progress)
    _tell(conducted.studies, delivery, asked, ledger=ledger, quiet=quiet)
    if conducted.interrupted:
        say(f"interrupted; what was done is kept in {ledger}, and the same command goes on")
        raise typer.Exit(INTERRUPTED)
    if any(one["failed"] for one in conducted.studies):
        raise typer.Exit(1)


def delivery_to(out: Path | None, json_file: Path | None) -> Delivery:
    """Where verdicts go: a folder may hold those of studies, which are gone on with, and no other report.

    Raises:
        InputError: it holds one, or a place cannot be written to.
    """
    from unstuck.report import read_document

    there = out is not None and (out / "report.json").is_file()
    return Delivery(out=out, json_file=json_file, begun=out is not None and there and "studies" in read_document(out))


def _tell(studies: Sequence[dict[str, Any]], delivery: Delivery, asked: Asked, *, ledger: Path, quiet: bool) -> None:
    """Write everything down, and say what came out."""
    from unstuck import terminal
    from unstuck.studying import gallery

    gallery.keep_verdicts(studies, ledger, quick=asked.quick)
    folder = delivery.opened("study").out
    assert folder is not None
    page = gallery.write_pages(studies, folder)
    if delivery.json_file is not None:
        write_json(gallery.document_of(studies), delivery.json_file)
    if delivery.json_file != STANDARD_OUTPUT:
        terminal.tell_studies(studies, page)
    elif not quiet:
        say(f"the page is {page}")
    for one in studies:
        for failed in one["failed"][:1]:
            say(f"{one['name']}: {len(one['failed'])} of {one['runs']} runs have no result; {failed['error']}")


def _list(ledger: Path) -> None:
    from unstuck import terminal
    from unstuck.studying import gallery
    from unstuck.studying.catalogue import BUILT_IN

    found = gallery.verdicts_beside(ledger)
    rows = [
        (name, study.claim, f"{study.takes[0]} s, quick {study.takes[1]} s", found.get(name))
        for name, study in BUILT_IN.items()
    ]
    terminal.list_studies(rows)


def _seeds(text: str | None) -> tuple[int, ...] | None:
    """From ``0-4`` or ``7,8,9``, each once."""
    if text is None:
        return None
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()) or int(last or first) < int(first):
            raise InputError(f"--seeds {text}: give seeds as in 0-4 or 7,8,9")
        seeds += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(seeds))
