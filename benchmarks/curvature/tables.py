"""Measured cells as tables of Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.curvature.jobs import JOBS, MEMORY, Place
from benchmarks.curvature.tools import MEMORY_TOOLS, TOOLS
from benchmarks.curvature.workloads import RECIPES

USUAL = 5
"""Repeats; a cell with fewer says so."""

Runs = list[dict[str, Any]] | str
"""The repeats of a cell, or why it failed."""

Look = Callable[[str, str, Place, str], Runs | None]
"""(kind, job, place, tool) → what was measured, None where nothing was."""

NOTES = {
    "top10": "stated bounds",
    "saddle": "stated bounds",
    "density": "weights",
    "trace": "stated standard error",
    "landscape": "compared at",
}
"""Job → heading of what its verdict says beside the error."""

INTRODUCTION = f"""\
## Curvature beside the peers

    bash benchmarks/curvature/setup.sh
    python -m benchmarks.curvature

Each tool answers the same questions about the same trained networks, in processes of its own. Costs are processor time
of all threads, as a multiple of one gradient over the same data (forward and backward, one batch) that is timed in the
same process directly before and after; medians of {USUAL} repeats with seeds of their own. Differences below 15 % are
noise. Errors are the worst of the repeats, relative, against float64. Two threads, torch 2.13; pyhessian 0.1,
hessian-eigenthings 1.0.0a5, curvlinops-for-pytorch 3.0.1, nngeom 0.2.0, pylandscape 0.1.3, landscaper 1.3.1,
loss-landscapes 3.0.6. A product is given as *product + preparation*: what is built once before the first one. Lanczos
steps and tolerances of the peers are the loosest that reach 1e-3 here, which a user would not know; *unstuck* and
ARPACK stop by themselves. The trace's error is mostly the chance of 20 probes."""


def tables(look: Look) -> str:
    """An introduction, the networks, one table per job that has cells, and one of memory."""
    made = [cost_table(job, look) for job in JOBS]
    return "\n\n".join(table for table in [INTRODUCTION, networks(), *made, memory_table(look)] if table)


def networks() -> str:
    """What is measured."""
    rows = [
        {"": name, "network and data": recipe.describe, "parameters": f"{recipe.parameters}", "loss": f"{recipe.loss}"}
        for name, recipe in RECIPES.items()
    ]
    return _titled("", rows)


def cost_table(job: str, look: Look) -> str:
    """Tools down, places across; under each place the cost, the products, the error and the job's own note."""
    rows: list[dict[str, str]] = []
    for tool in TOOLS[job]:
        row: dict[str, str] = {}
        for place in JOBS[job].places:
            row |= _cells(job, place, look("cost", job, place, tool))
        if row:
            rows.append({"tool": tool} | row)
    unit = "forward passes" if JOBS[job].of_passes else "gradients"
    title = f"{JOBS[job].title} (in {JOBS[job].of_passes or ''} {unit})".replace("in  ", "in ")
    return _titled(title, rows)


def memory_table(look: Look) -> str:
    """Tools down, jobs and places across: mebibytes."""
    rows: list[dict[str, str]] = []
    for tool in dict.fromkeys(name for tools in MEMORY_TOOLS.values() for name in tools):
        row: dict[str, str] = {}
        for job, places in MEMORY.items():
            for place in places:
                runs = look("memory", job, place, tool)
                if runs is not None:
                    row[f"{job} {place}"] = runs if isinstance(runs, str) else f"{_middle(runs, 'cost'):.0f}"
        if row:
            rows.append({"tool": tool} | row)
    return _titled("Peak memory (MiB above model and data, one process per number)", rows)


def _cells(job: str, place: Place, runs: Runs | None) -> dict[str, str]:
    if runs is None:
        return {}
    if isinstance(runs, str):
        return {str(place): runs}
    cost = _rounded(_middle(runs, "cost"))
    if job == "product":
        cost += f" + {_rounded(_middle(runs, 'prepared'))}"
    if len(runs) < USUAL:
        cost += f" ({len(runs)} run{'s' * (len(runs) > 1)})"
    cells = {str(place): cost}
    if job != "product" and runs[0]["products"] is not None:
        cells[f"{place} products"] = f"{_middle(runs, 'products'):.0f}"
    cells[f"{place} error"] = f"{max(run['error'] for run in runs):.0e}".replace("e-0", "e-").replace("e+00", "")
    if job in NOTES:
        cells[f"{place} {NOTES[job]}"] = ", ".join(dict.fromkeys(run["note"] for run in runs))
    return cells


def _middle(runs: Sequence[Mapping[str, Any]], field: str) -> float:
    return float(median(run[field] for run in runs))


def _rounded(number: float) -> str:
    return f"{number:.2f}" if number < 10 else f"{number:.0f}"


def _titled(title: str, rows: Sequence[Mapping[str, str]]) -> str:
    if not rows:
        return ""
    columns = sorted({column for row in rows for column in row}, key=_order(rows))
    lines = [columns, ["---"] * len(columns), *([row.get(column, "—") for column in columns] for row in rows)]
    heading = f"### {title}\n\n" if title else ""
    return heading + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _order(rows: Sequence[Mapping[str, str]]) -> Callable[[str], int]:
    """The order of the fullest row comes first; what it lacks comes last."""
    row: Mapping[str, str] = max(rows, key=len)
    fullest = list(row)
    return lambda column: fullest.index(column) if column in fullest else len(fullest)
