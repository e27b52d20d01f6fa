"""Chapter 2: batches that are too small or too large for the rate, or for the end of a training."""

from __future__ import annotations

from unstuck.ward.fault import LAYERED, Fault
from unstuck.ward.hosts import UPDATES
from unstuck.ward.parts import Parts


def batch(parts: Parts, severity: float) -> Parts:
    """Batches of another size at the same rate."""
    return parts.but(batch=int(severity))


def accumulated(parts: Parts, severity: float) -> Parts:
    """So many batches to an update."""
    return parts.but(accumulate=int(severity))


def arrived(parts: Parts, severity: float) -> Parts:
    """At a rate somewhat above the tuned one, trained until noise holds the balance."""
    return parts.ruled(rate=severity * parts.rule.rate).but(walked=2 * UPDATES)


def settled(parts: Parts, severity: float) -> Parts:
    """The same, whose rate falls to zero from there on."""
    parts = arrived(parts, severity)
    return parts.but(schedule=lambda update: max(0.0, min(1.0, 3 - update / UPDATES)))


FAULTS = (
    Fault(
        kind="tiny-batch",
        cause="gradient-noise",
        also=("learning-rate-too-high",),
        plant=batch,
        hosts=("perceptron", "residual", "autoencoder", "bag-of-words"),
        severities=(1,),
        updates=300,
    ),
    Fault(
        kind="noise-at-the-end",
        cause="gradient-noise",
        also=("learning-rate-too-high",),
        plant=arrived,
        mended=settled,
        hosts=("perceptron", "convolutional", "transformer", "autoencoder", "bag-of-words", "mixer"),
        severities=(2, 4),
    ),
    Fault(
        kind="huge-batch",
        cause="batch-too-large",
        also=("learning-rate-too-low",),
        plant=batch,
        hosts=(*LAYERED, "bag-of-words", "mixer"),
        severities=(512, 2_048),
        updates=2 * UPDATES,
    ),
    Fault(
        kind="long-accumulation",
        cause="batch-too-large",
        also=("learning-rate-too-low",),
        plant=accumulated,
        hosts=(*LAYERED, "bag-of-words", "mixer"),
        severities=(16,),
        updates=2 * UPDATES,
    ),
)
