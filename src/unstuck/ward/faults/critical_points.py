"""Chapter 1: places where the gradient vanishes."""

from __future__ import annotations

import math

import torch

from unstuck.methods.schedule import Cosine
from unstuck.untouched import seeded
from unstuck.ward.changes import Tones, alike, filled, head, scaled
from unstuck.ward.fault import EVERY_HOST, LAYERED, Fault
from unstuck.ward.hosts import UPDATES
from unstuck.ward.networks import perceptron
from unstuck.ward.parts import Parts

TONE = 6.0
"""The frequency of what :func:`wrong_frequencies` is to learn."""


def zero(parts: Parts) -> Parts:
    """All weights and biases zero."""
    return parts.but(model=filled(parts.model, 0.0))


def constant(parts: Parts, severity: float) -> Parts:
    """All weights and biases the same."""
    return parts.but(model=filled(parts.model, severity))


def copies(parts: Parts, severity: float) -> Parts:
    """Hidden units as copies of the first few of their layer."""
    return parts.but(model=alike(parts.model, int(severity)))


def at_the_origin(parts: Parts, severity: float) -> Parts:
    """All weights a fraction of what they should be: close to the point where everything is zero."""
    return parts.but(model=scaled(parts.model, severity))


def _tones(parts: Parts, above: float) -> Parts:
    """One tone to be learned by twelve, whose frequencies start this far above where they usually do."""
    inputs = torch.linspace(-math.pi, math.pi, 2_048, device="cpu")[:, None]
    samples = (inputs, torch.sin(TONE * inputs + 1))
    with seeded(0), torch.no_grad():
        model = Tones(12)
        model.frequencies.add_(above)
    return parts.but(train=samples, valid=samples, model=model)


def right_frequencies(parts: Parts, severity: float) -> Parts:  # noqa: ARG001 - there is but one way to be right
    """They start on both sides of what is to be learned."""
    return _tones(parts, 0.0)


def wrong_frequencies(parts: Parts, severity: float) -> Parts:
    """They all start far above it, and have settled in the minima there."""
    return _tones(parts, severity).but(walked=UPDATES)


def one_unit(parts: Parts) -> Parts:
    """Layers of a single unit, trained until nothing moves any more."""
    first, last = parts.train[0].shape[1], head(parts.model).out_features
    with seeded(0):
        model = perceptron((first, 1, 1, last), torch.nn.Tanh)
    return parts.but(model=model, walked=2 * UPDATES, schedule=Cosine(updates=2 * UPDATES, floor=0.1))


FAULTS = (
    Fault(kind="zero-weights", cause="saddle-point", plant=zero, hosts=EVERY_HOST),
    Fault(
        kind="constant-weights",
        cause="saddle-point",
        plant=constant,
        hosts=EVERY_HOST,
        severities=(0.01, 0.1),
    ),
    Fault(
        kind="copied-units",
        cause="saddle-point",
        plant=copies,
        hosts=("perceptron", "convolutional", "autoencoder", "bag-of-words"),
        severities=(2, 1),
    ),
    Fault(
        kind="at-the-origin",
        cause="saddle-point",
        also=("vanishing-gradient",),
        plant=at_the_origin,
        hosts=LAYERED,
        severities=(0.03, 0.001),
    ),
    Fault(
        kind="wrong-frequencies",
        cause="local-minimum",
        plant=wrong_frequencies,
        mended=right_frequencies,
        hosts=("autoencoder",),
        severities=(14, 20),
    ),
    Fault(kind="one-unit", cause="local-minimum", plant=one_unit, hosts=LAYERED, curable=False),
)
