"""The options of ``unstuck train`` that name methods; a recipe file has the same names."""

from __future__ import annotations

from typing import Annotated, Any

import typer

LENGTH = "For how long, and in which order"
BATCHES = "Methods: batches"
SURFACE = "Methods: what shapes the surface"
WALK = "Methods: how it is walked"


def _setting(panel: str, metavar: str, says: str, *names: str) -> Any:
    return typer.Option(*names, metavar=metavar, help=says, rich_help_panel=panel, show_default=False)


Updates = Annotated[int | None, _setting(LENGTH, "N", "How many updates to make. Left out: 1000.")]
Epochs = Annotated[int | None, _setting(LENGTH, "K", "Instead, how many passes over the data.")]
Seed = Annotated[
    int | None, _setting(LENGTH, "N", "Decides data orders and masks: same seed, same result. Left out: 0.")
]

BatchSize = Annotated[int | None, _setting(BATCHES, "N", "Samples in an update.")]
BatchRule = Annotated[
    str | None,
    _setting(
        BATCHES,
        "RULE",
        "What the rate becomes with another batch size: linear, square-root or none. Left out: linear, and none where "
        "there is a --rate.",
    ),
]
Shuffle = Annotated[
    bool | None, _setting(BATCHES, "", "Samples in a random order, or in their own.", "--shuffle/--no-shuffle")
]
GhostBatch = Annotated[
    int | None, _setting(BATCHES, "N", "Samples over which batch normalization takes its statistics.")
]

# The names are those that the methods go by. A test compares them: loading the methods would make help late.
Normalization = Annotated[
    str | None,
    _setting(
        SURFACE,
        "KIND",
        "Of hidden layers: batch, batch-renorm, layer, instance, group; of their weights: weight, spectral; of the "
        "inputs: feature.",
    ),
]
Placement = Annotated[
    str | None, _setting(SURFACE, "PLACE", "Where hidden layers are normalized: before their activation, or after.")
]
Loss = Annotated[
    str | None,
    _setting(
        SURFACE,
        "LOSS",
        "What updates follow, while results are told in your own: cross-entropy, squared-error-on-softmax, "
        "squared-error-on-logits, integer-regression.",
    ),
]

Optimizer = Annotated[
    str | None,
    _setting(
        WALK,
        "NAME",
        "With a --rate: gradient-descent (sgd), momentum, nesterov, adagrad, rmsprop, adam, adamw, radam, nadam, "
        "adamax, lars, lamb, muon, schedule-free, schedule-free-adamw, sam.",
    ),
]
Rate = Annotated[float | None, _setting(WALK, "η", "The learning rate; under a schedule, its base rate.")]
Momentum = Annotated[float | None, _setting(WALK, "λ", "Of the optimizer; Adam's β₁.")]
WeightDecay = Annotated[float | None, _setting(WALK, "λ", "Of the parameter groups that decay already, else of all.")]
Schedule = Annotated[
    str | None,
    _setting(
        WALK,
        "NAME",
        "Of the rate: constant, step, exponential, cosine, linear, inverse-square-root, one-cycle, "
        "warm-up-stable-decay, cyclical; with warm-up- before it, as warm-up-cosine, after a warm-up.",
    ),
]
WarmUp = Annotated[
    int | None, _setting(WALK, "N", "Updates of a straight way up to the rate. Without --schedule, before your own.")
]
ClipNorm = Annotated[float | None, _setting(WALK, "NORM", "The norm to which longer gradients are cut.")]
Averaging = Annotated[
    str | None,
    _setting(
        WALK, "KIND", "Judge by averaged weights: exponential, or stochastic (the equal mean over the last quarter)."
    ),
]
