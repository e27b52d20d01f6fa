"""Batches of an epoch against chance: sorted, in blocks, drifting, repeated, balanced, shuffled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from tests import zoo
from tests.closed_forms.made import normal
from tests.probes.look import look, view
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler, Sampler, TensorDataset

from unstuck.budget import Budget
from unstuck.classifier import classifier, table
from unstuck.probes.order import BATCHES, FEWEST, SAMPLES, STRETCHES, Order, OrderReading
from unstuck.problem import Problem
from unstuck.specimens import healthy

INPUTS, TARGETS = table()
SORTED = TARGETS.argsort(stable=True)


def loaded(inputs: Tensor = INPUTS, targets: Tensor = TARGETS, batch: int = 32, **how: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(inputs, targets), batch, **how)


def read(train: Any, seed: int = 0) -> OrderReading:
    reading: OrderReading = look(Order(), classifier("some", train=train), seed=seed)
    return reading


class Balanced(Sampler[int]):
    """The classes in turn, each in a random order."""

    def __init__(self) -> None:
        self.generator = torch.Generator()

    def __iter__(self) -> Iterator[int]:
        kinds = [torch.eq(TARGETS, kind).nonzero().flatten() for kind in range(4)]
        mixed = [kind[torch.randperm(len(kind), generator=self.generator)][:140] for kind in kinds]
        return iter(torch.stack(mixed, 1).flatten().tolist())

    def __len__(self) -> int:
        return 560


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("batch", [1, 32, 200])
def test_shuffled_data(seed: int, batch: int) -> None:
    reading = read(loaded(batch=batch, shuffle=True), seed)
    assert reading.sampled
    assert reading.varies
    assert reading.kinds == "classes"
    assert reading.expected_share * 0.5 < (reading.target_share or 0.0) < reading.expected_share * 1.8
    assert reading.repeated == reading.repeated_together == 0.0


def test_sorted_classes() -> None:
    reading = read(loaded(INPUTS[SORTED], TARGETS[SORTED]))
    assert not reading.sampled
    assert reading.varies is False
    assert reading.excess == pytest.approx((reading.target_share or 0.0) / reading.expected_share)
    counts = np.stack([np.bincount(part, minlength=4) for part in TARGETS[SORTED].numpy().reshape(-1, 32)])
    chance = (counts.sum(0) ** 2).sum() / 1_024
    assert reading.target_share == pytest.approx(((counts**2).sum() / 32 - chance) / (1_024 - chance))
    assert reading.target_p == reading.input_p == 0.001
    assert reading.target_memory is not None
    assert reading.target_memory > 0.8
    np.testing.assert_allclose(np.array(reading.shares).T, counts / 32)
    assert reading.names == ("0", "1", "2", "3")


def test_blocks_of_classes_in_a_random_order() -> None:
    blocks = SORTED.reshape(-1, 32)[torch.randperm(32, generator=torch.Generator().manual_seed(0))].flatten()
    reading = read(loaded(INPUTS[blocks], TARGETS[blocks]))
    assert not reading.sampled
    assert reading.target_p == 0.001
    assert reading.target_memory_p is not None
    assert reading.target_memory_p > 0.01


@pytest.mark.parametrize("batch", [1, 3])
def test_small_batches_are_put_together(batch: int) -> None:
    reading = read(loaded(INPUTS[SORTED], TARGETS[SORTED], batch=batch))
    together = -(-FEWEST // batch)
    assert reading.places[:3] == (0, together, 2 * together)
    assert not reading.sampled
    assert reading.target_share is not None
    assert reading.target_share > 0.9


def test_sorted_targets_of_a_regression() -> None:
    targets = normal(600, 1)
    inputs = torch.cat([targets + normal(600, 1, seed=1), normal(600, 3, seed=2)], 1)
    order = targets[:, 0].argsort()
    found = {}
    for name, picked in (("sorted", order), ("as drawn", torch.arange(600))):
        problem = zoo.problem(
            lambda: nn.Linear(4, 1), loss=nn.MSELoss(), train=loaded(inputs[picked], targets[picked], batch=20)
        )
        found[name] = look(Order(), problem)
    assert found["as drawn"].sampled
    assert not found["sorted"].sampled
    assert found["sorted"].kinds == "halves"
    assert found["sorted"].target_share == pytest.approx(1.0)
    assert found["sorted"].shown == "tenths of the targets"
    assert np.array(found["sorted"].shares)[0, :3] == pytest.approx(1.0)  # the first three batches are the lowest tenth


def test_data_that_drift() -> None:
    """Inputs move by a deviation on the way; the targets are not sorted."""
    drifting = INPUTS + torch.linspace(-1, 1, len(INPUTS))[:, None] * INPUTS.new_tensor([1.0, 3.0] * 10)
    reading = read(loaded(drifting, TARGETS))
    assert not reading.sampled
    assert reading.input_p == 0.001
    assert reading.target_p is not None
    assert reading.target_p > 0.01
    assert read(loaded(drifting, TARGETS, shuffle=True)).sampled


def test_balanced_batches_are_no_fault() -> None:
    reading = read(loaded(sampler=Balanced()))
    assert reading.sampled
    assert reading.target_share == pytest.approx(0.0)
    assert reading.target_p == 1.0


def test_repeated_samples_that_come_together() -> None:
    reading = read(loaded(INPUTS[:256].repeat_interleave(4, 0), TARGETS[:256].repeat_interleave(4)))
    assert not reading.sampled
    assert (reading.repeated, reading.repeated_together) == (0.75, 0.75)
    assert reading.expected_together < 0.1
    assert reading.repeated_p == 0.001
    assert "75% had been read before" in reading.notes[0]


def test_the_same_batch_again_and_again() -> None:
    reading = read([(INPUTS[:32], TARGETS[:32])] * 20)
    assert reading.repeated == 0.95
    assert reading.varies is None  # recorded: it cannot be asked for another epoch
    assert reading.repeated_together == 0.0


def test_drawn_with_replacement() -> None:
    reading = read(loaded(sampler=RandomSampler(TARGETS, replacement=True)))
    assert reading.sampled
    assert reading.repeated == pytest.approx(np.exp(-1), abs=0.05)
    assert reading.repeated_together == pytest.approx(reading.expected_together, abs=0.02)


def test_more_classes_than_are_shown() -> None:
    targets = torch.arange(120).repeat_interleave(20)
    reading = read(loaded(normal(2_400, 3), targets, batch=20))
    assert reading.kinds == "classes"
    assert reading.target_share == pytest.approx(1.0)
    assert len(reading.names) == len(reading.shares) == 50
    assert reading.names[0] == "0, 50 …"


@pytest.mark.parametrize(
    ("targets", "kinds"),
    [
        (TARGETS % 2, "classes"),
        ((TARGETS % 2).float()[:, None], "classes"),
        (nn.functional.one_hot(TARGETS, 4).float(), "classes"),
        (torch.arange(len(TARGETS)), "halves"),
        (normal(len(TARGETS), 5), "halves"),
    ],
)
def test_every_kind_of_target(targets: Tensor, kinds: str) -> None:
    assert read(loaded(INPUTS, targets)).kinds == kinds
    ordered = targets.reshape(len(targets), -1)[:, 0].argsort(stable=True)
    if kinds == "classes":
        assert read(loaded(INPUTS[ordered], targets[ordered])).excess > 5


def test_one_batch_has_no_order() -> None:
    reading = read(loaded(batch=len(INPUTS)))
    assert reading.sampled
    assert reading.target_share is None
    assert "one batch" in reading.notes[0]


class Noting(Dataset[tuple[Tensor, int]]):
    """Classes one after the other; notes what is read."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.read.append(index)
        return torch.tensor([float(index % 7)]), index * 4 // self.length


@pytest.mark.parametrize(("batch", "length"), [(8, 40_000), (64, 40_000), (1_000, 40_000)])
def test_a_long_epoch_is_read_in_several_places(batch: int, length: int) -> None:
    data = Noting(length)
    seen = view(classifier("long", model=nn.Linear(1, 4), train=DataLoader(data, batch)))
    reading = Order().measure(seen, Budget())
    assert len(data.read) == reading.samples <= max(2 * SAMPLES, 10 * batch)
    assert reading.batches <= BATCHES
    assert min(data.read) == 0
    assert max(data.read) == length - 1
    assert 3 <= sum(b - a > 1 for a, b in zip(data.read, data.read[1:], strict=False)) + 1 <= STRETCHES
    assert not reading.sampled
    assert seen.gradient_evaluations == 0.0


def ragged() -> list[tuple[Tensor, Tensor]]:
    """Sequences that are filled up to the longest of their batch."""
    return [(torch.ones(8, 3 + number % 3), torch.arange(8) % 2) for number in range(10)]


def test_inputs_of_several_lengths_are_left_out() -> None:
    reading = read(ragged())
    assert reading.input_share is None
    assert reading.target_share is not None
    assert "inputs are no tensors of equal size" in reading.notes[-1]


def test_batches_without_targets_are_compared_by_their_inputs() -> None:
    ordered = INPUTS[INPUTS[:, 0].argsort()] * INPUTS.new_tensor([30.0] + [1.0] * 19)
    problem = zoo.problem(
        lambda: nn.Linear(20, 1),
        loss=None,
        step=lambda model, batch: model(batch[0]).square().mean(),
        train=DataLoader(TensorDataset(ordered.double()), 32),
    )
    reading: OrderReading = look(Order(), problem)
    assert reading.kinds == "none"
    assert reading.target_share is None
    assert not reading.sampled
    assert reading.shown == "tenths of the inputs, in a random direction"
    assert "no targets" in reading.notes[-1]


def test_words_and_broken_numbers_are_compared_as_they_are() -> None:
    spoiled = INPUTS.clone()
    spoiled[::9] = torch.nan
    assert read(loaded(spoiled, TARGETS, shuffle=True)).sampled
    tokens = torch.randint(0, 50, (1_024, 6), generator=torch.Generator().manual_seed(0))
    assert read(loaded(tokens, tokens.roll(-1, 1), shuffle=True)).sampled
    ordered = tokens[tokens.sum(1).argsort()]
    assert not read(loaded(ordered, ordered.roll(-1, 1))).sampled


def test_the_seed_decides() -> None:
    train = loaded(shuffle=True)
    assert read(train, 1) == read(train, 1)
    assert read(train, 1) != read(train, 2)


def test_the_picture_shows_the_shares() -> None:
    reading = read(loaded(INPUTS[SORTED], TARGETS[SORTED]))
    figure = reading.draw()
    assert figure is not None
    (heat,) = figure.data
    assert np.array(heat.z) == pytest.approx(np.array(reading.shares))
    assert np.array(heat.z).sum(0) == pytest.approx(1.0)
    assert "32 compared, in an epoch of 32" in figure.layout.meta["summary"]


def test_specimens() -> None:
    problem: Problem = healthy()
    reading: OrderReading = look(Order(), problem)
    assert reading.sampled
    assert reading.epoch == reading.batches == 32
