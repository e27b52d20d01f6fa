"""Over-regularized: weight decay or dropout outweighs the data.

What it means: the weights are pulled to zero as hard as the data pull them away, or so many units are left out that the
others cannot make up for them; the network cannot even learn the training data. How it shows: the decay's part of an
update is as long as all the rest, with a gradient that is not small, and the weights shrink or stand still at a high
loss; or most units are left out, and the loss with all units is much lower than the one that is trained on. What is
mistaken for it: a training that has arrived under a little decay, where the gradient and the decay balance as well, but
both are small; a learning rate that is too high, as decoupled decay comes in proportion to it; noise of small batches,
which that of dropout looks like. What to do: less of it. References: Srivastava et al. 2014, Dropout, §7.3; Loshchilov
and Hutter 2019, Decoupled weight decay regularization; Krogh and Hertz 1992.
"""

from __future__ import annotations

from unstuck.cause import Cause, Evidence, Judgement
from unstuck.probes.direction import DirectionReading
from unstuck.probes.gradient import GradientReading
from unstuck.probes.modes import ModesReading
from unstuck.reading import History
from unstuck.remedies.reduce_regularization import ReduceRegularization
from unstuck.specimens import bowl, decayed, dropped, healthy

BALANCE = 0.5
"""Of the rest of an update: a decay that long holds the weights, or will before they have grown by half."""

SHRUNK = 0.9
"""Of the norm of the weights at the start: below it they have been pulled in, within one window."""

MOST = 0.6
"""Share of units: Srivastava et al. 2014 (figure 9a) found the error flat where 20 to 60 % are left out, and higher
beyond, where the network underfits."""

ERRORS = 2.0
"""Standard errors by which dropout has to cost more than nothing."""


def judge(
    gradient: History[GradientReading], direction: History[DirectionReading], modes: History[ModesReading] | None
) -> Judgement:
    """By the stronger of the two signs, at any look."""
    shrunk = gradient.latest.size < SHRUNK * gradient.first.size
    still = shrunk or not direction.latest.falls
    held = max(gradient.readings, key=_pull)
    of_decay = 0.0 if _pull(held) <= BALANCE else 0.88 if _pull(held) > 1 or still else 0.6
    left_out = None if modes is None else modes.latest
    of_dropout = 0.0
    if left_out is not None and left_out.dropout > MOST:
        costs = left_out.dropout_gap.value < -ERRORS * left_out.dropout_gap.error
        of_dropout = 0.9 if costs else 0.4
    return Judgement(
        score=max(0.1, of_decay, of_dropout),
        evidence=_evidence(held, gradient, left_out),
        from_update=held.update if of_decay > of_dropout else None,
    )


def _pull(reading: GradientReading) -> float:
    """The decay's part of an update over the rest, where the gradient is not negligible: else both may be nothing."""
    return 0.0 if reading.negligible else reading.decay_over_rest or 0.0


def _evidence(
    held: GradientReading, gradient: History[GradientReading], modes: ModesReading | None
) -> tuple[Evidence, ...]:
    found = []
    if held.decay_over_rest is not None:
        found.append(
            Evidence(
                reading="gradient",
                update=held.update,
                value=held.decay_over_rest,
                unit="of the rest of an update",
                expected=f"below {BALANCE:g}",
                says=f"what weight decay adds to an update is {held.decay_over_rest:.2g} times as long as the rest of "
                f"it; the weights' norm went from {gradient.first.size:.3g} to {gradient.latest.size:.3g}",
            )
        )
    if modes is not None and modes.dropout > 0:
        found.append(
            Evidence(
                reading="modes",
                update=modes.update,
                value=modes.dropout,
                unit="of the units",
                expected=f"up to {MOST:g}",
                says=f"{modes.dropout:.0%} of the units are left out in training; with all of them the loss is "
                f"{modes.batch.value:.3g}, as trained {modes.trained.value:.3g}",
            )
        )
    return tuple(reversed(found) if modes is not None and modes.dropout > MOST else found)


OVER_REGULARIZED = Cause(
    slug="over-regularized",
    means="weight decay or dropout outweighs the data",
    chapter=0,
    judge=judge,
    remedies=(ReduceRegularization,),
    measure="valid_loss",
    sick=(decayed, dropped),
    well=(healthy, bowl),
)
