"""The network of a fleet: what is exchanged in it, and what a rehearsal finds out, against torch's own layers."""

from __future__ import annotations

import pytest
import torch
from tests.fleets import FEATURES, MODELS, cross_entropy, table
from torch import Tensor, nn
from torch.func import vmap

from unstuck.fleet_network import CountedBatchNorm, Network, TurnedLinear, rehearse

UNFILLED = ("recurrent", "mean subtracted", "ghost batches", "batch renormalization")
"""Models whose batches must not be filled up: their samples see each other."""


@pytest.mark.parametrize("name", MODELS)
def test_which_models_can_be_run_together(name: str) -> None:
    rehearsal = rehearse(Network.of(MODELS[name]()), cross_entropy, *table(), [8, 9])
    assert rehearsal.together == (name != "recurrent")
    assert not rehearsal.random
    assert rehearsal.filled == (name not in UNFILLED)
    assert "unused" not in rehearsal.reached


def test_dropout_is_random_and_not_run_together() -> None:
    model = nn.Sequential(nn.Linear(FEATURES, 3), nn.Dropout(0.1)).double()
    rehearsal = rehearse(Network.of(model), cross_entropy, *table(), [8, 9])
    assert (rehearsal.random, rehearsal.together) == (True, False)


def test_a_rehearsal_counts_what_is_kept() -> None:
    """Six inputs, five hidden units, and what cross-entropy keeps of three logits."""
    numbers = rehearse(Network.of(MODELS["perceptron"]()), cross_entropy, *table(), [8]).numbers
    assert 11 <= numbers <= 33


@pytest.mark.parametrize("shape", [(7, 4), (7, 4, 5), (7, 4, 2, 3)])
@pytest.mark.parametrize("momentum", [0.3, None])
def test_samples_that_fill_a_batch_up_are_not_counted(shape: tuple[int, ...], momentum: float | None) -> None:
    """Against torch's layer on the others alone: outputs, gradients, running statistics; and again in testing."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    kind = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d)[len(shape) - 2]
    ours, theirs = CountedBatchNorm(kind(4, momentum=momentum).double()), kind(4, momentum=momentum).double()
    ours.weights = torch.tensor([0.2] * 5 + [0.0] * 2, dtype=torch.float64)
    for _ in range(2):
        leaf, short = values.clone().requires_grad_(), values[:5].clone().requires_grad_()
        found, expected = ours(leaf)[:5], theirs(short)
        torch.testing.assert_close(found, expected)
        slopes = [torch.autograd.grad((out**3).sum(), at)[0] for out, at in ((found, leaf), (expected, short))]
        torch.testing.assert_close(slopes[0][:5], slopes[1])
        assert not slopes[0][5:].any()
    torch.testing.assert_close(dict(ours.named_buffers()), dict(theirs.named_buffers()))
    torch.testing.assert_close(ours.eval()(values), theirs.eval()(values))


@pytest.mark.parametrize("shape", [(8, 6), (8, 3, 6)])
@pytest.mark.parametrize("bias", [True, False])
def test_turned_layers_are_linear(shape: tuple[int, ...], bias: bool) -> None:
    layer = nn.Linear(6, 4, bias=bias).double()
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(TurnedLinear(layer)(values), layer(values))


def test_a_network_is_a_function_of_rows() -> None:
    """Two rows at once give what the model gives with each of them loaded."""
    model = MODELS["tied and frozen"]()
    network = Network.of(MODELS["tied and frozen"]())
    row, others = network.split(model)
    assert row.numel() == network.size == 6 * 6 + 6 + 6 + 2 + 1  # one matrix, two biases, what is unused, the gain
    inputs, _ = table()
    rows = torch.stack([row, 2 * row])

    def outputs(row: Tensor) -> Tensor:
        given: Tensor = network.outputs(network.named(row), others, inputs)
        return given

    together = vmap(outputs)(rows)
    for k in range(2):
        model.load_state_dict(network.state(network.named(rows[k]), others))
        torch.testing.assert_close(together[k], model(inputs))
