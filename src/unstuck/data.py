"""Reading a loader without touching it: orders by seed, fixed samples, the whole set.

A loader over an indexable data set is read by its own sampler and collate function, on copies; its order is
then a function of our seed alone. Any other loader is recorded once and replayed.

Where several processes share a training, a DistributedSampler gives each of them a part of the data. Orders are then
those of this process's part; samples and the whole set are those of all parts together, the same on every process.
"""

from __future__ import annotations

import copy
import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler, Sampler

from unstuck.errors import InputError
from unstuck.ranks import ranks
from unstuck.untouched import derived_seed, generators_kept, loader_generators, seed_all, seeded

Batch = Any
"""What a loader gives: usually ``(inputs, targets)``, where inputs are a tensor, a tuple or a dict."""

RECORDED_BATCHES = 256
"""How many batches of a loader without indices are kept in memory."""

LONGEST_EPOCH = 100_000
"""Batches after which an epoch of a sampler without a length is cut (some samplers never end)."""


def map_tensors(function: Callable[[Tensor], Tensor], batch: Batch) -> Batch:
    """Apply ``function`` to every tensor in nested tuples, lists and dicts."""
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {key: map_tensors(function, value) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(map_tensors(function, value) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(map_tensors(function, value) for value in batch)
    return batch


def tensors_of(batch: Batch) -> list[Tensor]:
    """Every tensor in a batch, in order."""
    if isinstance(batch, Tensor):
        return [batch]
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else ()
    return [tensor for part in parts for tensor in tensors_of(part)]


def samples_in(batch: Batch) -> int:
    """The number of samples in a batch: the length of its first tensor."""
    return next((len(tensor) for tensor in tensors_of(batch) if tensor.dim() > 0), 1)


def first_samples(batch: Batch, count: int) -> Batch:
    """The batch cut to its first samples."""
    return samples_at(batch, slice(count))


def samples_at(batch: Batch, places: slice) -> Batch:
    """Some samples of a batch: every tensor as long as the batch is cut, others stay."""
    length = samples_in(batch)
    return map_tensors(lambda tensor: tensor[places] if tensor.dim() > 0 and len(tensor) == length else tensor, batch)


def fingerprint(batches: Iterable[Batch]) -> int:
    """A checksum of every bit of the batches' tensors, in order."""
    code = 0
    for tensor in (tensor for batch in batches for tensor in tensors_of(batch)):
        content = tensor.detach().to_dense().cpu().reshape(-1).view(torch.uint8)
        code = zlib.crc32(content.numpy().tobytes(), code)
    return code


def everyones(batches: tuple[Batch, ...]) -> tuple[Batch, ...]:
    """The batches of all processes together: those given, where all were given the same."""
    processes = ranks()
    if processes.size == 1 or processes.alike(fingerprint(batches)):
        return batches
    return tuple(itertools.chain.from_iterable(processes.gathered(batches)))


class Recut(Sampler[list[Any]]):
    """The indices that a batch sampler draws, in its order, in batches of another size.

    Attributes:
        batch_sampler: what draws them.
        size: indices in a batch.
        drop_last: whether a last, smaller batch is left out; as the batch sampler does.
    """

    def __init__(self, batch_sampler: Any, size: int) -> None:
        self.batch_sampler: Any = batch_sampler.batch_sampler if isinstance(batch_sampler, Recut) else batch_sampler
        self.size = size
        self.drop_last = bool(getattr(self.batch_sampler, "drop_last", False))

    @property
    def sampler(self) -> Any:
        """Where the batch sampler has its indices from."""
        return getattr(self.batch_sampler, "sampler", None)

    def __iter__(self) -> Iterator[list[Any]]:
        return self.cut(self.batch_sampler)

    def cut(self, batches: Iterable[Iterable[Any]]) -> Iterator[list[Any]]:
        """The indices of some batches of the batch sampler, cut.

        One that is left over goes into the batch before: batch normalization takes no sample alone.
        """
        indices = itertools.chain.from_iterable(batches)
        whole: list[Any] = []
        while part := list(itertools.islice(indices, self.size)):
            if len(part) == 1 < self.size and not self.drop_last:
                whole = whole + part
                break
            if whole:
                yield whole
            whole = part
        if len(whole) >= self.size or (whole and not self.drop_last):
            yield whole


class Data:
    """A loader read without touching it."""

    def __init__(self, loader: Iterable[Batch], name: str = "train") -> None:
        self.loader = loader
        self.name = name
        self.indexed = (
            getattr(loader, "batch_sampler", None) is not None
            and hasattr(getattr(loader, "dataset", None), "__getitem__")
            and hasattr(getattr(loader, "dataset", None), "__len__")
        )
        if not self.indexed and isinstance(loader, Iterator):
            raise InputError(
                f"{name}: the loader can be iterated only once; hand over a DataLoader or a list of batches"
            )

    @cached_property
    def _recorded(self) -> list[Batch]:
        loader = self.loader
        if isinstance(loader, DataLoader):
            # A copy of its own: persistent workers are at the disposal of the caller's epoch alone.
            loader = copy.copy(loader)
            loader.__dict__["_iterator"] = None
        with generators_kept(*loader_generators(loader)):
            seed_all(0)
            return list(itertools.islice(loader, RECORDED_BATCHES))

    def _drawn(self, seed: int, epoch: int, *, start: int = 0, all_parts: bool = False) -> list[Any]:
        """One epoch, from the batch ``start`` that the loader had before it was recut: the same samples follow."""
        drawn = self._uncut(seed, epoch, all_parts=all_parts)[start:]
        sampler = getattr(self.loader, "batch_sampler", None)
        return list(sampler.cut(drawn)) if isinstance(sampler, Recut) else drawn

    def _uncut(self, seed: int, epoch: int, *, all_parts: bool = False) -> list[Any]:
        """One epoch as the loader's own sampler draws it: lists of indices, or recorded batches.

        With ``all_parts`` it draws for all processes, as it would for one that trains alone.
        """
        if not self.indexed:
            return list(self._recorded)
        sampler = self._sampler(seed, epoch, all_parts=all_parts)
        if isinstance(sampler, Recut):
            sampler = sampler.batch_sampler
        with seeded(derived_seed(seed, epoch, 2)):
            return list(itertools.islice(sampler, _length(sampler)))

    def _sampler(self, seed: int, epoch: int, *, all_parts: bool) -> Any:
        """A copy of the loader's batch sampler whose generators are seeded."""
        loader: Any = self.loader
        # The sampler holds the data set: the memo shares it instead of copying it.
        sampler = copy.deepcopy(loader.batch_sampler, {id(loader.dataset): loader.dataset})
        for generator in loader_generators(sampler):
            generator.manual_seed(derived_seed(seed, epoch, 1))
        part = _parting(sampler)
        if part is not None:
            part.set_epoch(derived_seed(seed, epoch, 1))
            if all_parts and ranks().size > 1:
                part.rank, part.num_replicas = 0, 1
                part.num_samples = part.total_size = len(part.dataset)  # type: ignore[arg-type]
        return sampler

    @cached_property
    def order_varies(self) -> bool:
        """Whether the loader gives another order under another seed."""
        return self._drawn(0, 0) != self._drawn(1, 0) if self.indexed else False

    @cached_property
    def batches_per_epoch(self) -> int:
        """Batches in one pass. Raises InputError when there are none."""
        count = len(self._drawn(0, 0))
        if count == 0:
            raise InputError(f"{self.name}: the loader is empty; it must give at least one batch")
        return count

    @cached_property
    def _starts(self) -> int:
        """In how many places an epoch may begin: at every batch that the loader had before it was recut."""
        _ = self.batches_per_epoch  # raises where there are none
        return len(self._uncut(0, 0))

    @cached_property
    def samples(self) -> int:
        """Samples in one pass, over all processes."""
        if self.indexed:
            return sum(len(indices) for indices in self._drawn(0, 0, all_parts=True))
        return sum(samples_in(batch) for batch in self._recorded)

    @cached_property
    def batch_size(self) -> int:
        """Samples in the first batch, over the processes that share it out."""
        first = self._drawn(0, 0)[:1]
        if not first:
            raise InputError(f"{self.name}: the loader is empty; it must give at least one batch")
        if not self.indexed:
            return samples_in(first[0])
        part = _parting(self._sampler(0, 0, all_parts=False))
        return len(first[0]) * (1 if part is None or ranks().size == 1 else part.num_replicas)

    def read(self, drawn: Any) -> Batch:
        """The batch of indices that were drawn; one that was recorded is itself."""
        if not self.indexed:
            return drawn
        loader: Any = self.loader
        indices = list(drawn)
        many = getattr(loader.dataset, "__getitems__", None)
        try:
            samples = many(indices) if callable(many) else [loader.dataset[index] for index in indices]
            return loader.collate_fn(samples)
        except Exception as error:  # the caller's data set may raise anything, at any sample
            shown = ", ".join(map(str, indices[:4])) + (", ..." if len(indices) > 4 else "")
            told = f"{type(error).__name__}: {str(error).strip() or 'no message'}".splitlines()[0]
            raise InputError(
                f"`{self.name}`: the samples {shown} could not be read and batched: {told}; "
                "look at the data set's __getitem__ and the loader's collate_fn"
            ) from error

    def order(self, seed: int, *, skip: int = 0) -> Order:
        """Batches without end, epoch after epoch, in the order that ``seed`` gives.

        A loader that always gives the same order is started at another place of it for each seed: the same
        recipe, another sequence of batches, which is what measures the noise between two runs.

        Args:
            seed: decides the order.
            skip: batches that are passed over; they are drawn, and their samples are not read.
        """
        return Order(self, self._endless(seed, skip))

    def _endless(self, seed: int, skip: int) -> Iterator[Any]:
        start = 0 if self.order_varies else derived_seed(seed) * bool(seed) % self._starts
        for epoch in itertools.count():
            batches = self._drawn(seed, epoch, start=start)
            yield from batches[skip:]
            skip = max(0, skip - len(batches))
            start = 0

    def sample(self, count: int, *, chunk: int, seed: int) -> tuple[Batch, ...]:
        """A fixed random sample of ``count`` samples, in even batches of at most ``chunk``.

        Recorded batches are taken whole, until there are enough samples, and two to tell their difference.
        """
        generator = torch.Generator().manual_seed(derived_seed(seed, 3))
        drawn = self._drawn(seed, 0, all_parts=True)
        if not self.indexed:
            mixed = [
                drawn[position] for position in torch.randperm(len(drawn), generator=generator, device="cpu").tolist()
            ]
            before = itertools.accumulate(map(samples_in, mixed), initial=0)
            enough = sum(had < count for had, _ in zip(before, mixed, strict=False))
            return tuple(mixed[: max(2, enough)])
        indices = [index for batch in drawn for index in batch]
        order = torch.randperm(len(indices), generator=generator, device="cpu").tolist()[:count]
        chosen = [indices[position] for position in order]
        with seeded(derived_seed(seed, 4)):
            return tuple(self.read(part) for part in _even(chosen, chunk))

    def whole(self, *, chunk: int) -> Iterator[Batch]:
        """Every sample once, in the data set's own order, in even batches of at most ``chunk``."""
        if not self.indexed:
            yield from self._recorded
            return
        for part in _even(self._members(), chunk):
            yield self.read(part)

    def _members(self) -> Sequence[Any]:
        """The indices that the sampler draws from: a part of the data set where the loader splits it."""
        loader: Any = self.loader
        sampler = getattr(self._sampler(0, 0, all_parts=True), "sampler", None)
        if sampler is None or isinstance(sampler, RandomSampler) or getattr(sampler, "replacement", False):
            return range(len(loader.dataset))
        with seeded(0):
            return sorted(set(itertools.islice(sampler, len(loader.dataset))))


class Order(Iterator[Batch]):
    """The batches of a loader, one after the other.

    Attributes:
        data: whose they are.
        drawn: what the last one was drawn as, by which ``data.read`` gives it again: a few numbers, where the batch
            itself may be large.
    """

    def __init__(self, data: Data, drawn: Iterator[Any]) -> None:
        self.data = data
        self._coming = drawn
        self.drawn: Any = None

    def __next__(self) -> Batch:
        self.drawn = next(self._coming)
        return self.data.read(self.drawn)


def _parting(sampler: Any) -> DistributedSampler[Any] | None:
    """What gives each process a part of the data, in a batch sampler or in place of one."""
    found = (each for each in (sampler, getattr(sampler, "sampler", None)) if isinstance(each, DistributedSampler))
    return next(found, None)


def _even(indices: Sequence[Any], chunk: int) -> Iterator[Sequence[Any]]:
    """Parts of at most ``chunk`` whose lengths differ by one at most: no last one that a batch norm cannot take."""
    count = -(-len(indices) // chunk)
    for number in range(count):
        yield indices[number * len(indices) // count : (number + 1) * len(indices) // count]


def _length(sampler: Any) -> int:
    """The length of a batch sampler; one whose indices never end has none."""
    try:
        return len(sampler)
    except TypeError:
        return LONGEST_EPOCH
