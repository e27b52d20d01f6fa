"""Changes to networks do what they say, and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unstuck.untouched import seeded
from unstuck.ward import changes
from unstuck.ward.networks import (
    BagOfWords,
    Codebook,
    Recurrent,
    Transformer,
    convolutional,
    mixer,
    perceptron,
    residual,
    shortcuts,
)

INPUTS = torch.randn(64, 20, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model() -> nn.Sequential:
    with seeded(0):
        return perceptron((20, 12, 12, 4))


@pytest.mark.parametrize(
    ("made", "features"),
    [
        (lambda: perceptron((20, 12, 4)), 12),
        (lambda: convolutional(10), 64),
        (lambda: residual(8), 48),
        (lambda: Recurrent(nn.GRU(6, 24), 6), 24),
        (lambda: Transformer(28, 16), 32),
        (lambda: BagOfWords(512, 8), 32),
        (lambda: mixer(8, 6, 4), 192),
    ],
    ids=["perceptron", "convolutional", "residual", "recurrent", "transformer", "bag-of-words", "mixer"],
)
def test_the_head_is_what_gives_the_outputs(made: type[nn.Module], features: int) -> None:
    assert changes.head(made()).in_features == features


def test_filled_and_scaled(model: nn.Sequential) -> None:
    before = [parameter.clone() for parameter in changes.weights(model)]
    changes.scaled(model, 3.0)
    assert all(torch.equal(a * 3, b) for a, b in zip(before, changes.weights(model), strict=True))
    assert all(bool((p == 0.5).all()) for p in changes.filled(model, 0.5).parameters())
    normalized = changes.filled(convolutional(10), 0.0).get_submodule("1")
    assert isinstance(normalized, nn.BatchNorm2d)
    assert torch.equal(normalized.weight, torch.ones(8))


@pytest.mark.parametrize("distinct", [1, 2])
def test_copies_stay_copies(model: nn.Sequential, distinct: int) -> None:
    """What symmetry promises: after any number of updates no more than so many units of a layer differ."""
    changes.alike(model, distinct)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(INPUTS), torch.arange(64) % 4).backward()
        optimizer.step()
    hidden = model[:4](INPUTS)
    assert torch.linalg.matrix_rank(hidden) <= distinct
    assert len(hidden.detach().round(decimals=4).unique(dim=1).T) <= distinct


def test_images_are_copied_channel_by_channel() -> None:
    with seeded(0):
        model = convolutional(10).eval()
    changes.alike(model, 2)
    hidden = model[:8](torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1)))
    assert torch.allclose(hidden[:, :2], hidden[:, 2:4])
    assert not torch.allclose(hidden[:, 0], hidden[:, 1])


def test_multiplied_is_the_same_function_in_which_steps_have_another_length(model: nn.Sequential) -> None:
    expected = model(INPUTS)
    layer = model[2]
    assert isinstance(layer, nn.Linear)
    (slope,) = torch.autograd.grad(expected.sum(), layer.weight)
    changes.replaced(model, layer, changes.Multiplied(layer, 0.1))
    assert torch.allclose(model(INPUTS), expected, atol=1e-5)
    (changed,) = torch.autograd.grad(model(INPUTS).sum(), layer.weight)
    assert torch.allclose(changed, 0.1 * slope, atol=1e-4)


def test_detached_hands_no_gradient_back(model: nn.Sequential) -> None:
    last = changes.head(model)
    changes.replaced(model, last, changes.Detached(last))
    model(INPUTS).sum().backward()
    assert [parameter.grad is not None for parameter in model.parameters()] == [False] * 4 + [True] * 2


def test_a_layer_in_a_list_computes_and_is_not_found(model: nn.Sequential) -> None:
    expected, before = model(INPUTS), len(list(model.parameters()))
    layer = model[2]
    changes.replaced(model, layer, changes.Unregistered(layer))
    assert torch.equal(model(INPUTS), expected)
    assert len(list(model.parameters())) == before - 2
    assert not any(module is layer for module in model.modules())


def test_biased_and_confident(model: nn.Sequential) -> None:
    size = changes.head(model).weight.norm()
    changes.confident(changes.biased(model, -100.0), 10.0)
    assert not model[:2](INPUTS).any()
    assert float((changes.head(model).weight.norm() / size).detach()) == pytest.approx(10)
    assert all(bool((m.bias == -5).all()) for m in changes.biased(residual(8), -5.0).modules()
               if isinstance(m, nn.GroupNorm))  # fmt: skip


def test_followed_reaches_every_activation() -> None:
    model = changes.followed(Transformer(28, 16), lambda: nn.Dropout(0.5))
    assert sum(isinstance(module, nn.Dropout) for module in model.modules()) == 2
    assert sum(isinstance(m, nn.Dropout) for m in changes.followed(residual(8), nn.Dropout).modules()) == 3


def test_tones_find_one_from_where_they_usually_start() -> None:
    with seeded(0):
        model = changes.Tones(12)
    assert bool((model.frequencies <= model.HIGHEST).all())
    assert model(torch.zeros(5, 1)).shape == (5, 1)


def test_words_in_another_order_are_the_same_bag() -> None:
    with seeded(0):
        model = BagOfWords(30, 4)
    words = torch.randint(30, (5, 20), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(model(words), model(words.flip(1)), atol=1e-6)


def test_each_shortcut_makes_the_variance_three_times_as_large() -> None:
    with seeded(0):
        spread = [float(shortcuts(20, 4, depth=depth)[:-1](INPUTS).var().detach()) for depth in (4, 14)]
    assert 3**8 < spread[1] / spread[0] < 3**12


def test_a_code_that_is_nobodys_nearest_has_no_slope() -> None:
    with seeded(0):
        model = Codebook(3, 4)
    with torch.no_grad():
        model.codes.copy_(torch.tensor([0.0, 8.0, 9.0])[:, None].expand(3, 4))
    points = INPUTS[:, :4]
    assert torch.allclose(model(points), torch.zeros(64, 4), atol=1e-6)
    nn.functional.mse_loss(model(points), points).backward()
    assert model.codes.grad is not None
    assert float(model.codes.grad[1:].abs().max()) < 1e-6 < float(model.codes.grad[0].abs().max())
