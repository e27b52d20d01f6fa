"""What a training of the ward is put together from, so that a fault can be planted into any part of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from unstuck.methods.schedule import Schedule, with_schedule
from unstuck.problem import LossFunction, Problem
from unstuck.walk import fixed_threads, walk
from unstuck.ward.tasks import Samples

BEFORE = 1_009
"""The order of the updates that are made before a training is handed over; no trial has the same."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How parameters are updated: torch's SGD with momentum, its Adam, or its AdamW."""

    optimizer: str
    rate: float
    momentum: float = 0.9
    weight_decay: float = 0.0
    epsilon: float = 1e-8

    def over(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of these parameters."""
        if self.optimizer == "sgd":
            return torch.optim.SGD(parameters, lr=self.rate, momentum=self.momentum, weight_decay=self.weight_decay)
        kind = torch.optim.Adam if self.optimizer == "adam" else torch.optim.AdamW
        betas = (self.momentum, 0.999)
        return kind(parameters, lr=self.rate, betas=betas, eps=self.epsilon, weight_decay=self.weight_decay)


def everything(model: nn.Module) -> list[nn.Parameter]:
    """All parameters of a model."""
    return list(model.parameters())


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A training before it is put together.

    Attributes:
        train: inputs and targets.
        valid: those that are held out.
        model: the network; nobody else's.
        loss: (outputs, targets) → the mean over the batch.
        rule: how parameters are updated.
        batch: samples in a batch.
        shuffle: whether they are drawn in random order.
        listed: the parameters that the optimizer is given.
        schedule: the factor on the rate, by the update.
        clip_norm: the norm that gradients are cut to.
        accumulate: batches per update.
        walked: updates that have been made when the training is handed over.
        touched: done to the model then.
    """

    train: Samples
    valid: Samples
    model: nn.Module
    loss: LossFunction
    rule: Rule
    batch: int = 32
    shuffle: bool = True
    listed: Callable[[nn.Module], list[nn.Parameter]] = everything
    schedule: Schedule | None = None
    clip_norm: float | None = None
    accumulate: int = 1
    walked: int = 0
    touched: Callable[[nn.Module], None] | None = None

    def but(self, **parts: Any) -> Parts:
        """The same with some parts exchanged."""
        return dataclasses.replace(self, **parts)

    def ruled(self, **settings: Any) -> Parts:
        """The same under other settings of the update rule."""
        return self.but(rule=dataclasses.replace(self.rule, **settings))

    def seeing(self, change: Callable[[Tensor], Tensor]) -> Parts:
        """The same with all inputs changed, held-out ones as well."""
        (inputs, targets), (unseen, others) = self.train, self.valid
        return self.but(train=(change(inputs), targets), valid=(change(unseen), others))

    @property
    def samples_per_update(self) -> int:
        """Over accumulated batches."""
        return self.batch * self.accumulate

    def problem(self, name: str) -> Problem:
        """The training, walked to where it is handed over."""
        start = self._start(name)
        branch = start.branch()
        if self.walked:
            with fixed_threads(1):
                walk(branch, self.walked, order=BEFORE)
        if self.touched is not None:
            self.touched(branch.model)
        return branch.changed(fresh=start.branch)

    def _start(self, name: str) -> Problem:
        optimizer = self.rule.over(self.listed(self.model))
        problem = Problem(
            model=self.model,
            loss=self.loss,
            train=DataLoader(TensorDataset(*self.train), batch_size=self.batch, shuffle=self.shuffle),
            optimizer=optimizer,
            valid=DataLoader(TensorDataset(*self.valid), batch_size=256),
            clip_norm=self.clip_norm,
            accumulate=self.accumulate,
            name=name,
        )
        return problem if self.schedule is None else with_schedule(problem, self.schedule)
