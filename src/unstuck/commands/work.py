"""What every verb does around its work: load the problem, show progress, write down and tell what came out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from unstuck.delivery import STANDARD_OUTPUT, Delivery
from unstuck.launch import load_together, speaks
from unstuck.progress import Progress, Watcher

if TYPE_CHECKING:
    from unstuck.problem import Problem

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""


def deliver(delivery: Delivery, document: Mapping[str, Any], *, quiet: bool, interrupted: bool) -> Path | None:
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
        say(f"the page is {page}")
    if interrupted:
        say(f"interrupted; what was measured until then is in {page}")
        raise typer.Exit(INTERRUPTED)
    return page


@contextmanager
def working(quiet: bool) -> Iterator[Progress]:
    """Progress for a person who watches."""
    from unstuck import terminal

    with terminal.working(quiet=quiet or not speaks()) as progress:
        yield progress


@contextmanager
def watching(quiet: bool) -> Iterator[tuple[Progress, Watcher]]:
    """Progress of a training, and its updates in a table."""
    from unstuck import terminal

    with terminal.watching(quiet=quiet or not speaks()) as shown:
        yield shown


def built_in(quiet: bool) -> str:
    """The target where none is given."""
    if not quiet:
        say("no target was given; this is the built-in example")
    return "unstuck.specimens:DEFAULT"


def problem_of(target: str, device: str | None, at_the_end: Callable[[Callable[[], None]], object]) -> Problem:
    """The problem of a target, on the device that is asked for; see :func:`unstuck.launch.load_together`."""
    from unstuck.device import place

    problem = load_together(target, at_the_end)
    return problem if device is None else place(problem, device)


def say(text: str) -> None:
    """One line on standard error, of one process."""
    if speaks():
        sys.stderr.write(f"unstuck: {' '.join(text.split())}\n")
