"""The hosts of the ward: eight healthy trainings into which faults are planted.

Rates are tuned: of a grid of factors of two, the best after :data:`UPDATES` updates, or half of it where the best is
at the edge of what the training bears. A host is healthy where it gets below its level.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from torch import nn

from unstuck.untouched import seeded
from unstuck.ward import tasks
from unstuck.ward.networks import BagOfWords, Recurrent, Transformer, convolutional, mixer, perceptron, residual
from unstuck.ward.parts import Parts, Rule
from unstuck.ward.tasks import Task

UPDATES = 600
"""Of a training, where it is looked at what came of it."""

OPTIMIZERS = ("sgd", "adam", "adamw")

DECAY = 0.01
"""AdamW's weight decay: torch's own default."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """One healthy training.

    Attributes:
        name: of the host.
        task: data by the seed.
        network: the model, with torch's own initialization.
        rates: the tuned rate of each optimizer.
        level: the training loss that it gets below in :data:`UPDATES` updates.
        batch: samples in a batch.
        regression: whether the loss is a squared error.
    """

    name: str
    task: Callable[[int], Task]
    network: Callable[[], nn.Module]
    rates: Mapping[str, float]
    level: float
    batch: int = 32
    regression: bool = False

    def parts(self, optimizer: str, seed: int) -> Parts:
        """The healthy training under one of :data:`OPTIMIZERS`."""
        with seeded(seed):
            model = self.network()
        drawn = self.task(seed)
        return Parts(
            train=drawn.train,
            valid=drawn.valid,
            model=model,
            loss=F.mse_loss if self.regression else F.cross_entropy,
            rule=Rule(
                optimizer=optimizer,
                rate=self.rates[optimizer],
                weight_decay=DECAY if optimizer == "adamw" else 0.0,
            ),
            batch=self.batch,
        )


HOSTS = (
    Host(
        name="perceptron",
        task=tasks.teacher,
        network=lambda: perceptron((tasks.FEATURES, 48, 48, tasks.KINDS)),
        rates={"sgd": 0.02, "adam": 4e-3, "adamw": 4e-3},
        level=0.3,
    ),
    Host(
        name="convolutional",
        task=tasks.glyphs,
        network=lambda: convolutional(10),
        rates={"sgd": 0.05, "adam": 6e-3, "adamw": 6e-3},
        level=0.2,
    ),
    Host(
        name="residual",
        task=tasks.waves,
        network=lambda: residual(tasks.WAVES),
        rates={"sgd": 0.07, "adam": 0.012, "adamw": 0.012},
        level=0.17,
    ),
    Host(
        name="recurrent",
        task=tasks.recall,
        network=lambda: Recurrent(nn.GRU(tasks.SYMBOLS, 24, batch_first=True), tasks.SYMBOLS),
        rates={"sgd": 0.3, "adam": 0.01, "adamw": 0.01},
        level=0.5,
    ),
    Host(
        name="transformer",
        task=tasks.text,
        network=lambda: Transformer(len(tasks.LETTERS), tasks.CONTEXT),
        rates={"sgd": 0.15, "adam": 6e-3, "adamw": 6e-3},
        level=2.05,
        batch=16,
    ),
    Host(
        name="autoencoder",
        task=tasks.surface,
        network=lambda: perceptron((tasks.OBSERVED, 32, tasks.HIDDEN, 32, tasks.OBSERVED), nn.Tanh),
        rates={"sgd": 0.1, "adam": 0.01, "adamw": 0.01},
        level=0.11,
        regression=True,
    ),
    Host(
        name="bag-of-words",
        task=tasks.subject,
        network=lambda: BagOfWords(tasks.VOCABULARY, len(tasks.SUBJECTS)),
        rates={"sgd": 0.3, "adam": 0.01, "adamw": 0.01},
        level=0.4,
    ),
    Host(
        name="mixer",
        task=tasks.vibrations,
        network=lambda: mixer(tasks.PATCHES, tasks.PATCH, tasks.ASKED),
        rates={"sgd": 0.05, "adam": 5e-3, "adamw": 5e-3},
        level=0.05,
        regression=True,
    ),
)

BY_NAME = {host.name: host for host in HOSTS}
