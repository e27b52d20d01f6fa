"""Small trainings in double precision, as one process makes them and as each of several does; targets as well."""

from __future__ import annotations

import atexit
import dataclasses
import os
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from tests import zoo
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from unstuck.classifier import classifier, perceptron, table
from unstuck.problem import Problem
from unstuck.untouched import seeded

BATCH = 6
"""Samples of an update, over all processes."""


def whole() -> tuple[Tensor, Tensor]:
    """24 samples."""
    return zoo.table()


def parted(*tensors: Tensor, batch: int = BATCH) -> DataLoader[Any]:
    """A loader that gives each process its part of the data and of each batch, and one process all of it."""
    size, rank = (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)
    data = TensorDataset(*tensors)
    return DataLoader(data, batch // size, sampler=DistributedSampler(data, size, rank))


def plain(model: Callable[[], nn.Module] = zoo.perceptron, **fields: Any) -> Problem:
    """As it is."""
    return zoo.problem(model, **{"train": parted(*whole()), **fields})


def wrapped(model: Callable[[], nn.Module] = zoo.perceptron, **fields: Any) -> Problem:
    """The same, in DistributedDataParallel where there are several processes."""
    made = plain(model, **fields)
    if not dist.is_initialized():
        return made
    return dataclasses.replace(made, model=DistributedDataParallel(made.model))


def sharded(model: Callable[[], nn.Module] = zoo.perceptron, **fields: Any) -> Problem:
    """The same, its parameters spread over the processes where there are several."""
    made = plain(model, **fields)
    if not dist.is_initialized():
        return made
    for module in (*made.model.children(), made.model):
        if next(module.parameters(), None) is not None:
            fully_shard(module)
    return dataclasses.replace(made, optimizer=torch.optim.SGD(made.model.parameters(), lr=0.05))


def planted() -> Problem:
    """A target: every weight at zero, under DistributedDataParallel. It relies on the process group being there."""
    made = planted_alone()
    return dataclasses.replace(made, model=DistributedDataParallel(made.model))


def planted_alone() -> Problem:
    """The same for one process."""
    model = perceptron(hidden=4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return classifier("all weights zero", rate=0.2, model=model, train=parted(*table(), batch=32))


def spread() -> Problem:
    """A target that makes the process group itself, and shards its model."""
    if not dist.is_initialized():
        dist.init_process_group("gloo")
        atexit.register(dist.destroy_process_group)  # else its threads may outlive what they use
    return sharded()


def failing_on_one() -> Problem:
    """A target whose second process cannot read its data."""
    if os.environ.get("RANK") == "1":
        raise OSError("the disk is full")
    return plain(train=DataLoader(TensorDataset(*whole()), BATCH))


def ragged() -> list[tuple[Tensor, Tensor]]:
    """Three batches of 11, 8 and 5 samples."""
    inputs, targets = whole()
    return list(zip(inputs.split([11, 8, 5]), targets.split([11, 8, 5]), strict=True))


def vector(length: int) -> Tensor:
    """A fixed direction, shape (length,)."""
    with seeded(7):
        return torch.randn(length, dtype=torch.float64)
