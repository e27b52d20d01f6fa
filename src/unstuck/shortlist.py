"""What a round of trials tries: the remedies of the causes that are suspected."""

from __future__ import annotations

from collections.abc import Sequence

from unstuck.cause import Cause, Finding
from unstuck.errors import in_a_line
from unstuck.plan import Candidate
from unstuck.reading import Readings
from unstuck.remedy import Remedy

ARMS = 4
"""Remedy arms per round, at most."""


def candidates_of(cause: Cause, finding: Finding, readings: Readings) -> list[Candidate]:
    """For each remedy of the cause the doses it proposes; one that raises is a candidate that has failed."""
    if not finding.judgement.treatable:
        return []
    found = [_proposed(cause.slug, remedy, readings) for remedy in cause.remedies]
    return [candidate for candidate in found if candidate.doses or candidate.failure]


def shortlisted(columns: Sequence[Sequence[Candidate]]) -> list[Candidate]:
    """The first remedy of each cause, then the second, and so on, as many as a round holds; each change once."""
    chosen: list[Candidate] = []
    for rank in range(max(map(len, columns), default=0)):
        for candidates in columns:
            if rank < len(candidates) and _changes(candidates[rank]) not in map(_changes, chosen):
                chosen.append(candidates[rank])
    tried = [candidate for candidate in chosen if candidate.doses]
    return tried[:ARMS] + [candidate for candidate in chosen if not candidate.doses]


def _proposed(cause: str, remedy: type[Remedy], readings: Readings) -> Candidate:
    try:
        return Candidate(cause=cause, remedy=remedy.slug, doses=tuple(remedy.propose(readings)))
    except Exception as error:  # noqa: BLE001 - a stranger's remedy may raise anything
        return Candidate(cause=cause, remedy=remedy.slug, failure=in_a_line(error))


def _changes(candidate: Candidate) -> tuple[str, tuple[Remedy, ...]]:
    """What makes a candidate the same as one of another cause."""
    return candidate.remedy, candidate.doses
