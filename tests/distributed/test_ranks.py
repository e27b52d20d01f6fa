"""Two processes find what one finds, both the same, and nothing of the caller's is changed on either."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.distributed.findings import FINDINGS
from tests.distributed.processes import SIZE, torchrun
from torch import Tensor

TOLERANCE = 1e-9
"""In double precision: sums over processes are added in another order."""

AS_IT_TRAINS = {"walk with buffers", "after sharded"}
"""Batch normalization sees a process's own samples: another training than one process's on all of them."""

OF_SEVERAL = {"through the wrapper", "refusals", "sharded"}
"""What is compared below in its own way."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Any]]]:
    """What each process found."""
    folder = tmp_path_factory.mktemp("found")
    ran = torchrun(["-m", "tests.distributed.findings", str(folder)], Path.cwd())
    assert ran.returncode == 0, ran.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(SIZE)]


def same(one: Any, other: Any, tolerance: float = 0.0) -> bool:
    """Whether two findings hold the same, numbers to within a relative tolerance."""
    if isinstance(one, Tensor):
        return one.shape == other.shape and float((one - other).abs().max()) <= tolerance * float(one.abs().max())
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key], tolerance) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(*pair, tolerance) for pair in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, float):
        return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
    return bool(one == other)


@pytest.mark.parametrize("name", sorted(FINDINGS.keys() - OF_SEVERAL - AS_IT_TRAINS))
def test_two_processes_find_what_one_finds(found: list[dict[str, dict[str, Any]]], name: str) -> None:
    here = FINDINGS[name]()
    for there in found:
        assert here.keys() == there[name].keys()
        differ = {
            key: (value, there[name][key])
            for key, value in here.items()
            if not same(value, there[name][key], TOLERANCE)
        }
        assert not differ


@pytest.mark.parametrize("name", sorted(FINDINGS.keys() - {"through the wrapper", "refusals"}))
def test_both_find_the_same_bit_for_bit(found: list[dict[str, dict[str, Any]]], name: str) -> None:
    first, second = (there[name] for there in found)
    assert same(first, second)


@pytest.mark.parametrize("name", ["losses and gradients", "losses of one loader", "losses of a ragged sampler"])
def test_what_is_shared_out_by_batches_is_the_same_bit_for_bit(
    found: list[dict[str, dict[str, Any]]], name: str
) -> None:
    assert same(FINDINGS[name](), found[0][name])


def test_the_naive_way_through_the_wrapper_is_wrong(found: list[dict[str, dict[str, Any]]]) -> None:
    """Each process gets the product of its own batch alone, without a word; here that would be seen."""
    right = FINDINGS["through the wrapper"]()["product"]
    naive = [there["through the wrapper"]["product"] for there in found]
    assert all(float((product - right).norm() / right.norm()) > 0.1 for product in naive)
    assert not same(naive[0], naive[1], 0.1)


def test_a_sharded_model_is_measured_by_differences_within_their_error(
    found: list[dict[str, dict[str, Any]]],
) -> None:
    here, there = FINDINGS["sharded"](), found[0]["sharded"]
    assert there["rung"] == "finite difference"
    assert 0 < there["error"] < 1e-6
    gap = float((here["product"] - there["product"]).norm() / here["product"].norm())
    assert gap <= 10 * there["error"]
    assert same(here["ends"], there["ends"], 1e-6)
    assert same(here["gradient"], there["gradient"], TOLERANCE)
    for name in ("largest", "lowest", "minimum_ratio"):
        assert same(here["spectrum"][name], there["spectrum"][name], 1e-6)
    assert there["spectrum"]["engine"] == "finite difference"


def test_a_sharded_model_trains_on_as_if_it_had_not_been_looked_at(found: list[dict[str, dict[str, Any]]]) -> None:
    """Both processes run all of the batch, so that their statistics and gradients are those of one."""
    assert same(FINDINGS["after sharded"](), found[0]["after sharded"], TOLERANCE)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("data", ("`train` is another data set on each process", "DistributedSampler")),
        ("parameters", ("`model` has other parameters on each process", "DistributedDataParallel")),
        ("synchronized", ("SyncBatchNorm", "BatchNorm layers, before")),
        ("jobs", ("--jobs", "torchrun")),
        ("sharded", ("fully_shard", "hand it over unsharded")),
        ("sharded step", ("fully_shard", "`unstuck measure TARGET")),
    ],
)
def test_what_the_processes_do_not_share_is_refused_by_all(
    found: list[dict[str, dict[str, Any]]], what: str, words: tuple[str, ...]
) -> None:
    for there in found:
        assert all(word in there["refusals"][what] for word in words)


def test_where_one_process_fails_the_other_does_not_wait(found: list[dict[str, dict[str, Any]]]) -> None:
    assert [there["refusals"]["one fails"] for there in found] == ["process 1 of 2: no loss here", "no loss here"]
