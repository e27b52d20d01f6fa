"""Cross-entropy of the logits: its slope is p − y wherever the model is wrong, also behind a saturated softmax."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tests import zoo
from tests.readings import FINITE, OUTPUTS, only
from torch import Tensor, nn

from unstuck.data import Batch
from unstuck.problem import Problem
from unstuck.remedies.cross_entropy import CrossEntropy
from unstuck.walk import walk

CLASSES = 4

SATURATED = torch.tensor([[300.0, 0, 0, 0], [0, 0, 200.0, -200.0], [0, 150.0, 149.0, 0], [1.0, 2.0, 3.0, 4.0]])
"""Scores, shape (samples, classes). In single precision the softmax of the first two is exactly 0 and 1."""

MODEST = SATURATED / 300
CLASS = torch.tensor([1, 2, 0, 3])
ONE_HOT = F.one_hot(CLASS, CLASSES).float()
"""The classes, as a squared error takes them."""


class Ends(nn.Module):
    """Gives its own parameters, the logits, through a last function."""

    def __init__(self, logits: Tensor, last: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())
        self.last = last

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.logits + 0 * inputs)


def slope(model: nn.Module, targets: Tensor, outputs: str, expects: str = "outputs") -> Tensor:
    """The gradient on the logits of what a treated problem follows, times the number of samples."""
    batch: Batch = (torch.zeros(len(targets), 1), targets)
    problem = Problem(model, nn.MSELoss(), [batch], torch.optim.SGD(model.parameters(), lr=0.1))
    treated = CrossEntropy(outputs=outputs, expects=expects).apply(problem.branch())
    treated.forward_loss(batch).backward()
    (parameter,) = treated.model.parameters()
    assert parameter.grad is not None
    return parameter.grad * len(targets)


SOFTMAX: dict[str, Callable[[Tensor], Tensor]] = {
    "module": nn.Softmax(dim=1),
    "functional": lambda z: F.softmax(z, dim=1),
    "function of torch": lambda z: torch.softmax(z, 1),
    "method": lambda z: z.softmax(1),
    "named": lambda z: F.softmax(input=z, dim=1),
    "reshaped": lambda z: z.softmax(1).unsqueeze(-1).squeeze(-1),
}

SIGMOID: dict[str, Callable[[Tensor], Tensor]] = {
    "module": nn.Sigmoid(),
    "functional": F.sigmoid,
    "function of torch": torch.sigmoid,
    "method": lambda z: z.sigmoid(),
}


@pytest.mark.parametrize("targets", [CLASS, ONE_HOT], ids=["classes", "one-hot"])
@pytest.mark.parametrize("last", SOFTMAX)
def test_slope_behind_a_saturated_softmax(last: str, targets: Tensor) -> None:
    found = slope(Ends(SATURATED, SOFTMAX[last]), targets, "probabilities")
    assert torch.allclose(found, SATURATED.softmax(1) - ONE_HOT, atol=1e-6)


@pytest.mark.parametrize("last", SIGMOID)
def test_slope_behind_a_saturated_sigmoid(last: str) -> None:
    found = slope(Ends(SATURATED, SIGMOID[last]), ONE_HOT, "shares")
    assert torch.allclose(CLASSES * found, SATURATED.sigmoid() - ONE_HOT, atol=1e-6)


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
@pytest.mark.parametrize("number", [torch.int64, torch.float32, torch.float64])
def test_one_sigmoid_and_targets_of_any_type(shape: tuple[int, ...], number: torch.dtype) -> None:
    logits, targets = SATURATED[:, :1], torch.tensor([0, 1, 1, 0])
    found = slope(Ends(logits, torch.sigmoid), targets.view(shape).to(number), "shares")
    assert torch.allclose(found, logits.sigmoid() - targets[:, None], atol=1e-6)


@pytest.mark.parametrize(
    ("expects", "questions", "answer"),
    [("outputs", CLASSES, SATURATED.sigmoid()), ("scores", 1, SATURATED.softmax(1))],
    ids=["one question per class", "meant to be a softmax"],
)
def test_sigmoids_that_meet_class_numbers(expects: str, questions: int, answer: Tensor) -> None:
    """Under a squared error each is compared with 0 or 1; losses that see the right class alone take probabilities."""
    found = slope(Ends(SATURATED, torch.sigmoid), CLASS, "shares", expects)
    assert torch.allclose(questions * found, answer - ONE_HOT, atol=1e-6)


@pytest.mark.parametrize("targets", [CLASS, ONE_HOT], ids=["classes", "one-hot"])
def test_slope_of_scores(targets: Tensor) -> None:
    found = slope(Ends(SATURATED, nn.Identity()), targets, "scores")
    assert torch.allclose(found, SATURATED.softmax(1) - ONE_HOT, atol=1e-6)


def test_slope_of_outputs_that_no_known_function_made() -> None:
    def softmax(logits: Tensor) -> Tensor:
        return logits.exp() / logits.exp().sum(1, keepdim=True)

    def sigmoid(logits: Tensor) -> Tensor:
        return 1 / (1 + (-logits).exp())

    found = slope(Ends(MODEST, softmax), CLASS, "probabilities")
    assert torch.allclose(found, MODEST.softmax(1) - ONE_HOT, atol=1e-5)
    found = slope(Ends(MODEST, sigmoid), ONE_HOT, "shares")
    assert torch.allclose(CLASSES * found, MODEST.sigmoid() - ONE_HOT, atol=1e-5)


def test_an_inner_softmax_is_not_taken_for_the_outputs() -> None:
    """Attention has one too."""

    def attentive(logits: Tensor) -> Tensor:
        mixed = (logits @ logits.T).softmax(1).detach() @ logits
        return (0 * mixed + logits).softmax(1)

    found = slope(Ends(SATURATED, attentive), CLASS, "probabilities")
    assert torch.allclose(found, SATURATED.softmax(1) - ONE_HOT, atol=1e-6)


def classifier(*last: nn.Module, loss: nn.Module) -> Problem:
    return zoo.problem(lambda: nn.Sequential(zoo.perceptron(), *last), loss=loss)


def test_walks_as_if_built_with_cross_entropy_and_gives_the_same_kind_of_outputs() -> None:
    treated = CrossEntropy(outputs="probabilities").apply(
        classifier(nn.Softmax(1), loss=nn.CrossEntropyLoss()).branch()
    )
    built = classifier(loss=nn.CrossEntropyLoss()).branch()
    run, expected = walk(treated, 9), walk(built, 9)
    assert [row.loss for row in run.curve] == pytest.approx([row.loss for row in expected.curve], rel=1e-12)
    inputs = zoo.table()[0]
    assert torch.allclose(treated.model(inputs), built.model(inputs).softmax(1), atol=1e-12)


def test_results_are_judged_by_the_own_loss() -> None:
    problem = classifier(nn.Softmax(1), loss=nn.CrossEntropyLoss())
    sample = problem.data.sample(24, chunk=24, seed=0)
    treated = CrossEntropy(outputs="probabilities").apply(problem.branch())
    assert treated.mean_loss(sample) == problem.mean_loss(sample)


def test_scores_are_made_log_probabilities_before_a_likelihood_judges_them() -> None:
    problem = classifier(loss=nn.NLLLoss())
    ((inputs, targets),) = sample = problem.data.sample(24, chunk=24, seed=0)
    treated = CrossEntropy(outputs="scores").apply(problem.branch())
    with torch.no_grad():
        expected = float(F.cross_entropy(problem.model(inputs), targets))
    assert treated.mean_loss(sample) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("last", [nn.Softmax(1), nn.Sigmoid()], ids=["softmax", "sigmoid"])
def test_a_loss_that_squashes_once_more_judges_the_logits_behind_the_outputs(last: nn.Module) -> None:
    """So that an answer can look as certain as it is."""
    problem, scores = classifier(last, loss=nn.CrossEntropyLoss()), classifier(loss=nn.CrossEntropyLoss())
    sample = problem.data.sample(24, chunk=24, seed=0)
    kind = "shares" if isinstance(last, nn.Sigmoid) else "probabilities"
    treated = CrossEntropy(outputs=kind, expects="scores").apply(problem.branch())
    assert treated.mean_loss(sample) == pytest.approx(scores.mean_loss(sample), rel=1e-9)
    assert treated.mean_loss(sample) != pytest.approx(problem.mean_loss(sample), rel=1e-3)
    inputs = zoo.table()[0]
    assert torch.equal(treated.model(inputs), problem.model(inputs))


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("probabilities", "cross-entropy"),
        ("probabilities", "squared error"),
        ("probabilities", "negative log-likelihood"),
        ("shares", "cross-entropy"),
        ("shares", "negative log-likelihood"),
        ("scores", "negative log-likelihood"),
    ],
)
def test_proposed_to_classifiers_that_follow_another_loss(kind: str, form: str) -> None:
    outputs = replace(OUTPUTS, kind=kind, form=form)
    expects = "outputs" if form == "squared error" else "scores"
    assert CrossEntropy.propose(only(outputs)) == (CrossEntropy(outputs=kind, expects=expects),)


@pytest.mark.parametrize("binary", [True, False], ids=["classes", "shares to be matched"])
def test_proposed_to_sigmoids_whose_targets_are_classes(binary: bool) -> None:
    outputs = replace(OUTPUTS, kind="shares", form="squared error", binary_targets=binary)
    assert bool(CrossEntropy.propose(only(outputs))) is binary


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("scores", "cross-entropy"),
        ("scores", "squared error"),  # regression has no classes
        ("shares", "binary cross-entropy"),
        ("log-probabilities", "negative log-likelihood"),
        ("scores", "unknown"),
        ("unknown", "unknown"),  # a model that computes its own loss
    ],
)
def test_not_proposed_where_it_changes_nothing_or_means_nothing(kind: str, form: str) -> None:
    assert CrossEntropy.propose(only(replace(OUTPUTS, kind=kind, form=form, binary_targets=True))) == ()
    assert CrossEntropy.propose(only(FINITE)) == ()
