"""Changes to networks from which faults are made. Each changes the model it is given, which is nobody else's."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d)
ACTIVATIONS = (nn.ReLU, nn.GELU, nn.Tanh, nn.Sigmoid)


def weights(model: nn.Module) -> Iterator[nn.Parameter]:
    """Matrices and kernels: what is multiplied with, apart from normalization."""
    return (parameter for parameter in model.parameters() if parameter.dim() > 1)


def layers(model: nn.Module) -> list[nn.Linear | nn.Conv1d | nn.Conv2d]:
    """Linear and convolutional layers in the order of the data."""
    return [module for module in model.modules() if isinstance(module, WEIGHTED)]


def head(model: nn.Module) -> nn.Linear:
    """The layer that gives the outputs."""
    return [module for module in model.modules() if isinstance(module, nn.Linear)][-1]


@torch.no_grad()
def filled(model: nn.Module, value: float) -> nn.Module:
    """Every weight and bias of a value; what normalization multiplies with stays."""
    for module in model.modules():
        if not isinstance(module, nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm):
            for parameter in module.parameters(recurse=False):
                parameter.fill_(value)
    return model


@torch.no_grad()
def scaled(model: nn.Module, factor: float) -> nn.Module:
    """Every weight times a factor."""
    for parameter in weights(model):
        parameter.mul_(factor)
    return model


@torch.no_grad()
def confident(model: nn.Module, factor: float) -> nn.Module:
    """The weights of the last layer times a factor: sure of its answers, and wrong."""
    head(model).weight.mul_(factor)
    return model


@torch.no_grad()
def biased(model: nn.Module, value: float) -> nn.Module:
    """The biases of all layers but the last set to a value; normalization's where it comes before the activation."""
    normalizations = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d | nn.GroupNorm)]
    for layer in normalizations or layers(model)[:-1]:
        layer.get_parameter("bias").fill_(value)
    return model


@torch.no_grad()
def alike(model: nn.Module, distinct: int) -> nn.Module:
    """Hidden units as copies of the first few of their layer, which gradients never tell apart again."""
    found = layers(model)
    for layer, before in zip(found, [None, *found], strict=False):
        weight = layer.weight
        if before is not None:
            arriving = before.weight.shape[0]
            spread = weight.view(weight.shape[0], arriving, -1)
            spread.copy_(spread[:, torch.arange(arriving, device=weight.device) % distinct])
        if layer is not found[-1]:
            same = torch.arange(weight.shape[0], device=weight.device) % distinct
            weight.copy_(weight[same])
            if layer.bias is not None:
                layer.bias.copy_(layer.bias[same])
    return model


def followed(model: nn.Module, made: Callable[[], nn.Module]) -> nn.Module:
    """Another module put after every activation, however deep."""
    for name, child in model.named_children():
        if isinstance(child, ACTIVATIONS):
            setattr(model, name, nn.Sequential(child, made()))
        else:
            followed(child, made)
    return model


class Multiplied(nn.Module):
    """c·f(x), where f holds weights that are smaller by c: the same function, in which a step has another length."""

    def __init__(self, layer: nn.Linear, factor: float) -> None:
        super().__init__()
        self.layer = layer
        self.factor = factor
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.div_(factor)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shapes as of the layer."""
        outputs: Tensor = self.factor * self.layer(inputs)
        return outputs


class Detached(nn.Module):
    """A layer whose inputs hand no gradient back."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, inputs: Tensor) -> Tensor:
        """Shapes as of the layer."""
        outputs: Tensor = self.layer(inputs.detach())
        return outputs


class Unregistered(nn.Module):
    """A layer kept in a plain list: torch sees neither it nor its parameters."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.kept = [layer]

    def forward(self, inputs: Tensor) -> Tensor:
        """Shapes as of the layer."""
        outputs: Tensor = self.kept[0](inputs)
        return outputs


def replaced(model: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """One module of a model in place of another."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if child is old:
                setattr(parent, name, new)
    return model


class Tones(nn.Module):
    """y = Σ aⱼ sin(ωⱼ x + φⱼ): a loss over frequencies has a minimum wherever a tone overlaps with the data's a bit."""

    HIGHEST = 12.0

    def __init__(self, count: int) -> None:
        super().__init__()
        self.amplitudes = nn.Parameter(torch.zeros(count))
        self.frequencies = nn.Parameter(torch.zeros(count))
        self.phases = nn.Parameter(torch.zeros(count))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Frequencies from 0 to 12, small amplitudes."""
        with torch.no_grad():
            self.frequencies.uniform_(0, self.HIGHEST)
            self.amplitudes.uniform_(0.05, 0.2)
            self.phases.uniform_(-3, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (batch, 1), before and after."""
        tones = torch.sin(inputs * self.frequencies + self.phases)
        return (tones * self.amplitudes).sum(1, keepdim=True)
