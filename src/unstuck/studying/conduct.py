"""Conduct studies: perform what the ledger does not have yet, and judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unstuck.driver import drive
from unstuck.executor import Workers
from unstuck.ledger import Ledger, key_of
from unstuck.progress import Progress, silent
from unstuck.studying.catalogue import Asked, runs_of, study_of
from unstuck.studying.judging import judged
from unstuck.studying.perform import PERFORM


@dataclass(frozen=True, kw_only=True)
class Conducted:
    """What came of it.

    Attributes:
        studies: of each study the document of its verdict.
        interrupted: whether it was ended before it was done (Ctrl-C).
    """

    studies: list[dict[str, Any]]
    interrupted: bool


def conduct(
    references: Sequence[str], ledger: Path, on: Workers, asked: Asked, *, progress: Progress = silent
) -> Conducted:
    """Perform and judge studies.

    However this ends, the runs that are done are kept, and to conduct again is to go on. Several programs may share a
    ledger and with it the work. A run that failed before is tried anew.

    Args:
        references: see :func:`unstuck.studying.catalogue.study_of`.
        ledger: the file in which runs are kept.
        on: who performs them.
        asked: seeds, size, data and device.
        progress: told how many runs are done.

    Raises:
        InputError: there is no such study, data or device, or the ledger cannot be written.
    """
    planned = {reference: runs_of(reference, asked) for reference in dict.fromkeys(references)}
    alone = [reference for reference in planned if study_of(reference).alone]
    together = [reference for reference in planned if reference not in alone]
    interrupted = False
    with Ledger(ledger) as opened:
        try:
            for group, workers in ((together, on), (alone, replace(on, at_once=1))):
                if group:
                    opened.choose(settings for reference in group for settings in planned[reference])
                    opened.reopen()
                    drive(opened, PERFORM, workers, progress=progress)
        except KeyboardInterrupt:
            interrupted = True
        opened.choose(settings for runs in planned.values() for settings in runs)
        rows = {row.key: row for row in opened.rows()}
    studies = [
        judged(study_of(reference), [rows[key_of(settings)] for settings in runs])
        for reference, runs in planned.items()
    ]
    return Conducted(studies=studies, interrupted=interrupted)
