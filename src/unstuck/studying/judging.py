"""From a study's runs to its verdict, as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from unstuck import plot
from unstuck.errors import InputError
from unstuck.ledger import Row
from unstuck.report import plain
from unstuck.study import Checked, Measurement, Run, Runs, Study, verdict_of
from unstuck.studying.catalogue import own_settings


def judged(study: Study, rows: Sequence[Row]) -> dict[str, Any]:
    """The document of one study.

    Its verdict is null where some of its runs failed or are not done: a claim is judged on all of its seeds or none.

    Args:
        study: the study.
        rows: of its runs, in the order of its plan.

    Raises:
        InputError: a gate is about something that was not measured.
    """
    left = [row for row in rows if row.state != "done"]
    runs = Runs([Run(own_settings(row.settings), row.result) for row in rows if row.state == "done"])
    measurements = () if left else tuple(study.measure(runs))
    checked = () if left else _checked(study, measurements)
    document: dict[str, Any] = plain(
        {
            **{name: getattr(study, name) for name in ("name", "title", "chapter", "claim", "source", "setting")},
            "explains": study.explains,
            "verdict": verdict_of(checked) if checked else None,
            "gate": [_gate(gate) for gate in study.gates],
            "seeds": runs.seeds,
            "measurements": [asdict(each) for each in measurements],
            "statistics": [_statistics(each) for each in checked],
            "pictures": {} if left else {name: plot.stored(drawn) for name, drawn in study.draw(runs).items()},
            "runs": len(rows),
            "seconds": sum(row.seconds or 0.0 for row in rows),
            "failed": [_failure(row) for row in left],
        }
    )
    return document


def _checked(study: Study, measurements: Sequence[Measurement]) -> tuple[Checked, ...]:
    named = {each.name: each for each in measurements}
    for gate in study.gates:
        if gate.measurement not in named:
            raise InputError(
                f"study {study.name}: a gate is about {gate.measurement!r}, which it does not measure; "
                f"it measures {', '.join(named) or 'nothing'}"
            )
    return tuple(gate.check(named[gate.measurement]) for gate in study.gates)


def _gate(gate: Any) -> dict[str, Any]:
    return {"says": gate.says, "inequality": gate.inequality, "role": gate.role}


def _statistics(checked: Checked) -> dict[str, Any]:
    interval = checked.interval
    return {
        "measurement": checked.gate.measurement,
        "holds": checked.holds,
        "value": checked.value,
        "over": checked.gate.over,
        "interval": None if interval is None else (interval.low, interval.high),
        "seeds": checked.count,
        "agreeing": checked.agreeing,
        "p_value": checked.p_value,
    }


def _failure(row: Row) -> Mapping[str, Any]:
    last = (row.error or "it was not finished").strip().splitlines()[-1]
    return {"settings": own_settings(row.settings), "state": row.state, "error": last}
