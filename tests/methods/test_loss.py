"""The losses of a classifier against torch's, their gradients against autograd and the papers' closed forms."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tests import zoo
from tests.untouched import assert_untouched
from torch import Tensor, nn

from unstuck.errors import InputError
from unstuck.methods.loss import LOSSES, log_softmax, softmax, with_loss
from unstuck.problem import Problem
from unstuck.walk import walk

DOUBLE = torch.float64
CE, ON_SOFTMAX, ON_LOGITS, INTEGER = (
    LOSSES[name]
    for name in ("cross-entropy", "squared-error-on-softmax", "squared-error-on-logits", "integer-regression")
)

Reference = Callable[[Tensor, Tensor], Tensor]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def classes(*shape: int, of: int = 4) -> Tensor:
    return torch.randint(0, of, shape, generator=torch.Generator().manual_seed(1))


def hot(targets: Tensor, of: int = 4) -> Tensor:
    return F.one_hot(targets, of).movedim(-1, 1).double()


def shares(targets: Tensor) -> Tensor:
    """Targets that are probabilities: classes made a little soft."""
    return 0.7 * hot(targets) + 0.3 / 4


LOGITS, CLASS = normal(9, 4), classes(9)
IMAGES, PIXELS = normal(3, 4, 2, 5), classes(3, 2, 5)
BINARY = torch.tensor([0, 1, 1, 0, 1])

TORCHS: dict[str, tuple[str, Tensor, Tensor, Reference]] = {
    "classes": ("cross-entropy", LOGITS, CLASS, F.cross_entropy),
    "probabilities": ("cross-entropy", LOGITS, shares(CLASS), F.cross_entropy),
    "classes of pixels": ("cross-entropy", IMAGES, PIXELS, F.cross_entropy),
    "probabilities of pixels": ("cross-entropy", IMAGES, shares(PIXELS), F.cross_entropy),
    "two classes by a sigmoid": (
        "cross-entropy",
        normal(5, 1),
        BINARY,
        lambda z, t: F.binary_cross_entropy_with_logits(z[:, 0], t.double()),
    ),
    "shares by a sigmoid": (
        "cross-entropy",
        normal(5),
        0.1 + 0.8 * BINARY.double(),
        F.binary_cross_entropy_with_logits,
    ),
    "softmax": (
        "squared-error-on-softmax",
        LOGITS,
        CLASS,
        lambda z, t: F.mse_loss(z.softmax(1), hot(t)) * 4,
    ),
    "softmax of pixels": (
        "squared-error-on-softmax",
        IMAGES,
        PIXELS,
        lambda z, t: F.mse_loss(z.softmax(1), hot(t)) * 4,
    ),
    "sigmoid": (
        "squared-error-on-softmax",
        normal(5),
        BINARY,
        lambda z, t: 2 * F.mse_loss(z.sigmoid(), t.double()),
    ),
    "logits": ("squared-error-on-logits", LOGITS, CLASS, lambda z, t: F.mse_loss(z, hot(t)) * 4),
    "logits and any targets": (
        "squared-error-on-logits",
        LOGITS,
        normal(9, 4, seed=2),
        lambda z, t: F.mse_loss(z, t) * 4,
    ),
    "integers": ("integer-regression", normal(9, 1), CLASS, lambda z, t: F.mse_loss(z[:, 0], t.double())),
    "integers, flat": ("integer-regression", normal(9), CLASS.double(), F.mse_loss),
}


@pytest.mark.parametrize("name", TORCHS)
def test_agrees_with_torch(name: str) -> None:
    loss, logits, targets, reference = TORCHS[name]
    torch.testing.assert_close(LOSSES[loss](logits, targets), reference(logits, targets), rtol=1e-13, atol=0)


@pytest.mark.parametrize("name", TORCHS)
def test_gradients_are_those_of_autograd(name: str) -> None:
    loss, logits, targets, reference = TORCHS[name]
    leaf = logits.clone().requires_grad_()
    torch.autograd.backward(reference(leaf, targets))
    found = LOSSES[loss].gradient(logits, targets)
    assert found.shape == logits.shape
    torch.testing.assert_close(found, leaf.grad, rtol=1e-12, atol=1e-15)
    other = logits.clone().requires_grad_()
    torch.autograd.backward(LOSSES[loss](other, targets))
    torch.testing.assert_close(other.grad, leaf.grad, rtol=1e-12, atol=1e-15)


def test_maximum_likelihood_is_cross_entropy() -> None:
    """The product of the probabilities of what was seen, −1/N of its logarithm; the best guess is the frequencies."""
    likelihood = LOGITS.softmax(1)[torch.arange(9), CLASS].prod()
    assert float(CE(LOGITS, CLASS)) == pytest.approx(-math.log(float(likelihood)) / 9, rel=1e-13)
    frequencies = hot(CLASS).mean(0)
    slope = CE.gradient(frequencies.log().expand(9, 4), CLASS).sum(0)
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-16)


def test_the_sigmoid_is_the_softmax_of_two_classes() -> None:
    logits = normal(5, 1)
    pairs = torch.cat([torch.zeros_like(logits), logits], 1)
    torch.testing.assert_close(softmax(pairs)[:, 1:], logits.sigmoid())
    for loss in (CE, ON_SOFTMAX):
        torch.testing.assert_close(loss(logits, BINARY), loss(pairs, BINARY))
        torch.testing.assert_close(loss.gradient(logits, BINARY), loss.gradient(pairs, BINARY)[:, 1:])


# The lecture's surface


def surface(first: float, second: float) -> Tensor:
    """y₃ = −1000, and the first class is right."""
    return torch.tensor([[first, second, -1000.0]], dtype=DOUBLE)


FIRST = torch.tensor([0])


@given(st.floats(-10.0, 10.0), st.floats(-10.0, 10.0))
def test_slopes_on_the_lectures_surface(first: float, second: float) -> None:
    """C12: p₁ − 1 against 4 p₁ (1 − p₁)², which is 16/27 at most."""
    share = 1 / (1 + math.exp(second - first))
    entropy = CE.gradient(surface(first, second), FIRST)[0].tolist()
    assert entropy == pytest.approx([share - 1, 1 - share, 0], abs=1e-15)
    squares = ON_SOFTMAX.gradient(surface(first, second), FIRST)[0].tolist()
    size = 4 * share * (1 - share) ** 2
    assert squares == pytest.approx([-size, size, 0], abs=1e-15)
    assert size <= 16 / 27 + 1e-15
    assert float(ON_SOFTMAX(surface(first, second), FIRST)) == pytest.approx(2 * (1 - share) ** 2, abs=1e-15)


def test_far_off_cross_entropy_pulls_and_the_squared_error_does_not() -> None:
    """C12: at (−10, 10) the gradients are 1 and 8.2446e-9; at p₁ = 1/3 the squared error is at its steepest."""
    entropy, squares = (float(-loss.gradient(surface(-10, 10), FIRST)[0, 0]) for loss in (CE, ON_SOFTMAX))
    assert entropy == pytest.approx(1.0, rel=1e-8)
    assert squares == pytest.approx(8.2446e-9, rel=1e-5)
    assert entropy / squares == pytest.approx(1.2129e8, rel=1e-4)
    steepest = ON_SOFTMAX.gradient(surface(-math.log(2.0), 0.0), FIRST)
    assert float(-steepest[0, 0]) == pytest.approx(16 / 27, rel=1e-13)


@given(st.lists(st.floats(-30.0, 30.0), min_size=2, max_size=6))
def test_the_curvature_of_cross_entropy(scores: list[float]) -> None:
    """C13: the gradient's own derivative is diag(p) − p p', of which (1, 1, …) is a null vector and ½ the bound."""
    logits = torch.tensor(scores, dtype=DOUBLE)
    hessian = torch.func.jacrev(lambda z: CE.gradient(z[None], FIRST)[0])(logits)
    p = logits.softmax(0)
    torch.testing.assert_close(hessian, torch.diag(p) - torch.outer(p, p), rtol=0, atol=1e-15)
    assert float(hessian.sum(1).abs().max()) <= 1e-15
    assert float(torch.linalg.eigvalsh(hessian)[-1]) <= 0.5 + 1e-15


# Far numbers and small types


def test_nothing_overflows() -> None:
    far = torch.tensor([[1000.0, -1000.0, 0.0], [-1e30, 1e30, 0.0]])
    assert CE(far[:1], torch.tensor([1])) == 2000.0
    assert CE(far[:1], torch.tensor([0])) == 0.0
    assert torch.equal(softmax(far), torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    assert torch.equal(log_softmax(far[:1]), torch.tensor([[0.0, -2000.0, -1000.0]]))
    for loss in (CE, ON_SOFTMAX):
        assert bool(loss.gradient(far, torch.tensor([1, 0])).isfinite().all())


def test_half_precision_is_computed_in_single() -> None:
    logits = LOGITS.bfloat16()
    assert CE(logits, CLASS).dtype == torch.float32
    torch.testing.assert_close(CE(logits, CLASS), F.cross_entropy(logits.float(), CLASS))


def test_members_of_a_fleet_have_their_losses_at_once() -> None:
    logits, targets = normal(5, 9, 4), classes(5, 9)
    for loss in (CE, ON_SOFTMAX, ON_LOGITS):
        each = torch.stack([loss(z, t) for z, t in zip(logits, targets, strict=True)])
        torch.testing.assert_close(torch.func.vmap(loss)(logits, targets), each)


# What does not fit

MISFITS: dict[str, tuple[str, Tensor, Tensor, str]] = {
    "regression": ("cross-entropy", normal(9, 4), normal(9, 4), "probabilities that sum to one; those .* go from -"),
    "regression of one": ("cross-entropy", normal(9, 1), normal(9, 1), "cross-entropy needs targets that are class"),
    "regression, flat": ("squared-error-on-softmax", normal(9), normal(9), "squared-error-on-softmax needs targets"),
    "no such class": ("cross-entropy", LOGITS, CLASS + 1, "class numbers from 0.*go from 1 to 4"),
    "padding": ("cross-entropy", LOGITS, torch.where(CLASS > 0, CLASS, -100), "go from -100 to"),
    "classes as floats": (
        "cross-entropy",
        LOGITS,
        CLASS.double(),
        r"class numbers \(whole, of shape \(9,\)\).*float64",
    ),
    "too few targets": ("squared-error-on-logits", LOGITS, CLASS[:5], r"int64 of shape \(5,\)"),
    "several outputs": ("integer-regression", LOGITS, CLASS, r"one output per sample.*\(9, 4\)"),
    "halves of classes": ("integer-regression", normal(9), CLASS + 0.5, "integer-regression needs .* class numbers"),
    "not finite": ("squared-error-on-logits", normal(9), torch.full((9,), math.nan), "finite"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_refused(name: str) -> None:
    loss, logits, targets, says = MISFITS[name]
    with pytest.raises(InputError, match=says):
        LOSSES[loss].check(logits, targets)


@pytest.mark.parametrize("name", TORCHS)
def test_what_fits_is_not_refused(name: str) -> None:
    loss, logits, targets, _ = TORCHS[name]
    LOSSES[loss].check(logits, targets)


# A problem under another loss


def classifier(*last: nn.Module, loss: Callable[[Tensor, Tensor], Tensor]) -> Problem:
    return zoo.problem(lambda: nn.Sequential(zoo.perceptron(), *last), loss=loss)


def torchs(name: str) -> Reference:
    """The loss as a user would write it, on logits of three classes."""

    def wanted(targets: Tensor) -> Tensor:
        return F.one_hot(targets, 3).double()

    return {
        "cross-entropy": F.cross_entropy,
        "squared-error-on-softmax": lambda z, t: (z.softmax(1) - wanted(t)).square().sum(1).mean(),
        "squared-error-on-logits": lambda z, t: (z - wanted(t)).square().sum(1).mean(),
    }[name]


@pytest.mark.parametrize("last", [[], [nn.Softmax(1)], [nn.Sigmoid()]], ids=["logits", "softmax", "sigmoid"])
@pytest.mark.parametrize("name", ["cross-entropy", "squared-error-on-softmax", "squared-error-on-logits"])
def test_walks_as_if_built_with_the_loss_on_its_logits(name: str, last: list[nn.Module]) -> None:
    problem = classifier(*last, loss=nn.CrossEntropyLoss())
    with assert_untouched(problem):
        treated = with_loss(problem.branch(), name)
        run = walk(treated, 9)
    expected = walk(classifier(loss=torchs(name)).branch(), 9)
    assert [row.loss for row in run.curve] == pytest.approx([row.loss for row in expected.curve], rel=1e-12)


def test_results_are_judged_by_the_own_loss() -> None:
    problem = classifier(loss=nn.CrossEntropyLoss())
    sample = problem.data.sample(24, chunk=24, seed=0)
    treated = with_loss(problem.branch(), "squared-error-on-softmax")
    assert treated.mean_loss(sample) == problem.mean_loss(sample)
    again, run = walk(treated.branch(), 3), walk(treated, 3)
    assert [row.loss for row in again.curve] == [row.loss for row in run.curve]
    step: Any = treated.training_step
    assert pickle.loads(pickle.dumps(step)).keywords == step.keywords


def one_number(loss: Callable[[Tensor, Tensor], Tensor], targets: Tensor) -> Problem:
    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(zoo.FEATURES, 5), nn.Tanh(), nn.Linear(5, 1), nn.Flatten(0))

    return zoo.problem(model, loss=loss, train=zoo.shuffled(zoo.table()[0], targets))


def test_integer_regression_of_a_model_with_one_output() -> None:
    targets = zoo.table()[1].double()
    run = walk(with_loss(one_number(nn.L1Loss(), targets).branch(), "integer-regression"), 9)
    expected = walk(one_number(nn.MSELoss(), targets).branch(), 9)
    assert [row.loss for row in run.curve] == pytest.approx([row.loss for row in expected.curve], rel=1e-12)


def test_problems_that_the_loss_does_not_fit() -> None:
    regression = one_number(nn.MSELoss(), zoo.table()[0][:, 0])
    with pytest.raises(InputError, match=r"cross-entropy needs targets that are class numbers.*keep its own loss"):
        with_loss(regression.branch(), "cross-entropy")
    with pytest.raises(InputError, match=r"one output per sample.*\(24, 3\)"):
        with_loss(classifier(loss=nn.CrossEntropyLoss()).branch(), "integer-regression")
    with pytest.raises(InputError, match="one tensor of outputs and one of targets"):
        with_loss(zoo.ZOO["own step"](DOUBLE).branch(), "cross-entropy")
    with pytest.raises(InputError, match=r"'hinge'; there are cross-entropy, .*integer-regression"):
        with_loss(regression.branch(), "hinge")


@pytest.mark.parametrize(
    "name", ["two inputs", "named inputs", "dropout", "batch norm", "mixed precision", "stream loader"]
)
def test_other_problems(name: str) -> None:
    run = walk(with_loss(zoo.ZOO[name](torch.float32).branch(), "squared-error-on-softmax"), 3)
    assert all(math.isfinite(row.loss) for row in run.curve)
