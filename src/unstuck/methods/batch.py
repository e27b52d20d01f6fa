"""Batches: how many samples an update looks at, which they are, and over which of them statistics are taken.

Lecture chapter 2.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from unstuck.data import LONGEST_EPOCH, Batch, Data, Recut, first_samples, samples_at, samples_in
from unstuck.errors import InputError
from unstuck.methods.rate import scale_rates
from unstuck.methods.warm_up import Gradual, with_schedule_on_top
from unstuck.problem import Problem

RULES: Mapping[str, float] = MappingProxyType({"linear": 1.0, "square-root": 0.5, "none": 0.0})
"""Name → p: a batch k times as large is walked with kᵖ times the rate.

linear: k steps at η are one at kη as long as the gradient stays what it is (Goyal et al. 2017, section 2.1).
square-root: the noise of a step stays what it is (Hoffer, Hubara & Soudry 2017, section 4). Neither holds for all
problems, nor at all sizes (Shallue et al. 2019)."""


def with_batch_size(branch: Problem, size: int, *, rule: str = "linear", warm_up: int = 0) -> Problem:
    """The branch on the same samples in the same order, so many for an update, at the rate that a rule gives.

    A loader with indices keeps its data set, collate function and sampler, and whether it drops a last, smaller batch.
    Of one without, what was recorded is joined and cut. Where updates accumulate batches, these become larger or
    smaller and not more or fewer. A schedule per epoch goes on per epoch, one per update per update.

    Args:
        branch: given away.
        size: samples in an update, over its accumulated batches and all processes.
        rule: one of :data:`RULES`.
        warm_up: updates over which the rate goes from the old to the new one, instead of at once.

    Raises:
        InputError: the data cannot be cut like that, or there is no such rule.
    """
    if rule not in RULES:
        raise InputError(f"no rule for the rate is called {rule!r}; there are {', '.join(RULES)}")
    data, together = branch.data, _together(branch)
    if size < 1 or size % together:
        raise InputError(
            f"a batch of {size} cannot be parted among {together} of the same size: accumulated batches times "
            "processes; give a multiple of it"
        )
    if size > data.samples:
        raise InputError(f"a batch of {size} cannot be cut of {data.samples} samples; give so many at most")
    if size == together and any(branch.modes("measuring").values()):
        raise InputError("the model has batch normalization, which takes no sample alone; give a larger batch")
    factor = (size / (branch.accumulate * data.batch_size)) ** RULES[rule]
    scale_rates(branch.optimizer, branch.scheduler, factor)
    loader = _with_indices(data)
    recut = Recut(loader.batch_sampler, size // together)
    treated = branch.changed(train=DataLoader(loader.dataset, batch_sampler=recut, collate_fn=loader.collate_fn))
    if warm_up == 0 or factor == 1:
        return treated
    return with_schedule_on_top(treated, Gradual(updates=warm_up, start=1 / factor))


def with_batch_times(branch: Problem, times: float, *, rule: str) -> Problem:
    """The branch on batches so many times as large, or as near to it as the data and the model allow.

    Args:
        branch: given away.
        times: k, above or below 1.
        rule: one of :data:`RULES`.
    """
    together = _together(branch)
    least = 2 if any(branch.modes("measuring").values()) else 1
    parts = round(times * branch.accumulate * branch.data.batch_size / together)
    return with_batch_size(branch, together * min(max(parts, least), branch.data.samples // together), rule=rule)


def _together(branch: Problem) -> int:
    """Batches of the loader that make one update: accumulated ones, times the processes that share the data out."""
    data = branch.data
    return branch.accumulate * data.batch_size // samples_in(next(data.order(0)))


def with_shuffle(branch: Problem, *, on: bool = True) -> Problem:
    """The branch on the same samples of each epoch, in batches of the same sizes, in a random order or in their own.

    Args:
        branch: given away.
        on: random; else as they stand in the data set.
    """
    loader = _with_indices(branch.data)
    sampler = Reordered(loader.batch_sampler, shuffled=on)
    return branch.changed(train=DataLoader(loader.dataset, batch_sampler=sampler, collate_fn=loader.collate_fn))


class Reordered(Sampler[list[Any]]):
    """The indices that a batch sampler draws for an epoch, shuffled or sorted, in batches of the same sizes."""

    def __init__(self, batch_sampler: Any, *, shuffled: bool) -> None:
        self.batch_sampler = batch_sampler
        self.drop_last = bool(getattr(batch_sampler, "drop_last", False))
        self.generator = torch.Generator() if shuffled else None

    @property
    def sampler(self) -> Any:
        """Where the batch sampler has its indices from."""
        return getattr(self.batch_sampler, "sampler", None)

    def __iter__(self) -> Iterator[list[Any]]:
        batches = [list(batch) for batch in itertools.islice(self.batch_sampler, LONGEST_EPOCH)]
        indices = sorted(itertools.chain.from_iterable(batches))
        if self.generator is not None:
            order = torch.randperm(len(indices), generator=self.generator, device="cpu").tolist()
            indices = [indices[place] for place in order]
        remaining = iter(indices)
        return (list(itertools.islice(remaining, len(batch))) for batch in batches)


def _with_indices(data: Data) -> DataLoader[Any]:
    """The loader where its batches are drawn as indices; else one over the samples that were recorded of it."""
    if data.indexed:
        loader: Any = data.loader
        return loader  # type: ignore[no-any-return] # loaders of other makes have what is used of it, too
    recorded = list(data.whole(chunk=1))
    samples = Recorded(recorded)
    joined([first_samples(batch, 1) for batch in recorded])  # raises where batches differ
    ends = list(itertools.accumulate(map(samples_in, recorded)))
    batches = [list(range(end - samples_in(batch), end)) for batch, end in zip(recorded, ends, strict=True)]
    return DataLoader(samples, batch_sampler=batches, collate_fn=joined)


class Recorded(Dataset[Batch]):
    """Recorded batches, sample by sample; each is a batch of one."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.places = [(batch, place) for batch in batches for place in range(samples_in(batch))]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Batch:
        batch, place = self.places[index]
        return samples_at(batch, slice(place, place + 1))


def joined(batches: Sequence[Batch]) -> Batch:
    """Batches as one: tensors one after the other; what does not grow with the samples is that of the first.

    Raises:
        InputError: they are not alike.
    """
    first = batches[0]
    try:
        if isinstance(first, Tensor):
            return torch.cat(list(batches)) if first.dim() > 0 and len(first) == samples_in(first) else first
        if isinstance(first, Mapping):
            return {key: joined([batch[key] for batch in batches]) for key in first}
        if isinstance(first, list | tuple):
            parts = [joined(part) for part in zip(*batches, strict=True)]
            return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    except (RuntimeError, KeyError, ValueError) as error:
        raise InputError(
            f"the batches of this loader cannot be joined ({str(error).splitlines()[0]}); "
            "hand over a DataLoader over a data set with indices"
        ) from error
    return first


class Ghost(nn.Module):
    """A layer of batch normalization that takes its statistics over parts of the batch, one after the other."""

    ghost: int

    def forward(self, inputs: Tensor) -> Tensor:
        """The layer's own forward pass on each part in training, on the whole in testing."""
        parts = inputs.tensor_split(max(1, len(inputs) // self.ghost)) if self.training else (inputs,)
        return torch.cat([super(Ghost, self).forward(part) for part in parts])


class GhostBatchNorm1d(Ghost, nn.BatchNorm1d):
    """Of features, or channels of sequences."""


class GhostBatchNorm2d(Ghost, nn.BatchNorm2d):
    """Of channels of images."""


class GhostBatchNorm3d(Ghost, nn.BatchNorm3d):
    """Of channels of volumes."""


GHOSTS = {nn.BatchNorm1d: GhostBatchNorm1d, nn.BatchNorm2d: GhostBatchNorm2d, nn.BatchNorm3d: GhostBatchNorm3d}


def with_ghost_batches(branch: Problem, size: int) -> Problem:
    """The branch with batch normalization over parts of ``size`` samples, whatever the batch.

    μ_run ← (1 − p)ᵏ μ_run + Σᵢ p (1 − p)ᵏ⁻ⁱ μᵢ over the k parts, p being torch's momentum: as if they had come one by
    one (Hoffer, Hubara & Soudry 2017, algorithm 1). Of a batch that ``size`` does not divide the parts are a little
    larger; one that is smaller is a part of its own. Lecture chapters 2 and 5.

    Raises:
        InputError: the model has no batch normalization, or a part would have no variance.
    """
    if size < 2:
        raise InputError(f"a ghost batch must hold 2 samples or more, to have a variance; got {size}")
    layers: list[Any] = [each for each in branch.model.modules() if isinstance(each, Ghost) or type(each) in GHOSTS]
    if not layers:
        raise InputError("ghost batches are those of batch normalization, and the model has none of torch's layers")
    for layer in layers:
        layer.__class__ = GHOSTS.get(type(layer), type(layer))  # in place: its tensors, names and hooks stay
        layer.ghost = size
    return branch
