"""Beyond the lecture: wiring, data, and how much a network may learn."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unstuck.untouched import seeded
from unstuck.ward.changes import Detached, confident, followed, head, replaced
from unstuck.ward.fault import CLASSIFIERS, EVERY_HOST, Fault
from unstuck.ward.parts import Parts

NOT_TEXT = ("perceptron", "convolutional", "residual", "recurrent", "autoencoder", "mixer")


def body_missing(parts: Parts) -> Parts:
    """The optimizer holds the last layer alone."""
    return parts.but(listed=lambda model: list(head(model).parameters()))


def head_missing(parts: Parts) -> Parts:
    """The optimizer holds everything but the last layer."""
    return parts.but(listed=_without_head)


def _without_head(model: nn.Module) -> list[nn.Parameter]:
    left = set(head(model).parameters())
    return [parameter for parameter in model.parameters() if parameter not in left]


def biases_alone(parts: Parts) -> Parts:
    """The optimizer holds what is not a matrix."""
    return parts.but(listed=lambda model: [parameter for parameter in model.parameters() if parameter.dim() < 2])


def frozen(parts: Parts) -> Parts:
    """Everything but the last layer is in the optimizer and frozen."""
    for parameter in _without_head(parts.model):
        parameter.requires_grad_(False)
    return parts


def detached(parts: Parts) -> Parts:
    """The last layer hands no gradient back."""
    last = head(parts.model)
    return parts.but(model=replaced(parts.model, last, Detached(last)))


def head_exchanged(parts: Parts) -> Parts:
    """The last layer was exchanged after the optimizer had been given the old one's parameters."""
    old = head(parts.model)
    left = list(old.parameters())
    with seeded(1):
        new = nn.Linear(old.in_features, old.out_features)
    model = replaced(parts.model, old, new)
    return parts.but(model=model, listed=lambda model: _without_head(model) + left)


def shuffled_targets(parts: Parts) -> Parts:
    """Targets that belong to other samples."""

    def mixed(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(13), device="cpu")
        return inputs, targets[order]

    return parts.but(train=mixed(*parts.train), valid=mixed(*parts.valid))


def noise_for_inputs(parts: Parts) -> Parts:
    """Inputs that are noise."""
    drawn = torch.Generator().manual_seed(17)
    return parts.seeing(lambda inputs: torch.randn(inputs.shape, generator=drawn, device="cpu"))


def one_input(parts: Parts) -> Parts:
    """The same input for every sample."""
    first = parts.train[0][:1]
    return parts.seeing(lambda inputs: first.expand_as(inputs).clone())


def few_samples(parts: Parts, severity: float) -> Parts:
    """A handful of samples to learn from."""
    inputs, targets = parts.train
    return parts.but(train=(inputs[: int(severity)], targets[: int(severity)]))


def noisy_targets(parts: Parts, severity: float) -> Parts:
    """A share of wrong targets, and few enough samples to learn them by heart."""
    inputs, targets = (tensor[:512] for tensor in parts.train)
    drawn = torch.Generator().manual_seed(19)
    others = targets[torch.randperm(len(targets), generator=drawn, device="cpu")]
    wrong = torch.rand(len(targets), generator=drawn, device="cpu") < severity
    wrong = wrong.view(-1, *[1] * (targets.dim() - 1))
    return parts.but(train=(inputs, torch.where(wrong, others, targets)))


def weight_decay(parts: Parts, severity: float) -> Parts:
    """A decay that outweighs the data; AdamW's is a share of the rate, and has to be larger for that."""
    factor = 30 if parts.rule.optimizer == "adamw" else 1
    return parts.ruled(weight_decay=factor * severity)


def dropout(parts: Parts, severity: float) -> Parts:
    """Dropout after every activation that leaves nearly nothing."""
    return parts.but(model=followed(parts.model, lambda: nn.Dropout(severity)))


def not_a_number(parts: Parts) -> Parts:
    """One sample in a hundred has a feature that is no number."""
    inputs, targets = parts.train
    spoiled = inputs.clone()
    spoiled[::100, ..., 3] = math.nan
    return parts.but(train=(spoiled, targets))


def infinite_target(parts: Parts) -> Parts:
    """One target in a hundred is infinite."""
    inputs, targets = parts.train
    spoiled = targets.clone()
    spoiled[::100, 3] = math.inf
    return parts.but(train=(inputs, spoiled))


def log_of_zero(parts: Parts, severity: float) -> Parts:
    """The logarithm of probabilities that have become zero."""

    def likelihood(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.nll_loss(outputs.softmax(1).log(), targets)

    return parts.but(model=confident(parts.model, severity), loss=likelihood)


def overflowing(parts: Parts, severity: float) -> Parts:
    """Softmax by hand, whose exponentials overflow."""

    def likelihood(outputs: Tensor, targets: Tensor) -> Tensor:
        powers = outputs.exp()
        return F.nll_loss((powers / powers.sum(1, keepdim=True)).log(), targets)

    return parts.but(model=confident(parts.model, severity), loss=likelihood)


class UnitLength(nn.Module):
    """x / ‖x‖, which nobody told what to do with zeros."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (batch, features), before and after."""
        return inputs / inputs.pow(2).sum(1, keepdim=True).sqrt()


def divided_by_zero(parts: Parts) -> Parts:
    """Inputs brought to unit length, of which some are zero."""
    inputs, targets = parts.train
    spoiled = inputs.clone()
    spoiled[::100] = 0
    return parts.but(train=(spoiled, targets), model=nn.Sequential(UnitLength(), parts.model))


def sorted_by_target(parts: Parts) -> Parts:
    """Samples in the order of their targets, and nothing that shuffles them."""
    return _in_order(parts, parts.train[1])


def sorted_by_input(parts: Parts) -> Parts:
    """The same in the order of a feature."""
    return _in_order(parts, parts.train[0])


def _in_order(parts: Parts, of: Tensor) -> Parts:
    inputs, targets = parts.train
    order = of.reshape(len(of), -1)[:, 0].argsort(stable=True)
    return parts.but(train=(inputs[order], targets[order]), shuffle=False)


FAULTS = (
    Fault(kind="body-missing", cause="broken-wiring", plant=body_missing, hosts=EVERY_HOST),
    Fault(kind="head-missing", cause="broken-wiring", plant=head_missing, hosts=EVERY_HOST),
    Fault(kind="biases-alone", cause="broken-wiring", plant=biases_alone, hosts=EVERY_HOST),
    Fault(kind="frozen-body", cause="broken-wiring", plant=frozen, hosts=EVERY_HOST),
    Fault(
        kind="detached-body",
        cause="broken-wiring",
        plant=detached,
        hosts=EVERY_HOST,
        curable=False,
    ),
    Fault(kind="head-exchanged", cause="broken-wiring", plant=head_exchanged, hosts=EVERY_HOST),
    Fault(
        kind="shuffled-targets",
        cause="no-signal",
        plant=shuffled_targets,
        hosts=EVERY_HOST,
        measure="valid_loss",
        curable=False,
    ),
    Fault(
        kind="noise-for-inputs",
        cause="no-signal",
        plant=noise_for_inputs,
        hosts=NOT_TEXT,
        measure="valid_loss",
        curable=False,
    ),
    Fault(
        kind="one-input",
        cause="no-signal",
        plant=one_input,
        hosts=NOT_TEXT,
        measure="valid_loss",
        curable=False,
    ),
    Fault(
        kind="few-samples",
        cause="overfitting",
        plant=few_samples,
        hosts=EVERY_HOST,
        severities=(100, 32),
        measure="valid_loss",
        curable=False,
    ),
    Fault(
        kind="learned-by-heart",
        cause="overfitting",
        plant=noisy_targets,
        hosts=CLASSIFIERS,
        severities=(0.2, 0.5),
        measure="valid_loss",
        curable=False,
    ),
    Fault(
        kind="weight-decay",
        cause="over-regularized",
        plant=weight_decay,
        hosts=EVERY_HOST,
        severities=(0.3, 1.0),
    ),
    Fault(
        kind="dropout",
        cause="over-regularized",
        plant=dropout,
        hosts=("perceptron", "convolutional", "transformer", "autoencoder", "bag-of-words", "mixer"),
        severities=(0.8, 0.95),
    ),
    Fault(
        kind="not-a-number",
        cause="non-finite",
        plant=not_a_number,
        hosts=NOT_TEXT,
        curable=False,
    ),
    Fault(
        kind="infinite-target",
        cause="non-finite",
        plant=infinite_target,
        hosts=("autoencoder", "mixer"),
        curable=False,
    ),
    Fault(
        kind="log-of-zero",
        cause="non-finite",
        plant=log_of_zero,
        hosts=CLASSIFIERS,
        severities=(1_000,),
        curable=False,
    ),
    Fault(
        kind="overflow",
        cause="non-finite",
        plant=overflowing,
        hosts=CLASSIFIERS,
        severities=(1_000,),
        curable=False,
    ),
    Fault(
        kind="divided-by-zero",
        cause="non-finite",
        plant=divided_by_zero,
        hosts=("perceptron", "autoencoder"),
        curable=False,
    ),
    Fault(
        kind="sorted-by-target",
        cause="unshuffled-data",
        plant=sorted_by_target,
        hosts=EVERY_HOST,
    ),
    Fault(
        kind="sorted-by-input",
        cause="unshuffled-data",
        plant=sorted_by_input,
        hosts=("autoencoder",),
    ),
)
