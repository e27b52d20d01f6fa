"""Which layers are normalized, and why the others are left alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests import zoo
from tests.methods.networks import CLASSES, FEATURES, Pictures, Residual, deep, inserted, names
from torch import Tensor, nn

from unstuck.errors import InputError
from unstuck.methods.insertion import with_normalization


class Several(nn.Module):
    """Layers that are to be left alone, each for another reason, and one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.good = nn.Linear(FEATURES, 5)
        self.straight = nn.Linear(5, 5)
        self.again = nn.Linear(5, 5)
        self.tied, self.twin = nn.Linear(5, 5), nn.Linear(5, 5)
        self.twin.weight = self.tied.weight
        self.frozen = nn.Linear(5, 5).requires_grad_(False)
        self.normal, self.norm = nn.Linear(5, 5), nn.LayerNorm(5)
        self.later, self.its = nn.Linear(5, 5), nn.BatchNorm1d(5)
        self.computed = nn.utils.parametrizations.weight_norm(nn.Linear(5, 5))
        self.one = nn.Linear(5, 1)
        self.idle, self.out = nn.Linear(5, 5), nn.Linear(1, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.straight(self.good(inputs).relu())
        hidden = self.again(self.again(hidden).tanh()).tanh()
        hidden = self.frozen(self.twin(self.tied(hidden).tanh()).tanh()).tanh()
        hidden = torch.tanh(self.norm(self.normal(hidden)))
        hidden = self.its(torch.tanh(self.later(hidden)))
        outputs: Tensor = self.out(torch.tanh(self.one(self.computed(hidden).tanh())))
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
    "one": "statistics of one number",
    "idle": "does not call it",
    "out": "output layer",
}


def test_every_layer_that_is_left_alone_has_a_reason() -> None:
    found = inserted(Several, "layer")
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
