"""The scale of an ordinary initialization, and drawing one anew."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unstuck.untouched import seeded
from unstuck.vector import Point


def initial_scales(model: nn.Module) -> dict[str, float]:
    """The standard deviation with which each trainable parameter would ordinarily be initialized.

    Weights: that of torch's default, uniform on ±1/√fan_in, hence 1/√(3·fan_in); a vector or a number that
    is no bias counts as one unit's incoming weights. Biases, and the scales of normalization layers: zero,
    as their ordinary start is a constant.
    """
    scales: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        owner = model.get_submodule(name.rpartition(".")[0])
        constant = name.endswith("bias") or "norm" in type(owner).__name__.lower()
        units = parameter.shape[0] if parameter.dim() > 1 else 1
        fan_in = max(1, parameter.numel() // max(1, units))
        scales[name] = 0.0 if constant else float((3 * fan_in) ** -0.5)
    return scales


def perturbation(model: nn.Module, point: Point, generator: torch.Generator) -> Point:
    """A random direction whose entries have the size of an ordinary initialization."""
    scales = initial_scales(model)
    return {
        name: scales[name]
        * torch.randn(tensor.shape, generator=generator, dtype=torch.float64, device="cpu").to(
            tensor.device, tensor.dtype
        )
        for name, tensor in point.items()
    }


def reinitialize(model: nn.Module, seed: int) -> None:
    """Initialize a branch's model anew, in place, by each module's own ``reset_parameters``.

    Trainable parameters that it leaves as they are get draws from a normal distribution with the scale of
    :func:`initial_scales`; those whose ordinary start is a constant are left. Frozen ones keep their values.
    """
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with seeded(seed):
        for module in model.modules():
            again = getattr(module, "reset_parameters", None)
            if callable(again):
                again()
        scales = initial_scales(model)
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                parameter.copy_(before[name])
            # Some modules reset a weight that is computed from the parameters, which then stay as they were.
            elif scales[name] > 0 and torch.equal(parameter, before[name]):
                _fill(parameter, scales[name])


def _fill(parameter: Tensor, scale: float) -> None:
    """Draw a parameter from a normal distribution, in place, without history."""
    with torch.no_grad():
        parameter.normal_(0.0, scale)
