"""Measures every tool on every job and writes the tables.

    bash benchmarks/curvature/setup.sh            once: the environment with the peers
    python -m benchmarks.curvature [JOB...]       product top10 saddle density trace whole landscape memory

Each cell runs in a process of its own in that environment. Cells that are already measured are kept, so an interrupted
run goes on where it stopped; those of this package are measured again when its code has changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.curvature.jobs import JOBS, MEMORY, Place
from benchmarks.curvature.ours import OURS
from benchmarks.curvature.tables import USUAL, Runs, tables
from benchmarks.curvature.tools import MEMORY_TOOLS, TOOLS
from benchmarks.curvature.workloads import CACHE

ROOT = Path(__file__).parents[2]
PYTHON = Path(__file__).with_name(".peers") / "bin" / "python"
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
BEGIN, END = "<!-- curvature: begin -->", "<!-- curvature: end -->"
OUR_CODE = (
    *("src/unstuck/curvature", "src/unstuck/numerics", "src/unstuck/problem.py", "src/unstuck/forward.py"),
    *("src/unstuck/landscape.py", "benchmarks/curvature/ours.py"),
)
"""What our cells depend on."""
QUIET = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}
"""Threads that wait must not count as work: torch's sleep; numpy's, which spin, are left out."""


@dataclass(frozen=True)
class Cell:
    """One number of one table."""

    kind: str
    job: str
    place: Place
    tool: str

    def __str__(self) -> str:
        return f"{self.kind} of {self.job}, {self.place}, {self.tool}"

    @property
    def file(self) -> Path:
        """Where its repeats are kept."""
        words = f"{self.kind} {self.job} {self.place} {self.tool}"
        return CACHE / "cells" / f"{'-'.join(''.join(c if c.isalnum() else ' ' for c in words).split())}.json"

    @property
    def version(self) -> str:
        """What the cell depends on and may change: our code. The peers' versions are pinned."""
        if self.tool not in OURS.get(self.job, {}):
            return ""
        paths = [ROOT / path for path in OUR_CODE]
        files = sorted(file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path]))
        return hashlib.sha256(b"".join(file.read_bytes() for file in files if file.exists())).hexdigest()[:16]


def cells(jobs: list[str], tool: str) -> Iterator[Cell]:
    """The cells of the given jobs and of the tools whose name has ``tool`` in it."""
    for job in JOBS:
        if job in jobs:
            for name in TOOLS[job]:
                yield from (Cell("cost", job, place, name) for place in JOBS[job].places if tool in name)
    if "memory" in jobs:
        for job, places in MEMORY.items():
            for name in MEMORY_TOOLS[job]:
                yield from (Cell("memory", job, place, name) for place in places if tool in name)


def stored(cell: Cell) -> Runs | None:
    """What an earlier run found, failures too, if the code is still the same."""
    if not cell.file.exists():
        return None
    content = json.loads(cell.file.read_text(encoding="utf-8"))
    runs: Runs = content["runs"]
    return runs if content["version"] == cell.version else None


def enough(runs: Runs | None, repeats: int) -> bool:
    """Whether a cell need not be measured again."""
    return runs is not None and not isinstance(runs, str) and len(runs) >= repeats


def measure(cell: Cell, repeats: int) -> Runs:
    """Run a cell in a process of its own (memory: one process for each number) and keep what it finds."""
    runs: Runs = []
    for _ in range(repeats if cell.kind == "memory" else 1):
        found = _process(cell, repeats)
        if isinstance(found, str):
            runs = found
            break
        runs = [*runs, *found]
    cell.file.parent.mkdir(parents=True, exist_ok=True)
    cell.file.write_text(json.dumps({"cell": asdict(cell), "version": cell.version, "runs": runs}), encoding="utf-8")
    return runs


def _process(cell: Cell, repeats: int) -> Runs:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "runs.json"
        arguments = [cell.kind, cell.job, cell.place.workload, str(cell.place.samples or 0), cell.tool]
        done = subprocess.run(
            [PYTHON, "-m", "benchmarks.curvature.cell", *arguments, str(repeats), str(file)],
            cwd=ROOT,
            env=os.environ | QUIET,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            runs: Runs = json.loads(file.read_text(encoding="utf-8"))
            return runs
        return "fails: " + (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:80]


def main() -> None:
    """Measure what is asked for and is not there yet; write all that is there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curvature")
    parser.add_argument("jobs", nargs="*", metavar="JOB", help=f"of {', '.join(JOBS)}, memory; default: all")
    parser.add_argument("--tool", default="", help="only tools with this in their name")
    parser.add_argument("--repeats", type=int, default=USUAL)
    parser.add_argument("--again", action="store_true", help="measure also what is already there")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file that the tables are written into")
    chosen = parser.parse_args()
    if not PYTHON.exists():
        sys.exit("the peers are not installed; first run: bash benchmarks/curvature/setup.sh")
    if unknown := set(chosen.jobs) - {*JOBS, "memory"}:
        sys.exit(f"no such job: {', '.join(sorted(unknown))}; there are {', '.join(JOBS)}, memory")
    for cell in cells(chosen.jobs or [*JOBS, "memory"], chosen.tool):
        if chosen.again or not enough(stored(cell), chosen.repeats):
            runs = measure(cell, chosen.repeats)
            sys.stderr.write(f"{cell}: {runs if isinstance(runs, str) else [round(run['cost'], 2) for run in runs]}\n")
    write(chosen.results)


def write(file: Path) -> None:
    """Put the tables between the marks; where there are none, at the end."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    if BEGIN not in text:
        text += f"\n{BEGIN}\n{END}\n"
    before, rest = text.split(BEGIN)
    made = tables(lambda kind, job, place, tool: stored(Cell(kind, job, place, tool)))
    file.write_text(f"{before}{BEGIN}\n{made}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
