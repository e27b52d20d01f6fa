"""Batches of another size hold the same samples in the same order, at the rate that a rule gives."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests import zoo
from tests.untouched import assert_untouched
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler, TensorDataset

from unstuck.data import Data, samples_in
from unstuck.errors import InputError
from unstuck.methods.batch import joined, with_batch_size, with_batch_times, with_ghost_batches, with_shuffle
from unstuck.problem import Problem
from unstuck.walk import walk


def of(loader: Any, **fields: Any) -> Problem:
    return zoo.problem(zoo.perceptron, train=loader, **fields)


def numbers(batches: Any) -> list[list[int]]:
    """Each batch as the numbers of its samples in the table."""
    places = {tuple(row.tolist()): number for number, row in enumerate(zoo.table()[0])}
    return [[places[tuple(row.tolist())] for row in batch[0].reshape(-1, zoo.FEATURES)] for batch in batches]


def stream(data: Data, seed: int, count: int = 60) -> list[int]:
    """The first samples of an order."""
    samples = (number for batch in data.order(seed) for number in numbers([batch])[0])
    return list(itertools.islice(samples, count))


def epoch(data: Data, seed: int = 0) -> list[list[int]]:
    return numbers(itertools.islice(data.order(seed), data.batches_per_epoch))


class Pairs(Sampler[list[int]]):
    """A batch sampler of one's own: neighbours, in an order of its own generator."""

    def __init__(self) -> None:
        self.generator = zoo.generator()

    def __iter__(self) -> Iterator[list[int]]:
        for number in torch.randperm(12, generator=self.generator).tolist():
            yield [2 * number, 2 * number + 1]


LOADERS = zoo.loaders() | {"a sampler of its own": DataLoader(TensorDataset(*zoo.table()), batch_sampler=Pairs())}

SIZES = {"last batch dropped": (2, 4, 10, 20), "subset": (2, 4, 7, 12)}
"""Of samples that an epoch has, where there are fewer than 24, or a last batch is dropped."""


@pytest.mark.parametrize("name", LOADERS)
def test_the_same_samples_follow_in_the_same_order(name: str) -> None:
    problem = of(LOADERS[name])
    for size, seed in itertools.product(SIZES.get(name, (1, 4, 7, 24)), range(4)):
        recut = with_batch_size(problem.branch(), size).data
        assert stream(recut, seed) == stream(problem.data, seed)
        assert recut.samples == problem.data.samples
        assert recut.batch_size == size
        assert {*map(len, epoch(recut))} <= {size, recut.samples % size}


@pytest.mark.parametrize("name", ["shuffled", "weighted", "sequential", "list"])
def test_cut_again_is_cut_once(name: str) -> None:
    problem = of(LOADERS[name])
    again = with_batch_size(with_batch_size(problem.branch(), 9), 4)
    once = with_batch_size(problem.branch(), 4)
    assert epoch(again.data, 3) == epoch(once.data, 3)


def test_a_last_smaller_batch_is_dropped_where_it_was() -> None:
    dropping = with_batch_size(of(LOADERS["last batch dropped"]).branch(), 8).data
    assert [*map(len, epoch(dropping))] == [8, 8]
    kept = with_batch_size(of(LOADERS["shuffled"]).branch(), 10).data
    assert [*map(len, epoch(kept))] == [10, 10, 4]


def test_no_sample_is_left_alone() -> None:
    """Batch normalization would refuse it; 24 in batches of 23, and from the second batch of five on, 19 in sixes."""
    recut = with_batch_size(of(LOADERS["shuffled"]).branch(), 23).data
    assert [*map(len, epoch(recut))] == [24]
    sequential = with_batch_size(of(LOADERS["sequential"]).branch(), 6).data
    assert min(len(batch) for seed in range(20) for batch in epoch(sequential, seed)) > 1
    ones = with_batch_size(of(LOADERS["shuffled"]).branch(), 1).data
    assert [*map(len, epoch(ones))] == [1] * 24


@pytest.mark.parametrize(
    ("times", "size"), [(4.0, 20), (16.0, 24), (0.5, 2), (1 / 16, 1)], ids=["four", "too many", "half", "too few"]
)
def test_so_many_times_as_large(times: float, size: int) -> None:
    problem = of(LOADERS["shuffled"])
    treated = with_batch_times(problem.branch(), times, rule="linear")
    assert treated.data.batch_size == size
    assert treated.optimizer.param_groups[0]["lr"] == pytest.approx(0.05 * size / 5)


def test_as_small_as_batch_normalization_can_take() -> None:
    problem = normalized()
    treated = with_batch_times(problem.branch(), 1e-3, rule="none")
    assert treated.data.batch_size == 2
    walk(treated, 13)
    with pytest.raises(InputError, match="the model has batch normalization, which takes no sample alone"):
        with_batch_size(problem.branch(), 1)


@pytest.mark.parametrize("name", LOADERS)
def test_the_loader_can_be_iterated_by_anybody(name: str) -> None:
    recut = with_batch_size(of(LOADERS[name]).branch(), 4).train
    sizes = [samples_in(batch) for batch in recut]
    assert set(sizes) == {4}
    assert sum(sizes) == Data(LOADERS[name]).samples


def test_data_set_and_collate_function_stay() -> None:
    problem = zoo.ZOO["named inputs"](torch.float64)
    recut: Any = with_batch_size(problem.branch(), 12)
    original: Any = problem.train
    assert recut.train.dataset is original.dataset
    inputs, targets = next(recut.data.order(0))
    assert {name: tuple(tensor.shape) for name, tensor in inputs.items()} == {"left": (12, 2), "right": (12, 2)}
    assert len(targets) == 12
    walk(recut, 3)


@pytest.mark.parametrize(("rule", "factor"), [("linear", 4.0), ("square-root", 2.0), ("none", 1.0)])
def test_rules_of_the_rate(rule: str, factor: float) -> None:
    problem = of(zoo.shuffled(*zoo.table(), batch=6), **zoo.SCHEDULES["per update"])
    treated = with_batch_size(problem.branch(), 24, rule=rule)
    rates = [row.rate for row in walk(problem.branch(), 9).curve]
    assert [row.rate for row in walk(treated, 9).curve] == pytest.approx([factor * rate for rate in rates])


def test_a_schedule_per_epoch_goes_on_per_epoch() -> None:
    problem = of(zoo.shuffled(*zoo.table(), batch=4), **zoo.SCHEDULES["per epoch"])
    treated = with_batch_size(problem.branch(), 8, rule="none")
    assert [row.rate for row in walk(treated, 7).curve] == [0.05] * 3 + [0.025] * 3 + [0.0125]


def test_accumulated_batches_grow_and_stay_as_many() -> None:
    problem = of(zoo.shuffled(*zoo.table(), batch=3), accumulate=2)
    treated = with_batch_size(problem.branch(), 24)
    assert (treated.accumulate, treated.data.batch_size) == (2, 12)
    assert treated.optimizer.param_groups[0]["lr"] == pytest.approx(4 * 0.05)
    with pytest.raises(InputError, match="a batch of 7 cannot be parted among 2 of the same size"):
        with_batch_size(problem.branch(), 7)


def test_linear_rule_is_exact_where_the_gradient_does_not_change() -> None:
    """k steps of η on batches of B are one of kη on kB, for a loss that is linear in the parameters."""
    inputs, targets = zoo.table()
    problem = zoo.problem(
        lambda: nn.Linear(zoo.FEATURES, 1),
        loss=lambda outputs, targets: outputs.mean(),
        train=DataLoader(TensorDataset(inputs, targets), batch_size=4),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    )
    small, large = problem.branch(), with_batch_size(problem.branch(), 12)
    walk(small, 6)
    walk(large, 2)
    for name, tensor in small.point().items():
        torch.testing.assert_close(large.point()[name], tensor, rtol=1e-13, atol=1e-13)


def quadratic(eta: float) -> float:
    """How far six steps of η on batches of 4 end from two of 3η on batches of 12, at curvature 2."""
    ones = torch.ones(24, 1, dtype=torch.float64)
    problem = zoo.problem(
        lambda: nn.Linear(1, 1, bias=False),
        loss=nn.MSELoss(),
        train=DataLoader(TensorDataset(ones, 3 * ones), batch_size=4),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=eta),
    )
    ends = []
    for branch, updates in ((problem.branch(), 6), (with_batch_size(problem.branch(), 12), 2)):
        walk(branch, updates)
        ends.append(float(branch.point()["weight"]))
    return abs(ends[0] - ends[1])


def test_with_curvature_the_linear_rule_is_off_by_the_square_of_rate_times_curvature() -> None:
    assert quadratic(1e-3) / quadratic(5e-4) == pytest.approx(4.0, rel=0.02)


def test_warm_up_goes_from_the_old_rate_to_the_new_one() -> None:
    problem = of(zoo.shuffled(*zoo.table(), batch=6))
    treated = with_batch_size(problem.branch(), 24, warm_up=4)
    expected = [0.05 * (1 + 3 * min(1, update / 4)) for update in range(8)]
    assert [row.rate for row in walk(treated, 8).curve] == pytest.approx(expected)


def test_warm_up_lies_on_top_of_the_schedule() -> None:
    problem = of(zoo.shuffled(*zoo.table(), batch=4), **zoo.SCHEDULES["per epoch"])
    treated = with_batch_size(problem.branch(), 8, warm_up=4)
    decays = [1.0] * 3 + [0.5] * 3 + [0.25]
    expected = [0.05 * (1 + min(1, update / 4)) * decay for update, decay in enumerate(decays)]
    assert [row.rate for row in walk(treated, 7).curve] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("size", "rule", "says"),
    [
        (25, "linear", "a batch of 25 cannot be cut of 24 samples"),
        (0, "linear", "a batch of 0 cannot be parted"),
        (8, "cubic", "no rule for the rate is called 'cubic'; there are linear, square-root, none"),
    ],
)
def test_what_cannot_be_cut_is_refused(size: int, rule: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        with_batch_size(of(LOADERS["shuffled"]).branch(), size, rule=rule)


def test_recorded_batches_of_other_shapes_are_refused() -> None:
    targets = torch.zeros(2, dtype=torch.int64)
    batches = [(torch.zeros(2, length, dtype=torch.float64), targets) for length in (4, 5)]
    with pytest.raises(InputError, match=r"the batches of this loader cannot be joined .*; hand over a DataLoader"):
        with_batch_size(of(batches).branch(), 4)


def test_joined_batches() -> None:
    batches = [{"x": torch.full((2, 3), value), "t": [torch.tensor(7.0), "text"], "n": 5} for value in (1.0, 2.0)]
    whole = joined(batches)
    assert torch.equal(whole["x"], torch.tensor([[1.0] * 3] * 2 + [[2.0] * 3] * 2))
    assert (float(whole["t"][0]), whole["t"][1], whole["n"]) == (7.0, "text", 5)


@pytest.mark.parametrize("name", ["shuffled", "sequential", "stream", "last batch dropped"])
def test_nothing_of_the_callers_is_changed(name: str) -> None:
    problem = of(LOADERS[name])
    with assert_untouched(problem):
        walk(with_batch_size(problem.branch(), 10, warm_up=3), 4)
        walk(with_shuffle(problem.branch()), 4)


@pytest.mark.parametrize("name", ["sequential", "stream", "list", "subset", "batches of the data set's own"])
def test_shuffled(name: str) -> None:
    problem = of(LOADERS[name])
    data = with_shuffle(problem.branch()).data
    assert data.order_varies
    assert [*map(len, epoch(data))] == [*map(len, epoch(problem.data))]
    assert Counter(itertools.chain(*epoch(data, 5))) == Counter(range(24) if name != "subset" else range(3, 15))
    assert epoch(data, 5) == epoch(data, 5) != epoch(data, 6)
    mixed = [max(batch) - min(batch) for batch in epoch(data, 5)]
    assert max(mixed) > zoo.BATCH


def test_another_order_in_each_epoch() -> None:
    data = with_shuffle(of(LOADERS["sequential"]).branch()).data
    order = numbers(itertools.islice(data.order(1), 10))
    assert order[:5] != order[5:]


@pytest.mark.parametrize("name", ["shuffled", "shuffled by the process", "subset"])
def test_not_shuffled(name: str) -> None:
    data = with_shuffle(of(LOADERS[name]).branch(), on=False).data
    members = list(range(24)) if name != "subset" else list(range(3, 15))
    assert not data.order_varies
    assert list(itertools.chain(*epoch(data))) == members


def test_shuffled_and_cut_again() -> None:
    shuffled = with_shuffle(of(LOADERS["sequential"]).branch())
    before = stream(shuffled.data, 2)
    assert stream(with_batch_size(shuffled, 8).data, 2) == before


def normalized(size: int = 12) -> Problem:
    return zoo.problem(lambda: zoo.perceptron(nn.BatchNorm1d(5)), train=zoo.shuffled(*zoo.table(), batch=size))


@pytest.mark.parametrize("name", ["batch norm", "batch norm of images"])
def test_ghosts_as_large_as_the_batch_are_batch_normalization_bit_for_bit(name: str) -> None:
    problem = zoo.ZOO[name](torch.float64)
    plain, ghost = problem.branch(), with_ghost_batches(problem.branch(), 5)
    assert [row.loss for row in walk(plain, 9).curve] == [row.loss for row in walk(ghost, 9).curve]
    for key, tensor in plain.model.state_dict().items():
        assert torch.equal(ghost.model.state_dict()[key], tensor)


def test_ghosts_are_normalized_one_by_one() -> None:
    layer: Any = nn.BatchNorm1d(3).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, 2.0, 3.0]))
    problem = zoo.problem(lambda: nn.Sequential(nn.Linear(zoo.FEATURES, 3), layer))
    model: Any = with_ghost_batches(problem.branch(), 4).model
    ghost = model[1]
    inputs = torch.randn(14, 3, generator=zoo.generator(), dtype=torch.float64)
    parts = [inputs[:5], inputs[5:10], inputs[10:]]  # three parts of at least four
    expected = torch.cat([F.batch_norm(part, None, None, layer.weight, layer.bias, True) for part in parts])
    torch.testing.assert_close(ghost(inputs), expected, rtol=1e-14, atol=1e-14)
    mean, variance = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    for part in parts:  # the paper's weights, written as the moving average that they come from
        mean, variance = 0.9 * mean + 0.1 * part.mean(0), 0.9 * variance + 0.1 * part.var(0)
    torch.testing.assert_close(ghost.running_mean, mean, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(ghost.running_var, variance, rtol=1e-14, atol=1e-14)
    ghost.eval()
    expected = F.batch_norm(inputs, mean, variance, layer.weight, layer.bias)
    torch.testing.assert_close(ghost(inputs), expected, rtol=1e-14, atol=1e-14)


def test_ghosts_keep_names_and_tensors() -> None:
    problem = normalized()
    branch = problem.branch()
    parameters = {name: id(parameter) for name, parameter in branch.model.named_parameters()}
    ghost = with_ghost_batches(with_ghost_batches(branch, 6), 4)
    assert {name: id(parameter) for name, parameter in ghost.model.named_parameters()} == parameters
    assert ghost.model.state_dict().keys() == problem.model.state_dict().keys()
    assert getattr(ghost.model.get_submodule("1"), "ghost", None) == 4
    assert type(problem.model.get_submodule("1")) is nn.BatchNorm1d
    walk(ghost.branch(), 3)


@pytest.mark.parametrize("size", [1, 0])
def test_ghosts_of_one_sample_are_refused(size: int) -> None:
    with pytest.raises(InputError, match=f"a ghost batch must hold 2 samples or more, to have a variance; got {size}"):
        with_ghost_batches(normalized().branch(), size)


def test_ghosts_need_batch_normalization() -> None:
    with pytest.raises(InputError, match="the model has none of torch's layers"):
        with_ghost_batches(of(LOADERS["shuffled"]).branch(), 4)


def test_a_sample_alone_is_a_tensor_too() -> None:
    rows = [(torch.full((1, zoo.FEATURES), float(n), dtype=torch.float64), torch.tensor([n % 3])) for n in range(6)]
    recut = with_batch_size(of(rows).branch(), 3)
    batches: list[tuple[Tensor, Tensor]] = list(itertools.islice(recut.data.order(0), 2))
    assert [batch[0][:, 0].tolist() for batch in batches] == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
