"""Measuring alone: readings of a problem where it stands, without a diagnosis."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, overload

from unstuck import probes as all_probes
from unstuck import report
from unstuck.budget import Budget, Cost
from unstuck.check import check, check_ranks
from unstuck.errors import InputError
from unstuck.exam import Record, look
from unstuck.problem import Problem
from unstuck.progress import Progress, silent
from unstuck.reading import Probe, R, Reading, Readings
from unstuck.snapshot import Snapshot
from unstuck.untouched import generators_kept, loader_generators
from unstuck.view import View, view_of
from unstuck.walk import fixed_threads, threads_for


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in the middle; ``document`` holds the readings made until then."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__("interrupted")
        self.document = document


@overload
def measure(problem: Problem, probe: Probe[R], *, seed: int = 0) -> R: ...


@overload
def measure(problem: Problem, probe: tuple[Probe[Reading], ...], *, seed: int = 0) -> tuple[Reading, ...]: ...


def measure(
    problem: Problem, probe: Probe[Reading] | tuple[Probe[Reading], ...], *, seed: int = 0
) -> Reading | tuple[Reading, ...]:
    """Measure a problem where it stands: one probe gives its reading, a tuple of probes a tuple of readings.

    Args:
        problem: the training; nothing of it is changed.
        probe: what to measure, as ``unstuck.probes.Spectrum()``. Probes of one tuple share what they compute.
        seed: decides the sample, the masks and every random direction.

    Raises:
        InputError: the problem cannot be trained as it was handed over, or ``probe`` is no probe.
    """
    asked = probe if isinstance(probe, tuple) else (probe,)
    for each in asked:
        if isinstance(each, type) or not callable(getattr(each, "measure", None)):
            raise InputError(f"measure: {each!r} is no probe; give one with its settings, as unstuck.probes.Spectrum()")
    with _looking_at(problem, seed) as view:
        readings = tuple(each.measure(view, Budget()) for each in asked)
    return readings if isinstance(probe, tuple) else readings[0]


def measure_document(
    problem: Problem,
    names: Sequence[str] = (),
    *,
    target: str | None = None,
    seed: int = 0,
    tune: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Readings as one document of JSON types (schema 1): what ``unstuck measure`` writes.

    Args:
        problem: the training; nothing of it is changed.
        names: probes by name, as ``spectrum``; none stands for all.
        target: where the problem came from.
        seed: decides the sample, the masks and every random direction.
        tune: choose the faster way to make Hessian-vector products by the clock; the last digits may then differ.
        progress: told what is being done, and the share that is done.

    Raises:
        InputError: a name is unknown, or the problem cannot be trained as it was handed over.
        Interrupted: Ctrl-C; carries the document so far.
    """
    chosen = _named(names)
    began = time.perf_counter()
    record = Record(notes=[])

    def document() -> dict[str, Any]:
        return _document(problem, record.readings, record.notes, target, time.perf_counter() - began)

    try:
        with _looking_at(problem, seed, tune=tune) as view:
            for number, kind in enumerate(chosen):
                progress(f"measuring {kind.reads.probe}", number / len(chosen))
                look(view, [kind()], Budget(), record)
    except KeyboardInterrupt:
        raise Interrupted(document()) from None
    return document()


def _named(names: Sequence[str]) -> tuple[type[Any], ...]:
    """The probes of these names in their order of cost, each once; all where none is named."""
    known = {probe.reads.probe: probe for probe in all_probes.ALL}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"no probe is called {', '.join(map(repr, unknown))}; there are {', '.join(known)}")
    return tuple(probe for name, probe in known.items() if not names or name in names)


@contextmanager
def _looking_at(problem: Problem, seed: int, *, tune: bool = False) -> Iterator[View]:
    """A view of the problem as it was handed over, the caller's generators and thread count kept."""
    with generators_kept(*loader_generators(problem.train)):
        if problem.sharded:  # cannot be copied: it is looked at where it stands
            check_ranks(problem)
            yield View(problem, seed=seed)
            return
        check(problem)
        with fixed_threads(threads_for(problem)):
            yield view_of(problem, Snapshot.of(problem), seed=seed, tune=tune)


def _document(
    problem: Problem, readings: Readings, notes: Sequence[str], target: str | None, seconds: float
) -> dict[str, Any]:
    spent = sum(made.cost.gradient_evaluations for made in readings.made)
    document: dict[str, Any] = report.plain(
        {
            "schema": report.SCHEMA,
            "tool": report.tool(),
            "problem": report.card(problem, target),
            "readings": report.readings_document(readings),
            "figures": report.drawn(readings),
            "notes": list(notes),
            "cost": dataclasses.asdict(Cost(gradient_evaluations=spent, seconds=seconds)),
        }
    )
    return document
