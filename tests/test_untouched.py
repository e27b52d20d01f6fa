"""Whatever is measured, tried or walked, the caller's objects are the same bit for bit afterwards."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Self

import numpy
import pytest
import torch
from tests import by_hand, zoo
from tests.trials import compared
from tests.untouched import assert_untouched
from torch import Tensor, nn

from unstuck import probes, remedies
from unstuck.budget import Budget
from unstuck.errors import InputError
from unstuck.probes.escape import Escape
from unstuck.probes.inputs import Inputs
from unstuck.problem import Problem
from unstuck.reading import measured
from unstuck.remedies.adaptive_optimizer import AdaptiveOptimizer
from unstuck.remedies.add_momentum import AddMomentum
from unstuck.remedies.add_normalization import AddNormalization
from unstuck.remedies.clip_gradient import ClipGradient
from unstuck.remedies.cross_entropy import CrossEntropy
from unstuck.remedies.decay_learning_rate import DecayLearningRate
from unstuck.remedies.decorrelate_inputs import DecorrelateInputs
from unstuck.remedies.early_stop import EarlyStop
from unstuck.remedies.escape_saddle import EscapeSaddle
from unstuck.remedies.larger_batch import LargerBatch
from unstuck.remedies.layerwise_scaling import LayerwiseScaling
from unstuck.remedies.lower_learning_rate import LowerLearningRate
from unstuck.remedies.normalize_inputs import NormalizeInputs
from unstuck.remedies.raise_learning_rate import RaiseLearningRate
from unstuck.remedies.recalibrate_batch_norm import RecalibrateBatchNorm
from unstuck.remedies.reduce_regularization import ReduceRegularization
from unstuck.remedies.regularize import Regularize
from unstuck.remedies.reinitialize import Reinitialize
from unstuck.remedies.scale_rate_with_warm_up import ScaleRateWithWarmUp
from unstuck.remedies.shuffle import Shuffle
from unstuck.remedies.smaller_batch import SmallerBatch
from unstuck.remedies.train_all_parameters import TrainAllParameters
from unstuck.remedies.warm_up import WarmUp
from unstuck.remedies.weight_averaging import WeightAveraging
from unstuck.remedy import Remedy
from unstuck.snapshot import Snapshot
from unstuck.trial import Ground
from unstuck.untouched import attributes_kept, generators_kept, in_mode, seed_all, seeded, without_hooks
from unstuck.view import View, view_of
from unstuck.walk import walk

REMEDIES: tuple[Remedy, ...] = (
    TrainAllParameters(),
    RecalibrateBatchNorm(),
    NormalizeInputs(axis=1),
    DecorrelateInputs(),
    Shuffle(),
    CrossEntropy(outputs="scores"),
    LowerLearningRate(factor=0.1),
    DecayLearningRate(over=3),
    RaiseLearningRate(factor=3.0),
    WarmUp(updates=20),
    ScaleRateWithWarmUp(factor=4.0, warm_up=50),
    LargerBatch(factor=4),
    SmallerBatch(factor=4, rule="square-root"),
    Regularize(decay=0.1),
    ReduceRegularization(factor=0.1),
    EarlyStop(updates=1),
    ClipGradient(norm=0.1),
    AddMomentum(momentum=0.9),
    WeightAveraging(decay=0.99),
    WeightAveraging(decay=1.0, start=100, every=5),
    AdaptiveOptimizer(rate=0.001),
    LayerwiseScaling(optimizer="lars", share=0.01),
    LayerwiseScaling(optimizer="lamb", share=0.01),
    EscapeSaddle(way="negative curvature", length=0.1, update=0),
    EscapeSaddle(way="perturbation", length=1.0, update=0),
    Reinitialize(),
    AddNormalization(kind="batch"),
    AddNormalization(kind="spectral"),
)

REFUSED = {
    "add-normalization": ("batch norm", "old weight norm", "not to be copied"),
    "recalibrate-batch-norm": ("perceptron", "old weight norm", "schedule per epoch"),
}
"""Problems that a remedy does not fit, which it says."""


def handed_over(name: str) -> Problem:
    """A problem in the middle of its training: gradients, an optimizer with its state, one module in eval mode."""
    problem = zoo.ZOO[name](torch.float64)
    with generators_kept():
        by_hand.train(problem, 2, problem.data.order(0))
    next(problem.model.modules()).train()
    list(problem.model.modules())[-1].eval()
    return problem


def direct(problem: Problem) -> None:
    """Every measurement that a problem offers itself."""
    batches, point = problem.data.sample(7, chunk=5, seed=1), problem.point()
    list(problem.data.whole(chunk=6))
    for mode in ("training", "measuring", "evaluation"):
        problem.loss_at(point, batches[0], mode=mode, seed=2)
        problem.gradient_at(point, batches[0], mode=mode)
        problem.mean_loss(batches, mode=mode)
    hessian = problem.hessian_at(point, *batches)
    hessian @ torch.ones(hessian.dimension, dtype=hessian.dtype)


def whole_walk(problem: Problem) -> None:
    sample = problem.data.sample(7, chunk=5, seed=1)
    walk(problem.branch(), 6, order=1, sample=sample, checkpoints=(0, 3), snapshots=(0, 2))
    walk(problem.branch(Snapshot.of(problem)), 3, anneal=True)


@pytest.mark.parametrize("name", zoo.ZOO)
def test_problem_and_walk(name: str) -> None:
    problem = handed_over(name)
    with assert_untouched(problem):
        direct(problem)
    with assert_untouched(problem):
        whole_walk(problem)


@pytest.mark.parametrize("probe", probes.ALL)
@pytest.mark.parametrize("name", zoo.MODELS)
def test_probes(name: str, probe: type[Any]) -> None:
    problem = handed_over(name)
    with assert_untouched(problem):
        measured(probe(), view_of(problem, Snapshot.of(problem), seed=1), Budget())


@pytest.mark.parametrize("name", [name for name in zoo.ZOO if name not in zoo.MODELS])
def test_cheap_probes_under_other_optimizers_and_loaders(name: str) -> None:
    problem = handed_over(name)
    for probe in (each for each in probes.ALL if each is not Escape):
        with assert_untouched(problem):
            measured(probe(), view_of(problem, Snapshot.of(problem), seed=1), Budget(updates=6))


def test_every_remedy_is_looked_at() -> None:
    assert {type(remedy) for remedy in REMEDIES} == set(remedies.ALL)


@pytest.mark.parametrize("remedy", REMEDIES, ids=str)
@pytest.mark.parametrize(
    "name", ["perceptron", "batch norm", "old weight norm", "not to be copied", "schedule per epoch"]
)
def test_remedies(name: str, remedy: Remedy) -> None:
    problem = handed_over(name)
    refused = name in REFUSED.get(remedy.slug, ())
    with assert_untouched(problem), pytest.raises(InputError) if refused else nullcontext():
        walk(remedy.apply(problem.branch()), 2)


@pytest.mark.parametrize("name", ["dropout", "adam", "stream loader"])
def test_trials(name: str) -> None:
    problem = handed_over(name)
    with assert_untouched(problem):
        view = view_of(problem, Snapshot.of(problem))
        ground = Ground(problem=problem, snapshot=Snapshot.of(problem), sample=view.sample, seed=0)
        doses = [LowerLearningRate(factor=0.5), LowerLearningRate(factor=0.1)]
        compared(ground, ("learning-rate-too-high", doses))


class Fuse:
    """Lets so many passes through and then blows; one for all copies of a model."""

    def __init__(self, passes: int) -> None:
        self.left = passes

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class Fused(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.fuse = Fuse(10**9)
        self.calls = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        self.fuse.left -= 1
        if self.fuse.left < 0:
            torch.rand(3), random.random(), numpy.random.default_rng().random()
            raise RuntimeError("the fuse has blown")
        outputs: Tensor = self.model(inputs)
        return outputs


def a_probe(probe: type[Any]) -> Callable[[Problem], Any]:
    def measure(problem: Problem) -> None:
        probe().measure(view_of(problem, Snapshot.of(problem)), Budget())

    return measure


@pytest.mark.parametrize("passes", [0, 1, 4])
@pytest.mark.parametrize(
    "measure",
    [direct, whole_walk, *(a_probe(probe) for probe in probes.ALL if probe is not Inputs)],
    ids=["direct", "walk", *(probe.__name__ for probe in probes.ALL if probe is not Inputs)],
)
def test_an_exception_inside_a_forward_pass(measure: Callable[[Problem], Any], passes: int) -> None:
    problem = zoo.problem(lambda: Fused(zoo.perceptron(nn.BatchNorm1d(5), nn.Dropout(0.5))))
    by_hand.train(problem, 2, problem.data.order(0))
    fuse = problem.model.fuse
    assert isinstance(fuse, Fuse)
    with assert_untouched(problem):
        fuse.left = passes
        blown = False
        try:
            measure(problem)
        except RuntimeError as error:
            blown = "the fuse has blown" in str(error)
        assert blown == (fuse.left < 0)
        fuse.left = 10**9


@pytest.mark.parametrize(
    "harm",
    [
        lambda p: p.model[0].weight.data.mul_(1.0 + 1e-15),
        lambda p: p.model[0].weight.grad.neg_(),
        lambda p: p.model.eval(),
        lambda p: p.model[0].weight.requires_grad_(False),
        lambda p: p.model[0].register_forward_hook(lambda *given: None),
        lambda p: p.model(zoo.table()[0]),
        lambda p: p.optimizer.zero_grad(),
        lambda p: p.optimizer.state.clear(),
        lambda p: p.optimizer.param_groups[0].update(lr=1.0),
        lambda p: torch.rand(1),
        lambda p: random.random(),
        lambda p: seed_all(1),
        lambda p: next(iter(p.train)),
        lambda p: setattr(p.model, "note", 1),
    ],
)
def test_the_check_itself_notices(harm: Callable[[Any], Any]) -> None:
    problem = handed_over("perceptron")
    with generators_kept(), pytest.raises(AssertionError), assert_untouched(problem):
        harm(problem)


def test_the_check_lets_exceptions_through() -> None:
    problem = handed_over("perceptron")
    with pytest.raises(ZeroDivisionError), assert_untouched(problem):
        raise ZeroDivisionError


def test_everything_is_put_back_after_an_exception() -> None:
    model = zoo.Counting()
    hook = model.layers[0].register_forward_hook(lambda *given: None)
    hooks, before = model.layers[0]._forward_hooks, torch.get_rng_state()

    def fails() -> None:
        with seeded(3), without_hooks(model) as places, attributes_kept(model), in_mode(model, {"layers": False}):
            assert not model.layers.training
            assert not model.layers[0]._forward_hooks
            assert places == ("layers.0: forward hooks",)
            model(zoo.table(torch.float32)[0])
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fails()
    assert model.layers.training
    assert model.layers[0]._forward_hooks is hooks
    assert hook.id in hooks
    assert (model.number, model.kept, model.last) == (0, [], None)
    assert torch.equal(torch.get_rng_state(), before)


def test_views_share_nothing_with_the_caller() -> None:
    problem = handed_over("perceptron")
    view = View(problem.branch())
    mine = {id(tensor) for tensor in (*problem.model.parameters(), *problem.model.buffers())}
    assert not mine & {id(tensor) for tensor in (*view.problem.model.parameters(), *view.problem.model.buffers())}
    mine = {parameter.data_ptr() for parameter in problem.model.parameters()}
    assert not mine & {parameter.data_ptr() for parameter in view.problem.model.parameters()}
