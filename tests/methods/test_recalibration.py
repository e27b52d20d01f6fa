"""Recalibrated statistics are those of all samples together, at the present weights, and nothing else moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests import zoo
from tests.untouched import assert_untouched
from torch import Tensor, nn

from unstuck.data import Batch
from unstuck.errors import InputError
from unstuck.methods.recalibration import recalibrated
from unstuck.problem import Problem
from unstuck.surgery.insertion import with_normalization
from unstuck.walk import walk


def lagging(*between: nn.Module, momentum: float = 0.001) -> nn.Sequential:
    """Two batch normalizations whose averages hardly move."""
    return nn.Sequential(
        *(nn.Linear(zoo.FEATURES, 8), *between, nn.BatchNorm1d(8, momentum=momentum), nn.ReLU()),
        *(nn.Linear(8, 8), nn.BatchNorm1d(8, momentum=momentum), nn.ReLU()),
        nn.Linear(8, zoo.CLASSES),
    )


def trained(model: Callable[[], nn.Module], dtype: torch.dtype = torch.float64, **fields: Any) -> Problem:
    branch = zoo.problem(model, dtype, **fields).branch()
    walk(branch, 40)
    return branch


def batches(problem: Problem, size: int = 5) -> list[Batch]:
    """Every sample once; five by five, the last batch is ragged."""
    inputs, targets = zoo.table(next(problem.model.parameters()).dtype)
    return list(zip(inputs.split(size), targets.split(size), strict=True))


def statistics(problem: Problem, name: str) -> tuple[Tensor, Tensor]:
    layer = problem.model.get_submodule(name)
    return layer.get_buffer("running_mean"), layer.get_buffer("running_var")


@pytest.mark.parametrize("size", [2, 5, 24])
def test_the_first_layers_statistics_are_those_of_the_whole_set(size: int) -> None:
    """Whatever the batches: the unbiased variance of all samples, not the mean of the batches' variances."""
    problem = trained(lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, momentum=0.001), nn.Linear(8, 3)))
    seen = problem.model.get_submodule("0")(zoo.table()[0])
    mean, variance = statistics(recalibrated(problem, batches(problem, size)), "1")
    torch.testing.assert_close(mean, seen.mean(0), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(variance, seen.var(0), rtol=1e-12, atol=1e-13)


def test_later_layers_see_what_they_see_in_training() -> None:
    """The pooled statistics of what comes out of a first layer that normalizes by the batch."""
    problem = trained(lagging)
    expected = problem.model[:4].train()  # type: ignore[index]
    seen = torch.cat([expected(inputs) for inputs, _ in batches(problem.branch())]).detach()
    problem = recalibrated(trained(lagging), batches(problem))
    torch.testing.assert_close(statistics(problem, "4"), (seen.mean(0), seen.var(0)), rtol=1e-12, atol=1e-13)


def test_averages_that_lag_are_cured() -> None:
    inputs = zoo.table()[0] * 3 + 20
    problem = trained(lagging, train=zoo.shuffled(inputs, inputs[:, :3].argmax(1), batch=12))
    sample = problem.data.sample(24, chunk=12, seed=0)
    as_trained = problem.mean_loss(sample, mode="measuring")
    lags = problem.mean_loss(sample, mode="evaluation")
    cured = recalibrated(problem.branch(), sample).mean_loss(sample, mode="evaluation")
    assert as_trained < 0.3
    assert lags > 1
    assert cured < 0.3


def test_nothing_else_moves() -> None:
    problem = trained(lambda: lagging(nn.Dropout(0.5)), optimizer=zoo.OPTIMIZERS["adam"])
    branch = problem.branch()
    before = {name: tensor.clone() for name, tensor in branch.model.state_dict().items()}
    with assert_untouched(problem):
        recalibrated(branch, batches(problem))
    moved = {name for name, tensor in branch.model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {f"{layer}.running_{what}" for layer in (2, 5) for what in ("mean", "var")}
    assert not any(module._forward_pre_hooks for module in branch.model.modules())
    assert [module.training for module in branch.model.modules()] == [m.training for m in problem.model.modules()]


def test_dropout_is_off_as_in_testing() -> None:
    plain, dropped = trained(lagging), trained(lambda: lagging(nn.Dropout(0.9)))
    with torch.no_grad():
        for own, other in zip(dropped.model.parameters(), plain.model.parameters(), strict=True):
            own.copy_(other)
    found = statistics(recalibrated(dropped, batches(plain)), "2")
    torch.testing.assert_close(found, statistics(recalibrated(plain, batches(plain)), "1"))


def test_frozen_statistics_are_kept() -> None:
    problem = trained(lagging)
    problem.model.get_submodule("1").eval()
    before = [tensor.clone() for tensor in statistics(problem, "1")]
    found = recalibrated(problem, batches(problem))
    assert all(map(torch.equal, before, statistics(found, "1")))
    assert not torch.allclose(statistics(found, "4")[0], torch.zeros(8).double(), atol=0.05)


def test_a_model_in_eval_mode_is_recalibrated_too() -> None:
    problem, evaluated = trained(lagging), trained(lagging)
    evaluated.model.eval()
    ours, others = (recalibrated(each, batches(problem)) for each in (evaluated, problem))
    torch.testing.assert_close(statistics(ours, "4"), statistics(others, "4"))
    assert not ours.model.training


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["batch", "batch-renorm"])
def test_images_and_inserted_layers(kind: str, dtype: torch.dtype) -> None:
    class Images(zoo.Images):
        def __init__(self) -> None:
            super().__init__()
            self.normalization = nn.Identity()  # type: ignore[assignment]

    problem = with_normalization(trained(Images, dtype), kind).problem
    images = zoo.table(dtype)[0].view(-1, 1, 2, 2).repeat(1, 1, 2, 2)
    seen = problem.model.get_submodule("convolution.0")(images).double()
    found = statistics(recalibrated(problem, batches(problem)), "convolution.1")
    tolerance = 4 * torch.finfo(dtype).eps
    expected = seen.mean((0, 2, 3)), seen.transpose(0, 1).flatten(1).var(1)
    torch.testing.assert_close(found, tuple(each.to(dtype) for each in expected), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("model", [zoo.perceptron, lambda: zoo.perceptron(nn.LayerNorm(5))])
def test_models_without_running_statistics_say_so(model: Callable[[], nn.Module]) -> None:
    with pytest.raises(InputError, match="no batch normalization with running statistics"):
        recalibrated(trained(model), batches(zoo.problem(model)))
