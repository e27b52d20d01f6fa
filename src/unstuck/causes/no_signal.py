"""No signal: the inputs say nothing of the targets.

What it means: labels were shuffled, joined by the wrong key, or have nothing to do with the inputs; a large network
still learns the training data by heart, and nothing of it holds elsewhere. How it shows: samples with inputs nearby
have targets that are no nearer than any two; the gradients of different samples agree no more than noise does, once the
best constant answer has been found; held-out answers are never better than that; and the outputs do depend on the
inputs, so that the network is not what stops the signal. Inputs that are all the same are a fact. What is mistaken for
it: overfitting, where held-out answers are better than a constant's for a while; a local minimum, which has no slope
either, though neighbours do tell; dead or symmetric units, whose outputs are the same for all inputs; a training at its
end, when gradients no longer agree because all that they agreed on has been learned. What to do: look at pairs of
inputs and targets, and at how they were put together; no change of the training helps. References: Zhang et al. 2017,
Understanding deep learning requires rethinking generalization; Chatterjee and Zielinski 2020, Making coherence out of
nothing at all, §2.
"""

from __future__ import annotations

from unstuck.cause import Cause, Evidence, Judgement
from unstuck.probes.generalization import GeneralizationReading
from unstuck.probes.inputs import InputsReading
from unstuck.probes.noise import NoiseReading
from unstuck.probes.outputs import OutputsReading
from unstuck.reading import Estimate, History
from unstuck.specimens import bowl, healthy, random_labels

ERRORS = 2.0
"""Standard errors up to which an agreement counts as none."""

FAINT = 0.005
"""Coherence up to which it has to be known: below, one sample in two hundred's worth of gradient is common to all. On
what was tried while it was chosen, real signals had 0.009 and more at the start."""

DEPENDS = 0.01
"""Share of the outputs' size that depends on the inputs, above which the network hands them on."""

TOLD = 5.0
"""Deviations of what chance makes, beyond which neighbours do tell: by chance one test in a million is. The data of the
ward's healthy trainings that were looked at are 13 and more beyond, targets that were dealt out 2 at most."""

ADVICE = (
    "look at some pairs of inputs and targets, and at how they were put together: as they come, the one says nothing "
    "of the other"
)


def judge(
    noise: History[NoiseReading] | None,
    outputs: History[OutputsReading] | None,
    generalization: History[GeneralizationReading] | None,
    inputs: History[InputsReading] | None,
) -> Judgement:
    """Inputs that are all the same, or no agreement, and answers like a constant's on held-out data, or, without such,
    on training data."""
    given = None if inputs is None else inputs.first
    if given is not None and given.alike:
        return Judgement(score=0.95, evidence=(_same(given),), advice=ADVICE, certain=True, treatable=False)
    if noise is None or outputs is None:
        missing = "noise" if noise is None else "outputs"
        return Judgement(score=0.0, unknown_because=f"the probe `{missing}` gave no reading")
    told = None if given is None else given.told
    silent = told is not None and told.error > 0 and told.value <= TOLD * told.error
    tells = told is not None and told.error > 0 and not silent
    dependences = [look.input_dependence for look in ((outputs.first, outputs.latest) if silent else (outputs.first,))]
    depends = any(found is not None and found.low > DEPENDS for found in dependences)
    looks = (noise.latest,) if silent else noise.readings
    agreeing = max(looks, key=_certain_agreement)
    known = max(_of_one(ERRORS * look.coherence.error, look) for look in looks) <= FAINT
    # Samples also agree on the way to the best constant answer, which tells nothing of the inputs.
    none = _certain_agreement(agreeing) <= (FAINT if silent else 0.0)
    held_out = [] if generalization is None else [look.generalizes for look in generalization.readings]
    blind = any(look is None for look in held_out) or not held_out
    learned = any(held_out) if not blind else not outputs.latest.above_constant
    score = 0.1
    if depends and known and none and not learned and not tells:
        score = 0.6 if blind else 0.9
    evidence = _evidence(agreeing, outputs.latest, generalization)
    return Judgement(
        score=score,
        evidence=evidence if given is None or told is None else (*evidence, _neighbours(given, told)),
        advice=ADVICE if score > 0.1 else "",
        treatable=False,
    )


def _certain_agreement(look: NoiseReading) -> float:
    """The coherence of single samples, less its error."""
    return _of_one(look.coherence.value - ERRORS * look.coherence.error, look)


def _of_one(coherence: float, look: NoiseReading) -> float:
    """What a coherence c of batches of B samples is for single ones: that of their means is Bs / (1 + (B − 1)s)."""
    return coherence / (look.samples_each - (look.samples_each - 1) * coherence)


def _same(inputs: InputsReading) -> Evidence:
    return Evidence(
        reading="inputs",
        update=inputs.update,
        value=0.0,
        unit="",
        expected="inputs that differ",
        says=f"the inputs of all {inputs.samples} samples looked at are the same: nothing tells them apart",
    )


def _neighbours(inputs: InputsReading, told: Estimate) -> Evidence:
    return Evidence(
        reading="inputs",
        update=inputs.update,
        value=told.value,
        unit="",
        expected="above 0",
        says=f"of what tells targets apart, samples with inputs nearby share {told.value:.2g} ± {told.error:.1g}; 0 is "
        "what chance gives",
    )


def _evidence(
    noise: NoiseReading, outputs: OutputsReading, generalization: History[GeneralizationReading] | None
) -> tuple[Evidence, ...]:
    coherence, each = noise.coherence, "samples" if noise.samples_each == 1 else f"batches of {noise.samples_each}"
    found = [
        Evidence(
            reading="noise",
            update=noise.update,
            value=coherence.value,
            unit="",
            expected="above 0",
            says=f"of the mean square of the gradients of {noise.compared} {each}, {coherence.value:.2g} ± "
            f"{coherence.error:.1g} is common to them; 0 is what noise gives",
        )
    ]
    held_out = None if generalization is None else generalization.latest
    if held_out is not None and held_out.valid_loss is not None and held_out.constant is not None:
        found.append(
            Evidence(
                reading="generalization",
                update=held_out.update,
                value=held_out.valid_loss.value,
                unit="loss",
                expected=f"below {held_out.constant:.4g}",
                says=f"the held-out loss is {held_out.valid_loss.value:.4g} ± {held_out.valid_loss.error:.2g}, that of "
                f"the best constant answer {held_out.constant:.4g}; the training loss is "
                f"{held_out.train_loss.value:.4g}",
            )
        )
    elif outputs.constant is not None:
        found.append(
            Evidence(
                reading="outputs",
                update=outputs.update,
                value=outputs.loss.value,
                unit="loss",
                expected=f"below {outputs.constant:.4g}",
                says=f"the training loss is {outputs.loss.value:.4g}, that of the best constant answer "
                f"{outputs.constant:.4g}; of held-out answers nothing is known",
            )
        )
    return tuple(found)


NO_SIGNAL = Cause(
    slug="no-signal",
    means="the inputs say nothing of the targets",
    chapter=0,
    judge=judge,
    sick=(random_labels,),
    well=(healthy, bowl),
)
