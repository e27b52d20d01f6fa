"""Which layers are normalized, and why the others are left alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tests import zoo
from tests.surgery.networks import CLASSES, FEATURES, Pictures, Residual, deep, inserted, names
from torch import Tensor, nn

from unstuck.errors import InputError
from unstuck.surgery.insertion import with_normalization


class RootNorm(nn.Module):
    """A normalization of somebody's own."""

    def forward(self, values: Tensor) -> Tensor:
        return values / values.square().mean(-1, keepdim=True).sqrt()


class Activated(nn.Linear):
    """A layer and its activation in one."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs).relu()


class SeveralWithoutNorm(nn.Module):
    """Layers that are to be left alone, each for another reason, and one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.good = nn.Linear(FEATURES, 5)
        self.straight = nn.Linear(5, 5)
        self.again = nn.Linear(5, 5)
        self.tied, self.twin = nn.Linear(5, 5), nn.Linear(5, 5)
        self.twin.weight = self.tied.weight
        self.frozen = nn.Linear(5, 5).requires_grad_(False)
        self.normal, self.norm = nn.Linear(5, 5), RootNorm()
        self.later, self.its = nn.Linear(5, 5), nn.BatchNorm1d(5)
        self.computed = nn.utils.parametrizations.weight_norm(nn.Linear(5, 5))
        self.whole, self.one = Activated(5, 5), nn.Linear(5, 1)
        self.idle, self.out = nn.Linear(5, 5), nn.Linear(1, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.straight(self.good(inputs).relu())
        hidden = self.again(self.again(hidden).tanh()).tanh()
        hidden = self.frozen(self.twin(self.tied(hidden).tanh()).tanh()).tanh()
        hidden = torch.tanh(self.norm(self.normal(hidden)))
        hidden = self.its(torch.tanh(self.later(hidden)))
        outputs: Tensor = self.out(torch.tanh(self.one(self.whole(self.computed(hidden).tanh()))))
        return outputs


WHY = {
    "straight": "no activation",
    "again": "several times",
    "tied": "tied",
    "twin": "tied",
    "frozen": "does not learn",
    "normal": "normalized already",
    "later": "normalized already",
    "computed": "computed already",
    "whole": "inside it",
    "one": "statistics of one number",
    "idle": "does not call it",
    "out": "output layer",
}


def test_every_layer_that_is_left_alone_has_a_reason() -> None:
    found = inserted(SeveralWithoutNorm, "layer")
    assert names(found.changed) == ["good"]
    told = {line.partition(" ")[0]: line for line in found.left}
    assert told.keys() == WHY.keys()
    for name, why in WHY.items():
        assert why in told[name], told[name]


def test_a_layer_that_the_optimizer_does_not_hold_is_left_alone() -> None:
    problem = zoo.problem(deep)
    problem.optimizer.param_groups[0]["params"] = list(problem.model[2].parameters())  # type: ignore[index]
    found = with_normalization(problem.branch(), "batch")
    assert names(found.changed) == ["2"]
    assert "does not learn" in found.left[0]


@pytest.mark.parametrize("name", ["batch norm", "layer norm", "weight norm", "old weight norm", "tied weights", "lstm"])
def test_where_no_layer_qualifies_it_says_so(name: str) -> None:
    with pytest.raises(InputError, match=r"no layer of the model qualifies: .*\): .*; leave it out"):
        with_normalization(zoo.MODELS[name](torch.float64).branch(), "batch")


def test_a_model_without_layers_says_so() -> None:
    model = nn.Embedding(zoo.WORDS, CLASSES)
    loader = zoo.shuffled(torch.zeros(6, dtype=torch.int64), torch.zeros(6, dtype=torch.int64))
    with pytest.raises(InputError, match="it has no linear or convolutional layer"):
        with_normalization(zoo.problem(lambda: model, train=loader).branch(), "batch")


def test_a_batch_of_one_has_no_statistics() -> None:
    inputs, targets = zoo.table()
    ragged = zoo.problem(deep, train=zoo.shuffled(inputs[:21], targets[:21]))
    with pytest.raises(InputError, match="in a batch of 1"):
        with_normalization(ragged.branch(), "batch")
    assert names(with_normalization(ragged.branch(), "layer").changed) == ["0", "2"]
    pictures = zoo.problem(Pictures, train=zoo.shuffled(inputs[:21], targets[:21]))
    assert names(with_normalization(pictures.branch(), "batch").changed) == ["first", "second"]


def test_a_network_in_the_loss_is_no_next_layer() -> None:
    judge = nn.Linear(CLASSES, CLASSES).double()
    problem = zoo.problem(
        lambda: deep(nn.Tanh()), loss=lambda outputs, targets: F.cross_entropy(judge(outputs), targets)
    )
    assert names(with_normalization(problem.branch(), "batch").left) == ["4"]


def test_no_place_after_an_activation_that_is_a_function_or_shared() -> None:
    with pytest.raises(InputError, match="its activation is a function"):
        inserted(Residual, "batch", place="after activation")
    shared = nn.Tanh()
    first = nn.Linear(FEATURES, 5), shared, nn.Linear(5, 5)
    with pytest.raises(InputError, match="its activation is not its own"):
        inserted(lambda: nn.Sequential(*first, shared, nn.Linear(5, CLASSES)), "batch", place="after activation")


ACTIVATIONS = (
    *(nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.LeakyReLU(), nn.PReLU(), nn.RReLU(), nn.ELU(), nn.SELU()),
    *(nn.CELU(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.GLU(), nn.Sigmoid(), nn.LogSigmoid(), nn.Tanh()),
    *(nn.Hardsigmoid(), nn.Hardtanh(), nn.Hardswish(), nn.Hardshrink(), nn.Softshrink(), nn.Tanhshrink()),
    *(nn.Softplus(), nn.Softsign(), nn.Threshold(0.1, 0.0)),
)


@pytest.mark.parametrize("place", ["before activation", "after activation"])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_every_activation_of_torchs_is_seen(activation: nn.Module, place: str) -> None:
    width = 3 if isinstance(activation, nn.GLU) else 6
    found = inserted(lambda: nn.Sequential(nn.Linear(4, 6), activation, nn.Linear(width, 3)), "batch", place=place)
    assert names(found.changed) == ["0"]


@pytest.mark.parametrize(
    "apply",
    [
        *(torch.relu, torch.relu_, torch.tanh, torch.sigmoid, Tensor.relu, Tensor.tanh_, Tensor.sigmoid),
        *(F.relu, F.leaky_relu, F.gelu, F.silu, F.mish, lambda hidden: hidden * torch.sigmoid(hidden)),
    ],
)
def test_activations_are_seen_as_functions_and_methods(apply: Callable[[Tensor], Tensor]) -> None:
    class Applied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.out = nn.Linear(FEATURES, 6), nn.Linear(6, CLASSES)

        def forward(self, inputs: Tensor) -> Tensor:
            outputs: Tensor = self.out(apply(self.hidden(inputs)))
            return outputs

    assert names(inserted(Applied, "batch").changed) == ["hidden"]


@pytest.mark.parametrize("way", ["matmul", "transposed", "linear", "einsum", "addmm"])
def test_weights_without_a_module_are_a_next_layer(way: str) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = nn.Linear(FEATURES, 6)
            self.matrix, self.bias = nn.Parameter(torch.randn(CLASSES, 6)), nn.Parameter(torch.zeros(CLASSES))

        def forward(self, inputs: Tensor) -> Tensor:
            hidden = self.hidden(inputs).relu()
            outputs: dict[str, Callable[[], Tensor]] = {
                "matmul": lambda: (self.matrix @ hidden.mT).mT,
                "transposed": lambda: hidden @ self.matrix.t(),
                "linear": lambda: F.linear(hidden, self.matrix),
                "einsum": lambda: torch.einsum("ni,ci->nc", hidden, self.matrix),
                "addmm": lambda: torch.addmm(self.bias, hidden, self.matrix.T),
            }
            return outputs[way]()

    assert names(inserted(Own, "batch").changed) == ["hidden"]
