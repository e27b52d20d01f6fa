"""Batches filled at random, sorted, in blocks, balanced: against Pearson's test, expectations and error rates."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from unstuck.numerics.mixing import Cut, Integers, Mixing, mixing, repeats


def cut_of(samples: int, size: int) -> Cut:
    batches = np.arange(samples) // size
    last = int(batches[-1])
    return Cut(batches=batches, neighbours=np.stack([np.arange(last), np.arange(last) + 1], 1))


def mixed(*columns: Integers, size: int = 16, seed: int = 0) -> Mixing:
    found = mixing(columns, cut_of(len(columns[0]), size), np.random.default_rng(seed))
    assert found is not None
    return found


def labels(samples: int = 320, kinds: int = 4, seed: int = 0) -> Integers:
    return np.random.default_rng(seed).integers(0, kinds, samples)


def test_for_two_kinds_the_share_is_pearsons() -> None:
    for size in (16, 30):  # the last of which is ragged
        kinds, cut = labels(kinds=2), cut_of(320, size)
        (table,) = cut.counts(kinds[None])
        chi_square, p_value, freedoms, _ = stats.chi2_contingency(table, correction=False)
        found = mixed(kinds, size=size)
        assert found.share == pytest.approx(chi_square / 320)
        assert found.expected == pytest.approx(freedoms / 319)
        assert found.share_p == pytest.approx(p_value, abs=0.08)  # his is for large batches


def test_at_random_the_share_is_as_expected() -> None:
    found = [mixed(labels(kinds=7, seed=seed), size=30) for seed in range(15)]
    shares = [each.share for each in found]
    assert np.mean(shares) == pytest.approx(found[0].expected, abs=3 * float(np.std(shares)) / 15**0.5)


def test_probabilities_are_uniform_without_an_effect() -> None:
    found = [mixed(labels(160, seed=seed), labels(160, seed=99 + seed), seed=seed) for seed in range(25)]
    for values in ([each.share_p for each in found], [each.memory_p for each in found]):
        assert stats.kstest(values, "uniform").pvalue > 0.01


def test_sorted_data_have_one_kind_in_each_batch() -> None:
    found = mixed(np.repeat(np.arange(4), 80))
    assert found.share == pytest.approx(1.0)
    assert found.share_p == found.memory_p == 0.001
    assert found.memory > 0.7


def test_blocks_without_a_memory() -> None:
    """Batches of one kind each, in a random order: neighbours tell nothing of each other."""
    found = [mixed(np.repeat(labels(20, seed=seed), 16)) for seed in range(9)]
    assert all(each.share == pytest.approx(1.0) for each in found)
    assert all(each.share_p == 0.001 for each in found)
    assert np.median([each.memory_p for each in found]) > 0.2


def test_a_drift_is_seen_in_the_memory() -> None:
    random = np.random.default_rng(5)
    drifting = (random.random(1_600) < np.linspace(0.35, 0.65, 1_600)).astype(np.int64)
    found = mixed(drifting)
    assert found.memory_p <= 0.01
    assert 0.05 < found.memory < 0.5


def test_balanced_batches_are_no_fault() -> None:
    found = mixed(np.tile(np.arange(4), 80))
    assert found.share == pytest.approx(0.0)
    assert found.share_p == 1.0
    assert found.memory == 0.0


def test_what_cannot_be_told() -> None:
    generator = np.random.default_rng(0)
    assert mixing([np.zeros(32, dtype=np.int64)], cut_of(32, 8), generator) is None
    assert mixing([labels(32)], cut_of(32, 32), generator) is None
    assert mixing([labels(32)], cut_of(32, 1), generator) is None
    assert mixing([], cut_of(32, 8), generator) is None


def test_repeats_that_come_together() -> None:
    generator = np.random.default_rng(0)
    assert repeats(np.arange(64), cut_of(64, 8), generator).share == 0.0
    blocks = repeats(np.arange(64) // 4, cut_of(64, 8), generator)
    assert blocks.share == 0.75
    assert blocks.together == 0.75  # two different ones of eight
    assert blocks.expected < 0.3
    assert blocks.p_value == 0.001
    spread = repeats(np.tile(np.arange(16), 4), cut_of(64, 8), generator)
    assert spread.share == 0.75
    assert spread.together == 0.0
    assert spread.p_value > 0.9
    drawn = generator.integers(0, 64, 64)  # with replacement
    assert repeats(drawn, cut_of(64, 8), generator).p_value > 0.01
