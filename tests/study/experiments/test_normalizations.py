"""Networks with any normalization: each is torch's own, and what a fleet learns of one is what it learns alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unstuck.methods.normalize import spectral_normalized
from unstuck.study.experiments.normalizations import (
    CHANNELS,
    GROUPS,
    KINDS,
    MOMENTUM,
    PLAIN,
    Convolution,
    Normalization,
    averaged_anew,
    convolutional,
    learned,
    learned_in_groups,
    of_groups,
    of_kind,
    one_hot,
    perceptron,
)
from unstuck.study.experiments.normalized import GROUP
from unstuck.surgery.normalization_layers import BatchRenorm

UPDATES = 2 * PLAIN

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "batch": lambda: nn.BatchNorm2d(CHANNELS, momentum=MOMENTUM),
    "renormalization": lambda: BatchRenorm(CHANNELS, momentum=MOMENTUM, plain=UPDATES // PLAIN),
    "layer": lambda: nn.GroupNorm(1, CHANNELS),
    "instance": lambda: nn.InstanceNorm2d(CHANNELS, affine=True),
    "group": lambda: nn.GroupNorm(GROUPS, CHANNELS),
    "weight": nn.Identity,
    "spectral": nn.Identity,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_is_the_known_one_in_training_and_in_testing(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    own, known = Normalization(CHANNELS, UPDATES).double(), LAYERS[kind]().double()
    own.kind.copy_(one_hot(kind))
    with torch.no_grad():
        for name, parameter in known.named_parameters():
            parameter.copy_(torch.randn(CHANNELS, generator=generator))
            own.get_parameter(name).copy_(parameter)
    for update in range(12):
        values = (1.0 + 0.2 * update) * torch.randn(3, CHANNELS, 2, 3, generator=generator, dtype=torch.float64)
        goal = torch.randn(values.shape, generator=generator, dtype=torch.float64)
        given = values.clone().requires_grad_()
        slopes = [torch.autograd.grad((layer(given) * goal).sum(), given)[0] for layer in (own, known)]
        assert torch.allclose(slopes[0], slopes[1], atol=1e-10)
    assert torch.allclose(own.eval()(values), known.eval()(values), atol=1e-10)


@pytest.mark.parametrize("kind", ["layer", "batch"])
def test_a_layer_takes_units_without_places(kind: str) -> None:
    values = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    layer = Normalization(8, 1)
    layer.kind.copy_(one_hot(kind))
    expected = F.layer_norm(values, (8,)) if kind == "layer" else F.batch_norm(values, None, None, training=True)
    assert torch.allclose(layer(values), expected, atol=1e-6)


def test_weights_are_normalized_as_torch_does() -> None:
    values = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    layer = Convolution(3, 2)
    plain = layer(values)
    layer.kind.copy_(one_hot("weight"))
    assert torch.allclose(layer(values), plain, atol=1e-6)
    with torch.no_grad():
        layer.length.mul_(3.0)
        layer.weight.mul_(5.0)  # of which only the direction counts
    bias = layer.get_parameter("bias")[:, None, None]
    assert torch.allclose(layer(values) - bias, 3.0 * (plain - bias), atol=1e-5)


def test_the_power_method_goes_on_in_training_alone() -> None:
    values = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    layer = Convolution(3, 1)
    layer.kind.copy_(one_hot("spectral"))
    for _ in range(60):
        layer(values)
    kept = layer.left.clone()
    layer.eval()(values)
    assert torch.equal(layer.left, kept)
    weight = spectral_normalized(layer.weight.detach(), layer.left)[0]
    assert float(torch.linalg.matrix_norm(weight.flatten(1), 2)) == pytest.approx(1.0, abs=1e-4)
    assert torch.allclose(layer(values), F.conv2d(values, weight, layer.bias, padding=1), atol=1e-6)


@pytest.mark.parametrize("build", [convolutional, perceptron])
def test_every_layer_is_of_the_kind(build: Callable[[int], nn.Module]) -> None:
    model = build(UPDATES)
    model.load_state_dict(of_kind("group", model), strict=False)
    held = [tensor for name, tensor in model.named_buffers() if name.endswith("kind")]
    assert held
    assert all(torch.equal(tensor, one_hot("group")) for tensor in held)
    assert model(torch.zeros(4, 64)).shape == (4, 10)


def test_a_network_of_groups_is_the_network_on_each_batch() -> None:
    batch = torch.randn(1, GROUP, 64)
    model = perceptron(UPDATES)
    assert torch.equal(of_groups(model)(batch), model(batch[0])[None])


def test_averages_taken_anew_are_those_of_all_samples() -> None:
    inputs = torch.randn(40, 64, generator=torch.Generator().manual_seed(0))
    model = perceptron(UPDATES)
    model.load_state_dict(of_kind("batch", model), strict=False)
    found = averaged_anew(model, inputs)
    assert not found.training
    first = found.get_submodule("0")(inputs)
    assert torch.allclose(found.get_buffer("1.running_mean"), first.mean(0), atol=1e-6)
    assert torch.allclose(found.get_buffer("1.running_var"), first.var(0), atol=1e-5)


def test_a_kind_learns_alone_what_it_learns_among_others() -> None:
    together = learned(("batch", "renormalization", "spectral"), 3, 4, 6, (0.1, 0.05))
    alone = learned(("batch",), 3, 4, 6, (0.1, 0.05))
    for part in ("loss", "rate"):
        assert together[part]["batch"] == pytest.approx(alone[part]["batch"], rel=1e-4)


def test_the_error_on_groups_is_of_both_modes() -> None:
    found = learned_in_groups(lambda: perceptron(40), ("none", "batch"), "shuffled", 0, 40)
    assert found["none"]["testing"] == found["none"]["training"]
    assert found["batch"]["testing"] < 30.0
