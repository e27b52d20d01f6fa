"""Modules of our own: batch renormalization from training to testing, rows of features."""

from __future__ import annotations

import copy

import torch
from tests import zoo
from torch import nn

from unstuck.surgery.normalization_layers import BatchRenorm, FeaturesLast

FEATURES = zoo.FEATURES


def test_features_last_is_the_normalization_of_all_rows() -> None:
    rows = zoo.sequence(zoo.table()[0])
    plain = nn.BatchNorm1d(FEATURES).double()
    last = FeaturesLast(copy.deepcopy(plain))
    torch.testing.assert_close(last(rows), plain(rows.movedim(-1, 1)).movedim(1, -1))
    torch.testing.assert_close(last.normalization.running_var, plain.running_var)


def test_batch_renorm_begins_as_batch_norm_and_ends_near_testing() -> None:
    values = 2 * torch.randn(12, FEATURES, generator=zoo.generator(), dtype=torch.float64) + 1
    ours, torchs = BatchRenorm(FEATURES, plain=20, momentum=0.1).double(), nn.BatchNorm1d(FEATURES).double()
    for _ in range(20):
        torch.testing.assert_close(ours(values), torchs(values))
    torch.testing.assert_close(ours.running_mean, torchs.running_mean)
    torch.testing.assert_close(ours.running_var, torchs.running_var)
    torch.testing.assert_close(ours.eval()(values), torchs.eval()(values))
    ours.train()
    for _ in range(150):
        ours(values)
    other = values[:5] + 0.5  # a batch that is no fair sample, within the limits
    trained = ours(other)
    ours.eval()
    torch.testing.assert_close(trained, ours(other), rtol=0, atol=0.2)
    assert not torch.allclose(trained, torchs.train()(other), atol=0.4)
