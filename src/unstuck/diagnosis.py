"""The main job: exam → findings → trials → verdict → prescription.

A cause needs its own signal, or evidence that the training is stuck, *and* a material gain of its remedy in a
trial. Certain signs come first: where one is found, its remedy is tried before anything dear is measured.
After a cure the treated problem is examined once more, so that a second fault becomes a second step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
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
from unstuck.exam import Observation, Patience, Record, deep_look, first_look, is_stuck, wait
from unstuck.executor import processes
from unstuck.jobs import Origin, on_processes
from unstuck.measure import MeasureName, sample_for
from unstuck.plan import Plan
from unstuck.probes.generalization import GeneralizationReading
from unstuck.probes.outputs import OutputsReading
from unstuck.problem import Problem
from unstuck.progress import Progress, silent
from unstuck.proof import Proof
from unstuck.proving import Proving
from unstuck.ranks import ranks
from unstuck.reading import Measured, Readings
from unstuck.remedy import Remedy
from unstuck.report import Report
from unstuck.shortlist import candidates_of, shortlisted
from unstuck.snapshot import Snapshot
from unstuck.trial import Ground, Runner, Trial, in_turn
from unstuck.untouched import generators_kept, loader_generators
from unstuck.verdict import prescription_of, verdict_of, winner
from unstuck.view import BLOCK, SAMPLE, view_of
from unstuck.walk import fixed_threads, threads_for

WINDOW = 1 / 20
"""Share of the budget that is walked to observe the problem as it is."""

SHORTEST_WINDOW = 24

WAIT = 1 / 4
"""Share of the budget that a training is given which seems stuck and which no remedy of a suspected cause cures."""

ROUND = 0.5
"""Share of what is left that a round of trials may take; the rest is for more orders, or for a second fault."""

GROWTH = 0.8
"""Share of what is left that a longer trial of what looked promising may take; the rest is for its opposite."""


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
            case = _Case(problem, limit, prove, seed, tuple(probes), tuple(causes), target, jobs, progress)
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
    budget: int
    prove: bool
    seed: int
    probes: tuple[type[Any], ...]
    causes: tuple[Cause, ...]
    target: str | None
    jobs: int
    progress: Progress
    record: Record = field(default_factory=lambda: Record(notes=[]))
    """Of the problem as it is; the treated one is examined on a record of its own."""
    spent: list[Measured] = field(default_factory=list)
    """Readings of treated problems, which are not in the report but for what they did cost."""
    findings: tuple[Finding, ...] = ()
    rounds: list[tuple[Trial, ...]] = field(default_factory=list)
    won: tuple[Trial, ...] = ()
    """The winning trials, in the order of the prescription."""
    cured: tuple[int, Comparison] | None = None
    """The round that the first of them won, and its comparison."""
    proofs: tuple[Proof, ...] = ()
    treated: tuple[tuple[Snapshot, Remedy], ...] = ()
    """Where each of them branched, and what it applied there."""
    stuck: bool = True
    patience: Patience | None = None
    """What came of waiting, where nothing else helped."""
    walked: int = 0
    began: float = field(default_factory=time.perf_counter)
    finished: bool = False

    def solve(self) -> None:
        """All stages for the problem as it is, and after a cure once more for the treated one."""
        if not self.problem.data.order_varies:
            self.record.notes.append(
                "the loader gives one order only: arms start at different places of it instead of being shuffled"
            )
        treated = self._round(self.problem.branch(), again=False)
        if treated is not None and self._left >= SHORTEST_WINDOW:
            self._round(treated, again=True)
        elif treated is not None:
            self._too_small("examine the treated problem once more")
        if self.prove and self.cured is not None:
            self._prove(*self.cured)
        self.finished = True

    @property
    def _limit(self) -> int:
        """Updates for all but the proof."""
        return self.budget * DEFAULT_UPDATES // PROVING_UPDATES if self.prove else self.budget

    @property
    def _left(self) -> int:
        return self._limit - self.walked

    def _too_small(self, purpose: str) -> None:
        self.record.notes.append(f"a budget of {self._limit} updates was too small to {purpose}")

    def _round(self, problem: Problem, *, again: bool) -> Problem | None:
        """Examine, judge and try, the certain signs first; the treated problem where something won."""
        self._tell("examining the treated problem" if again else "walking it as it is")
        updates = min(max(SHORTEST_WINDOW, round(WINDOW * self._limit)), self._left)
        record = Record(notes=self.record.notes, made=self.spent) if again else self.record
        observation = first_look(problem, self.causes, self.probes, updates, seed=self.seed, record=record)
        self.walked += len(observation.run.curve)
        readings = record.readings
        findings = self._judge(readings, again=again)
        stuck = is_stuck(readings)
        self.stuck = self.stuck if again else stuck
        certain = [f for f in findings if f.signal and f.judgement.certain]
        if certain:
            treated = self._try(problem, certain, readings, observation, stuck=stuck)
            if treated is not None or not any(candidates_of(self._cause(f.cause), f, readings) for f in certain):
                return treated
        self._tell("measuring curvature")
        deep_look(problem, self.causes, self.probes, observation, seed=self.seed, record=record)
        readings = record.readings
        findings = [f for f in self._judge(readings, again=again) if not f.judgement.certain]
        treated = self._try(problem, [f for f in findings if f.signal], readings, observation, stuck=stuck)
        if treated is None and stuck and not again and not self._goes_on(problem, observation):
            treated = self._try(problem, [f for f in findings if not f.signal], readings, observation, stuck=stuck)
        return treated

    def _goes_on(self, problem: Problem, observation: Observation) -> bool:
        """Whether the training gets on by itself, as after a plateau, when it is given time."""
        updates = min(self._left, round(WAIT * self._limit))
        if updates < SHORTEST_WINDOW or observation.run.broke_at is not None:
            return False
        self._tell("waiting whether it goes on by itself")
        self.patience = wait(problem, observation, updates, view_of(problem, observation.last, seed=self.seed))
        self.walked += self.patience.updates
        return self.patience.paid

    def _judge(self, readings: Readings, *, again: bool) -> list[Finding]:
        """All findings, strongest first; a treated problem is not judged for what it was treated for."""
        cured = {trial.cause for trial in self.won}
        findings = sorted(
            (cause.finding(readings) for cause in self.causes if cause.slug not in cured), key=lambda f: -f.score
        )
        if not again:
            self.findings = tuple(findings)
        return findings

    def _cause(self, slug: str) -> Cause:
        return next(cause for cause in self.causes if cause.slug == slug)

    def _try(
        self,
        problem: Problem,
        shortlist: Sequence[Finding],
        readings: Readings,
        observation: Observation,
        *,
        stuck: bool,
    ) -> Problem | None:
        """One round of trials, those by one measure at a time; the problem treated by the first winner, or None."""
        by_measure: dict[MeasureName, list[Finding]] = {}
        for finding in shortlist:
            by_measure.setdefault(self._measure(finding), []).append(finding)
        for number, (measure, findings) in enumerate(by_measure.items()):
            limit = self._left // (len(by_measure) - number)
            treated = self._compare(problem, measure, findings, readings, observation, limit=limit, stuck=stuck)
            if treated is not None:
                return treated
        return None

    def _measure(self, finding: Finding) -> MeasureName:
        """What its cause is judged by; without held-out data, on the training data."""
        measure = self._cause(finding.cause).measure
        return "train_loss" if measure == "valid_loss" and self.problem.valid is None else measure

    def _compare(
        self,
        problem: Problem,
        measure: MeasureName,
        shortlist: Sequence[Finding],
        readings: Readings,
        observation: Observation,
        *,
        limit: int,
        stuck: bool,
    ) -> Problem | None:
        """Try the remedies of causes that one measure judges; the problem treated by the winner, or None."""
        candidates = shortlisted([candidates_of(self._cause(each.cause), each, readings) for each in shortlist])
        if not candidates:
            return None
        ground = Ground(
            problem=problem,
            snapshot=observation.at(shortlist[0].judgement.from_update or 0),
            sample=sample_for(problem, measure, count=SAMPLE, chunk=BLOCK, seed=self.seed),
            seed=self.seed,
            measure=measure,
        )
        whole = Plan.of(ground, candidates)
        plan, horizon = whole.fitting(round(ROUND * limit), limit)
        if len(plan.candidates) < len(whole.candidates):
            untried = [candidate.remedy for candidate in whole.candidates[len(plan.candidates) :]]
            self._too_small(f"try {', '.join(untried)} as well")
        if not plan.candidates:
            self.rounds.append(plan.failures())
            return None
        first = Comparison(plan=plan, horizon=horizon, ceiling=_ceiling(measure, readings))
        patient = stuck and not self.patience
        signalled = {finding.cause for finding in shortlist if finding.signal}
        won = self._settled(first, limit - patient * round(WAIT * self._limit), signalled, stuck=stuck)
        if won is None:
            longer = first.longer(round(GROWTH * (limit - first.spent)))
            won = None if longer is None else self._settled(longer, limit - first.spent, signalled, stuck=stuck)
        if won is None:
            return None
        self.won += (won,)
        self.treated += ((ground.snapshot, won.treatment[-1]),)
        return won.treatment[-1].apply(problem.branch(ground.snapshot))

    def _settled(self, comparison: Comparison, limit: int, signalled: Collection[str], *, stuck: bool) -> Trial | None:
        """Walk a comparison to its decision, and the opposite of what has won it; the winner."""
        names = ", ".join(candidate.remedy for candidate in comparison.plan.candidates)
        comparison.told = self._told(f"trying {names}")
        with self._runner(comparison.plan.ground, self.treated) as comparison.run:
            comparison.settle(limit)
            won = winner(comparison.trials, signalled=signalled, stuck=stuck)
            if won is not None and not comparison.oppose(won, limit) and not self.prove:
                self._too_small(f"try the opposite of {won.remedy}")
        self.rounds.append(comparison.trials)
        if won is not None and self.cured is None:
            self.cured = len(self.rounds) - 1, comparison
        return won

    def _prove(self, number: int, comparison: Comparison) -> None:
        """Put the first winner's cause to the proof, with what is left of the whole budget."""
        won, slug = self.won[0], str(self.won[0].cause)
        comparison.told = self._told(f"proving {slug}")
        proving = Proving(
            comparison=comparison,
            won=won,
            cause=self._cause(slug),
            probes=self.probes,
            limit=comparison.spent + self.budget - self.walked,
        )
        with self._runner(comparison.plan.ground, ()) as comparison.run:
            for proof in proving.elements():
                self.proofs += (proof,)
                self.rounds[number] = comparison.trials

    @contextmanager
    def _runner(self, ground: Ground, treated: Sequence[tuple[Snapshot, Remedy]]) -> Iterator[Runner]:
        """Where trials are walked: here, or on other processes that make the problem from its target."""
        if self.jobs == 1 or self.target is None:
            yield in_turn
            return
        origin = Origin.of(ground, self.target, treated)
        with processes(self.jobs) as executor:
            yield on_processes(executor, origin)

    def _told(self, doing: str) -> Callable[[int], None]:
        def told(updates: int) -> None:
            self.walked += updates
            self._tell(doing)

        return told

    def _tell(self, doing: str) -> None:
        self.progress(doing, min(0.99, self.walked / self.budget))

    def report(self) -> Report:
        """Everything known so far, as a report."""
        trials = [trial for arms in self.rounds for trial in arms]
        diagnosis = verdict_of(
            self.findings,
            trials,
            self.won,
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
            prescription=prescription_of(self.won),
            readings=self.record.readings,
            figures=figures | report.drawn(self.record.readings),
            notes=self.record.notes,
            cost=Cost(
                gradient_evaluations=self.walked * self.problem.accumulate
                + sum(each.gradient_evaluations for each in spent),
                updates=self.walked,
                seconds=time.perf_counter() - self.began,
            ),
        )
        return Report(document)


def _ceiling(measure: MeasureName, readings: Readings) -> float | None:
    """The loss of the best constant answer, where it is known."""
    outputs, held_out = readings.get(OutputsReading), readings.get(GeneralizationReading)
    if measure == "train_loss":
        return None if outputs is None else outputs.first.constant
    return None if measure == "eval_gap" or held_out is None else held_out.first.constant
