"""Chapter 4: losses that are flat where the network is wrong, or that expect other outputs."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from unstuck.ward.changes import confident
from unstuck.ward.fault import CLASSIFIERS, ONE_ANSWER, Fault
from unstuck.ward.parts import Parts


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error against one-hot targets."""
    return F.mse_loss(outputs, F.one_hot(targets, outputs.shape[1]).to(outputs.dtype))


def ending_in(parts: Parts, last: nn.Module) -> Parts:
    """The same whose model goes on with another module."""
    return parts.but(model=nn.Sequential(parts.model, last))


def softmax_twice(parts: Parts) -> Parts:
    """The model ends in softmax, and the loss applies it again."""
    return ending_in(parts, nn.Softmax(dim=1))


def squared_on_softmax(parts: Parts, severity: float) -> Parts:
    """Squared error on softmax, from a start that is confidently wrong."""
    parts = parts.but(model=confident(parts.model, severity), loss=squared)
    return ending_in(parts, nn.Softmax(dim=1))


def squared_on_sigmoid(parts: Parts, severity: float) -> Parts:
    """Squared error on a sigmoid for each class, from a start that is confidently wrong."""
    parts = parts.but(model=confident(parts.model, severity), loss=squared)
    return ending_in(parts, nn.Sigmoid())


def likelihood_of_scores(parts: Parts) -> Parts:
    """A negative log-likelihood that is given scores: it has no lower end."""
    return parts.but(loss=F.nll_loss)


def likelihood_of_probabilities(parts: Parts, severity: float) -> Parts:
    """A negative log-likelihood that is given probabilities, from a start that is confidently wrong."""
    parts = parts.but(model=confident(parts.model, severity), loss=F.nll_loss)
    return ending_in(parts, nn.Softmax(dim=1))


def sigmoid_before(parts: Parts) -> Parts:
    """Scores between zero and one for cross-entropy: no answer can look certain."""
    return ending_in(parts, nn.Sigmoid())


FAULTS = (
    Fault(
        kind="softmax-twice",
        cause="loss-mismatch",
        plant=softmax_twice,
        hosts=CLASSIFIERS,
        measure="train_error",
    ),
    Fault(
        kind="squared-error-on-softmax",
        cause="loss-mismatch",
        plant=squared_on_softmax,
        hosts=ONE_ANSWER,
        severities=(30, 100),
        measure="train_error",
    ),
    Fault(
        kind="squared-error-on-sigmoid",
        cause="loss-mismatch",
        plant=squared_on_sigmoid,
        hosts=ONE_ANSWER,
        severities=(30, 100),
        measure="train_error",
    ),
    Fault(
        kind="likelihood-of-scores",
        cause="loss-mismatch",
        plant=likelihood_of_scores,
        hosts=CLASSIFIERS,
        measure="train_error",
    ),
    Fault(
        kind="likelihood-of-probabilities",
        cause="loss-mismatch",
        plant=likelihood_of_probabilities,
        hosts=CLASSIFIERS,
        severities=(30, 100),
        measure="train_error",
    ),
    Fault(
        kind="sigmoid-before-cross-entropy",
        cause="loss-mismatch",
        plant=sigmoid_before,
        hosts=CLASSIFIERS,
        measure="train_error",
    ),
)
