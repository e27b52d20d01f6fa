"""What probes share: one sample, one gradient, one Hessian of a problem at one snapshot."""

from __future__ import annotations

import pytest
import torch
from tests import zoo
from torch import Tensor, nn

from unstuck.classifier import classifier, loader, table
from unstuck.problem import Problem
from unstuck.snapshot import Snapshot
from unstuck.vector import flatten, moved
from unstuck.view import BLOCK, PARTS, SAMPLE, View, view_of
from unstuck.walk import walk


def sizes(batches: tuple[tuple[Tensor, Tensor], ...]) -> list[int]:
    return [len(batch[1]) for batch in batches]


@pytest.mark.parametrize(("batch", "size"), [(1, 16), (16, 16), (40, 40), (64, 64), (300, SAMPLE // PARTS)])
def test_the_sample_is_cut_as_the_data_are(batch: int, size: int) -> None:
    view = View(classifier("some", train=loader(*table(), batch)).branch())
    assert view.samples == SAMPLE == sum(sizes(view.sample))
    assert max(sizes(view.sample)) <= size
    assert max(sizes(view.sample)) - min(sizes(view.sample)) <= 1
    assert sizes(view.blocks) == [BLOCK] * (SAMPLE // BLOCK)
    assert torch.equal(torch.cat([b[0] for b in view.sample]), torch.cat([b[0] for b in view.blocks]))
    assert sum(view.shares) == pytest.approx(1.0)
    assert not view.exhaustive


@pytest.mark.parametrize(
    "normalization", [nn.BatchNorm1d(32), nn.BatchNorm1d(32, track_running_stats=False), nn.SyncBatchNorm(32)]
)
def test_batch_normalization_keeps_its_grouping(normalization: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(20, 32), normalization, nn.Linear(32, 4))
    view = View(classifier("normalized", model=model, train=loader(*table(), 32)).branch())
    assert view.blocks is view.sample


@pytest.mark.parametrize("name", ["shuffled loader", "last batch dropped loader", "subset loader", "list loader"])
def test_small_data_are_looked_at_whole(name: str) -> None:
    view = View(zoo.ZOO[name](torch.float64).branch())
    assert view.exhaustive
    assert view.samples == view.problem.data.samples


def test_loss_and_gradient_are_those_of_the_sample() -> None:
    view = View(zoo.ZOO["list loader"](torch.float64).branch(), seed=1)
    whole = tuple(torch.cat(parts) for parts in zip(*view.sample, strict=True))
    assert view.loss == pytest.approx(float(view.problem.loss_at(view.point, whole)), rel=1e-12)
    assert view.loss_at(view.point) == pytest.approx(view.loss, rel=1e-12)
    expected = view.problem.gradient_at(view.point, whole)
    torch.testing.assert_close(flatten(view.gradient), flatten(expected), rtol=1e-12, atol=1e-15)
    there = moved(view.point, expected, -0.1)
    assert view.loss_at(there) == pytest.approx(float(view.problem.loss_at(there, whole)), rel=1e-12)
    assert view.loss_at(there) < view.loss


def test_what_is_shared_is_made_once_and_paid_once() -> None:
    view = View(zoo.MODELS["perceptron"](torch.float64).branch())
    assert view.gradients is view.gradients
    assert view.gradient_evaluations == len(view.sample)
    assert view.extremes is view.extremes
    spent = view.gradient_evaluations
    assert view.eigensystem is not None
    units, inputs_and_units = 5 + 3, 4 + 5  # of the two layers: one pass for each, and one product to verify
    assert spent == len(view.sample) + 2 * len(view.blocks) * (1 + units + inputs_and_units + 1)
    view.loss_at(view.point)
    view.gradient_at(view.point)
    assert view.gradient_evaluations == pytest.approx(spent + len(view.blocks) / 3 + 1)


def test_generators_are_the_views_own() -> None:
    def drawn(view: View, purpose: int) -> float:
        return float(torch.rand(1, generator=view.generator(purpose)))

    problem = zoo.MODELS["perceptron"](torch.float64)
    view = View(problem, update=3, seed=1)
    assert drawn(view, 5) == drawn(View(problem, update=3, seed=1), 5)
    others = [drawn(view, 6), drawn(View(problem, update=4, seed=1), 5), drawn(View(problem, update=3, seed=2), 5)]
    assert drawn(view, 5) not in others


def test_a_view_stands_at_its_snapshot() -> None:
    problem: Problem = zoo.MODELS["batch norm"](torch.float64)
    branch = problem.branch()
    run = walk(branch, 4, snapshots=(2,))
    view = view_of(problem, run.snapshots[0], seed=1)
    again = view_of(problem, run.snapshots[0], seed=1)
    assert view.update == 2
    assert view.loss == again.loss
    assert view.loss != view_of(problem, Snapshot.of(problem), seed=1).loss
    assert torch.equal(flatten(view.point), flatten(again.point))
    assert view.suspect is None
