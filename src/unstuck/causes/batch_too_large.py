"""Batch too large: far above the critical size, so that samples are spent on too few updates.

What it means: the gradient of a part of the batch would point the same way; all that the rest of the samples buy is an
update that is a little surer. How it shows: the gradient noise scale is far below the batch, so that a quarter of the
batch is predicted to get several times as far on the same samples, while the rate is far from the limit of stability.
What is mistaken for it: a learning rate that is too low, which is the same slowness where larger steps are the cure
(the trial decides); a training at the edge of stability, whose steps have no room; one that has nearly arrived, where
the noise scale has grown and large batches are right. What to do: take smaller batches, or scale the rate up with a
warm-up, or with steps in proportion to each layer. References: McCandlish et al. 2018, An empirical model of
large-batch training, §2.2 and 2.3; Goyal et al. 2017; the lecture's chapter 2.
"""

from __future__ import annotations

from unstuck.cause import SIGNAL, Cause, Evidence, Judgement, Mediator
from unstuck.probes.gradient import GradientReading
from unstuck.probes.noise import NoiseReading
from unstuck.probes.step import StepReading
from unstuck.reading import History
from unstuck.remedies.layerwise_scaling import LayerwiseScaling
from unstuck.remedies.scale_rate_with_warm_up import ScaleRateWithWarmUp
from unstuck.remedies.smaller_batch import SmallerBatch
from unstuck.specimens import bowl, full_batch, healthy

PART = 4
"""The batch is compared with one so many times as small."""

AS_FAR = 3.0
"""How many times as far the smaller batch has to get on the same samples, of PART at most. By (1 + x)/(1 + 4x), x the
noise scale over the batch, it does where x is below an eighth; the usual rule of thumb is a tenth."""

SMALL = 32
"""Samples of a batch that is small whatever the noise (Masters and Luschi 2018, "Revisiting small batch training")."""

ROOM = 0.3
"""Sharpness over the stability limit: above it steps have no room, and the walk is as fast as the surface lets it."""


def judge(noise: History[NoiseReading], gradient: History[GradientReading], step: History[StepReading]) -> Judgement:
    """At the look where a smaller batch would help most; where the gradient is negligible, nothing would."""
    scored = {look.update: _score(look, gradient.at(look.update), step.at(look.update)) for look in noise.readings}
    clearest = max(scored, key=lambda update: scored[update])
    look, pace = noise.at(clearest), step.at(clearest)
    return Judgement(
        score=scored[clearest],
        evidence=_evidence(look, pace),
        from_update=next((update for update, score in scored.items() if score >= SIGNAL), clearest),
    )


def _score(noise: NoiseReading, slope: GradientReading, step: StepReading) -> float:
    no_room = step.sharpness_over_limit is not None and step.sharpness_over_limit > ROOM
    if noise.batch <= SMALL or slope.negligible or no_room or step.optimizer == "LBFGS":
        return 0.1
    return 0.75 if as_far(noise) > AS_FAR else 0.2


def as_far(noise: NoiseReading) -> float:
    """How many times as far a PART of the batch gets on the same samples, at the least within the noise's interval.

    PART · gain(B / PART) / gain(B) with gain(B) = 1 / (1 + B_noise (1/B − 1/N)), McCandlish et al. 2018, equation 2.7.
    0 where the noise scale has no upper bound.
    """
    return PART * noise.gain_of(noise.batch / PART).low / max(noise.gain.low, 1e-30)


def _evidence(noise: NoiseReading, step: StepReading) -> tuple[Evidence, ...]:
    found = [
        Evidence(
            reading="noise",
            update=noise.update,
            value=noise.scale.value,
            unit="samples",
            expected=f"above {noise.batch / 8:.3g}",
            says=f"the gradient noise scale is {noise.scale.value:.3g} samples ({noise.scale.low:.2g} to "
            f"{noise.scale.high:.2g}), the batch {noise.batch} of {noise.population}: a {PART}th of it would get at "
            f"least {as_far(noise):.2g} times as far on the same samples",
        )
    ]
    if step.sharpness_over_limit is not None:
        found.append(
            Evidence(
                reading="step",
                update=step.update,
                value=step.sharpness_over_limit,
                unit="of the limit",
                expected=f"above {ROOM:g}",
                says=f"the sharpness is {step.sharpness_over_limit:.2g} of what this rule and rate can walk",
            )
        )
    return tuple(found)


BATCH_TOO_LARGE = Cause(
    slug="batch-too-large",
    means="the batch is far above the critical size: samples are spent on too few updates",
    chapter=2,
    judge=judge,
    mediator=Mediator(
        says=f"how many times as far a {PART}th of the batch would get on the same samples",
        reads=NoiseReading,
        value=as_far,
        rises=False,
    ),
    remedies=(SmallerBatch, ScaleRateWithWarmUp, LayerwiseScaling),
    sick=(full_batch,),
    well=(healthy, bowl),
)
