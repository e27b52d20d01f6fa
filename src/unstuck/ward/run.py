"""One run of the ward is one row of the ledger: everything that it depends on → what came out, both JSON.

There are four kinds. *ends* trains a case as it is and mended, which tells whether its fault hurts, or a healthy one,
which tells whether it gets where it should. *diagnosis* diagnoses a case, and trains on with what is prescribed.
*rates* trains a host at the rates of a grid. *search* tries every remedy there is on a case, one after the other,
which tells what a search at random would have found.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from unstuck import causes, fingerprint, probes, remedies
from unstuck.diagnosis import SHORTEST_WINDOW, WINDOW, diagnose
from unstuck.exam import Record, deep_look, first_look
from unstuck.prescription import Gain, Prescription
from unstuck.problem import Problem
from unstuck.report import Report, plain
from unstuck.ward import hosts
from unstuck.ward.case import Case
from unstuck.ward.outcome import Healthy, Twins, measure_of, reached, updates_of

PERFORM = f"{__name__}:perform"
"""What a driver is asked to have performed."""

APART = (
    *(f"ward/{name}.py" for name in ("controls", "design", "scores", "score_tables", "score_page")),
    *("datasets", "lecture", "study", "studies", "studying"),
)
"""Of the package: what no result of the ward depends on, its own tables and all that belongs to studies."""

GRID = tuple(2.0**power for power in range(-4, 5))
"""Of rates, as multiples of the tuned one."""

NO_GAIN = Gain(fraction=0.0, interval=(0.0, 0.0), says="not tried")


def code() -> str:
    """A fingerprint of the package's source: results of other code are other results."""
    return fingerprint.code(APART)


def settings_of(kind: str, case: Case, **more: Any) -> dict[str, Any]:
    """The settings of one run, as the ledger has them."""
    return {"run": kind, "case": case.settings, "code": code(), **more}


def perform(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Perform one run of any kind."""
    more = {name: value for name, value in settings.items() if name not in ("run", "case", "code")}
    result: dict[str, Any] = plain(KINDS[settings["run"]](Case.of(settings["case"]), **more))
    return result


def _ends(case: Case) -> dict[str, Any]:
    return asdict(Healthy.of(case) if case.group == "healthy" else Twins.of(case))


def _diagnosis(case: Case, budget: int) -> dict[str, Any]:
    parts = case.parts()
    problem = parts.problem(case.name)
    began = time.process_time()
    report = diagnose(problem, budget=budget, seed=case.seed)
    found = {
        "cpu_seconds": time.process_time() - began,
        **{name: report.document["diagnosis"][name] for name in ("cause", "confidence", "proof", "candidates")},
        "signals": {finding.cause: finding.score for finding in report.findings if finding.signal},
        "trials": [_arm(trial) for trial in report.document["trials"]],
        "prescription": _steps(report),
        **report.document["cost"],
    }
    if report.prescription is None:
        return found
    updates = updates_of(case, parts.samples_per_update)
    return found | {
        "treated": reached(problem, updates, measure_of(case), report.prescription),
        "untouched": reached(problem, updates, measure_of(case)),
        "rate": _base_rate(report.prescription.apply(problem)),
    }


def _arm(trial: Mapping[str, Any]) -> dict[str, Any]:
    orders = len(trial["per_seed"])
    kept = ("arm", "remedy", "settings", "cause", "verdict", "gain", "because")
    return {name: trial[name] for name in kept} | {"updates": orders * trial["updates"]}


def _steps(report: Report) -> list[dict[str, Any]]:
    """Each remedy with the cause that it was tried for, where it was better if it was anywhere."""
    prescribed = report.prescription
    trials = sorted(report.document["trials"], key=lambda trial: trial["verdict"] == "better")
    tried = {trial["remedy"]: trial["cause"] for trial in trials if trial["arm"] == "remedy"}
    steps = report.document["prescription"]["steps"] if prescribed is not None else ()
    return [{name: step[name] for name in ("remedy", "settings")} | {"cause": tried[step["remedy"]]} for step in steps]


def _base_rate(problem: Problem) -> float:
    group = problem.optimizer.param_groups[0]
    return float(group.get("initial_lr", group["lr"]))


def _rates(case: Case) -> dict[str, Any]:
    """Where the healthy host ends at each rate of the grid."""
    parts = hosts.BY_NAME[case.host].parts(case.optimizer, case.seed)
    rates = [factor * parts.rule.rate for factor in GRID]
    ends = []
    for rate in rates:
        fresh = hosts.BY_NAME[case.host].parts(case.optimizer, case.seed)
        ends.append(reached(fresh.ruled(rate=rate).problem(case.name), hosts.UPDATES, "train_loss"))
    best = min(range(len(rates)), key=ends.__getitem__)
    return {"rates": rates, "ends": ends, "best_rate": rates[best], "best_end": ends[best]}


def _search(case: Case, budget: int) -> dict[str, Any]:
    """Where every remedy leads, at the dose that it would try first."""
    parts = case.parts()
    problem = parts.problem(case.name)
    window = max(SHORTEST_WINDOW, round(WINDOW * budget))
    record = Record(notes=[])
    observation = first_look(problem, causes.ALL, probes.ALL, window, seed=case.seed, record=record)
    deep_look(problem, causes.ALL, probes.ALL, observation, seed=case.seed, record=record)
    updates = updates_of(case, parts.samples_per_update)
    ends: dict[str, float] = {}
    for remedy in remedies.ALL:
        try:
            doses = remedy.propose(record.readings)
            if doses:
                blindly = Prescription(from_update=0, steps=doses[:1], gain=NO_GAIN)
                ends[remedy.slug] = reached(problem, updates, measure_of(case), blindly)
        except Exception:  # noqa: BLE001 - drawn at random, a remedy may not fit the problem in any way
            ends[remedy.slug] = math.inf
    return {"ends": ends, "remedies": len(remedies.ALL)}


KINDS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "ends": _ends,
    "diagnosis": _diagnosis,
    "rates": _rates,
    "search": _search,
}
