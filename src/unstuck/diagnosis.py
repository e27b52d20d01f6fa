"""The main job: exam → findings → trials → verdict → prescription.

A cause needs its own signal, or evidence that the training is stuck, *and* a material gain of its remedy in a
trial. Certain signs come first: where one is found, its remedy is tried before anything dear is measured.
After a cure the treated problem is examined once more, so that a second fault becomes a second step.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from unstuck import causes as all_causes
from unstuck import plot, proof_figure, report, trial_figure
from unstuck import probes as all_probes
from unstuck.budget import DEFAULT_UPDATES, PROVING_UPDATES, Cost
from unstuck.cause import Cause, Finding
from unstuck.check import check
from unstuck.comparison import Comparison
from unstuck.errors import InputError
from unstuck.exam import Examined, Observation, Patience, Record, deep_look, first_look, is_stuck, wait
from unstuck.problem import Problem
from unstuck.progress import Progress, silent
from unstuck.proof import Proof
from unstuck.proving import Proving
from unstuck.ranks import ranks
from unstuck.reading import Measured, Readings
from unstuck.report import Report
from unstuck.rounds import ALL, ROUND, Rounds
from unstuck.untouched import generators_kept, loader_generators
from unstuck.verdict import prescription_of, verdict_of
from unstuck.view import view_of
from unstuck.walk import fixed_threads, threads_for

WINDOW = 1 / 20
"""Share of the budget that is walked to observe the problem as it is."""

SHORTEST_WINDOW = 24

WAIT = 1 / 4
"""Share of the budget that a training is given which seems stuck and which no remedy of a suspected cause cures."""


class Broken(InputError):
    """The problem broke in the middle; ``report`` holds what was measured until then."""

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in the middle; ``report`` holds what was measured until then."""

    def __init__(self, report: Report) -> None:
        super().__init__("interrupted")
        self.report = report


def diagnose(
    problem: Problem,
    *,
    budget: int | None = None,
    prove: bool = False,
    seed: int = 0,
    probes: Sequence[type[Any]] = all_probes.ALL,
    causes: Sequence[Cause] = all_causes.ALL,
    target: str | None = None,
    jobs: int = 1,
    progress: Progress = silent,
) -> Report:
    """Find out why a training is stuck, try the remedies, prescribe the one that works.

    Args:
        problem: the training; nothing of it is changed.
        budget: updates that observation and trials may walk together; default 2,000, to prove 6,000.
        prove: put the cause to the proof as well, with two thirds of the budget; the diagnosis is that of the other.
        seed: decides samples, data orders and masks; the same seed gives the same diagnosis.
        probes: what may be measured.
        causes: what may be diagnosed.
        target: where the problem came from, as ``unstuck.target.load`` takes it.
        jobs: processes that walk trials; more than one needs a ``target``, and gives the same result.
        progress: told what is being done, and the share that is done.

    Raises:
        InputError: the problem cannot be trained as it was handed over.
        Broken: an InputError that came up in the middle; carries the report so far.
        Interrupted: Ctrl-C; carries the report so far.
    """
    if budget is not None and budget < 1:
        raise InputError(f"the budget must be 1 update or more; got {budget}")
    if jobs > 1 and target is None:
        raise InputError(
            "more than one job needs a target, file.py:function, from which each process makes the problem"
        )
    if jobs > 1 and ranks().size > 1:
        raise InputError("more than one job (--jobs) does not go with several processes (torchrun): run with one")
    limit = budget or (PROVING_UPDATES if prove else DEFAULT_UPDATES)
    with generators_kept(*loader_generators(problem.train)):
        check(problem)
        with fixed_threads(threads_for(problem)):
            record = Record(notes=[])
            rounds = Rounds(
                causes=causes,
                seed=seed,
                limit=limit * DEFAULT_UPDATES // PROVING_UPDATES if prove else limit,
                budget=limit,
                target=target,
                jobs=jobs,
                progress=progress,
                notes=record.notes,
            )
            case = _Case(problem, prove, seed, tuple(probes), tuple(causes), target, record, rounds)
            try:
                case.solve()
            except KeyboardInterrupt:
                raise Interrupted(case.report()) from None
            except InputError as error:
                raise Broken(str(error), case.report()) from error
            return case.report()


@dataclass
class _Case:
    """One diagnosis under way: what is known so far."""

    problem: Problem
    prove: bool
    seed: int
    probes: tuple[type[Any], ...]
    causes: tuple[Cause, ...]
    target: str | None
    record: Record
    """Of the problem as it is; the treated one is examined on a record of its own."""
    rounds: Rounds
    spent: list[Measured] = field(default_factory=list)
    """Readings of treated problems, which are not in the report but for what they did cost."""
    findings: tuple[Finding, ...] = ()
    proofs: tuple[Proof, ...] = ()
    stuck: bool = True
    patience: Patience | None = None
    """What came of waiting, where nothing else helped."""
    began: float = field(default_factory=time.perf_counter)
    finished: bool = False

    def solve(self) -> None:
        """All stages for the problem as it is, and after a cure once more for the treated one."""
        if not self.problem.data.order_varies:
            self.record.notes.append(
                "the loader gives one order only: arms start at different places of it instead of being shuffled"
            )
        treated = self._round(self.problem.branch(), again=False)
        if treated is not None and self.rounds.left >= SHORTEST_WINDOW:
            self._round(treated, again=True)
        elif treated is not None:
            self.rounds.too_small("examine the treated problem once more")
        if self.prove and self.rounds.cured is not None:
            self._prove(*self.rounds.cured)
        self.finished = True

    def _round(self, problem: Problem, *, again: bool) -> Problem | None:
        """Examine, judge and try, the certain signs first; the treated problem where something won."""
        rounds, record = self.rounds, Record(notes=self.record.notes, made=self.spent) if again else self.record
        rounds.tell("examining the treated problem" if again else "walking it as it is")
        updates = min(max(SHORTEST_WINDOW, round(WINDOW * rounds.limit)), rounds.left)
        observation = first_look(problem, self.causes, self.probes, updates, seed=self.seed, record=record)
        rounds.account(len(observation.run.curve))
        findings, examined = self._judge(problem, observation, record.readings, again=again)
        certain = [f for f in findings if f.signal and f.judgement.certain]
        if certain:
            treated = rounds.attempt(examined, certain, share=ALL if examined.slow and not again else ROUND)
            if treated is not None or not rounds.curable(certain, examined.readings):
                return treated
        rounds.tell("measuring curvature")
        deep_look(problem, self.causes, self.probes, observation, seed=self.seed, record=record)
        findings, examined = self._judge(problem, observation, record.readings, again=again)
        suspected = [f for f in findings if f.signal and f not in certain]
        patient = examined.stuck and not again
        treated = rounds.attempt(examined, suspected, reserve=round(WAIT * rounds.limit) if patient else 0)
        if treated is None and not again:
            treated = rounds.attempt_on_top(examined, [f for f in findings if f.signal])
        if treated is None and patient and not self._goes_on(problem, observation):
            treated = rounds.attempt(examined, [f for f in findings if not f.signal])
        return treated

    def _goes_on(self, problem: Problem, observation: Observation) -> bool:
        """Whether the training gets on by itself, as after a plateau, when it is given time."""
        updates = min(self.rounds.left, round(WAIT * self.rounds.limit))
        if updates < SHORTEST_WINDOW or observation.run.broke_at is not None:
            return False
        self.rounds.tell("waiting whether it goes on by itself")
        self.patience = wait(problem, observation, updates, view_of(problem, observation.last, seed=self.seed))
        self.rounds.account(self.patience.updates)
        return self.patience.paid

    def _judge(
        self, problem: Problem, observation: Observation, readings: Readings, *, again: bool
    ) -> tuple[list[Finding], Examined]:
        """All findings, strongest first; a treated problem is not judged for what it was treated for."""
        cured = {trial.cause for trial in self.rounds.won}
        findings = sorted(
            (cause.finding(readings) for cause in self.causes if cause.slug not in cured), key=lambda f: -f.score
        )
        stuck = is_stuck(readings)
        if not again:
            self.findings, self.stuck = tuple(findings), stuck
        return findings, Examined(problem=problem, observation=observation, readings=readings, stuck=stuck)

    def _prove(self, number: int, comparison: Comparison) -> None:
        """Put the first winner's cause to the proof, with what is left of the whole budget."""
        rounds = self.rounds
        won, slug = rounds.won[0], str(rounds.won[0].cause)
        comparison.told = rounds.told(f"proving {slug}")
        proving = Proving(
            comparison=comparison,
            won=won,
            cause=rounds.cause(slug),
            probes=self.probes,
            limit=comparison.spent + rounds.budget - rounds.walked,
        )
        with rounds.runner(comparison.plan.ground, ()) as comparison.run:
            for proof in proving.elements():
                self.proofs += (proof,)
                rounds.trials[number] = comparison.trials

    def report(self) -> Report:
        """Everything known so far, as a report."""
        trials = [trial for arms in self.rounds.trials for trial in arms]
        diagnosis = verdict_of(
            self.findings,
            trials,
            self.rounds.won,
            stuck=self.stuck,
            patience=self.patience,
            finished=self.finished,
            causes=self.causes,
            proofs=self.proofs,
        )
        figures = {"trials": plot.stored(trial_figure.draw(trials))} if trials else {}
        figures |= {name: plot.stored(figure) for name, figure in proof_figure.drawn(self.proofs).items()}
        spent = [made.cost for made in (*self.record.made, *self.spent)] + [proof.cost for proof in self.proofs]
        ranked = sorted(self.findings, key=lambda f: (f.cause != diagnosis.cause, -f.score))
        document = report.document_of(
            self.problem,
            diagnosis,
            target=self.target,
            findings=ranked,
            trials=trials,
            prescription=prescription_of(self.rounds.won),
            readings=self.record.readings,
            figures=figures | report.drawn(self.record.readings),
            notes=self.record.notes,
            cost=Cost(
                gradient_evaluations=self.rounds.walked * self.problem.accumulate
                + sum(each.gradient_evaluations for each in spent),
                updates=self.rounds.walked,
                seconds=time.perf_counter() - self.began,
            ),
        )
        return Report(document)
