"""Networks with normalization: where it is, batches of one class, and what the two modes give."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unstuck.study.experiments.normalized import GROUP, by_mode, groups, loss_of_groups, network, network_of_groups


@pytest.mark.parametrize(
    ("where", "kinds"),
    [
        ("", [nn.Linear, nn.ReLU]),
        ("before", [nn.Linear, nn.BatchNorm1d, nn.ReLU]),
        ("after", [nn.Linear, nn.ReLU, nn.BatchNorm1d]),
        ("layer", [nn.Linear, nn.LayerNorm, nn.ReLU]),
    ],
)
def test_the_normalization_is_where_it_is_said_to_be(where: str, kinds: list[type[nn.Module]]) -> None:
    assert [type(layer) for layer in network(where, hidden=2)] == [*kinds, *kinds, nn.Linear]


def test_a_fixed_one_has_neither_scale_nor_shift() -> None:
    assert not any(list(layer.parameters()) for layer in network("fixed") if isinstance(layer, nn.BatchNorm1d))


def test_batches_of_one_class_are_that_and_no_sample_comes_twice() -> None:
    targets = torch.arange(3).repeat_interleave(torch.tensor([GROUP, 2 * GROUP + 5, GROUP + 1]))
    inputs = torch.arange(len(targets), dtype=torch.float32)[:, None]
    chosen, classes = groups(inputs, targets, "one class", 0)
    assert chosen.shape == (4, GROUP, 1)
    assert (classes == classes[:, :1]).all()
    assert len(chosen.unique()) == 4 * GROUP
    _, shuffled = groups(inputs, targets, "shuffled", 0)
    assert not (shuffled == shuffled[:, :1]).all()


def test_the_loss_of_batches_is_the_mean_of_each() -> None:
    outputs, targets = torch.randn(3, 5, 4), torch.randint(4, (3, 5))
    expected = torch.stack([F.cross_entropy(own, labels) for own, labels in zip(outputs, targets, strict=True)])
    assert torch.allclose(loss_of_groups(outputs, targets), expected)


def test_testing_is_not_moved_by_what_training_sees() -> None:
    model = network("before", hidden=1)
    batches = 5.0 + torch.randn(3, 8, 64, generator=torch.Generator().manual_seed(0))
    fresh = network("before", hidden=1)
    fresh.load_state_dict(model.state_dict())
    found = by_mode(model, batches)
    with torch.no_grad():
        assert torch.equal(found["testing"], torch.stack([fresh.eval()(batch) for batch in batches]))
        assert torch.equal(found["training"], torch.stack([fresh.train()(batch) for batch in batches]))


def test_a_network_of_groups_is_the_network_on_each_batch() -> None:
    model = network_of_groups("layer")
    batch = torch.randn(1, GROUP, 64)
    assert torch.equal(model(batch), model[1](batch[0])[None])
