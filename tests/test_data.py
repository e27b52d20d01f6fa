"""Orders, samples and the whole of a loader, read without touching it."""

from __future__ import annotations

import itertools
import random
from collections import Counter, UserDict, namedtuple
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tests import zoo
from tests.untouched import content, of_object
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, Sampler, TensorDataset

from unstuck.data import Data, map_tensors, samples_in, tensors_of
from unstuck.errors import InputError

LOADERS = list(zoo.loaders())
VARYING = [
    "shuffled",
    "shuffled by the process",
    "weighted",
    "subset",
    "last batch dropped",
    "batch of one",
    "full batch",
]


def rows(batches: Any) -> list[tuple[int, ...]]:
    """Each batch as the numbers of its samples in the table."""
    inputs = zoo.table()[0]
    numbers = {tuple(row.tolist()): number for number, row in enumerate(inputs)}
    return [tuple(numbers[tuple(row.tolist())] for row in batch[0].reshape(-1, zoo.FEATURES)) for batch in batches]


def epochs(data: Data, seed: int, count: int = 2) -> list[list[tuple[int, ...]]]:
    order = rows(itertools.islice(data.order(seed), count * data.batches_per_epoch))
    return [order[i * data.batches_per_epoch : (i + 1) * data.batches_per_epoch] for i in range(count)]


@pytest.fixture(params=LOADERS)
def loader(request: pytest.FixtureRequest) -> Any:
    return zoo.loaders()[request.param]


def test_reading_leaves_the_loader_and_the_generators_alone(loader: Any) -> None:
    before = dict(of_object(loader)), content(torch.get_rng_state()), random.getstate()
    data = Data(loader)
    assert data.samples >= data.batch_size >= 1
    for _ in (data.order_varies, data.sample(7, chunk=3, seed=1), list(data.whole(chunk=4))):
        pass
    list(itertools.islice(data.order(3), 12))
    assert (dict(of_object(loader)), content(torch.get_rng_state()), random.getstate()) == before


@pytest.mark.parametrize("name", LOADERS)
def test_a_seed_fixes_the_order_whatever_the_process_has_drawn(name: str) -> None:
    first, second = Data(zoo.loaders()[name]), Data(zoo.loaders()[name])
    order = epochs(first, 5)
    torch.rand(3), random.random()
    assert epochs(second, 5) == order
    assert first.order_varies == (name in VARYING)
    assert [len(epoch) for epoch in order] == [first.batches_per_epoch] * 2
    assert Counter(map(len, order[0])) == Counter(map(samples_in, zoo.loaders()[name]))


@pytest.mark.parametrize("name", VARYING)
def test_another_seed_and_another_epoch_are_other_orders(name: str) -> None:
    data = Data(zoo.loaders()[name])
    first, second = epochs(data, 1)
    assert first != second
    assert epochs(data, 2)[0] != first
    if name not in ("weighted", "last batch dropped"):
        assert sorted(itertools.chain(*first)) == sorted(itertools.chain(*second))


@pytest.mark.parametrize("skip", [1, 5, 7, 13])
def test_an_order_can_be_entered_later(loader: Any, skip: int) -> None:
    data = Data(loader)
    assert rows(itertools.islice(data.order(3, skip=skip), 6)) == rows(itertools.islice(data.order(3), skip + 6))[skip:]


def test_what_is_skipped_is_not_read() -> None:
    read: list[int] = []

    class Noting(Dataset[Tensor]):
        def __len__(self) -> int:
            return zoo.SAMPLES

        def __getitem__(self, index: int) -> Tensor:
            read.append(index)
            return torch.tensor(index)

    data = Data(DataLoader(Noting(), batch_size=zoo.BATCH))
    next(data.order(0, skip=7))
    assert read == list(range(10, 15))


@pytest.mark.parametrize("name", ["sequential", "stream", "list"])
def test_an_order_that_cannot_vary_starts_elsewhere(name: str) -> None:
    data = Data(zoo.loaders()[name])
    assert epochs(data, 0)[0] == [tuple(range(i, min(i + 5, 24))) for i in range(0, 24, 5)]
    starts = {tuple(epochs(data, seed, 1)[0][0]) for seed in range(30)}
    assert len(starts) == 5
    turned = epochs(data, 3)
    place = [batch[0] // 5 for epoch in turned for batch in epoch]
    assert all((a + 1) % 5 == b for a, b in itertools.pairwise(place))


@pytest.mark.parametrize(
    ("name", "samples", "batches", "size"),
    [
        ("shuffled", 24, 5, 5),
        ("last batch dropped", 20, 4, 5),
        ("subset", 12, 3, 5),
        ("stream", 24, 5, 5),
        ("batches of the data set's own", 24, 5, 5),
        ("list", 24, 5, 5),
        ("batch of one", 24, 24, 1),
        ("full batch", 24, 1, 24),
    ],
)
def test_counts(name: str, samples: int, batches: int, size: int) -> None:
    data = Data(zoo.loaders()[name])
    assert (data.samples, data.batches_per_epoch, data.batch_size) == (samples, batches, size)


def test_a_sample_is_even_distinct_and_fixed_by_its_seed() -> None:
    data = Data(zoo.loaders()["shuffled"])
    first = rows(data.sample(11, chunk=5, seed=2))
    assert [len(batch) for batch in first] == [3, 4, 4]
    assert len(set(itertools.chain(*first))) == 11
    assert rows(data.sample(11, chunk=5, seed=2)) == first
    assert rows(data.sample(11, chunk=5, seed=3)) != first
    assert sorted(itertools.chain(*rows(data.sample(99, chunk=99, seed=0)))) == list(range(24))


def test_no_part_of_a_sample_is_a_single_one() -> None:
    """Batch normalization refuses to normalize one sample; 33 in parts of 16 would leave one."""
    inputs = torch.arange(33.0)[:, None]
    data = Data(DataLoader(TensorDataset(inputs, inputs), batch_size=11))
    assert [len(batch[0]) for batch in data.sample(33, chunk=16, seed=0)] == [11, 11, 11]
    assert [len(batch[0]) for batch in data.whole(chunk=16)] == [11, 11, 11]


def test_the_same_samples_in_larger_parts() -> None:
    data = Data(zoo.loaders()["shuffled"])
    small, large = data.sample(11, chunk=3, seed=2), data.sample(11, chunk=99, seed=2)
    assert list(itertools.chain(*rows(small))) == list(itertools.chain(*rows(large)))


def test_a_sample_of_recorded_batches_keeps_them_whole() -> None:
    batches = zoo.loaders()["list"]  # four of five samples and one of four
    for seed in range(5):
        chosen = Data(batches).sample(11, chunk=2, seed=seed)
        assert len(chosen) == 3
        assert all(any(batch is one for one in batches) for batch in chosen)
    assert len(Data(batches).sample(10, chunk=2, seed=0)) in (2, 3)
    assert len(Data(batches).sample(99, chunk=2, seed=0)) == 5


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("shuffled", range(24)),
        ("sequential", range(24)),
        ("weighted", range(24)),
        ("subset", range(3, 15)),
        ("last batch dropped", range(24)),
        ("stream", range(24)),
        ("list", range(24)),
    ],
)
def test_the_whole_is_every_sample_once_in_order(name: str, members: range) -> None:
    assert list(itertools.chain(*rows(Data(zoo.loaders()[name]).whole(chunk=5)))) == list(members)


def test_the_whole_of_a_sampler_that_takes_a_part_each_epoch() -> None:
    table = TensorDataset(*zoo.table())
    loader = DataLoader(table, 4, sampler=RandomSampler(table, num_samples=8, generator=zoo.generator()))
    data = Data(loader)
    assert data.samples == 8
    assert list(itertools.chain(*rows(data.whole(chunk=24)))) == list(range(24))


def test_a_collate_function_and_a_sampler_of_ones_own() -> None:
    class Pairs(Sampler[list[int]]):
        """A batch sampler: neighbours, in an order of its own generator."""

        def __init__(self) -> None:
            self.generator = zoo.generator()

        def __iter__(self) -> Iterator[list[int]]:
            for number in torch.randperm(12, generator=self.generator).tolist():
                yield [2 * number, 2 * number + 1]

        def __len__(self) -> int:
            return 12

    sampler = Pairs()
    loader = DataLoader(TensorDataset(*zoo.table()), batch_sampler=sampler, collate_fn=zoo.dictionary)
    before = sampler.generator.get_state()
    data = Data(loader)
    inputs, targets = next(data.order(0))
    assert set(inputs) == {"left", "right"}
    assert len(targets) == data.batch_size == 2
    assert data.order_varies
    assert len(list(data.whole(chunk=6))) == 4
    assert torch.equal(sampler.generator.get_state(), before)


def test_indices_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(Sampler[int]):
        def __iter__(self) -> Iterator[int]:
            return itertools.cycle(range(3, 7))

    monkeypatch.setattr("unstuck.data.LONGEST_EPOCH", 1000)
    loader = DataLoader(TensorDataset(*zoo.table()), batch_size=2, sampler=Endless())
    data = Data(loader)
    assert rows(itertools.islice(data.order(0), 3)) == [(3, 4), (5, 6), (3, 4)]
    assert list(itertools.chain(*rows(data.whole(chunk=3)))) == [3, 4, 5, 6]


def test_batches_of_a_sampler_that_is_a_list() -> None:
    loader = DataLoader(TensorDataset(*zoo.table()), batch_sampler=BatchSampler(range(6), 4, drop_last=False))
    data = Data(loader)
    assert rows(itertools.islice(data.order(0), 2)) == [(0, 1, 2, 3), (4, 5)]
    assert list(itertools.chain(*rows(data.whole(chunk=24)))) == list(range(6))


class Noisy(IterableDataset[Any]):
    """Adds noise of the process's generator to a stream."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for row, target in zip(*zoo.table(), strict=True):
            yield row + torch.randn(zoo.FEATURES), target


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stream_is_recorded_once_and_replayed(workers: int) -> None:
    loader = DataLoader(Noisy(), batch_size=5, num_workers=workers, persistent_workers=bool(workers))
    before = torch.get_rng_state()
    first, again = Data(loader), Data(loader)
    batches = list(itertools.islice(first.order(0), 10))
    assert all(a is b for a, b in zip(batches[:5], batches[5:], strict=True))
    assert torch.equal(next(again.order(0))[0], batches[0][0])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_callers_epoch_with_persistent_workers_goes_on() -> None:
    loader = DataLoader(zoo.Stream(*zoo.table()), batch_size=5, num_workers=1, persistent_workers=True)
    expected = rows(loader)
    epoch = iter(loader)
    seen = [next(epoch)]
    assert Data(loader).samples == 24
    assert rows(seen + list(epoch)) == expected


def test_augmentation_follows_the_walk_and_not_the_process() -> None:
    class Augmented(TensorDataset):
        def __getitem__(self, index: int) -> tuple[Tensor, ...]:
            row, target = (tensor[index] for tensor in self.tensors)
            return row + torch.randn(zoo.FEATURES), target

    data = Data(DataLoader(Augmented(*zoo.table()), batch_size=5))
    first = data.sample(6, chunk=6, seed=1)[0][0]
    torch.rand(1)
    assert torch.equal(data.sample(6, chunk=6, seed=1)[0][0], first)


@pytest.mark.parametrize(
    ("loader", "says"),
    [
        ([], "train: the loader is empty; it must give at least one batch"),
        (DataLoader(TensorDataset(torch.zeros(3, 1)), batch_size=5, drop_last=True), "train: the loader is empty"),
        (iter([1]), "train: the loader can be iterated only once; hand over a DataLoader or a list of batches"),
        ((batch for batch in [1]), "can be iterated only once"),
    ],
)
def test_what_cannot_be_read_is_refused(loader: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        _ = Data(loader).batches_per_epoch


class Torn(TensorDataset):
    """Has one sample that cannot be read."""

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        if index == 7:
            raise OSError("the file is cut off\nhere")
        return tuple(tensor[index] for tensor in self.tensors)


def test_samples_that_cannot_be_read_are_named() -> None:
    data = Data(DataLoader(Torn(*zoo.table()), batch_size=5), "valid")
    order = data.order(0)
    next(order)
    says = "`valid`: the samples 5, 6, 7, 8, ... could not be read and batched: OSError: the file is cut off; look at"
    with pytest.raises(InputError, match=says):
        next(order)


def test_batch_size_of_nothing() -> None:
    with pytest.raises(InputError, match="valid: the loader is empty"):
        _ = Data([], "valid").batch_size


Named = namedtuple("Named", "left right")


def test_tensors_in_nested_batches() -> None:
    one, two, three = torch.ones(3, 2), torch.zeros(()), torch.full((4,), 2.0)
    batch = (Named(two, [one]), {"a": three, "b": ("text", 5)}, UserDict(c=two))
    assert [id(tensor) for tensor in tensors_of(batch)] == [id(two), id(one), id(three), id(two)]
    assert samples_in(batch) == 3
    assert samples_in((two,)) == 1
    doubled = map_tensors(lambda tensor: 2 * tensor, batch)
    assert isinstance(doubled[0], Named)
    assert doubled[1]["b"] == ("text", 5)
    assert torch.equal(doubled[0].right[0], 2 * one)
    assert torch.equal(doubled[1]["a"], 2 * three)
