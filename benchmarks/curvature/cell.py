"""One cell of a table, measured in this process; the driver starts one process after the other.

python -m benchmarks.curvature.cell KIND JOB WORKLOAD SAMPLES TOOL REPEATS FILE
"""

from __future__ import annotations

import gc
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from benchmarks.curvature.jobs import JOBS, Adapter, Answer, Place
from benchmarks.curvature.measure import peak, ratio, seconds
from benchmarks.curvature.tools import MEMORY_TOOLS, TOOLS
from benchmarks.curvature.workloads import Workload

THREADS = 2


def forward(workload: Workload) -> None:
    """One forward pass without a graph."""
    with torch.no_grad():
        workload.loss()


def run_once(job_name: str, place: Place, adapter: Adapter, seed: int) -> dict[str, Any]:
    """One repeat from scratch: the cost in units, the verdict on the answer."""
    job, measured, beside = JOBS[job_name], place.load(), place.load()
    unit = beside.gradient if job.of_passes is None else partial(forward, beside)
    kept: dict[str, Any] = {}

    def prepare() -> None:
        kept["solve"] = adapter(measured)

    def solve() -> None:
        kept["answer"] = kept["solve"](seed)

    prepared = seconds(prepare, least=0) / seconds(unit)
    cost = ratio(solve, unit) / (job.of_passes or 1)
    answer: Answer = kept["answer"]
    if job_name == "product" and answer.products is not None:
        cost /= answer.products
    verdict = job.judge(place, answer)
    return {
        "cost": cost,
        "prepared": prepared,
        "products": answer.products,
        "error": verdict.error,
        "note": verdict.note,
    }


def repeated(job: str, place: Place, tool: str, repeats: int) -> list[dict[str, Any]]:
    """One repeat more than asked for: the first one, which also loads libraries, does not count."""
    runs = []
    for seed in range(repeats + 1):
        runs.append(run_once(job, place, TOOLS[job][tool], seed))
        gc.collect()
    return runs[1:]


def memory(job: str, place: Place, tool: str) -> dict[str, Any]:
    """The high-water mark of one answer, preparation included, above model and data.

    The same is done on the smallest workload before, so that libraries and their code do not count.
    """
    adapter = MEMORY_TOOLS[job][tool]
    adapter(Place("W4").load())(0)
    gc.collect()
    workload = place.load()
    return {"cost": peak(lambda: adapter(workload)(0))}


def main() -> None:
    """Measure and write the numbers to the file."""
    kind, job, workload, samples, tool, repeats, file = sys.argv[1:]
    torch.set_num_threads(THREADS)
    place = Place(workload, int(samples) or None)
    runs = [memory(job, place, tool)] if kind == "memory" else repeated(job, place, tool, int(repeats))
    Path(file).write_text(json.dumps(runs), encoding="utf-8")


if __name__ == "__main__":
    main()
