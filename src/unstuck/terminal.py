"""What a person sees in the terminal: the result in words on standard output, progress on standard error."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from unstuck.page import words
from unstuck.page.studies import gates_of
from unstuck.progress import Look, Progress, Watcher, nobody, silent

UPDATES = 1_000
"""Updates that the shown command trains for, at least."""

WIDEST = 100
"""Columns of running text, at most."""

AVERAGED = 50
"""Updates over which the shown loss is the mean."""

FEW_STUDIES = 3
"""Of which every gate is told."""

TENTHS = 10
"""Rows of a training's table that stay."""

Document = Mapping[str, Any]


@contextmanager
def working(*, quiet: bool) -> Iterator[Progress]:
    """A progress bar on standard error, for a person who watches; what the block prints goes there as well."""
    with contextlib.redirect_stdout(sys.stderr):
        if quiet or not sys.stderr.isatty():
            yield silent
            return
        bar, progress = _bar()
        with bar:
            yield progress


@contextmanager
def watching(*, quiet: bool) -> Iterator[tuple[Progress, Watcher]]:
    """As :func:`working`, and a table of the updates, which stays when the work is done."""
    with contextlib.redirect_stdout(sys.stderr):
        if quiet or not sys.stderr.isatty():
            yield silent, nobody
            return
        bar, progress = _bar()
        table = TrainingTable()
        with Live(Group(table, bar), console=bar.console) as live:
            try:
                yield progress, table.look
            finally:
                live.transient = not table.kept
                live.update(table)


def _bar() -> tuple[Bar, Progress]:
    """A progress bar on standard error, and what moves it."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    bar = Bar(*columns, *times, console=Console(stderr=True), transient=True)
    task = bar.add_task("loading torch", total=1.0)
    return bar, lambda doing, done: bar.update(task, description=doing, completed=done)


class TrainingTable:
    """A training as it goes: a row for each tenth of its updates, and one for now."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, ...]] = []
        self._now: tuple[str, ...] = ()
        self._losses: deque[float] = deque(maxlen=AVERAGED)
        self._began: tuple[float, int] | None = None

    def look(self, look: Look) -> None:
        """Take note of updates."""
        last = look.made[-1]
        done = last.update + 1
        began, first = self._began = self._began or (time.monotonic(), done)
        seconds = (time.monotonic() - began) / max(1, done - first) * (look.updates - done)
        self._losses.extend(update.loss for update in look.made)
        self._now = (
            f"{done:,} of {look.updates:,}",
            f"{done / look.per_epoch:.1f}",
            words.number(sum(self._losses) / len(self._losses)),
            words.number(last.rate),
            words.number(last.gradient_norm),
            str(timedelta(seconds=round(seconds))) if done > first else "",
        )
        if done * TENTHS // look.updates > look.made[0].update * TENTHS // look.updates:
            self.kept.append(self._now)

    def __rich__(self) -> Table:
        """What is shown at this moment."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for title in ("update", "epoch", "loss", "rate", "gradient norm", "time left"):
            table.add_column(title, justify="right")
        for cells in dict.fromkeys((*self.kept, self._now)):
            table.add_row(*cells)
        return table


def tell(document: Document, page: Path) -> None:
    """Write a document of any verb as text for a person, and where its page is."""
    console = Console(highlight=False, markup=False, emoji=False)
    console.width = min(console.width, WIDEST)
    kind = "Diagnosis" if "diagnosis" in document else "Training" if "final" in document else "Readings"
    console.print(f"{kind} of {document['problem']['name']}", style="bold")
    if "diagnosis" in document:
        _diagnosis(console, document, page)
    elif "final" in document:
        _training(console, document)
    else:
        _readings(console, document)
    _list(console, "To keep in mind", document["notes"])
    _end(console, document, page)


def tell_studies(studies: Sequence[Document], page: Path) -> None:
    """Write verdicts as text for a person, and where their page is; of a few studies with all gates."""
    console = Console(highlight=False, markup=False, emoji=False)
    console.width = min(console.width, WIDEST)
    for study in studies:
        console.print(Text.assemble((study["name"], "bold"), f": {study['verdict'] or 'not judged'}"))
        _indented(console, study["claim"])
        table = _table("left", "right", "left")
        for gate in gates_of(study) if len(studies) <= FEW_STUDIES else ():
            value = words.number(gate["value"]) if "value" in gate else ""
            table.add_row(gate["outcome"], value, Text(f"{gate['says']} ({gate['inequality']})", style="dim"))
        if table.rows:
            console.print(Padding.indent(table, 2))
        console.print()
    console.print(Text.assemble("Page: ", (str(page), f"link {page.resolve().as_uri()}")), soft_wrap=True)


def list_studies(rows: Sequence[tuple[str, str, str, Document | None]]) -> None:
    """Write which studies there are: name, claim, time, and what was found last."""
    console = Console(highlight=False, markup=False, emoji=False)
    for name, claim, time_taken, last in rows:
        verdict = "not run yet" if last is None else f"{last['verdict']}{' (quick)' if last['quick'] else ''}"
        console.print(Text.assemble((name, "bold"), f"  {verdict} · {time_taken}"), soft_wrap=True)
        _indented(console, claim)


def _diagnosis(console: Console, document: Document, page: Path) -> None:
    diagnosis = document["diagnosis"]
    confidence, proof = diagnosis["confidence"], diagnosis["proof"]
    console.print()
    console.print(Text(diagnosis["cause"], style="bold"))
    _indented(console, f"Confidence: {words.confidence(confidence)} ({confidence:.2f}), {proof}. {_proof(proof)}")
    console.print()
    _indented(console, diagnosis["summary"])
    found = {finding["cause"]: finding for finding in document["findings"]}
    if diagnosis["cause"] in found:
        _list(console, "Evidence", [evidence["says"] for evidence in found[diagnosis["cause"]]["evidence"]])
    else:
        nearest = [found[cause] for cause in diagnosis["candidates"] if cause in found]
        _list(console, "Nearest", [f"{finding['cause']}: {_because(finding)}" for finding in nearest])
    _trials(console, document["trials"])
    proofs = diagnosis.get("proofs", ())
    _list(console, "Proof", [f"{proof['element']}, {proof['outcome']}: {proof['says']}" for proof in proofs])
    _prescription(console, document, page)


def _because(finding: Document) -> str:
    """Its strongest evidence, or why there is none."""
    evidence = finding["evidence"]
    return str(evidence[0]["says"] if evidence else finding["unknown_because"] or finding["means"])


def _proof(proof: str) -> str:
    return words.PROOF_WORDS.get(proof, "")


def _trials(console: Console, trials: Sequence[Document]) -> None:
    """One line per arm; a second untouched arm opens the round after the first cure."""
    if not trials:
        return
    _heading(console, f"Tried: mean loss after {words.number(trials[0]['updates'])} more updates, as it is and treated")
    table = _table("left", "right", "left")
    untouched = "as it is"
    for trial in trials:
        if trial["arm"] == "untouched":
            table.add_row(untouched, words.measured(_mean(trial)), "")
            untouched = "as treated so far"
        elif trial["arm"] != "a/a":
            table.add_row(trial["remedy"], words.measured(_mean(trial)), f"{trial['verdict']}: {trial['because']}")
    console.print(Padding.indent(table, 2))


def _mean(trial: Document) -> dict[str, Any]:
    return {"value": trial["mean"], "non_finite": trial.get("non_finite", False)}


def _prescription(console: Console, document: Document, page: Path) -> None:
    prescription, target = document["prescription"], document["problem"]["target"]
    if prescription is None:
        return
    _heading(console, "What to do")
    for number, step in enumerate(prescription["steps"], 1):
        _indented(console, f"{number}. {step['says']}")
    if target is None:
        return
    updates = max(UPDATES, 2 * prescription["from_update"])
    file = page.with_name("report.json")
    _heading(console, "Train with it")
    command = f"unstuck train {shlex.quote(target)} --updates {updates} --prescription {shlex.quote(str(file))}"
    console.print(f"  {command}", soft_wrap=True)


def _training(console: Console, document: Document) -> None:
    curve, final = document["curve"], document["final"]
    console.print()
    if document["prescription"] is not None:
        for step in document["prescription"]["steps"]:
            _indented(console, f"With {step['remedy']}: {step['says']}.")
    methods = {key: value for key, value in document["recipe"].items() if key not in ("updates", "seed")}
    if methods:
        _indented(console, f"With {words.settings(methods)}.")
    if curve:
        ends = " to ".join(words.measured({**row, "value": row["loss"]}) for row in (curve[0], curve[-1]))
        _indented(console, f"The loss of a batch went from {ends} in {document['cost']['updates']} updates.")
    table = _table("left", "right")
    for name, value in final.items():
        if isinstance(value, float):
            shown = words.percent(value) if name.endswith("accuracy") else words.number(value)
            table.add_row(words.spaced(name), shown)
    if final.get("non_finite"):
        table.add_row("loss", "not finite")
    if table.rows:
        _heading(console, "Over the whole data, in evaluation mode")
        console.print(Padding.indent(table, 2))


def _readings(console: Console, document: Document) -> None:
    for probe, history in document["readings"].items():
        for reading in history:
            _heading(console, f"{probe}: {reading['title']} ({words.number(reading['samples'])} samples)")
            table = _table("left", "left", "left")
            for name, value in reading["values"].items():
                if name == "non_finite":
                    continue
                number = words.measured({"value": value, "error": reading["error"].get(name)})
                unit = reading["units"].get(name, "")
                table.add_row(
                    words.spaced(name),
                    f"{number or words.UNKNOWN} {unit}".strip(),
                    Text(reading["says"][name], style="dim"),
                )
            console.print(Padding.indent(table, 2))
            for note in reading["notes"]:
                _indented(console, note)


def _end(console: Console, document: Document, page: Path) -> None:
    """Where the page is, a link where the terminal can show one, and what it did cost."""
    console.print()
    console.print(Text.assemble("Page: ", (str(page), f"link {page.resolve().as_uri()}")), soft_wrap=True)
    console.print(f"Cost: {words.cost(document['cost'])}")


def _list(console: Console, title: str, sentences: Sequence[str]) -> None:
    if not sentences:
        return
    _heading(console, title)
    table = _table("left", "left")
    for sentence in sentences:
        table.add_row("·", sentence)
    console.print(Padding.indent(table, 2))


def _heading(console: Console, title: str) -> None:
    console.print()
    console.print(Text(title, style="bold"))


def _indented(console: Console, text: str) -> None:
    console.print(Padding.indent(Text(text), 2))


def _table(*justified: Literal["left", "right"]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for justify in justified:
        table.add_column(justify=justify, overflow="fold")  # a path that is cut off can be neither read nor copied
    return table
