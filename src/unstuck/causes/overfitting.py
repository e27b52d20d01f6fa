"""Overfitting: the training goes on, and the held-out loss has turned.

What it means: what the network still learns are the samples themselves, their noise included. How it shows: the
training loss falls on, the held-out loss has risen, beyond chance and by much, since it was lowest. What is mistaken
for it: a gap between the two losses, which every training has and which is no harm while the held-out loss falls; a
held-out loss that rises a little because right answers become surer and wrong ones too, while the share of right
answers stays; inputs that say nothing of the targets, where the held-out loss never was better than that of a constant.
What to do: more data; weight decay; stop where the held-out loss was lowest; smaller batches or averaged weights, which
end in flatter places. References: Prechelt 1998, Early stopping - but when?; Zhang et al. 2017, Understanding deep
learning requires rethinking generalization; Keskar et al. 2017, On large-batch training; the lecture's chapter 2.
"""

from __future__ import annotations

from unstuck.cause import Cause, Evidence, Judgement
from unstuck.probes.generalization import UNKNOWN, GeneralizationReading, lowest
from unstuck.reading import History
from unstuck.remedies.early_stop import EarlyStop
from unstuck.remedies.regularize import Regularize
from unstuck.remedies.smaller_batch import SmallerBatch
from unstuck.remedies.weight_averaging import WeightAveraging
from unstuck.specimens import enough_samples, few_samples, healthy

CHANCE = 0.01
"""Probability of as large a rise by chance, part by part of the held-out sample, up to which chance is ruled out."""

MATERIAL, LARGE = 0.2, 0.25
"""Rise over the lowest held-out loss: from the first on, where the share of right answers has fallen as well or is not
known; from the second on, whatever they are. To have stopped before a rise by a quarter would have taken off a fifth of
the loss that has come of it, which a trial counts as a cure. Healthy trainings tried lay at 0.06 and below."""


def judge(generalization: History[GeneralizationReading]) -> Judgement:
    """Since the look at which the held-out loss was lowest; trials branch there."""
    best, last = lowest(generalization), generalization.latest
    rise = None if best is None else last.risen_since(best)
    if best is None or best.valid_loss is None or rise is None:
        return Judgement(score=0.0, unknown_because=UNKNOWN)
    share = rise.mean / max(abs(best.valid_loss.value), 1e-30)
    goes_on = last.train_loss.high < best.train_loss.low
    score = 0.1
    learned = best.over_constant is None or best.over_constant.value < 0  # else there was nothing to lose
    if goes_on and learned and rise.p_value < CHANCE and share > MATERIAL:
        worse = _less_often_right(best, last)
        score = (0.9 if worse else 0.8) if share > LARGE else 0.7 if worse else 0.4
    return Judgement(score=score, evidence=_evidence(best, last, share), from_update=best.update)


def _less_often_right(best: GeneralizationReading, last: GeneralizationReading) -> bool:
    """Whether the share of right answers has fallen beyond chance; taken for granted where it is not known."""
    before, now = best.valid_accuracy, last.valid_accuracy
    return before is None or now is None or now.value < before.low


def _evidence(best: GeneralizationReading, last: GeneralizationReading, share: float) -> tuple[Evidence, ...]:
    then, now, accuracy = best.valid_loss, last.valid_loss, last.valid_accuracy
    if then is None or now is None:
        return ()
    found = [
        Evidence(
            reading="generalization",
            update=last.update,
            value=share,
            unit="of the lowest",
            expected=f"below {MATERIAL:g}",
            says=f"the held-out loss was lowest after {best.update} updates, {then.value:.4g} ± {then.error:.2g}, and "
            f"has come to {now.value:.4g} ± {now.error:.2g}, while the training loss went from "
            f"{best.train_loss.value:.4g} to {last.train_loss.value:.4g}",
        )
    ]
    if accuracy is not None and best.valid_accuracy is not None:
        found.append(
            Evidence(
                reading="generalization",
                update=last.update,
                value=accuracy.value,
                unit="",
                expected=f"{best.valid_accuracy.value:.3g} or more",
                says=f"of held-out answers {accuracy.value:.1%} are right, then {best.valid_accuracy.value:.1%}",
            )
        )
    return tuple(found)


OVERFITTING = Cause(
    slug="overfitting",
    means="the training goes on, and the held-out loss has turned",
    chapter=0,
    judge=judge,
    remedies=(Regularize, EarlyStop, SmallerBatch, WeightAveraging),
    measure="valid_loss",
    sick=(few_samples,),
    well=(healthy, enough_samples),
)
