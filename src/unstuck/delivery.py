"""Where a result is written: a run folder that is never overwritten, and a JSON file."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from unstuck.errors import InputError

RUNS = Path("unstuck-runs")
"""Where run folders are made when nothing else is said."""

STANDARD_OUTPUT = Path("-")


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """Where a result goes; made before the work begins, so that a wrong place is found out first.

    Attributes:
        out: the run folder; by default ``unstuck-runs/NAME-N`` with the first free N.
        json_file: where the document is written as well.
        begun: whether the folder is this work's already; a report that is there is of what was done until then.

    Raises:
        InputError: the folder holds a report already, or one of the places cannot be written to.
    """

    out: Path | None
    json_file: Path | None
    begun: bool = False

    def __post_init__(self) -> None:
        if self.out is not None and not self.begun and (self.out / "report.json").exists():
            raise InputError(f"--out {self.out}: this folder holds a report, and none is overwritten; give another")
        _check_writable("--out", self.out or RUNS)
        if self.json_file is not None and self.json_file != STANDARD_OUTPUT:
            if self.json_file.is_dir():
                raise InputError(f"--json {self.json_file}: this is a folder; give a file")
            _check_writable("--json", self.json_file.parent)

    def opened(self, name: str) -> Delivery:
        """The same with its folder made, for work that writes into it on its way; ``name`` is the problem's."""
        if self.out is not None:
            self.out.mkdir(parents=True, exist_ok=True)
        return replace(self, out=self.out or _free_folder(name), begun=True)

    def give(self, document: Mapping[str, Any]) -> Path:
        """Write a document where it goes; gives the path of its page."""
        from unstuck import report

        folder = self.out or _free_folder(document["problem"]["name"])
        if self.begun:
            (folder / "report.json").unlink(missing_ok=True)
        page = report.save(document, folder)
        if self.json_file is not None:
            write_json(document, self.json_file)
        return page


def write_json(document: Mapping[str, Any], file: Path) -> None:
    """Write a document to a file, whose folder is made, or to standard output."""
    if file == STANDARD_OUTPUT:
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _check_writable(option: str, folder: Path) -> None:
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        raise InputError(f"{option} {folder}: {there} is a file; give a folder")
    if not os.access(there, os.W_OK):
        raise InputError(f"{option} {folder}: {there} may not be written to; give another place")


def _free_folder(name: str) -> Path:
    """A new folder for a run of this name."""
    slug = re.sub(r"\W+", "-", name).strip("-") or "problem"
    return next(folder for number in count(1) if _makes(folder := RUNS / f"{slug}-{number}"))


def _makes(folder: Path) -> bool:
    """Whether the folder was not there and is now; of two runs that try at once, one succeeds."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return False
    return True
