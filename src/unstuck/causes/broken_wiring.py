"""Broken wiring: parameters that should learn and cannot.

What it means: the optimizer does not hold some trainable parameters, holds some that are frozen, or the loss
does not reach some. How it shows: coverage below one, exactly, after a single update. What is mistaken for it:
layers frozen by intention (requires_grad false *and* absent from the optimizer), and units that are dead, whose
gradient is zero but there. What to do: hand all parameters to the optimizer; detached ones need a look at the
model's code. References: pytorch/pytorch#14467; diagnosis procedures of Schoop et al. 2021 (UMLAUT).
"""

from __future__ import annotations

from unstuck.cause import Cause, Evidence, Judgement, Mediator
from unstuck.probes.wiring import WiringReading
from unstuck.reading import History
from unstuck.remedies.train_all_parameters import TrainAllParameters
from unstuck.specimens import half_wired, healthy

MUCH = 0.2
"""Share of the numbers: less out of the loss's reach may be an output that nobody uses."""


def judge(wiring: History[WiringReading]) -> Judgement:
    """Exact: names, not thresholds."""
    reading = wiring.first
    evidence = tuple(
        Evidence(
            reading="wiring",
            update=reading.update,
            value=_named(names),
            unit="",
            expected="none",
            says=f"{len(names)} parameters are {how}",
        )
        for names, how in (
            (reading.missing, "trainable but not in the optimizer: no update changes them"),
            (reading.frozen_but_listed, "in the optimizer but frozen (requires_grad is false)"),
            (reading.detached, "in the optimizer but out of the loss's reach: no gradient arrives"),
        )
        if names
    )
    if reading.missing or reading.frozen_but_listed:
        return Judgement(score=0.95, evidence=evidence, certain=True)
    if reading.detached:
        advice = f"no gradient reaches {_named(reading.detached)}: look for .detach(), .data, or an unused output"
        much = reading.missing_share > MUCH
        return Judgement(score=0.9 if much else 0.4, evidence=evidence, advice=advice, certain=much, treatable=False)
    return Judgement(
        score=0.0,
        evidence=(
            Evidence(
                reading="wiring",
                update=reading.update,
                value=reading.coverage,
                unit="",
                expected="above 0",
                says=f"an update changes {reading.coverage:.0%} of the trainable numbers",
            ),
        ),
    )


def _named(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


BROKEN_WIRING = Cause(
    slug="broken-wiring",
    means="parameters that should learn and cannot",
    chapter=0,
    judge=judge,
    mediator=Mediator(
        says="the share of the trainable numbers that an update changes",
        reads=WiringReading,
        value=lambda wiring: wiring.coverage,
        rises=True,
    ),
    remedies=(TrainAllParameters,),
    sick=(half_wired,),
    well=(healthy,),
)
