"""Gradient noise: steps are dominated by the noise of their batches.

What it means: each step takes back in noise what the gradient gains, so that the loss stays where it is, far from any
minimum. How it shows: the gradient over the data is not small, but a batch's is mostly noise (the gradient noise scale
is many times the batch); the loss is flat; by the measured curvature and noise an update gains nothing on the average
at this rate, though the rate is far from the limit of stability. Or, at the end of a training, the loss is flat while
steps are as long as ever and hold more noise than signal: it has come as near as noise lets it. What is mistaken for
it: a learning rate that is too high for the curvature, which a larger batch does not cure; a training that has arrived,
whose gradient is small and whose steps are short; labels that are noise themselves, whose gradients do not agree at any
batch size. What to do: let the rate decay, take larger batches, or average the weights. References: McCandlish et al.
2018, An empirical model of large-batch training, §2.2; Mandt, Hoffman and Blei 2017, Stochastic gradient descent as
approximate Bayesian inference; the lecture's chapter 2.
"""

from __future__ import annotations

from unstuck.cause import SIGNAL, Cause, Evidence, Judgement
from unstuck.probes.direction import DirectionReading
from unstuck.probes.gradient import GradientReading
from unstuck.probes.noise import NoiseReading
from unstuck.probes.outputs import OutputsReading
from unstuck.probes.step import StepReading
from unstuck.reading import History
from unstuck.remedies.decay_learning_rate import DecayLearningRate
from unstuck.remedies.larger_batch import LargerBatch
from unstuck.remedies.weight_averaging import WeightAveraging
from unstuck.specimens import bowl, healthy, one_at_a_time

TAKEN_BACK = 0.5
"""Share of an update's gain that its noise takes back: at 1 the loss stands still, at 1/2 it falls half as fast."""

NEAR_LIMIT = 0.5
"""Sharpness over the stability limit: above it steps are long for the curvature as well, whatever their noise."""

LONG = 0.002
"""Step over the norm of the weights: a hundred of them in one direction go a fifth of it. In the ward's trainings that
stand still at the end of a schedule steps are of 0.0005 and less, where noise holds them up of 0.005 and more."""


def judge(
    noise: History[NoiseReading],
    gradient: History[GradientReading],
    direction: History[DirectionReading],
    step: History[StepReading],
    outputs: History[OutputsReading] | None,
) -> Judgement:
    """At the look where the signs are clearest; the walk must not fall."""
    falls = direction.latest.falls
    decays = step.latest.rate < step.first.rate  # then it gets on by itself
    arrived = not decays and outputs is not None and _arrived(outputs.first, outputs.latest)
    scored = {
        look.update: _score(look, gradient.at(look.update), step.at(look.update), falls=falls, arrived=arrived)
        for look in noise.readings
    }
    clearest = max(scored, key=lambda update: scored[update])
    return Judgement(
        score=scored[clearest],
        evidence=_evidence(noise.at(clearest), gradient.at(clearest), step.at(clearest)),
        from_update=next((update for update, score in scored.items() if score >= SIGNAL), clearest),
    )


def _arrived(first: OutputsReading, last: OutputsReading) -> bool:
    """Whether something had been learned before the walk, and is not lost on it."""
    return first.constant is not None and not first.above_constant and not last.risen_since(first)


def _score(noise: NoiseReading, slope: GradientReading, step: StepReading, *, falls: bool, arrived: bool) -> float:
    near_limit = step.sharpness_over_limit is not None and step.sharpness_over_limit > NEAR_LIMIT
    if arrived and not falls and not near_limit and step.relative_step > LONG and noise.over_batch.low > 1:
        return 0.6
    if falls or slope.negligible or near_limit or not noise.mostly_noise:
        return 0.1
    if step.whole_rate is None:
        return 0.65
    taken = noise.taken_back(step.whole_rate)
    return 0.85 if taken.low > TAKEN_BACK else 0.6 if taken.value > TAKEN_BACK else 0.3


def _evidence(noise: NoiseReading, slope: GradientReading, step: StepReading) -> tuple[Evidence, ...]:
    found = [
        Evidence(
            reading="noise",
            update=noise.update,
            value=noise.over_batch.value,
            unit="of the signal",
            expected="below 9",
            says=f"the noise of an update on {noise.batch} samples is {noise.over_batch.value:.3g} times its signal "
            f"({noise.over_batch.low:.2g} to {noise.over_batch.high:.2g})",
        ),
        Evidence(
            reading="gradient",
            update=slope.update,
            value=slope.norm,
            unit="loss / unit",
            expected=f"above its noise of {slope.noise:.2g}",
            says=f"the gradient over {slope.samples} samples has a norm of {slope.norm:.3g} ± {slope.noise:.2g}",
        ),
    ]
    if step.relative_step > LONG:
        found.append(
            Evidence(
                reading="step",
                update=step.update,
                value=step.relative_step,
                unit="of the weights",
                expected=f"below {LONG:g} where the loss stands still",
                says=f"an update moves the weights by {step.relative_step:.2g} of their norm",
            )
        )
    if step.whole_rate is not None:
        taken = noise.taken_back(step.whole_rate)
        found.append(
            Evidence(
                reading="noise",
                update=noise.update,
                value=taken.value,
                unit="of the gain",
                expected=f"below {TAKEN_BACK:g}",
                says=f"at this rate noise takes back {taken.value:.2g} times what an update gains",
            )
        )
    return tuple(found)


GRADIENT_NOISE = Cause(
    slug="gradient-noise",
    means="steps are dominated by the noise of their batches",
    chapter=2,
    judge=judge,
    remedies=(DecayLearningRate, LargerBatch, WeightAveraging),
    sick=(one_at_a_time,),
    well=(healthy, bowl),
)
