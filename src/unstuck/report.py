"""The report: what was found, as one document that is stored as JSON and drawn as a page."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from unstuck import page, plot
from unstuck.budget import Cost
from unstuck.cause import Evidence, Finding, Judgement
from unstuck.errors import InputError
from unstuck.prescription import Prescription
from unstuck.problem import Problem
from unstuck.proof import Proof
from unstuck.reading import Measured, Readings, quantities
from unstuck.trial import Trial

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The verdict."""

    cause: str
    confidence: float
    proof: str
    summary: str
    candidates: tuple[str, ...]
    decided_by: str
    proofs: tuple[Proof, ...] = ()
    """The elements of the proof, where one was asked for."""


@dataclass(frozen=True)
class Report:
    """What a diagnosis found. ``document`` is all there is to it: report.json holds the same."""

    document: Mapping[str, Any]

    @property
    def cause(self) -> str:
        """The slug of the diagnosed cause."""
        return str(self.document["diagnosis"]["cause"])

    @property
    def confidence(self) -> float:
        """From 0 to 1."""
        return float(self.document["diagnosis"]["confidence"])

    @property
    def proof(self) -> str:
        """How far it got: proved, likely, works-unproved or unknown."""
        return str(self.document["diagnosis"]["proof"])

    @property
    def summary(self) -> str:
        """The verdict in a few sentences."""
        return str(self.document["diagnosis"]["summary"])

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Every cause that was judged, the diagnosed one first, then by score."""
        return tuple(
            Finding(
                cause=row["cause"],
                means=row["means"],
                chapter=row["chapter"],
                judgement=Judgement(
                    score=row["score"],
                    evidence=tuple(
                        Evidence(**{f.name: e[f.name] for f in dataclasses.fields(Evidence)}) for e in row["evidence"]
                    ),
                    advice=row["advice"],
                ),
                unknown_because=row["unknown_because"],
            )
            for row in self.document["findings"]
        )

    @property
    def prescription(self) -> Prescription | None:
        """What to do; None where no trial showed a gain."""
        found = self.document["prescription"]
        return None if found is None else Prescription.of(found)

    def save(self, folder: str | Path) -> Path:
        """Write report.json and report.html into a folder, which is made; gives the page's path.

        Raises:
            InputError: the folder holds a report already.
        """
        return save(self.document, folder)

    @staticmethod
    def read(path: str | Path) -> Report:
        """Read a report.json, or the one in a run folder.

        Raises:
            InputError: it is missing, unreadable, or of another schema.
        """
        document = read_document(path)
        if "diagnosis" not in document:
            raise InputError(f"{path}: holds no diagnosis; it was written by another command than `unstuck diagnose`")
        return Report(document)

    def _repr_html_(self) -> str:
        return page.render_fragment(self.document)


def save(document: Mapping[str, Any], folder: str | Path) -> Path:
    """Write a document as report.json and as a page, report.html. Raises InputError where there is one already."""
    folder = Path(folder)
    if (folder / "report.json").exists():
        raise InputError(f"{folder} holds a report already; give another folder, reports are never overwritten")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
    return draw_page(document, folder)


def draw_page(document: Mapping[str, Any], folder: Path) -> Path:
    """Write report.html beside a report.json; gives its path."""
    path = folder / "report.html"
    path.write_text(page.render(document), encoding="utf-8")
    return path


def read_document(path: str | Path) -> dict[str, Any]:
    """The document of a report.json or of a run folder. Raises InputError."""
    path = Path(path)
    file = path / "report.json" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{file}: there is no such file; give a run folder or the report.json in it")
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as a report ({error}); was it cut off?") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise InputError(f'{file}: is no report of this version; it lacks "schema": {SCHEMA}')
    return document


def document_of(
    problem: Problem,
    diagnosis: Diagnosis,
    *,
    target: str | None,
    findings: Iterable[Finding],
    trials: Iterable[Trial],
    prescription: Prescription | None,
    readings: Readings,
    figures: Mapping[str, Any],
    notes: Iterable[str],
    cost: Cost,
) -> dict[str, Any]:
    """A diagnosis as one document of JSON types (schema 1)."""
    document: dict[str, Any] = plain(
        {
            "schema": SCHEMA,
            "tool": tool(),
            "problem": card(problem, target),
            "diagnosis": dataclasses.asdict(diagnosis),
            "findings": [_finding(finding) for finding in findings],
            "trials": [_trial(trial) for trial in trials],
            "prescription": None if prescription is None else prescription.document(problem),
            "readings": readings_document(readings),
            "figures": figures,
            "notes": list(notes),
            "cost": dataclasses.asdict(cost),
        }
    )
    return document


def tool() -> dict[str, str]:
    """Which version wrote a document."""
    try:
        return {"name": "unstuck", "version": version("unstuck")}
    except PackageNotFoundError:
        return {"name": "unstuck", "version": "unknown"}


def card(problem: Problem, target: str | None) -> dict[str, Any]:
    """The problem in a few numbers."""
    return {
        "name": problem.name,
        "parameters": problem.dimension,
        "samples": problem.data.samples,
        "batch_size": problem.data.batch_size,
        "optimizer": type(problem.optimizer).__name__,
        "target": target,
    }


def readings_document(readings: Readings) -> dict[str, list[dict[str, Any]]]:
    """Readings by probe, in the order in which they were made."""
    found: dict[str, list[dict[str, Any]]] = {}
    for made in readings.made:
        found.setdefault(made.reading.probe, []).append(_reading(made))
    return found


def drawn(readings: Readings) -> dict[str, Any]:
    """The figures of all readings that draw themselves, as stored plotly JSON, by probe, name and update."""
    figures: dict[str, Any] = {}
    for made in readings.made:
        for name, figure in made.reading.pictures().items():
            figure.update_layout(title=f"{figure.layout.title.text}, at update {made.reading.update}")
            key = "-".join(filter(None, (made.reading.probe, name, str(made.reading.update))))
            figures[key] = plot.stored(figure)
    return figures


def plain(value: Any) -> Any:
    """A value in JSON types; what is not finite becomes null, with ``"non_finite": true`` beside it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        found = {str(key): plain(part) for key, part in value.items()}
        if any(_broken(part) for part in value.values()):
            found["non_finite"] = True
        return found
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value


def _broken(part: Any) -> bool:
    if isinstance(part, list | tuple):
        return any(map(_broken, part))
    return isinstance(part, float) and not math.isfinite(part)


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "cause": finding.cause,
        "means": finding.means,
        "chapter": finding.chapter,
        "score": finding.score,
        "unknown_because": finding.unknown_because,
        "advice": finding.judgement.advice,
        "evidence": [dataclasses.asdict(evidence) for evidence in finding.judgement.evidence],
    }


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "arm": trial.arm,
        "remedy": trial.remedy,
        "settings": dict(trial.settings),
        "after": [
            {"remedy": remedy.slug, "settings": dataclasses.asdict(remedy)}  # type: ignore[call-overload]
            for remedy in trial.treatment[:-1]
        ],
        "cause": trial.cause,
        "from_update": trial.from_update,
        "updates": trial.updates,
        "samples": trial.samples,
        "gradient_evaluations": trial.gradient_evaluations,
        "measure": trial.measure,
        "per_seed": list(trial.per_seed),
        "half_per_seed": list(trial.half_per_seed),
        "mean": trial.mean,
        "interval": [trial.interval.low, trial.interval.high],
        "differences": list(trial.differences),
        "gain": trial.gain,
        "gain_at_equal_cost": trial.gain_at_equal_cost,
        "verdict": trial.verdict,
        "because": trial.because,
        "undecided": trial.undecided,
    }


def _reading(made: Measured) -> dict[str, Any]:
    numbers = quantities(made.reading)
    return {
        "update": made.reading.update,
        "settings": dict(made.settings),
        "values": {name: number[0] for name, number in numbers.items()},
        "error": {name: number[1] for name, number in numbers.items() if number[1] is not None},
        "units": {name: number[2] for name, number in numbers.items() if number[2]},
        "says": {name: number[3] for name, number in numbers.items()},
        "title": made.reading.title,
        "notes": list(made.reading.notes),
        "samples": made.reading.samples,
        "cost": dataclasses.asdict(made.cost),
    }
