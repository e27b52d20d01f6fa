"""No signal: the inputs say nothing of the targets.

What it means: labels were shuffled, joined by the wrong key, or have nothing to do with the inputs; a large network
still learns the training data by heart, and nothing of it holds elsewhere. How it shows: the gradients of different
samples agree no more than noise does, from the start; held-out answers are no better than those of a constant; and the
outputs do depend on the inputs, so that the network is not what stops the signal. What is mistaken for it: overfitting,
where gradients agree at the start and held-out answers are better than a constant's for a while; dead or symmetric
units, whose outputs are the same for all inputs; a training at its end, when gradients no longer agree because all that
they agreed on has been learned. What to do: look at pairs of inputs and targets, and at how they were put together; no
change of the training helps. References: Zhang et al. 2017, Understanding deep learning requires rethinking
generalization; Chatterjee and Zielinski 2020, Making coherence out of nothing at all, §2.
"""

from __future__ import annotations

from unstuck.cause import Cause, Evidence, Judgement
from unstuck.probes.generalization import GeneralizationReading
from unstuck.probes.noise import NoiseReading
from unstuck.probes.outputs import OutputsReading
from unstuck.reading import History
from unstuck.specimens import bowl, healthy, random_labels

ERRORS = 2.0
"""Standard errors up to which an agreement counts as none."""

FAINT = 0.005
"""Coherence up to which it has to be known: below, one sample in two hundred's worth of gradient is common to all. On
what was tried while it was chosen, real signals had 0.009 and more at the start."""

DEPENDS = 0.01
"""Share of the outputs' size that depends on the inputs, above which the network hands them on."""

ADVICE = (
    "look at some pairs of inputs and targets, and at how they were put together: as they come, the one says nothing "
    "of the other"
)


def judge(
    noise: History[NoiseReading],
    outputs: History[OutputsReading],
    generalization: History[GeneralizationReading] | None,
) -> Judgement:
    """No agreement at any look, and answers on held-out data, or on training data without such, like a constant's."""
    dependence = outputs.first.input_dependence
    depends = dependence is not None and dependence.low > DEPENDS
    agreeing = max(noise.readings, key=lambda look: look.coherence.value - ERRORS * look.coherence.error)
    known = max(look.coherence.error for look in noise.readings) * ERRORS <= FAINT
    none = agreeing.coherence.value <= ERRORS * agreeing.coherence.error
    held_out = [] if generalization is None else [look.generalizes for look in generalization.readings]
    blind = any(look is None for look in held_out) or not held_out
    learned = any(held_out) if not blind else not outputs.latest.above_constant
    score = 0.1
    if depends and known and none and not learned:
        score = 0.6 if blind else 0.9
    return Judgement(
        score=score,
        evidence=_evidence(agreeing, outputs.latest, generalization),
        advice=ADVICE if score > 0.1 else "",
        treatable=False,
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
