"""Statistics against textbook values, scipy's own tests, and their stated error rates."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from unstuck.numerics.statistics import (
    Floats,
    holm,
    mean,
    paired_difference,
    ratio_of_means,
    share_interval,
    trend,
    weighted_quantiles,
)

numbers = st.floats(-1e3, 1e3)


def test_a_mean_has_student_s_interval() -> None:
    found = mean([1.0, 2.0, 3.0, 4.0])
    interval = found.interval(0.95)
    expected = stats.t.interval(0.95, 3, loc=2.5, scale=found.standard_error)
    assert found.value == 2.5
    assert found.standard_error == pytest.approx(math.sqrt(5.0 / 3.0) / 2.0)
    assert (interval.low, interval.high) == pytest.approx(expected)


def test_the_error_of_one_value_is_unknown() -> None:
    found = mean([3.0])
    assert found.standard_error == math.inf
    assert (found.interval().low, found.interval().high) == (-math.inf, math.inf)


@pytest.mark.parametrize(("values", "message"), [([], "at least one"), ([1.0, math.nan, math.inf], "2 of 3")])
def test_values_that_are_none_are_refused(values: Sequence[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mean(values)


def test_a_paired_comparison_agrees_with_scipy() -> None:
    untouched, treated = [0.9, 1.1, 1.3, 0.8, 1.0], [0.7, 1.0, 0.9, 0.75, 0.8]
    found = paired_difference(untouched, treated)
    expected = stats.ttest_rel(untouched, treated, alternative="greater")
    both_sided = stats.ttest_rel(untouched, treated).confidence_interval(0.95)
    assert found.mean == pytest.approx(0.19)
    assert found.p_value == pytest.approx(float(expected.pvalue))
    assert (found.interval.low, found.interval.high) == pytest.approx((both_sided.low, both_sided.high))
    assert found.count == 5


@pytest.mark.parametrize(("gain", "p_value"), [(0.5, 0.0), (0.0, 1.0), (-0.5, 1.0)])
def test_differences_without_spread_are_a_point(gain: float, p_value: float) -> None:
    found = paired_difference([1.0 + gain, 2.0 + gain], [1.0, 2.0])
    assert (found.interval.low, found.interval.high) == (gain, gain)
    assert found.p_value == p_value


def test_one_pair_decides_nothing() -> None:
    found = paired_difference([5.0], [1.0])
    assert found.mean == 4.0
    assert (found.interval.low, found.interval.high) == (-math.inf, math.inf)
    assert found.p_value == 1.0


def test_arms_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="got 2 and 1"):
        paired_difference([1.0, 2.0], [1.0])


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=10))
def test_swapping_the_arms_mirrors_the_comparison(pairs: list[tuple[float, float]]) -> None:
    first, second = zip(*pairs, strict=True)
    there, back = paired_difference(first, second), paired_difference(second, first)
    assert back.mean == -there.mean
    assert (back.interval.low, back.interval.high) == pytest.approx((-there.interval.high, -there.interval.low))
    if there.interval.high > there.interval.low:
        assert there.p_value + back.p_value == pytest.approx(1.0)


def test_holm_s_correction_by_hand() -> None:
    # sorted 0.005, 0.01, 0.03, 0.04: times 4, 3, 2, 1, made monotone
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.6, 0.7]) == (1.0, 1.0)
    assert holm([0.03]) == (0.03,)
    assert holm([]) == ()


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8))
def test_holm_lies_between_no_correction_and_bonferroni(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(
        p <= better <= min(1.0, len(p_values) * p) * (1 + 1e-12) for p, better in zip(p_values, adjusted, strict=True)
    )
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    assert [adjusted[i] for i in order] == sorted(adjusted)


def correlated(count: int, correlation: float, repeats: int, seed: int = 0) -> Floats:
    """Stationary first-order autoregressive series of unit variance, one a row."""
    steps = np.random.default_rng(seed).standard_normal((repeats, count))
    steps[:, 1:] *= math.sqrt(1.0 - correlation**2)
    for time in range(1, count):
        steps[:, time] += correlation * steps[:, time - 1]
    return steps


@pytest.mark.parametrize(("correlation", "most"), [(0.0, 0.06), (0.5, 0.07), (0.9, 0.09)])
def test_a_trend_is_rarely_seen_where_there_is_none(correlation: float, most: float) -> None:
    series = correlated(120, correlation, 500)
    assert np.mean([trend(row.tolist()).p_value <= 0.05 for row in series]) <= most


def test_a_trend_as_large_as_the_noise_is_mostly_seen() -> None:
    series = correlated(200, 0.0, 200) - np.linspace(0.0, 1.0, 200)
    assert np.mean([trend(row.tolist()).p_value <= 0.05 for row in series]) > 0.9
    assert np.mean([trend(row.tolist()).slope for row in series]) == pytest.approx(-1.0 / 199, rel=0.05)


def test_correlated_noise_makes_the_error_larger() -> None:
    white, slow = (trend(correlated(200, c, 1, seed=3)[0].tolist()) for c in (0.0, 0.95))
    assert slow.standard_error > 2 * white.standard_error
    assert slow.effective_count < white.effective_count <= 20


@pytest.mark.parametrize("rate", [1.0, 3.0])
def test_a_loss_that_flattens_out_has_fallen(rate: float) -> None:
    times = np.linspace(0.0, 1.0, 200)
    losses = np.exp(-rate * times) + 0.01 * correlated(200, 0.0, 1)[0]
    assert trend(losses.tolist()).p_value < 0.01


def test_a_line_without_noise_is_certain() -> None:
    falling = trend([5.0 - 0.5 * step for step in range(40)])
    assert falling.slope == pytest.approx(-0.5)
    assert falling.p_value < 1e-12
    assert trend([0.5 * step for step in range(40)]).p_value == pytest.approx(1.0)


@pytest.mark.parametrize("level", [0.0, 0.1, 2.302585])
@pytest.mark.parametrize("count", [4, 19, 57, 200])
def test_an_unchanging_loss_has_no_trend(level: float, count: int) -> None:
    found = trend([level] * count)
    assert found.slope == pytest.approx(0.0, abs=1e-15)
    assert found.p_value > 0.05


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_series_that_is_too_short_decides_nothing(count: int) -> None:
    found = trend([3.0, 2.0, 1.0][:count])
    assert found.standard_error == math.inf
    assert (found.t, found.p_value) == (0.0, 1.0)


def test_the_trend_of_a_broken_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="expected finite values; 1 of 3"):
        trend([1.0, math.nan, 2.0])


@given(st.lists(numbers, min_size=4, max_size=50), numbers, st.sampled_from([0.25, 8.0]))
def test_shift_and_scale_of_a_series_carry_over_to_its_trend(values: list[float], shift: float, factor: float) -> None:
    plain = trend(values)
    moved = trend([shift + factor * value for value in values])
    assert moved.slope == pytest.approx(factor * plain.slope, rel=1e-6, abs=1e-9)
    assert moved.standard_error == pytest.approx(factor * plain.standard_error, rel=1e-5, abs=1e-9)


def test_fieller_s_interval_solves_its_equation() -> None:
    random = np.random.default_rng(0)
    x, y = 3.0 + random.standard_normal(12), 2.0 + 0.5 * random.standard_normal(12)
    found = ratio_of_means(x.tolist(), y.tolist())
    assert found.value == pytest.approx(float(x.mean() / y.mean()))
    for edge in (found.interval.low, found.interval.high):
        on_the_edge = stats.ttest_1samp(x - edge * y, 0.0)
        assert float(on_the_edge.pvalue) == pytest.approx(0.05)


def test_a_ratio_over_what_may_be_zero_has_no_upper_end() -> None:
    found = ratio_of_means([5.0, 6.0, 5.5, 6.5], [0.5, -0.4, 0.3, -0.2])
    assert found.interval.high == math.inf
    assert 0.0 < found.interval.low < found.value
    assert ratio_of_means([1.0, 2.0], [-1.0, -2.0]).value == math.inf
    assert ratio_of_means([1.0], [2.0]).interval.high == math.inf
    below = ratio_of_means([5.0, 6.0, 5.5, 6.5], [-1.0, -1.1, -0.9, -1.0])  # by chance, of what cannot be negative
    assert (below.value, below.interval.low, below.interval.high) == (math.inf, 0.0, math.inf)
    with pytest.raises(ValueError, match="got 1 and 2"):
        ratio_of_means([1.0], [2.0, 3.0])


@pytest.mark.parametrize(("right", "count"), [(0, 5), (3, 10), (512, 512), (100, 777)])
def test_a_share_has_wilsons_interval(right: int, count: int) -> None:
    found = share_interval(right / count, count)
    expected = stats.binomtest(right, count).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.low < found.high


@given(st.lists(st.tuples(numbers, st.integers(1, 5)), min_size=1, max_size=20))
def test_weighted_quantiles_are_those_of_repeated_values(pairs: list[tuple[float, int]]) -> None:
    values, weights = (np.array(column) for column in zip(*pairs, strict=True))
    shares = (0.0, 0.25, 0.5, 0.9, 1.0)
    expected = np.quantile(np.repeat(values, weights), shares, method="inverted_cdf")
    assert weighted_quantiles(values, weights.astype(float), shares).tolist() == expected.tolist()
