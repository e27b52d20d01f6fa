"""Kinds that came later, of all chapters: last, so that the cases of those before keep their names."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from unstuck.problem import LossFunction
from unstuck.untouched import seeded
from unstuck.ward.changes import Unregistered, confident, head, layers, replaced
from unstuck.ward.fault import CLASSIFIERS, EVERY_HOST, Fault
from unstuck.ward.hosts import UPDATES
from unstuck.ward.networks import Codebook, shortcuts, straight_convolutions
from unstuck.ward.parts import Parts

NOT_WORDS = ("perceptron", "convolutional", "residual", "recurrent", "autoencoder", "mixer")
CLUSTERS = 12
"""That :func:`far_codes` are to represent."""

NORMALIZATIONS = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)


def multiplied_loss(parts: Parts, severity: float) -> Parts:
    """The loss times a factor."""
    return parts.but(loss=partial(_times, loss=parts.loss, factor=severity))


def _times(outputs: Tensor, targets: Tensor, loss: LossFunction, factor: float) -> Tensor:
    return factor * loss(outputs, targets)


def hidden_in_a_list(parts: Parts) -> Parts:
    """Layers kept in a plain list, where no optimizer finds them: all but the last."""
    for layer in layers(parts.model)[:-1]:
        replaced(parts.model, layer, Unregistered(layer))
    return parts


def batches_of_a_kind(parts: Parts) -> Parts:
    """Files read one after the other, each of samples alike: a batch holds one class, and the next one another."""
    inputs, targets = parts.train
    order = targets.reshape(len(targets), -1)[:, 0].argsort(stable=True)
    blocks = order.split(parts.batch)
    mixed = torch.randperm(len(blocks), generator=torch.Generator().manual_seed(23), device="cpu").tolist()
    order = torch.cat([blocks[place] for place in mixed])
    return parts.but(train=(inputs[order], targets[order]), shuffle=False)


def repeated_samples(parts: Parts, severity: float) -> Parts:
    """As many samples as before, of which only a handful differ: they were multiplied to fill the set."""
    inputs, targets = parts.train
    same = torch.arange(len(inputs), device="cpu") % int(severity)
    return parts.but(train=(inputs[same], targets[same]))


def dropout_on_inputs(parts: Parts, severity: float) -> Parts:
    """Dropout in front of everything, which leaves nearly nothing of the inputs."""
    return parts.but(model=nn.Sequential(nn.Dropout(severity), parts.model))


def unknown_words(parts: Parts) -> Parts:
    """Words looked up in another vocabulary, where none of them is known: all have number zero."""
    return parts.seeing(torch.zeros_like)


def unnormalized_shortcuts(parts: Parts, severity: float) -> Parts:
    """So many shortcuts, each of which makes the variance three times as large, and no normalization."""
    inward, outward = parts.train[0][0].numel(), head(parts.model).out_features
    with seeded(0):
        model = nn.Sequential(nn.Flatten(), shortcuts(inward, outward, depth=int(severity)))
    return parts.but(model=model)


def deep_convolutions(parts: Parts, severity: float) -> Parts:
    """So many convolutions of torch's own initialization, without normalization or shortcuts."""
    convolution = nn.Conv1d if parts.train[0].dim() == 3 else nn.Conv2d
    with seeded(0):
        model = straight_convolutions(convolution, head(parts.model).out_features, int(severity))
    return parts.but(model=model)


def zero_scales(parts: Parts) -> Parts:
    """What every normalization multiplies with set to zero, where it should have been the last one before a shortcut.

    Goyal et al. 2017, "Accurate, large minibatch SGD", section 5.1, say where it belongs.
    """
    for module in parts.model.modules():
        if isinstance(module, NORMALIZATIONS):
            nn.init.zeros_(module.get_parameter("weight"))
    return parts


def _normalized(parts: Parts, momentum: float) -> Parts:
    """Batch normalization after every linear layer but the last."""
    for layer in layers(parts.model)[:-1]:
        norm = nn.BatchNorm1d(layer.weight.shape[0], momentum=momentum)
        replaced(parts.model, layer, nn.Sequential(layer, norm))
    return parts.but(walked=300)


def slow_between_layers(parts: Parts, severity: float) -> Parts:
    """Running statistics that hardly move, of fully connected layers."""
    return _normalized(parts, severity)


def usual_between_layers(parts: Parts, severity: float) -> Parts:  # noqa: ARG001 - there is but one usual momentum
    """The same with torch's own momentum."""
    return _normalized(parts, 0.1)


def rectified_outputs(parts: Parts) -> Parts:
    """The outputs end in a rectifier, as the layers before them do: nothing below zero can be said."""
    return parts.but(model=nn.Sequential(parts.model, nn.ReLU()))


def masked_logarithm(parts: Parts, severity: float) -> Parts:
    """The logarithm of probabilities, those that are zero left out: the loss is finite, and its slope is 0 · ∞."""

    def likelihood(outputs: Tensor, targets: Tensor) -> Tensor:
        right = outputs.softmax(1).gather(1, targets[:, None])
        return -torch.where(right > 0, right.log(), -100.0).mean()

    return parts.but(model=confident(parts.model, severity), loss=likelihood)


def _codes(parts: Parts, away: float) -> Parts:
    """Points around a few places, to be represented by as many codes that start so far away from all of them."""
    drawn = torch.Generator().manual_seed(29)
    places = torch.randn(CLUSTERS, 4, generator=drawn, device="cpu")
    points = places.repeat(200, 1) + 0.1 * torch.randn(200 * CLUSTERS, 4, generator=drawn, device="cpu")
    with seeded(0), torch.no_grad():
        model = Codebook(CLUSTERS, 4)
        model.codes.add_(away)
    return parts.but(train=(points, points), valid=(points, points), model=model)


def far_codes(parts: Parts, severity: float) -> Parts:
    """They all start on one side: the nearest represents everything, and the others are nobody's nearest."""
    return _codes(parts, severity).but(walked=UPDATES)


def near_codes(parts: Parts, severity: float) -> Parts:  # noqa: ARG001 - there is but one way to be right
    """They start among the points."""
    return _codes(parts, 0.0)


FAULTS = (
    Fault(
        kind="scale-left-in",
        cause="learning-rate-too-high",
        plant=multiplied_loss,
        hosts=CLASSIFIERS,
        optimizers=("sgd",),
        severities=(64, 1_024),
        measure="train_error",
    ),
    Fault(
        kind="mean-taken-twice",
        cause="learning-rate-too-low",
        plant=multiplied_loss,
        hosts=CLASSIFIERS,
        optimizers=("sgd",),
        severities=(1 / 32, 1 / 1_024),
        measure="train_error",
    ),
    Fault(
        kind="hidden-in-a-list",
        cause="broken-wiring",
        plant=hidden_in_a_list,
        hosts=("perceptron", "convolutional", "residual", "transformer", "autoencoder", "bag-of-words", "mixer"),
        curable=False,
    ),
    Fault(kind="batches-of-a-kind", cause="unshuffled-data", plant=batches_of_a_kind, hosts=EVERY_HOST),
    Fault(
        kind="repeated-samples",
        cause="overfitting",
        plant=repeated_samples,
        hosts=EVERY_HOST,
        severities=(128, 32),
        measure="valid_loss",
        curable=False,
    ),
    Fault(
        kind="dropout-on-inputs",
        cause="over-regularized",
        plant=dropout_on_inputs,
        hosts=NOT_WORDS,
        severities=(0.8, 0.95),
    ),
    Fault(
        kind="unknown-words",
        cause="no-signal",
        plant=unknown_words,
        hosts=("transformer", "bag-of-words"),
        measure="valid_loss",
        curable=False,
    ),
    Fault(
        kind="unnormalized-shortcuts",
        cause="exploding-gradient",
        plant=unnormalized_shortcuts,
        hosts=("perceptron", "autoencoder", "mixer"),
        severities=(12, 20),
    ),
    Fault(
        kind="deep-convolutions",
        cause="vanishing-gradient",
        plant=deep_convolutions,
        hosts=("convolutional", "residual"),
        severities=(10, 16),
    ),
    Fault(
        kind="zero-scales",
        cause="saddle-point",
        also=("dead-units",),
        plant=zero_scales,
        hosts=("convolutional", "residual", "transformer", "mixer"),
    ),
    Fault(
        kind="slow-statistics-between-layers",
        cause="train-eval-mismatch",
        plant=slow_between_layers,
        mended=usual_between_layers,
        hosts=("perceptron", "autoencoder", "bag-of-words"),
        severities=(1e-3, 1e-5),
    ),
    Fault(
        kind="rectified-outputs",
        cause="loss-mismatch",
        also=("dead-units",),
        plant=rectified_outputs,
        hosts=EVERY_HOST,
        curable=False,
    ),
    Fault(
        kind="masked-logarithm",
        cause="non-finite",
        plant=masked_logarithm,
        hosts=CLASSIFIERS,
        severities=(1_000,),
        curable=False,
    ),
    Fault(
        kind="far-codes",
        cause="local-minimum",
        also=("dead-units",),
        plant=far_codes,
        mended=near_codes,
        hosts=("autoencoder",),
        severities=(4, 8),
    ),
)
