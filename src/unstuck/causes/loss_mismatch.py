"""Loss mismatch: the loss is flat where the model is wrong, or expects other outputs.

What it means: softmax or sigmoid under a squared error has no slope where it is confidently wrong; softmax applied
twice, or after a sigmoid, cannot express certainty; a likelihood of scores that are no log-probabilities has no
lower end. How it shows: what the outputs are does not fit what the loss computes. What is mistaken for it: a
learning rate that is too low (the slope is small, and ten times the rate does help). What to do: cross-entropy of
the logits. References: the lecture's chapter 4; Glorot and Bengio 2010, §4.2.
"""

from __future__ import annotations

import math

from unstuck.cause import Cause, Evidence, Judgement, Mediator
from unstuck.probes.gradient import GradientReading
from unstuck.probes.outputs import OutputsReading
from unstuck.reading import History
from unstuck.remedies.cross_entropy import CrossEntropy
from unstuck.specimens import bowl, healthy, softmax_twice


def judge(outputs: History[OutputsReading]) -> Judgement:
    """A mismatch of kind and form is a fact; whether it hurts is for the trial to show."""
    reading = outputs.first
    says = _mismatch(reading)
    expected = "scores under cross-entropy, log-probabilities under a likelihood, free scores under a squared error"
    evidence = [
        Evidence(
            reading="outputs",
            update=reading.update,
            value=f"{reading.kind} under {reading.form}",
            unit="",
            expected=expected,
            says=says or f"{reading.kind} under {reading.form} fit each other",
        )
    ]
    if says and reading.slope_over_error is not None:
        evidence.append(
            Evidence(
                reading="outputs",
                update=reading.update,
                value=reading.slope_over_error,
                unit="",
                expected="1",
                says=f"the loss's slope on the logits is {reading.slope_over_error:.2g} of cross-entropy's",
            )
        )
    return Judgement(score=0.9 if says else 0.0, evidence=tuple(evidence), certain=bool(says))


def _mismatch(reading: OutputsReading) -> str:
    kind, form = reading.kind, reading.form
    if kind == "probabilities" and form == "cross-entropy":
        floor = math.log(1 + (reading.classes - 1) / math.e)
        return f"softmax is applied twice, by the model and by the loss: the loss cannot fall below {floor:.3g}"
    if kind == "probabilities" and form == "squared error":
        return "squared error on softmax: where the model is confidently wrong there is no slope"
    if kind == "shares" and form == "squared error" and reading.binary_targets:
        return "squared error on sigmoid: where the model is confidently wrong there is no slope"
    if kind == "shares" and form == "cross-entropy":
        return "the loss applies softmax to outputs that a sigmoid has bounded: no answer can look certain"
    if kind == "shares" and form == "binary cross-entropy of scores":
        return "sigmoid is applied twice, by the model and by the loss"
    if kind in ("scores", "probabilities", "shares") and form == "negative log-likelihood":
        return "the loss expects log-probabilities and gets something else: it has no lower end"
    return ""


LOSS_MISMATCH = Cause(
    slug="loss-mismatch",
    means="the loss is flat where the model is wrong, or expects other outputs",
    chapter=4,
    judge=judge,
    mediator=Mediator(
        says="the norm of the gradient that is followed",
        reads=GradientReading,
        value=lambda gradient: gradient.norm,
        rises=True,
    ),
    remedies=(CrossEntropy,),
    sick=(softmax_twice,),
    well=(healthy, bowl),
)
