"""What came of a training: how far it got, as a number that can be compared between a faulty and a mended one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

import torch

from unstuck.prescription import Prescription
from unstuck.problem import Problem
from unstuck.training import Final, train
from unstuck.trial import samples_per_update
from unstuck.ward.case import Case
from unstuck.ward.fault import Measure
from unstuck.ward.healthy import BY_KIND
from unstuck.ward.hosts import BY_NAME, UPDATES
from unstuck.ward.parts import Parts

ORDER = 2_003
"""The data order under which trainings are compared; no trial has the same."""

MATERIAL = 0.2
"""Share of the faulty training's loss that the mended one is without, at least: as a trial asks of a cure."""

NOTABLE = 0.01
"""The same as a share of all that the mended one has learned."""


def measure_of(case: Case) -> Measure:
    """What tells how far a case has come; the loss itself cannot where it is the fault."""
    measures = [fault.measure for fault in case.faults]
    return next((measure for measure in measures if measure != "train_loss"), "train_loss")


def updates_of(case: Case, samples: int) -> int:
    """The updates of so many samples in which a training sees as many as the mended one in its own."""
    updates = max((fault.updates for fault in case.faults), default=UPDATES)
    return max(1, round(updates * BY_NAME[case.host].batch / samples))


def reached(problem: Problem, updates: int, measure: Measure, prescription: Prescription | None = None) -> float:
    """Where a training is after so many more updates, or as many samples; infinite where it broke.

    Args:
        problem: where it is handed over.
        updates: of the training as it is.
        measure: what is asked for.
        prescription: with which it goes on.
    """
    if prescription is not None:
        pace = samples_per_update(problem) / samples_per_update(prescription.apply(problem))
        before = prescription.from_update
        updates = max(before + 1, before + round((updates - before) * pace))
    trained = train(problem, updates=updates, seed=ORDER, prescription=prescription)
    found = None if trained.broke_at is not None else _read(trained.final, measure)
    return found if found is not None and math.isfinite(found) else math.inf


def _read(final: Final, measure: Measure) -> float | None:
    if measure == "train_error":
        return None if final.train_accuracy is None else 1 - final.train_accuracy
    return final.valid_loss if measure == "valid_loss" else final.train_loss


def of_constant(parts: Parts, measure: Measure) -> float:
    """What the best answer gets that does not look at the inputs."""
    targets = parts.valid[1] if measure == "valid_loss" else parts.train[1]
    if targets.is_floating_point():
        return float(targets.var(0, unbiased=False).mean())
    shares = torch.bincount(targets.flatten()).double() / targets.numel()
    if measure == "train_error":
        return float(1 - shares.max())
    return float(torch.special.entr(shares).sum())


@dataclass(frozen=True, kw_only=True)
class Twins:
    """Where a faulty training ends, and the same one mended, after as many samples.

    Attributes:
        faulty: its end, a constant answer's at most: how far a diverging one has got says nothing.
        mended: of the mended one.
        constant: what a constant answer gets.
    """

    faulty: float
    mended: float
    constant: float

    @staticmethod
    def of(case: Case) -> Twins:
        """Train both."""
        measure, parts = measure_of(case), case.parts()
        constant = of_constant(case.mended(), measure)
        faulty = reached(parts.problem(case.name), updates_of(case, parts.samples_per_update), measure)
        mended = _mended(case, parts.walked, measure)
        return Twins(faulty=min(faulty, constant), mended=min(mended, constant), constant=constant)

    @property
    def gap(self) -> float:
        """By how much the mended one is ahead."""
        return self.faulty - self.mended

    @property
    def hurts(self) -> bool:
        """Whether there is anything to be mended."""
        return self.gap >= max(MATERIAL * self.faulty, NOTABLE * (self.constant - self.mended), 1e-6)

    def closed(self, treated: float) -> float:
        """The share of the gap that a treatment has closed: 1 is as good as the hand."""
        return (self.faulty - min(treated, self.constant)) / self.gap


@dataclass(frozen=True, kw_only=True)
class Healthy:
    """Where a healthy training ends, and where it should.

    Attributes:
        end: its loss over all samples.
        level: of its host, or what takes its place there.
    """

    end: float
    level: float

    @staticmethod
    def of(case: Case) -> Healthy:
        """Train it."""
        parts = case.parts()
        end = reached(parts.problem(case.name), updates_of(case, parts.samples_per_update), "train_loss")
        return Healthy(end=end, level=BY_KIND[case.kinds[0]].ease * BY_NAME[case.host].level)

    @property
    def well(self) -> bool:
        """Whether it gets there."""
        return self.end <= self.level


def _mended(case: Case, walked: int, measure: Measure) -> float:
    """Where the mended training ends, which has been walked as far as the faulty one."""
    if any(fault.mended for fault in case.faults):
        return _end(case.mended(), walked, updates_of(case, BY_NAME[case.host].batch), measure)
    of_host = replace(case, group="faulty", kinds=(), severities=())
    return _host_end(of_host, walked, updates_of(case, BY_NAME[case.host].batch), measure)


@cache
def _host_end(case: Case, walked: int, updates: int, measure: Measure) -> float:
    """Most faults have the same twin: the host as it is."""
    return _end(case.mended(), walked, updates, measure)


def _end(parts: Parts, walked: int, updates: int, measure: Measure) -> float:
    return reached(parts.but(walked=max(walked, parts.walked)).problem("mended"), updates, measure)
