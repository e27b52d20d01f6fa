"""Signal and noise of gradients: no bias, the paper's two batch sizes, honest intervals, populations counted out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from unstuck.numerics.noise import Agreement, Floats, GradientNoise, agreement, gradient_noise


def drawn(gradient: Floats, gradients: int, samples: int, random: np.random.Generator) -> Floats:
    """Gradients of so many samples with unit noise in each parameter, shape (gradients, parameters)."""
    noise: Floats = random.standard_normal((gradients, len(gradient))) / math.sqrt(samples)
    return gradient + noise


def noise_of(gradients: Floats, samples: int, population: float = math.inf) -> GradientNoise:
    counts = np.full(len(gradients), float(samples))
    return gradient_noise(gradients @ gradients.T, counts, population=population)


def test_signal_and_noise_have_no_bias() -> None:
    random, gradient = np.random.default_rng(0), np.full(40, 0.1)  # ‖G‖² = 0.4, tr Σ = 40
    found = [noise_of(drawn(gradient, 8, 16, random), 16) for _ in range(600)]
    for values, truth in (([f.squared_norm.value for f in found], 0.4), ([f.trace.value for f in found], 40.0)):
        assert np.mean(values) == pytest.approx(truth, abs=3 * float(np.std(values)) / math.sqrt(600))
    of_nothing = [noise_of(drawn(0.0 * gradient, 8, 16, random), 16).squared_norm.value for _ in range(10)]
    assert min(of_nothing) < 0 < max(of_nothing)  # an estimate of a square that may be negative
    assert noise_of(drawn(gradient, 2_000, 16, random), 16).scale.value == pytest.approx(100.0, rel=0.05)


def test_batches_of_unequal_size_have_no_bias() -> None:
    random, gradient, sizes = np.random.default_rng(4), np.full(20, 0.2), np.array([1.0, 2.0, 5.0, 30.0])
    found = []
    for _ in range(2_000):
        gradients = gradient + random.standard_normal((4, 20)) / np.sqrt(sizes)[:, None]
        found.append(gradient_noise(gradients @ gradients.T, sizes))
    for values, truth in (([f.squared_norm.value for f in found], 0.8), ([f.trace.value for f in found], 20.0)):
        assert np.mean(values) == pytest.approx(truth, abs=3 * float(np.std(values)) / math.sqrt(2_000))


def test_it_is_the_estimator_from_two_batch_sizes() -> None:
    """McCandlish et al. 2018, appendix A.1: B_big is all, B_small each."""
    gradients, small_size = np.random.default_rng(1).standard_normal((6, 5)), 8
    small, big = float((gradients**2).sum(1).mean()), float((gradients.mean(0) ** 2).sum())
    big_size = 6 * small_size
    found = noise_of(gradients, small_size)
    assert found.squared_norm.value == pytest.approx((big_size * big - small_size * small) / (big_size - small_size))
    assert found.trace.value == pytest.approx((small - big) / (1 / small_size - 1 / big_size))


def test_the_error_is_the_jackknifes() -> None:
    gradients = np.random.default_rng(2).standard_normal((7, 3)) + 1.0
    found = noise_of(gradients, 4)
    without = [noise_of(np.delete(gradients, place, 0), 4) for place in range(7)]
    for part in ("squared_norm", "trace"):
        values = [getattr(each, part).value for each in without]
        expected = math.sqrt(6 / 7 * sum((value - np.mean(values)) ** 2 for value in values))
        assert getattr(found, part).standard_error == pytest.approx(expected)


@pytest.mark.parametrize(("length", "finite"), [(0.1, 1.0), (0.02, 0.1), (0.0, 0.0)])
def test_intervals_hold_the_truth_as_often_as_they_say(length: float, finite: float) -> None:
    random, held, bounded = np.random.default_rng(2), [], []
    for _ in range(400):
        found = noise_of(drawn(np.full(25, length), 16, 32, random), 32)
        truth = 25 * length**2
        scale = 25.0 / truth if truth else math.inf
        signal, ratio = found.squared_norm.interval(), found.scale.interval
        held.append((signal.low <= truth <= signal.high, ratio.low <= scale <= ratio.high))
        bounded.append(math.isfinite(ratio.high))
    assert min(np.mean(held, axis=0)) >= 0.93
    assert np.mean(bounded) == pytest.approx(finite, abs=0.1)


def test_what_is_drawn_from_few_is_counted_out() -> None:
    """Of 64 samples, 48 are drawn: the gradient meant is that of the 64."""
    random = np.random.default_rng(3)
    everything = drawn(np.full(10, 0.3), 64, 1, random)
    mean = everything.mean(0)
    square, trace = float(mean @ mean), float(((everything - mean) ** 2).sum() / 63)
    squares, traces, held = [], [], []
    for _ in range(600):
        chosen = everything[random.permutation(64)[:48]]
        batches = chosen.reshape(12, 4, 10).mean(1)
        for gradients, samples in ((chosen, 1), (batches, 4)):
            found = noise_of(gradients, samples, population=64)
            squares.append(found.squared_norm.value)
            traces.append(found.trace.value)
            interval = found.squared_norm.interval()
            held.append(interval.low <= square <= interval.high)
    assert np.mean(squares) == pytest.approx(square, abs=4 * float(np.std(squares)) / math.sqrt(600))
    assert np.mean(traces) == pytest.approx(trace, abs=4 * float(np.std(traces)) / math.sqrt(600))
    assert 0.92 <= np.mean(held) <= 0.99


def test_all_samples_leave_no_error() -> None:
    everything = drawn(np.full(10, 0.3), 64, 1, np.random.default_rng(3))
    mean = everything.mean(0)
    square, trace = float(mean @ mean), float(((everything - mean) ** 2).sum() / 63)
    singles, batches = noise_of(everything, 1, 64), noise_of(everything.reshape(16, 4, 10).mean(1), 4, 64)
    for found in (singles, batches):
        assert found.squared_norm.value == pytest.approx(square, rel=1e-12)
        assert found.squared_norm.standard_error == 0.0
    assert singles.trace.value == pytest.approx(trace, rel=1e-12)
    assert singles.trace.standard_error == 0.0
    assert singles.scale.interval.low == singles.scale.value == singles.scale.interval.high
    assert batches.trace.standard_error > 0.0  # another partition would give another trace
    assert abs(batches.trace.value - trace) < 3 * batches.trace.standard_error


def test_two_gradients_bound_nothing_and_one_is_refused() -> None:
    gradients = np.array([[1.0, 0.0], [0.0, 1.0]]) + 1.0
    found = noise_of(gradients, 4)
    assert found.squared_norm.value == pytest.approx(4.0)
    assert found.squared_norm.standard_error == found.trace.standard_error == math.inf
    assert found.scale.value == pytest.approx(1.0)
    assert (found.scale.interval.low, found.scale.interval.high) == (0.0, math.inf)
    with pytest.raises(ValueError, match="two different parts of the data"):
        noise_of(gradients[:1], 4)
    alone = noise_of(gradients[:1], 1, population=1)
    assert (alone.squared_norm.value, alone.trace.value, alone.scale.value) == (5.0, 0.0, 0.0)
    nothing = noise_of(np.zeros((1, 2)), 1, population=1)
    assert math.isnan(nothing.scale.value)
    with pytest.raises(ValueError, match="finite"):
        noise_of(np.array([[math.nan], [1.0]]), 1)


def test_weighing_by_curvature_is_the_same_with_another_product() -> None:
    random, curvatures = np.random.default_rng(5), np.array([1.0, 3.0, 10.0])
    gradients = drawn(np.array([2.0, 1.0, 0.5]), 4_000, 1, random)
    found = gradient_noise(gradients @ np.diag(curvatures) @ gradients.T, np.ones(4_000))
    assert found.trace.value == pytest.approx(14.0, abs=3 * found.trace.standard_error)  # tr HΣ with Σ = I
    assert found.squared_norm.value == pytest.approx(9.5, abs=3 * found.squared_norm.standard_error)  # G·HG
    assert found.scale.value == pytest.approx(14 / 9.5, rel=0.1)


def agreement_of(gradients: Floats) -> Agreement:
    return agreement(gradients @ gradients.T)


def test_agreement_is_the_mean_over_all_pairs() -> None:
    gradients = np.random.default_rng(6).standard_normal((5, 3)) + 0.5
    found = agreement_of(gradients)
    pairs = list(itertools.combinations(gradients, 2))
    cosines = [one @ other / np.linalg.norm(one) / np.linalg.norm(other) for one, other in pairs]
    assert found.cosines == pytest.approx(cosines)
    assert found.cosine.value == pytest.approx(np.mean(cosines))
    assert found.share.value == pytest.approx(np.mean(np.array(cosines) > 0))
    without = [agreement_of(np.delete(gradients, place, 0)).cosine.value for place in range(5)]
    expected = math.sqrt(4 / 5 * sum((value - np.mean(without)) ** 2 for value in without))
    assert found.cosine.standard_error == pytest.approx(expected)
    products = [one @ other for one, other in pairs]
    assert found.coherence.value == pytest.approx(np.mean(products) / (gradients**2).sum(1).mean())


def test_noise_agrees_as_its_null_says() -> None:
    found = agreement_of(np.random.default_rng(7).standard_normal((200, 30)))
    assert abs(found.cosine.value) < 3 * found.cosine.standard_error
    assert found.share.value == pytest.approx(0.5, abs=3 * found.share.standard_error)
    assert found.cosine_of_noise == pytest.approx(0.0, abs=0.01)
    assert found.share_of_noise == pytest.approx(0.5, abs=0.01)
    assert abs(found.coherence.value) < 3 * found.coherence.standard_error


def test_classes_that_cancel_agree_no_more_than_noise_does() -> None:
    """Nine samples in ten have a small gradient up, one a large one down: their sum is zero, and most pairs agree."""
    gradients = np.tile(np.array([[0.1]] * 9 + [[-0.9]]), (20, 1))
    found = agreement_of(gradients)
    assert found.share.value > 0.8
    assert found.share.value == pytest.approx(found.share_of_noise, abs=0.01)
    assert found.cosine.value == pytest.approx(found.cosine_of_noise, abs=0.01)
    assert found.coherence.value == pytest.approx(0.0, abs=0.01)


def test_a_few_long_gradients_do_not_make_the_short_ones_agree() -> None:
    """A hundred short ones in all directions beside ten long ones, whose mean is longer than the short ones are."""
    random = np.random.default_rng(9)
    gradients = np.concatenate([random.standard_normal((100, 5)), 300.0 * random.standard_normal((10, 5))])
    found = agreement_of(gradients)
    assert np.linalg.norm(gradients.mean(0)) > 5.0
    centred = gradients - gradients.mean(0)
    assert (centred[:100] @ centred[:100].T > 0).mean() > 0.9  # as they would without their mean
    assert found.share_of_noise == pytest.approx(found.share.value, abs=0.05)
    assert found.cosine_of_noise == pytest.approx(found.cosine.value, abs=0.05)


def test_a_common_part_shows_against_the_null() -> None:
    gradients = drawn(np.full(10, 1.0), 100, 1, np.random.default_rng(8))
    found = agreement_of(gradients)
    assert found.share.value > 0.9
    assert found.coherence.value == pytest.approx(0.5, abs=3 * found.coherence.standard_error)  # ‖G‖² / (‖G‖² + tr Σ)
    assert found.share_of_noise == pytest.approx(0.5, abs=0.03)
    same = agreement_of(np.ones((4, 3)))
    assert same.cosine.value == pytest.approx(1.0)
    assert same.share.value == 1.0
    assert (same.cosine_of_noise, same.share_of_noise) == (0.0, 0.5)


def test_gradients_of_zero_agree_with_none() -> None:
    nothing, alone = agreement(np.zeros((3, 3))), agreement(np.ones((1, 1)))
    assert (nothing.cosine.value, nothing.share.value, nothing.share_of_noise) == (0.0, 0.5, 0.5)
    assert math.isnan(alone.cosine.value)
    assert alone.cosine.standard_error == math.inf
    assert len(alone.cosines) == 0
    found = agreement_of(np.array([[1.0], [1.0], [0.0]]))
    assert found.cosine.value == pytest.approx(1 / 3)
    assert found.share.value == pytest.approx(2 / 3)
