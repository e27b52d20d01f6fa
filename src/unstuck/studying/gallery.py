"""Where the verdicts of studies go: pages, a document for programs, and what was found last of each."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unstuck.errors import InputError
from unstuck.page import render_gallery, render_study
from unstuck.report import SCHEMA, tool

Document = Mapping[str, Any]

GALLERY = "index.html"


def document_of(studies: Sequence[Document]) -> dict[str, Any]:
    """All of them as one document."""
    return {"schema": SCHEMA, "tool": tool(), "studies": list(studies)}


def write_pages(studies: Sequence[Document], folder: Path) -> Path:
    """Write report.json, a page of each study and the gallery; gives the gallery's path.

    Pages of other studies that the folder holds already stay.

    Raises:
        InputError: the folder cannot be made or written to.
    """
    links = [f"{re.sub(r'[^a-z0-9-]', '-', study['name'])}.html" for study in studies]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for study, link in zip(studies, links, strict=True):
            (folder / link).write_text(render_study(study), encoding="utf-8")
        text = json.dumps(document_of(studies), indent=1, ensure_ascii=False)
        (folder / "report.json").write_text(text + "\n", encoding="utf-8")
        page = folder / GALLERY
        page.write_text(render_gallery(studies, links), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder}: the pages cannot be written ({error.strerror}); give another folder") from error
    return page


def verdicts_beside(ledger: Path) -> dict[str, dict[str, Any]]:
    """By the names of studies: the last verdict, whether it was a quick one, and when it was reached."""
    file = _file_beside(ledger)
    try:
        found: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: it cannot be read ({error}); move it away") from error
    return found


def keep_verdicts(studies: Sequence[Document], ledger: Path, *, quick: bool) -> None:
    """Note the verdicts that were reached."""
    kept = verdicts_beside(ledger)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for study in studies:
        if study["verdict"] is not None:
            kept[study["name"]] = {"verdict": study["verdict"], "quick": quick, "reached": now}
    file = _file_beside(ledger)
    new = file.with_name(f"{file.name}.{os.getpid()}")
    new.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    new.replace(file)


def _file_beside(ledger: Path) -> Path:
    return ledger.with_suffix(".verdicts.json")
