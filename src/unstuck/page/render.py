"""From a report document to its page."""

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup, escape

from unstuck.errors import InputError
from unstuck.page import charts, frame, tables, words
from unstuck.page.parts import entries, mapping, mappings
from unstuck.page.picture import Picture, picture

SCHEMA = 1
TRIALS = "trials"  # the figure of this name is shown with the trials,
PROOF = ("mediator", "dose-response")  # those of these names with the proof, the others by themselves
NOTEBOOK_HEIGHT = "46rem"

Document = Mapping[str, Any]  # the JSON of a report, of schema 1


def render(document: Document) -> str:
    """One offline HTML page for a report of `diagnose`, `measure` or `train`.

    Any part of the document may be absent, unknown ones are passed over, and every text is shown as text.
    Raises InputError for a document of another schema.
    """
    if document.get("schema", SCHEMA) != SCHEMA:
        raise InputError(
            f"this report is of schema {document['schema']}, and this version reads schema {SCHEMA}: "
            "render it with the version of unstuck that wrote it"
        )
    pictures = _pictures(document)
    readings = {probe: mappings(history) for probe, history in mapping(document.get("readings")).items()}
    body = frame.TEMPLATES.get_template("body.html").render(
        document=document,
        title=_title(document),
        pictures=pictures,
        diagnosed=_findings(document, of_diagnosis=True),
        others=_findings(document, of_diagnosis=False),
        readings=[(probe, history, tables.of_readings(probe, history)) for probe, history in readings.items()],
        cost_table=tables.of_costs(readings),
        command=_command(document),
        rounds=charts.rounds(mappings(document.get("trials"))),
        gain=charts.gain,
        words=words,
    )
    everything = [part for group in pictures.values() for part in group]
    return frame.assemble(title=_title(document), body=Markup(body), pictures=everything)


def render_fragment(document: Document) -> str:
    """The page for a notebook: a sentence, and the page itself in a frame.

    The frame keeps the page's styles and scripts apart from the notebook's and holds all it needs, so it
    works in Jupyter, in VS Code and in an exported notebook; it is sandboxed, so it cannot reach the
    notebook. Where frames are removed (an untrusted notebook, a preview), the sentence is left.
    """
    title = _title(document)
    sentence = mapping(document.get("diagnosis")).get("summary") or title
    return (
        f"<p>{escape(sentence)}</p>"
        f'<iframe title="{escape(title)}" sandbox="allow-scripts allow-downloads allow-modals" '
        f'style="width:100%;height:{NOTEBOOK_HEIGHT};border:0" srcdoc="{escape(render(document))}"></iframe>'
    )


def _title(document: Document) -> str:
    name = mapping(document.get("problem")).get("name", "a problem")
    if "diagnosis" in document:
        return f"Diagnosis of {name}"
    return f"Training of {name}" if "final" in document else f"Readings of {name}"


def _pictures(document: Document) -> dict[str, list[Picture]]:
    """The figures by where they stand: the curves of the `trials`, the gains of their `rounds`, and so on."""
    rounds = charts.rounds(mappings(document.get("trials")))
    curve = mappings(document.get("curve"))
    columns = dict.fromkeys(key for row in curve for key in entries(row) if key != "update")
    kept = {key: value for key, value in mapping(document.get("figures")).items() if isinstance(value, Mapping)}
    groups: dict[str, dict[str, Mapping[str, Any]]] = {
        "trials": {key: value for key, value in kept.items() if key == TRIALS},
        "proof": {key: value for key, value in kept.items() if key in PROOF},
        "rounds": {str(place): charts.gains(trials) for place, trials in enumerate(rounds)},
        "curve": {column: charts.curve(curve, column) for column in columns},
        "figures": {key: value for key, value in kept.items() if key not in (TRIALS, *PROOF)},
    }
    pictures = {
        group: [picture(key, figure, id=f"{group}-{place}") for place, (key, figure) in enumerate(figures.items())]
        for group, figures in groups.items()
    }
    # The numbers of a round stand in the table of its arms.
    return pictures | {"rounds": [dataclasses.replace(shown, tables=()) for shown in pictures["rounds"]]}


def _findings(document: Document, *, of_diagnosis: bool) -> list[Mapping[str, Any]]:
    cause = mapping(document.get("diagnosis")).get("cause")
    findings = mappings(document.get("findings"))
    return [finding for finding in findings if (finding.get("cause") == cause) == of_diagnosis]


def _command(document: Document) -> str | None:
    """The command that trains with the prescription; None where the problem was not given as a target."""
    target = mapping(document.get("problem")).get("target")
    if not document.get("prescription") or not target:
        return None
    updates = mapping(document.get("cost")).get("updates") or "N"  # as many as the diagnosis walked
    return f"unstuck train {shlex.quote(str(target))} --updates {updates} --prescription report.json"
