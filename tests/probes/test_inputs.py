"""Scale and offset of features, against numbers known by construction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests import zoo
from tests.probes.look import look
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from unstuck.methods.normalize import FeatureStatistics
from unstuck.probes.inputs import Inputs, InputsReading
from unstuck.problem import Problem
from unstuck.specimens import healthy, unnormalized
from unstuck.surgery.inputs import feature_axis, first_inputs


def reading_of(inputs: Any, *more: Any) -> InputsReading:
    batches = [(inputs, torch.zeros(len(inputs))), *((part, torch.zeros(len(part))) for part in more)]
    reading: InputsReading = look(Inputs(), problem_of(batches))
    return reading


def problem_of(loader: Any) -> Problem:
    return zoo.problem(lambda: nn.Linear(1, 1), train=loader, loss=nn.MSELoss())


def standard(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def exact(count: int, features: int) -> Tensor:
    """Columns of mean zero and deviation one, exactly."""
    columns = standard(count, features)
    columns -= columns.mean(0)
    return columns / columns.std(0, correction=0)


def test_scales_and_offsets() -> None:
    deviations = torch.tensor([1.0, 2.0, 4.0, 8.0, 100.0], dtype=torch.float64)
    offsets = torch.tensor([0.0, 4.0, 4.0, 8.0, 500.0], dtype=torch.float64)  # over deviation: 0, 2, 1, 1, 5
    inputs = exact(60, 5) * deviations + offsets
    reading = reading_of(inputs)
    assert (reading.axis, reading.features, reading.samples) == (1, 5, 60)
    assert reading.largest_over_typical == pytest.approx(100 / 4)
    assert reading.typical_over_smallest == pytest.approx(4 / np.quantile([1, 2, 4, 8, 100], 0.05))
    assert reading.offset == pytest.approx(1.0)
    assert reading.size == pytest.approx(float((deviations**2 + offsets**2).mean().sqrt()))
    assert reading.constant == 0.0
    assert reading.deviations == pytest.approx((100.0, 8.0, 4.0, 2.0, 1.0))


def test_constant_features_are_counted_and_left_out() -> None:
    inputs = exact(60, 4)
    inputs[:, 0] = 7.0
    reading = reading_of(inputs)
    assert reading.constant == 0.25
    assert reading.largest_over_typical == pytest.approx(1.0)
    assert reading.typical_over_smallest == pytest.approx(1.0)
    reading = reading_of(torch.full((60, 4), 7.0))
    assert (reading.constant, reading.largest_over_typical, reading.offset) == (1.0, 0.0, 7.0)


def test_the_conditioning_is_that_of_numpys_covariance() -> None:
    mixing = torch.tensor([[1.0, 0.9, 0.0], [0.0, 0.4, 0.0], [0.0, 0.0, 100.0]], dtype=torch.float64)
    inputs = standard(60, 3) @ mixing + 7
    reading = reading_of(inputs)
    values = np.linalg.eigvalsh(np.cov(inputs.numpy().T))
    normalized = np.linalg.eigvalsh(np.corrcoef(inputs.numpy().T))
    assert reading.rank == 3
    assert reading.condition == pytest.approx(values[-1] / values[0], rel=1e-9)
    assert reading.normalized_condition == pytest.approx(normalized[-1] / normalized[0], rel=1e-9)
    assert reading.noise_condition == pytest.approx(((1 + 0.05**0.5) / (1 - 0.05**0.5)) ** 2)
    assert reading.notes == ()


def test_the_rank_leaves_out_what_is_constant_or_follows() -> None:
    inputs = standard(60, 4)
    inputs[:, 1] = 5.0
    inputs[:, 3] = 2 * inputs[:, 0] - 1
    reading = reading_of(inputs)
    assert (reading.rank, reading.features, reading.constant) == (2, 4, 0.25)
    assert reading.condition is not None
    assert reading.condition < 30
    still = reading_of(torch.full((60, 4), 7.0))
    assert (still.rank, still.condition, still.normalized_condition) == (0, None, None)


def test_many_features_are_looked_at_in_part() -> None:
    reading = reading_of(standard(30, 5000))
    assert (reading.rank, reading.noise_condition) == (29, None)
    assert "1000 features" in reading.notes[0]
    assert "no more samples than features" in reading.notes[1]


def test_images_are_conditioned_by_channel() -> None:
    images = standard(20, 2, 40, 40)
    images[:, 1] = 3 * images[:, 1] + images[:, 0]
    reading = reading_of(images)
    values = np.linalg.eigvalsh([[1.0, 1.0], [1.0, 10.0]])
    assert reading.rank == 2
    assert reading.condition == pytest.approx(values[1] / values[0], rel=0.05)


def test_channels_of_images_and_features_of_sequences() -> None:
    images = standard(20, 3, 8, 8) * torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)[:, None, None]
    reading = reading_of(images)
    assert (reading.axis, reading.features) == (1, 3)
    assert reading.largest_over_typical == pytest.approx(10, rel=0.1)
    sequences = standard(20, 9, 4) * torch.tensor([1.0, 1.0, 1.0, 50.0], dtype=torch.float64)
    assert reading_of(sequences).axis == feature_axis(sequences) == 2
    assert reading_of(sequences.movedim(1, 2)).axis == 1


def test_moments_are_numpys() -> None:
    images = standard(20, 3, 4, 5) + 3
    found = FeatureStatistics.of([images.float()], axis=1)
    assert found.mean.dtype is torch.float64
    np.testing.assert_allclose(found.mean, images.float().double().numpy().mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(found.deviation, images.float().double().numpy().std((0, 2, 3)), rtol=1e-12)


def test_sequences_of_several_lengths_are_read_where_they_are_alike() -> None:
    scale = torch.tensor([1.0, 9.0], dtype=torch.float64)
    reading = reading_of(standard(4, 6, 2) * scale, standard(4, 6, 2) * scale, standard(4, 7, 2) * scale)
    assert reading.features == 2
    assert reading.samples % 4 == 0


def test_samples_that_are_not_finite_are_left_out() -> None:
    inputs = exact(60, 3)
    spoiled = torch.cat([inputs, torch.full((2, 3), float("nan"), dtype=torch.float64)])
    reading = reading_of(spoiled)
    assert reading.samples == 60
    assert reading.deviations == pytest.approx((1.0, 1.0, 1.0))
    assert first_inputs([(spoiled[60:], 0)]) is None


@pytest.mark.parametrize(
    "loader",
    [
        [(torch.ones(5, 3, dtype=torch.int64), torch.ones(5))],
        [(torch.ones(5), torch.ones(5))],
        [((torch.ones(5, 3, dtype=torch.int64), torch.ones(5, 3)), torch.ones(5))],
        [(torch.full((5, 3), float("inf")), torch.ones(5))],
    ],
)
def test_inputs_without_a_scale_say_so(loader: Any) -> None:
    reading = look(Inputs(), problem_of(loader))
    assert reading.features == 0
    assert "no table of finite floating-point numbers" in reading.notes[0]
    assert reading.draw() is None


def test_batches_that_are_no_pairs_say_so() -> None:
    loader = DataLoader(TensorDataset(zoo.table()[0]), batch_size=5)
    reading = look(Inputs(), zoo.problem(zoo.OwnLoss, loss=None, step=lambda model, batch: model(batch), train=loader))
    assert reading.features == 0
    assert "must be (inputs, targets)" in reading.notes[0]


def test_the_first_of_several_inputs_is_read() -> None:
    for name in ("two inputs", "named inputs"):
        reading = look(Inputs(), zoo.MODELS[name](torch.float64))
        assert reading.features == 2
        assert reading.size == pytest.approx(float(zoo.table()[0][:, :2].square().mean().sqrt()))


def test_specimens() -> None:
    assert look(Inputs(), healthy()).largest_over_typical < 1.2
    reading = look(Inputs(), unnormalized())
    assert reading.largest_over_typical == pytest.approx(1000, rel=0.2)
    assert reading.draw() is not None


def asked(inputs: Any, targets: Tensor) -> InputsReading:
    reading: InputsReading = look(Inputs(), problem_of([(inputs, targets)]))
    return reading


def test_neighbours_tell_of_targets_that_follow_from_the_inputs() -> None:
    inputs = standard(200, 2)
    told = asked(inputs, (3 * inputs[:, 0]).sin()).told
    assert told is not None
    assert told.value > 0.3
    assert told.value > 5 * told.error
    dealt = asked(inputs, (3 * standard(400, 2)[200:, 0]).sin()).told
    assert dealt is not None
    assert abs(dealt.value) < 4 * dealt.error
    words = (inputs[:, :1] * 5).long()
    counted = asked(words, words[:, 0] % 3)
    assert counted.features == 0
    assert counted.told is not None
    assert counted.told.value > 5 * counted.told.error


def test_what_tells_nothing_is_not_asked() -> None:
    inputs = standard(60, 2)
    assert asked(inputs, torch.zeros(60)).told is None
    assert asked(inputs, torch.full((60,), torch.nan)).told is None
    ragged = [(standard(30, 2), torch.zeros(30)), (standard(30, 3), torch.ones(30))]
    assert look(Inputs(), problem_of(ragged)).told is None


def test_inputs_that_are_all_the_same() -> None:
    one = standard(1, 3, 4)
    assert asked(one.expand(60, 3, 4).clone(), standard(60)).alike
    assert asked([one.expand(60, 3, 4).clone(), torch.ones(60, 1)], standard(60)).alike
    assert not asked([one.expand(60, 3, 4).clone(), standard(60, 1)], standard(60)).alike
    assert not asked(standard(60, 3, 4), standard(60)).alike
    assert not asked(one, standard(1)).alike
