"""The trials of a diagnosis: what is tried, in which order, and with how much of the budget.

A round tries the remedies of the causes that are suspected, beside each other. Where nothing wins, what looked
promising is walked longer; and as two faults may mask each other, the others are then tried on top of the least
intervention of those suspected.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from unstuck.cause import Cause, Finding
from unstuck.comparison import Comparison
from unstuck.exam import Examined
from unstuck.executor import processes
from unstuck.jobs import Origin, on_processes
from unstuck.measures import MeasureName, sample_for
from unstuck.plan import Plan
from unstuck.probes.generalization import GeneralizationReading
from unstuck.probes.outputs import OutputsReading
from unstuck.problem import Problem
from unstuck.progress import Progress, silent
from unstuck.reading import Readings
from unstuck.remedy import Remedy
from unstuck.shortlist import candidates_of, shortlisted
from unstuck.snapshot import Snapshot
from unstuck.trial import Ground, Runner, Trial, in_turn
from unstuck.verdict import winner
from unstuck.view import BLOCK, SAMPLE

ROUND = 0.5
"""Share of what is left that a round of trials may take; the rest is for more orders, or for a second fault."""

ALL = 0.9
"""The same where a shorter trial could show nothing; the rest is for the opposite of what wins."""

GROWTH = 0.8
"""Share of what is left that a longer trial of what looked promising may take; the rest is for its opposite."""


@dataclass(kw_only=True)
class Rounds:
    """All trials of one diagnosis, as they are made.

    Attributes:
        causes: what may be diagnosed.
        seed: decides samples, orders and masks.
        limit: updates that all this may take, and what else the diagnosis walks.
        budget: the same with the proof.
        target: where the problem came from, for other processes.
        jobs: how many of these there are.
        progress: told of what is tried.
        notes: what the report has to say besides; it is written into.
    """

    causes: Sequence[Cause]
    seed: int
    limit: int
    budget: int
    target: str | None = None
    jobs: int = 1
    progress: Progress = silent
    notes: list[str]
    trials: list[tuple[Trial, ...]] = field(default_factory=list)
    """Comparison by comparison."""
    won: tuple[Trial, ...] = ()
    """The winning trials, in the order of the prescription."""
    cured: tuple[int, Comparison] | None = None
    """The first comparison that a remedy has won alone, and its number."""
    treated: tuple[tuple[Snapshot, Remedy], ...] = ()
    """Where each of the winners branched, and what it applied there."""
    walked: int = 0

    @property
    def left(self) -> int:
        """Updates."""
        return self.limit - self.walked

    def account(self, updates: int) -> None:
        """Count what was walked."""
        self.walked += updates

    def too_small(self, purpose: str) -> None:
        """Note what the budget does not hold."""
        self.notes.append(f"a budget of {self.limit} updates was too small to {purpose}")

    def told(self, doing: str) -> Callable[[int], None]:
        """Counts updates, and shows that something is being done."""

        def told(updates: int) -> None:
            self.account(updates)
            self.tell(doing)

        return told

    def tell(self, doing: str) -> None:
        """Show what is being done, and the share that is done."""
        self.progress(doing, min(0.99, self.walked / self.budget))

    def cause(self, slug: str) -> Cause:
        """By its slug."""
        return next(cause for cause in self.causes if cause.slug == slug)

    def curable(self, findings: Sequence[Finding], readings: Readings) -> bool:
        """Whether there is anything to be tried."""
        return any(candidates_of(self.cause(finding.cause), finding, readings) for finding in findings)

    def attempt(
        self,
        examined: Examined,
        findings: Sequence[Finding],
        *,
        after: Trial | None = None,
        reserve: int = 0,
        share: float = ROUND,
    ) -> Problem | None:
        """One round, causes by one measure at a time; the problem treated by the first winner, or None.

        Args:
            examined: what the findings are of.
            findings: the causes that are suspected, the strongest first.
            after: a trial whose remedy every arm but the untouched ones gets first.
            reserve: updates that are left over.
            share: of the others, how many the first look at all arms may take.
        """
        by_measure: dict[MeasureName, list[Finding]] = {}
        for finding in findings:
            by_measure.setdefault(self._measure(examined.problem, finding), []).append(finding)
        for number, (measure, suspected) in enumerate(by_measure.items()):
            limit = (self.left - reserve) // (len(by_measure) - number)
            treated = self._compare(examined, measure, suspected, after, limit=limit, share=share)
            if treated is not None:
                return treated
        return None

    def attempt_on_top(self, examined: Examined, findings: Sequence[Finding]) -> Problem | None:
        """Try the remedies of all suspected causes but one on top of the remedy of that one, the least intervention.

        Neither its own trial has shown a gain, nor have theirs: each may be of use beside the other alone. Both
        together are compared with the untouched training, and where they cure it both are prescribed.
        """
        suspected = {finding.cause for finding in findings}
        tried = [
            each
            for arms in self.trials
            for each in arms
            if each.arm == "remedy" and each.cause in suspected and each.per_seed
        ]
        if not tried:
            return None
        first = min(tried, key=lambda trial: trial.treatment[-1].intervention)
        return self.attempt(examined, [each for each in findings if each.cause != first.cause], after=first)

    def _measure(self, problem: Problem, finding: Finding) -> MeasureName:
        """What its cause is judged by; without held-out data, on the training data."""
        measure = self.cause(finding.cause).measure
        return "train_loss" if measure == "valid_loss" and problem.valid is None else measure

    def _compare(
        self,
        examined: Examined,
        measure: MeasureName,
        suspected: Sequence[Finding],
        after: Trial | None,
        *,
        limit: int,
        share: float,
    ) -> Problem | None:
        """Try the remedies of causes that one measure judges; the problem treated by the winner, or None."""
        readings, problem = examined.readings, examined.problem
        candidates = shortlisted([candidates_of(self.cause(each.cause), each, readings) for each in suspected])
        if not candidates:
            return None
        tried = {candidate.cause for candidate in candidates}  # `healthy`, which may stand first, has no remedy
        begin = next(each.judgement.from_update for each in suspected if each.cause in tried) or 0
        if after is not None:
            begin = after.from_update
            candidates = [replace(candidate, after=after.treatment[-1:]) for candidate in candidates]
        ground = Ground(
            problem=problem,
            snapshot=examined.observation.at(begin),
            sample=sample_for(problem, measure, count=SAMPLE, chunk=BLOCK, seed=self.seed),
            seed=self.seed,
            measure=measure,
        )
        whole = Plan.of(ground, candidates)
        plan, horizon = whole.fitting(round(share * limit), limit)
        if len(plan.candidates) < len(whole.candidates):
            untried = [candidate.remedy for candidate in whole.candidates[len(plan.candidates) :]]
            self.too_small(f"try {', '.join(untried)} as well")
        if not plan.candidates:
            self.trials.append(plan.failures())
            return None
        signalled = {finding.cause for finding in suspected if finding.signal}
        first = Comparison(plan=plan, horizon=horizon, ceiling=_ceiling(measure, readings))
        won = self._settled(first, limit, signalled, stuck=examined.stuck)
        if won is None:
            longer = first.longer(round(GROWTH * (limit - first.spent)))
            if longer is not None:
                won = self._settled(longer, limit - first.spent, signalled, stuck=examined.stuck)
        if won is None:
            return None
        self.won += (won,) if after is None else (after, won)
        treated = problem.branch(ground.snapshot)
        for remedy in won.treatment:
            self.treated += ((Snapshot.of(treated, ground.snapshot.update), remedy),)
            treated = remedy.apply(treated)
        return treated

    def _settled(self, comparison: Comparison, limit: int, signalled: Collection[str], *, stuck: bool) -> Trial | None:
        """Walk a comparison to its decision, and the opposite of what has won it; the winner."""
        names = ", ".join(candidate.remedy for candidate in comparison.plan.candidates)
        comparison.told = self.told(f"trying {names}")
        with self.runner(comparison.plan.ground, self.treated) as comparison.run:
            comparison.settle(limit)
            won = winner(comparison.trials, signalled=signalled, stuck=stuck)
            if won is not None and not comparison.oppose(won, limit) and self.limit == self.budget:
                self.too_small(f"try the opposite of {won.remedy}")
        self.trials.append(comparison.trials)
        if won is not None and self.cured is None and len(won.treatment) == 1:
            self.cured = len(self.trials) - 1, comparison
        return won

    @contextmanager
    def runner(self, ground: Ground, treated: Sequence[tuple[Snapshot, Remedy]]) -> Iterator[Runner]:
        """Where trials are walked: here, or on other processes that make the problem from its target."""
        if self.jobs == 1 or self.target is None:
            yield in_turn
            return
        origin = Origin.of(ground, self.target, treated)
        with processes(self.jobs) as executor:
            yield on_processes(executor, origin)


def _ceiling(measure: MeasureName, readings: Readings) -> float | None:
    """The loss of the best constant answer, where it is known."""
    outputs, held_out = readings.get(OutputsReading), readings.get(GeneralizationReading)
    if measure == "train_loss":
        return None if outputs is None else outputs.first.constant
    return None if measure == "eval_gap" or held_out is None else held_out.first.constant
