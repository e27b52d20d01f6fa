"""The surface over two logits against the lecture's closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests import zoo
from tests.closed_forms.made import batch_of, descent, of, tensor
from tests.probes.look import Weights, look
from torch import Tensor, nn
from torch.nn import functional as F

from unstuck.errors import InputError
from unstuck.probes.loss_surface import LossSurface, LossSurfaceReading
from unstuck.problem import Problem
from unstuck.reading import Estimate


def read(problem: Problem, probe: LossSurface | None = None) -> LossSurfaceReading:
    reading: LossSurfaceReading = look(probe or LossSurface(), problem)
    return reading


def logits(*rows: list[float], classes: list[int], last: nn.Module | None = None) -> Problem:
    """A model that gives these logits, through a last module."""
    model = nn.Sequential(Weights(*[1.0] * len(rows[0])), last or nn.Identity())

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.nll_loss(outputs, targets)

    return of(model, loss, torch.tensor(rows, dtype=torch.float64), torch.tensor(classes), descent())


def lectures(first: float, second: float) -> Problem:
    """y₃ = −1000, and the first class is right."""
    return logits([first, second, -1000.0], classes=[0])


def test_the_lectures_surface() -> None:
    """E1: with p₁ = 1/(1 + e^(y₂ − y₁)), −ln p₁ and 2 (1 − p₁)², with slopes √2 (1 − p₁) and √2 · 4 p₁ (1 − p₁)²."""
    reading = read(lectures(-3.0, 4.0))
    assert (reading.right, reading.pair, reading.own) == (0, (0, 1), (-3.0, 4.0))
    entropy, squares = reading.surfaces
    places = np.array(reading.logits)
    assert (places[0], places[-1], len(places)) == (-10.0, 10.0, 41)
    gap = places[:, None] - places[None, :]  # second − first
    share = 1 / (1 + np.exp(gap))
    np.testing.assert_allclose(entropy.heights, np.logaddexp(0, gap), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(squares.heights, 2 * (1 - share) ** 2, rtol=1e-8, atol=1e-15)
    margin = 1 / (1 + np.exp(-2 * places))
    np.testing.assert_allclose(entropy.slopes, math.sqrt(2) * (1 - margin), rtol=1e-6, atol=1e-15)
    np.testing.assert_allclose(squares.slopes, math.sqrt(2) * 4 * margin * (1 - margin) ** 2, rtol=1e-6, atol=1e-15)
    assert max(squares.slopes) <= math.sqrt(2) * 16 / 27
    assert reading.corner_ratio == pytest.approx(1.2129e8, rel=1e-4)


def test_numbers_of_the_sample() -> None:
    reading = read(lectures(-3.0, 4.0))
    share = 1 / (1 + math.exp(7))
    assert reading.probability == pytest.approx(share)
    assert reading.cross_entropy == pytest.approx(-math.log(share))
    assert reading.squared_error == pytest.approx(2 * (1 - share) ** 2)
    assert reading.cross_entropy_slope == pytest.approx(math.sqrt(2) * (1 - share))
    assert reading.squared_error_slope == pytest.approx(math.sqrt(2) * 4 * share * (1 - share) ** 2)
    assert set(reading.pictures()) == {"cross-entropy", "squared-error", "slopes"}


@pytest.mark.parametrize("last", [nn.Softmax(1), nn.LogSoftmax(1), nn.Identity()], ids=lambda last: type(last).__name__)
def test_logits_are_taken_from_behind_a_softmax(last: nn.Module) -> None:
    """Also where it has saturated; log-probabilities are logits themselves."""
    reading = read(logits([-30.0, 40.0, 0.0], classes=[0], last=last))
    assert reading.own[1] - reading.own[0] == pytest.approx(70.0)
    assert reading.cross_entropy == pytest.approx(70.0)


def test_the_sample_that_is_answered_worst_is_shown_and_the_others_are_counted() -> None:
    """Of four samples three are wrong, and two of these so far off that (1 − p) p falls below a hundredth."""
    rows = [[5.0, 0.0, -1000.0], [0.0, 1.0, -1000.0], [8.0, 0.0, -1000.0], [0.0, 9.0, -1000.0]]
    reading = read(logits(*rows, classes=[0, 0, 1, 0]))
    assert (reading.right, reading.own) == (0, (0.0, 9.0))
    assert (reading.wrong, reading.flat) == (Estimate(0.75, 0.0), Estimate(2 / 3, 0.0))
    right = read(logits([5.0, 0.0, -1000.0], classes=[0]))
    assert (right.wrong, right.flat) == (Estimate(0.0, 0.0), None)


def test_shares_of_a_part_of_the_data_have_their_error() -> None:
    """Every third of 900 samples is wrong; 512 are looked at."""
    rows = [[1.0, 0.0, -1000.0]] * 900
    reading = read(logits(*rows, classes=[int(number % 3 == 0) for number in range(900)]))
    assert reading.samples == 512
    assert reading.wrong is not None
    share = reading.wrong.value
    assert reading.wrong.error == pytest.approx(math.sqrt(share * (1 - share) / 512))
    assert abs(share - 1 / 3) < 3 * reading.wrong.error


def test_the_plane_reaches_the_sample() -> None:
    assert read(lectures(-3.0, 4.0)).logits[-1] == 10.0
    assert read(lectures(-3.0, 40.0)).logits[-1] == pytest.approx(48.0)
    assert read(lectures(-3.0, 4.0), LossSurface(span=5.0, points=3)).logits == (-5.0, 0.0, 5.0)


def test_other_logits_stay_where_they_are() -> None:
    """Over two wrong classes neither loss depends on their order."""
    reading = read(logits([1.0, 2.0, 3.0], classes=[0]), LossSurface(pair=(1, 2), points=5))
    assert (reading.right, reading.pair, reading.own) == (0, (1, 2), (2.0, 3.0))
    places = np.array(reading.logits)
    heights = np.array(reading.surfaces[0].heights)
    expected = np.log(math.e + np.exp(places)[:, None] + np.exp(places)[None, :]) - 1
    np.testing.assert_allclose(heights, expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(heights, heights.T)


@pytest.mark.parametrize("pair", [(0, 0), (0, 3), (-1, 1)])
def test_pairs_that_are_none(pair: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="`pair` must be two classes of 0 to 2"):
        read(lectures(0.0, 0.0), LossSurface(pair=pair))


@pytest.mark.parametrize("settings", [{"span": 0.0}, {"points": 1}])
def test_settings_that_are_none(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match="`span` must be above 0 and `points` 2 or more"):
        LossSurface(**settings)  # type: ignore[arg-type]


def test_one_sigmoid_is_two_classes() -> None:
    inputs = torch.tensor([[-2.0]], dtype=torch.float64)
    model = nn.Sequential(Weights(1.0), nn.Sigmoid(), nn.Flatten(0))
    problem = of(model, nn.BCELoss(), inputs, tensor(1.0), descent())
    reading = read(problem)
    assert (reading.right, reading.pair, reading.own) == (1, (1, 0), (-2.0, 0.0))
    assert reading.cross_entropy == pytest.approx(problem.mean_loss([batch_of(problem)]))


def test_pixels_are_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 3, (2, 4, 4), generator=generator)

    class Given(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones((), dtype=torch.float64))

        def forward(self, inputs: Tensor) -> Tensor:
            return self.weight * inputs

    reading = read(of(Given(), nn.CrossEntropyLoss(), scores, targets, descent()))
    errors = F.cross_entropy(scores, targets, reduction="none")
    assert reading.cross_entropy == pytest.approx(float(errors.max()))
    assert reading.wrong is not None
    assert reading.wrong.value == pytest.approx(float((scores.argmax(1) != targets).double().mean()))


def regression() -> Problem:
    targets = zoo.table()[0][:, :2]

    def model() -> nn.Module:
        return nn.Linear(zoo.FEATURES, 2)

    return zoo.problem(model, loss=nn.MSELoss(), train=zoo.shuffled(zoo.table()[0], targets))


@pytest.mark.parametrize(
    ("made", "because"),
    [
        (regression, "class numbers from 0, or probabilities"),
        (lambda: zoo.ZOO["own step"](torch.float64), "not handed out"),
    ],
    ids=["regression", "own step"],
)
def test_problems_that_are_no_classifiers_are_told_so(made: Callable[[], Problem], because: str) -> None:
    reading = read(made())
    assert (reading.right, reading.cross_entropy, reading.wrong) == (None, None, None)
    (note,) = reading.notes
    assert note.startswith("No classifier is seen here: ")
    assert because in note
    assert reading.draw() is None
    assert reading.pictures() == {}


@pytest.mark.parametrize("name", ["batch norm", "dropout", "transformer", "mixed precision", "named inputs"])
def test_other_classifiers(name: str) -> None:
    reading = read(zoo.ZOO[name](torch.float32), LossSurface(points=3))
    assert reading.cross_entropy is not None
    assert reading.cross_entropy > 0
    assert len(reading.surfaces) == 2
