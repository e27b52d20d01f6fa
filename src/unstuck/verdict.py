"""The verdict: from findings and trials to one diagnosis, and what to prescribe. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from unstuck.cause import Cause, Finding
from unstuck.decision import EQUAL, MATERIAL, SIGNIFICANT
from unstuck.exam import Patience
from unstuck.horizon import ORDERS
from unstuck.numerics.statistics import paired_difference
from unstuck.prescription import Gain, Prescription
from unstuck.proof import Proof, obstacle, proves, refuted
from unstuck.report import Diagnosis
from unstuck.trial import Trial, helps_as_much

UNKNOWN = "unknown"

PROVED = 0.97
"""Confidence in a cause of which every element of the proof has passed."""

UNSHOWN = 0.7
"""Confidence in a certain sign whose trial was too short to show a gain."""


def winner(results: Sequence[Trial], *, signalled: Collection[str], stuck: bool) -> Trial | None:
    """Of the arms that cure, one whose cause shows its own signal, or any where the training is stuck.

    A panacea names the cause only where no other remedy cures. Among equal cures, the cause with the least
    intervention; of one cause's remedies, the first.
    """
    cures = [trial for trial in results if trial.arm == "remedy" and trial.verdict == "better"]
    own = [trial for trial in cures if trial.cause in signalled] or (cures if stuck else [])
    own = [trial for trial in own if not trial.treatment[-1].panacea] or own
    if not own:
        return None
    best = max(own, key=lambda trial: (trial.drop, -trial.mean))
    by_cause: dict[str | None, list[Trial]] = {}
    for trial in own:
        if trial.drop >= (1 - EQUAL) * best.drop:
            by_cause.setdefault(trial.cause, []).append(trial)
    equal = [trials[0] for trials in by_cause.values() if not all(_outdone(trial, best) for trial in trials)]
    return min(equal, key=lambda trial: trial.treatment[-1].intervention)


def _outdone(trial: Trial, best: Trial) -> bool:
    """Whether the best cure is one of this one, too: a material part of what it has left, beyond noise.

    Where the untouched training ends far up, all cures remove nearly all of its loss; what they leave tells them apart.
    """
    orders = min(len(trial.per_seed), len(best.per_seed))
    if trial is best or orders < ORDERS:
        return False
    left = paired_difference(trial.per_seed[:orders], best.per_seed[:orders])
    return left.mean >= MATERIAL * abs(trial.mean) and left.p_value <= SIGNIFICANT


def prescription_of(won: Sequence[Trial]) -> Prescription | None:
    """What the winning trials prescribe."""
    if not won:
        return None
    shown = _shown(won)
    return Prescription(
        from_update=won[0].from_update,
        steps=tuple(trial.treatment[-1] for trial in won),
        gain=Gain(fraction=shown.gain, interval=(shown.interval.low, shown.interval.high), says=shown.because),
    )


def _shown(won: Sequence[Trial]) -> Trial:
    """The first of the winners that was better: of two faults that mask each other, the second, on top of the first."""
    return next((trial for trial in won if trial.verdict == "better"), won[0])


def verdict_of(
    findings: Sequence[Finding],
    trials: Sequence[Trial],
    won: Sequence[Trial],
    *,
    stuck: bool,
    patience: Patience | None = None,
    finished: bool,
    causes: Sequence[Cause],
    proofs: Sequence[Proof] = (),
) -> Diagnosis:
    """One diagnosis: the winner's cause; a certain sign that has no remedy; healthy; a certain sign; or unknown.

    A certain sign whose trial has gained nothing does no harm where the training goes on. Where it is stuck, and stays
    so when it is left to itself, a trial of some dozen updates refutes nothing that it does not make worse.

    ``proofs`` are of the first winner's cause; ``patience`` is what came of waiting where nothing else helped.
    """
    faults = {cause.slug for cause in causes if cause.fault}
    ranked = [finding for finding in findings if finding.cause in faults]
    nearest = tuple(finding.cause for finding in ranked[:2])
    candidates = tuple(finding.cause for finding in ranked if finding.signal)
    if won:
        treated = {trial.cause for trial in won}
        facts = _facts([finding for finding in ranked if finding.cause not in treated])
        return _cured(next(f for f in findings if f.cause == won[0].cause), trials, won, candidates, proofs, facts)
    if not finished:
        return Diagnosis(
            cause=UNKNOWN,
            confidence=0.0,
            proof="unknown",
            summary="Interrupted before a verdict; what was measured until then is below.",
            candidates=nearest,
            decided_by="the interruption",
        )
    certain = [finding for finding in ranked if finding.judgement.certain and finding.signal]
    refuted = {trial.cause for trial in trials if trial.arm == "remedy" and trial.verdict != "failed"}
    standing = [finding for finding in certain if finding.cause not in refuted]
    if standing:
        return _certain(standing[0], trials, candidates)
    lasting = stuck and not (patience is not None and patience.paid)
    worse = {trial.cause for trial in trials if trial.arm == "remedy" and trial.verdict == "worse"}
    unshown = [finding for finding in certain if finding.cause not in worse]
    if lasting and unshown:
        return _unshown(unshown[0], trials, candidates, patience)
    untreatable = [finding for finding in ranked if finding.signal and not finding.judgement.treatable]
    if untreatable:
        return _advised(untreatable[0], trials, candidates)
    if not lasting:
        return _healthy(findings, trials, candidates, causes, patience)
    return _unknown(ranked, trials, nearest, patience)


def _cured(
    finding: Finding,
    trials: Sequence[Trial],
    won: Sequence[Trial],
    candidates: tuple[str, ...],
    proofs: Sequence[Proof],
    facts: str,
) -> Diagnosis:
    steps = ", then ".join(trial.treatment[-1].says() for trial in won)
    shown = _shown(won)
    together = " and ".join(remedy.slug for remedy in shown.treatment)
    doubts = []
    if not finding.signal:
        doubts.append("without a signal of its own")
    if any(trial.opposes(won[0]) and helps_as_much(trial, won[0]) for trial in trials):
        doubts.append("whose opposite helps as much")
    doubted = bool(doubts) or refuted(proofs)
    proved = proves(proofs) and not doubted
    if proved:
        doubts.append("and what else follows from the cause")
    elif against := proofs and obstacle(proofs):
        doubts.append(f"and not proved: {against}")
    return Diagnosis(
        cause=finding.cause,
        confidence=PROVED if proved else 0.5 if doubted else _of_signal(finding),
        proof="proved" if proved else "works-unproved" if doubted else "likely",
        summary=f"{_sentence(finding)} What helps: {steps}. In the trial, {shown.because}.{facts}",
        candidates=candidates,
        decided_by=", ".join((f"a trial of {together} under {len(shown.per_seed)} data orders", *doubts)),
        proofs=tuple(proofs),
    )


def _certain(finding: Finding, trials: Sequence[Trial], candidates: tuple[str, ...]) -> Diagnosis:
    failed = [trial for trial in trials if trial.cause == finding.cause]
    untried = "the budget was too small to try a remedy"
    if not finding.judgement.treatable:
        untried = "no remedy can be tried for it without changing your code or data"
    elif failed:
        untried = f"its remedy {failed[0].remedy} failed: {failed[0].because}"
    return Diagnosis(
        cause=finding.cause,
        confidence=0.95,
        proof="likely",
        summary=f"{_sentence(finding)} {_capital(finding.judgement.advice)}".strip(),
        candidates=candidates,
        decided_by=f"a certain sign; {untried}",
    )


def _unshown(
    finding: Finding, trials: Sequence[Trial], candidates: tuple[str, ...], patience: Patience | None
) -> Diagnosis:
    """A fact in a training that is stuck, and nothing that its trials have shown."""
    own = [trial for trial in trials if trial.cause == finding.cause and trial.arm == "remedy"]
    remedies = " and ".join(dict.fromkeys(str(trial.remedy) for trial in own))
    length = max(trial.updates for trial in own)
    waited = "" if patience is None else f" {_capital(str(patience))}"
    return Diagnosis(
        cause=finding.cause,
        confidence=UNSHOWN,
        proof="likely",
        summary=f"{_sentence(finding)} {_capital(finding.judgement.advice)}".strip()
        + f" The training is stuck.{waited} Within {length} updates, the longest trial of {remedies}, no gain is to be "
        f"seen, so that nothing is prescribed: mend it by hand and train for longer, or give a larger budget."
        + _undecided(trials),
        candidates=candidates,
        decided_by="a certain sign in a training that is stuck; its trial was too short to show a gain",
    )


def _advised(finding: Finding, trials: Sequence[Trial], candidates: tuple[str, ...]) -> Diagnosis:
    """A cause that no change of the training cures: its own signal, and that nothing else helps."""
    tried = _tried(trials)
    others = f", and none of the remedies of other causes helps ({', '.join(tried)})" if tried else ""
    return Diagnosis(
        cause=finding.cause,
        confidence=_of_signal(finding),
        proof="likely",
        summary=f"{_sentence(finding)} {_capital(finding.judgement.advice)}".strip(),
        candidates=candidates,
        decided_by=f"its own signal{others}; no change of the training cures it",
    )


def _of_signal(finding: Finding) -> float:
    """Confidence in a cause whose signal and trial agree."""
    return round(0.55 + 0.4 * finding.score, 2)


def _healthy(
    findings: Sequence[Finding],
    trials: Sequence[Trial],
    candidates: tuple[str, ...],
    causes: Sequence[Cause],
    patience: Patience | None,
) -> Diagnosis:
    well = [finding for finding in findings if finding.cause in {cause.slug for cause in causes if not cause.fault}]
    signs = [finding.cause for finding in findings if finding.signal and finding not in well]
    tried, undecided = _tried(trials), _undecided(trials)
    outcome = f"trying {', '.join(tried)} gained nothing beyond doubt" if tried else "no remedy was tried"
    advice = f" There were signs of {' and '.join(signs)}, but {outcome}.{undecided}"
    advice += _facts(findings)
    decided_by = "the readings: the training is not stuck" if signs else "the readings: no cause shows a signal"
    if tried:
        decided_by = "trials whose gains could not be told from noise" if undecided else "trials that gained nothing"
    if patience is not None:
        decided_by = "patience: the untouched training went on by itself"
        advice += f" It was on a plateau: {patience}."
    return Diagnosis(
        cause=well[0].cause if well else "healthy",
        confidence=0.9 if not signs else 0.75 if tried and not undecided else 0.5,
        proof="likely",
        summary=f"{_sentence(well[0]) if well else 'Nothing is wrong.'}{advice if signs or patience else ''}",
        candidates=candidates,
        decided_by=decided_by,
    )


def _unknown(
    ranked: Sequence[Finding], trials: Sequence[Trial], candidates: tuple[str, ...], patience: Patience | None
) -> Diagnosis:
    tried = _tried(trials)
    what = f"none of the remedies tried helps for certain ({', '.join(tried)})" if tried else "no remedy could be tried"
    waited = "" if patience is None else f" {_capital(str(patience))}"
    named = " and ".join(f"{finding.cause} (score {finding.score:.2f})" for finding in ranked[:2])
    nearest = f" Nearest are {named}." if named else ""
    return Diagnosis(
        cause=UNKNOWN,
        confidence=0.2,
        proof="unknown",
        summary=f"The training is stuck, and {what}.{waited}{nearest}{_undecided(trials)} A larger budget, or the "
        "problem as it was before training (`fresh`), would help to decide.",
        candidates=candidates,
        decided_by="the evidence does not decide",
    )


def _facts(findings: Sequence[Finding]) -> str:
    """A sentence about the first certain sign that is not acted on; empty where there is none."""
    certain = [finding for finding in findings if finding.signal and finding.judgement.certain]
    says = [evidence.says for finding in certain for evidence in finding.judgement.evidence[:1]]
    return f" Worth a look all the same: {says[0]}." if says else ""


def _tried(trials: Sequence[Trial]) -> list[str]:
    return sorted({str(trial.remedy) for trial in trials if trial.arm == "remedy"})


def _undecided(trials: Sequence[Trial]) -> str:
    """A sentence about gains that were material and could not be told from noise; empty where there were none."""
    gains = [f"{trial.remedy} ({trial.gain:.0%} of the excess loss)" for trial in trials if trial.undecided]
    if not gains:
        return ""
    return (
        f" Not told from the noise between data orders: the gain of {' and of '.join(gains)}; more orders would decide."
    )


def _sentence(finding: Finding) -> str:
    """The cause in words, and its strongest evidence."""
    evidence = finding.judgement.evidence
    because = f" {_capital(evidence[0].says)}" if evidence else ""
    return _capital(finding.means) + because


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:] + ("." if text and not text.endswith(".") else "") if text else ""
