"""The scale of an ordinary initialization, against what torch draws."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests import zoo
from tests.untouched import content
from torch import nn

from unstuck.initial import initial_scales, perturbation, reinitialize


@pytest.mark.parametrize(
    "layer", [nn.Linear(60, 500), nn.Linear(500, 60), nn.Conv2d(8, 90, 3), nn.Conv1d(30, 200, 5)], ids=str
)
def test_weights_have_torchs_own_scale(layer: nn.Module) -> None:
    weight: Any = layer.weight
    assert initial_scales(layer)["weight"] == pytest.approx(float(weight.detach().std()), rel=0.02)
    assert initial_scales(layer)["bias"] == 0.0


def test_constants_have_none() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.LayerNorm(3), nn.Linear(3, 2, bias=False))
    scales = initial_scales(model)
    assert [name for name, scale in scales.items() if scale > 0] == ["0.weight", "3.weight"]
    model[0].requires_grad_(False)
    assert "0.weight" not in initial_scales(model)


def test_a_perturbation_has_that_scale_and_follows_its_generator() -> None:
    model = nn.Sequential(nn.Linear(100, 200), nn.Linear(200, 10)).double()
    point = {name: parameter.detach() for name, parameter in model.named_parameters()}
    first, second, third = (perturbation(model, point, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    scales = initial_scales(model)
    for name, tensor in first.items():
        assert tensor.shape == point[name].shape
        assert tensor.dtype is torch.float64
        assert torch.equal(tensor, second[name])
        assert float(tensor.std()) == pytest.approx(scales[name], rel=0.05)
    assert not torch.equal(first["0.weight"], third["0.weight"])


@pytest.mark.parametrize("name", zoo.MODELS)
def test_reinitializing_draws_every_weight_anew(name: str) -> None:
    problem = zoo.MODELS[name](torch.float64)
    first, second, third = problem.branch(), problem.branch(), problem.branch()
    before = torch.get_rng_state()
    reinitialize(first.model, 1)
    reinitialize(second.model, 1)
    reinitialize(third.model, 2)
    assert torch.equal(torch.get_rng_state(), before)
    assert content(first.model.state_dict()) == content(second.model.state_dict())
    scales = initial_scales(problem.model)
    for key, tensor in first.point().items():
        if scales[key] > 0:
            assert not torch.equal(tensor, problem.point()[key]), key
            assert not torch.equal(tensor, third.point()[key]), key
            assert tensor.isfinite().all()


def test_reinitializing_breaks_the_symmetry_of_zeros() -> None:
    problem = zoo.MODELS["perceptron"](torch.float64)
    branch = problem.branch()
    with torch.no_grad():
        for parameter in branch.model.parameters():
            parameter.zero_()
    reinitialize(branch.model, 0)
    assert branch.point()["0.weight"].unique(dim=0).shape[0] == 5


def test_reinitializing_leaves_what_is_frozen_out_of_its_draws() -> None:
    class Free(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.fixed = (
                nn.Parameter(torch.zeros(50, 30)),
                nn.Parameter(torch.ones(3), requires_grad=False),
            )
            self.bias = nn.Parameter(torch.full((30,), 2.0))

    model = Free()
    reinitialize(model, 0)
    assert float(model.weight.detach().std()) == pytest.approx((3 * 30) ** -0.5, rel=0.05)
    assert model.fixed.tolist() == [1.0] * 3
    assert model.bias.tolist() == [2.0] * 30
