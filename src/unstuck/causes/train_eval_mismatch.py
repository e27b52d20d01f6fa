"""Train-eval mismatch: the statistics that normalization uses in testing are not those of training.

What it means: batch normalization tests with moving averages; where these lag behind the weights or belong to other
data, the model that is tested is not the one that was trained. How it shows: on the same batches the loss is higher
in evaluation than in training, and statistics taken anew close the gap. What is mistaken for it: the first updates
of a training, where averages lag by a little and catch up by themselves; overfitting, which shows on other data
alone; small batches, whose gap stays with statistics taken anew; dropout, which makes evaluation better. What to do:
take the statistics anew; let them move faster. References: Ioffe and Szegedy 2015, §3.1; Wu and Johnson 2021,
Rethinking "Batch" in BatchNorm, §3; the lecture's chapter 5.
"""

from __future__ import annotations

import math

from unstuck.cause import Cause, Evidence, Judgement, Mediator
from unstuck.probes.modes import ModesReading
from unstuck.reading import History
from unstuck.remedies.recalibrate_batch_norm import RecalibrateBatchNorm
from unstuck.specimens import healthy, normalized, stale_statistics

MATERIAL = 0.2
"""Share of the loss in evaluation that statistics taken anew remove: what a trial counts as a cure, too."""

CERTAIN = 2.0
"""Standard errors that the gap has to be from zero."""

MOST = 0.6
"""The same share where it is a fact, to be tried before all else: averages make most of the loss in evaluation. In the
ward's healthy trainings, where they lag while the loss falls fast, it is up to 0.44, with slow ones 0.75 and more."""

FAR = 1.0
"""Deviations of a channel: averages that far off do not merely lag. Those of a training that goes well lie within
some tenths once its first updates are over."""


def judge(modes: History[ModesReading]) -> Judgement:
    """By what statistics taken anew are worth after the walk; before it, averages may not have moved yet."""
    reading = modes.latest
    gap = reading.averages_gap
    if gap is None or reading.recomputed is None:
        return Judgement(score=0.0)
    share = gap.value / max(abs(reading.evaluation.value), 1e-30)
    farthest = max(reading.layer_distance, default=0.0)
    sure = gap.value > CERTAIN * gap.error
    most = sure and share >= MOST
    score = 0.0 if not sure else 0.4 * share / MATERIAL if share < MATERIAL else 0.6
    return Judgement(
        score=0.9 if most or (score == 0.6 and farthest > FAR) else score,
        certain=most,
        from_update=reading.update,
        evidence=(
            Evidence(
                reading="modes",
                update=reading.update,
                value=gap.value,
                unit="loss",
                expected=f"below {MATERIAL:.0%} of {reading.evaluation.value:.3g}",
                says=f"in evaluation the loss is {reading.evaluation.value:.3g}, with statistics taken anew "
                f"{reading.recomputed.value:.3g}; as trained it is {reading.trained.value:.3g}",
            ),
            Evidence(
                reading="modes",
                update=reading.update,
                value=farthest,
                unit="deviations",
                expected=f"below {FAR:g}",
                says=f"moving averages lie up to {farthest:.2g} deviations from the statistics of the data",
            ),
        ),
    )


TRAIN_EVAL_MISMATCH = Cause(
    slug="train-eval-mismatch",
    means="the statistics that normalization uses in testing are not those of training",
    chapter=5,
    judge=judge,
    mediator=Mediator(
        says="how far moving averages lie from the statistics of the data, in deviations",
        reads=ModesReading,
        value=lambda modes: max(modes.layer_distance, default=math.nan),
        rises=False,
    ),
    remedies=(RecalibrateBatchNorm,),
    measure="eval_gap",
    sick=(stale_statistics,),
    well=(healthy, normalized),
)
