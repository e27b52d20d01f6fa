"""A kind of fault: what it does to a healthy training, and which answers are right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from unstuck.ward.hosts import OPTIMIZERS, UPDATES
from unstuck.ward.parts import Parts

Measure = Literal["train_loss", "valid_loss", "train_error"]
"""What tells how far a training has come: its own loss over all samples or the held-out ones, or the share of wrong
answers, where the fault is in the loss itself."""

Plant = Callable[..., Parts]
"""(a healthy training, how severe) → the training with the fault; where there are no degrees, the first alone."""

EVERY_HOST = (
    *("perceptron", "convolutional", "residual", "recurrent", "transformer", "autoencoder"),
    *("bag-of-words", "mixer"),
)
CLASSIFIERS = ("perceptron", "convolutional", "residual", "recurrent", "transformer", "bag-of-words")
ONE_ANSWER = ("perceptron", "convolutional", "residual", "recurrent", "bag-of-words")
"""Classifiers that answer once per sample."""
MEASURED = ("perceptron", "residual", "recurrent", "autoencoder", "mixer")
"""Those whose inputs are measurements that nothing normalizes at once."""
LAYERED = ("perceptron", "autoencoder")
"""Fully connected layers one after the other."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One kind.

    Attributes:
        kind: its name.
        cause: what is planted, by the vocabulary.
        also: other answers that are right, as their remedies are the same or they describe the same thing.
        plant: plants it.
        severities: that are tried, mild first; none where there are no degrees.
        hosts: that it can be planted into.
        optimizers: under which it can be.
        mended: the same training mended by hand; by default the host as it is.
        measure: what tells how far a training has come.
        curable: whether a change of the training can mend it; else the code or the data have to.
        rates: whether the best rate of a grid is the cure.
        updates: of the mended training, after which both are compared; the faulty one sees as many samples.
    """

    kind: str
    cause: str
    plant: Plant
    hosts: tuple[str, ...]
    also: tuple[str, ...] = ()
    severities: tuple[float, ...] = ()
    optimizers: tuple[str, ...] = OPTIMIZERS
    mended: Plant | None = None
    measure: Measure = "train_loss"
    curable: bool = True
    rates: bool = False
    updates: int = UPDATES

    def planted(self, parts: Parts, severity: float | None) -> Parts:
        """A healthy training with the fault."""
        return self.plant(parts, *_degree(severity))

    def as_it_should_be(self, parts: Parts, severity: float | None) -> Parts:
        """The same mended."""
        return parts if self.mended is None else self.mended(parts, *_degree(severity))

    @property
    def accepted(self) -> tuple[str, ...]:
        """The answers that are right."""
        return (self.cause, *self.also)


def _degree(severity: float | None) -> tuple[float, ...]:
    return () if severity is None else (severity,)
