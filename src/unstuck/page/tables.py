"""The tables of a page: what the probes read, over time, and what that cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unstuck.page import words
from unstuck.page.parts import MARK, entries, mapping

History = Sequence[Mapping[str, Any]]  # the readings of one probe, in the order of time


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells as text; the first of each row is its heading."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def of_readings(probe: str, history: History) -> Table:
    """What one probe measured: a row for each quantity with its meaning, a column for each time."""
    quantities = dict.fromkeys(name for reading in history for name in entries(reading.get("values")))
    rows = [
        (
            words.spaced(name),
            _first(history, "units", name),
            *(words.measured(_quantity(reading, name)) for reading in history),
            _first(history, "says", name),
        )
        for name in quantities
    ]
    rows.append(("sample size", "", *(words.number(reading.get("samples")) for reading in history), ""))
    rows.append(("cost", "", *(words.cost(reading.get("cost")) for reading in history), ""))
    settings = words.settings(history[-1].get("settings")) if history else ""
    return Table(
        caption=f"{probe}, measured with {settings}" if settings else f"Readings of {probe}",
        header=("quantity", "unit", *map(_time, history), "what it means"),
        rows=tuple(rows),
    )


def of_costs(readings: Mapping[str, History]) -> Table | None:
    """What each probe cost, summed over its readings."""
    spent = {probe: [entries(reading.get("cost")) for reading in history] for probe, history in readings.items()}
    kinds = dict.fromkeys(kind for costs in spent.values() for cost in costs for kind in cost if cost[kind])
    if not kinds:
        return None
    totals = {
        probe: {kind: sum(cost.get(kind) or 0 for cost in costs) for kind in kinds} for probe, costs in spent.items()
    }
    return Table(
        caption="What each probe cost, over all its readings",
        header=("probe", "readings", *map(words.spaced, kinds)),
        rows=tuple(
            (probe, words.number(len(spent[probe])), *(words.amount(kind, total[kind]) for kind in kinds))
            for probe, total in totals.items()
        ),
    )


def _quantity(reading: Mapping[str, Any], name: str) -> dict[str, Any]:
    """One value of a reading with its error, which the report keeps apart."""
    values = mapping(reading.get("values"))
    return {"value": values.get(name), "error": mapping(reading.get("error")).get(name), MARK: values.get(MARK)}


def _first(history: History, part: str, name: str) -> str:
    """What a part of the readings says of a quantity: the first that says it, as all of them say the same."""
    return next((str(told) for reading in history if (told := mapping(reading.get(part)).get(name))), "")


def _time(reading: Mapping[str, Any]) -> str:
    update = reading.get("update")
    return "value" if update is None else f"at update {words.number(update)}"
