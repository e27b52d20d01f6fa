"""Which engine serves a model: by what it is made of, by size and by agreement, never by a clock.

A few samples are enough to learn whether torch can differentiate the loss twice and symmetrically, how much
arithmetic a pass takes and how much memory a kept graph holds. The rules rest on measurements on the CPU:

* a kept graph costs 1.0 to 2.3 gradients per product and is built at the price of two;
* where convolutions do the work, the linearized gradient costs about three quarters of that in batches of a middle
  size, but tracing it takes as long as twenty gradients; it is used for these alone, after both agreed on a vector;
* vectors go through a graph together only where calls, not arithmetic, take the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from unstuck.curvature.engines import (
    Engine,
    FlatLoss,
    KeptGraph,
    Linearized,
    agree,
    raise_if_out_of_memory,
    symmetric,
)

LINEARIZED = (5e8, 1.5e9)
"""Operations of a forward pass between which tracing a convolutional network pays: with fewer it takes longer than
it saves, and with more what it holds, twice a kept graph's memory, is too far from the processor."""

BATCHED_UP_TO = 5e7
"""Operations of a forward pass up to which calls take the time, so that vectors go together."""

PLAIN_ATTENTION = (
    "attention was computed by torch's plain kernel, because the fused ones cannot be differentiated twice; "
    "they differ by rounding"
)
"""What is said of a model that calls torch's attention."""

TIMED = 3
"""Products that are timed where the caller asks for the clock."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a rehearsal on a few samples has shown.

    Attributes:
        exact: whether torch's second derivative exists and is symmetric.
        operations: of a forward pass, per sample.
        kept_bytes: of a kept graph, per sample.
        fixed_bytes: of a kept graph, whatever the samples.
        convolutions: whether they take half of the operations.
        attention: whether torch's attention is called, for which there are fused kernels.
    """

    exact: bool
    operations: float = 0.0
    kept_bytes: float = 0.0
    fixed_bytes: float = 0.0
    convolutions: bool = False
    attention: bool = False

    def batched(self, samples: int) -> bool:
        """Whether blocks of vectors go through a graph of so many samples together."""
        return self.operations * samples <= BATCHED_UP_TO

    def linearized(self, samples: int) -> bool:
        """Whether a linearized gradient is worth its tracing for so many samples."""
        least, most = LINEARIZED
        return self.convolutions and least <= self.operations * samples <= most


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The loss of a few samples, and how many they are."""

    loss: FlatLoss
    samples: int


def rehearse(trials: Sequence[Trial], flat: Tensor, *, resolution: float, enough: float) -> Plan:
    """Tries the second derivative on a few samples and counts what it takes.

    Args:
        trials: the few samples; with a second trial of fewer, memory for samples is told from that for the point.
        flat: the point, shape (n,).
        resolution: relative rounding error of the loss.
        enough: bytes per sample up to which the memory need not be told more exactly.
    """
    loss, samples = trials[0].loss, trials[0].samples
    counter = FlopCounterMode(display=False)
    with counter, _Attention() as attention, torch.no_grad():
        loss(flat)
    total = counter.get_total_flops()
    convolved = sum(count for name, count in counter.get_flop_counts()["Global"].items() if "convolution" in str(name))
    try:
        with bytes_saved() as saved:
            graph = KeptGraph(loss, flat)
        exact = symmetric(graph, flat, resolution)
        held = sum(saved.values())
        per_sample = held / samples
        if per_sample > enough and trials[-1].samples < samples:
            with bytes_saved() as saved_of_fewer:
                KeptGraph(trials[-1].loss, flat)
            per_sample = (held - sum(saved_of_fewer.values())) / (samples - trials[-1].samples)
    except (RuntimeError, NotImplementedError) as error:
        raise_if_out_of_memory(error)
        return Plan(exact=False, attention=attention.called)
    return Plan(
        exact=exact,
        operations=total / samples,
        kept_bytes=per_sample,
        fixed_bytes=max(0.0, held - per_sample * samples),
        convolutions=2 * convolved > total,
        attention=attention.called,
    )


class _Attention(TorchFunctionMode):
    """Takes note of calls of torch's attention."""

    def __init__(self) -> None:
        super().__init__()
        self.called = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        # Where its weights are wanted too, several heads are computed without a fused kernel in training as well.
        several = func is F.multi_head_attention_forward and not given.get("need_weights", True)
        self.called |= several or func is F.scaled_dot_product_attention
        return func(*args, **given)


@contextmanager
def bytes_saved() -> Iterator[dict[int, int]]:
    """The memory that graphs built in the block hold: storage → bytes."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield storages


def engine_for(loss: FlatLoss, flat: Tensor, *, samples: int, plan: Plan, tune: bool) -> Engine:
    """The engine for one batch, by the plan's rules; with ``tune`` the faster of the two, by the clock."""
    kept = KeptGraph(loss, flat, batched=plan.batched(samples))
    if not (tune or plan.linearized(samples)):
        return kept
    vector = torch.randn(flat.numel(), generator=torch.Generator().manual_seed(1), device="cpu").to(flat)
    try:
        linearized = Linearized(loss, flat)
        if not agree(linearized.product(vector), kept.product(vector)):
            return kept
    except (RuntimeError, NotImplementedError, TypeError) as error:  # forward mode knows fewer operations
        raise_if_out_of_memory(error)
        return kept
    if tune and _seconds(kept, vector) < _seconds(linearized, vector):
        return kept
    return linearized


def _seconds(engine: Engine, vector: Tensor) -> float:
    times = []
    for _ in range(TIMED):
        began = time.perf_counter()
        float(engine.product(vector)[0])  # waits for the device
        times.append(time.perf_counter() - began)
    return min(times)
