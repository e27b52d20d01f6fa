"""The tables of a page: what the probes read, over time, and what that cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unstuck.page import words
from unstuck.page.parts import mapping

History = Sequence[Mapping[str, Any]]  # the readings of one probe, in the order of time


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells as text; the first of each row is its heading."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def of_readings(probe: str, history: History) -> Table:
    """What one probe measured: a row for each quantity, a column for each time, and what it says at last."""
    values = [mapping(reading.get("values")) for reading in history]
    quantities = dict.fromkeys(name for reading in values for name in reading)
    rows = []
    for name in quantities:
        latest = next(mapping(reading[name]) for reading in reversed(values) if name in reading)
        measured = (words.measured(reading.get(name)) for reading in values)
        rows.append((words.spaced(name), str(latest.get("unit", "")), *measured, str(latest.get("says") or "")))
    rows.append(("sample size", "", *(words.number(reading.get("samples")) for reading in history), ""))
    costs = (mapping(reading.get("cost")) for reading in history)
    rows.append(("cost", "", *(_spelled_cost(cost) for cost in costs), ""))
    times = (_time(reading) for reading in history)
    chosen = words.settings(history[-1].get("settings")) if history else ""
    return Table(
        caption=f"{probe}, measured with {chosen}" if chosen else probe,
        header=("quantity", "unit", *times, "what it says"),
        rows=tuple(rows),
    )


def _time(reading: Mapping[str, Any]) -> str:
    update = reading.get("update")
    return "value" if update is None else f"at update {words.number(update)}"


def _spelled_cost(cost: Mapping[str, Any]) -> str:
    return ", ".join(f"{words.number(amount)} {words.spaced(kind)}" for kind, amount in cost.items()) or words.UNKNOWN


def of_costs(readings: Mapping[str, History]) -> Table | None:
    """What each probe cost, summed over its readings."""
    spent = {probe: [mapping(reading.get("cost")) for reading in history] for probe, history in readings.items()}
    kinds = dict.fromkeys(kind for costs in spent.values() for cost in costs for kind in cost)
    if not kinds:
        return None
    return Table(
        caption="What each probe cost, over all its readings",
        header=("probe", "readings", *map(words.spaced, kinds)),
        rows=tuple(
            (
                probe,
                words.number(len(costs)),
                *(words.number(sum(cost.get(kind) or 0 for cost in costs)) for kind in kinds),
            )
            for probe, costs in spent.items()
        ),
    )
