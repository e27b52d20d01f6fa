"""Normalization moves a deep network off the plateau on which it stands, and leaves the caller's alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests import zoo
from tests.readings import FINITE, INPUTS, only
from tests.surgery.networks import Attentive, Pictures, deep
from tests.trials import ground, tried
from tests.untouched import assert_untouched
from torch import nn

from unstuck.classifier import CLASSES, FEATURES, classifier
from unstuck.errors import InputError
from unstuck.problem import Problem
from unstuck.remedies.add_normalization import AddNormalization
from unstuck.untouched import seeded
from unstuck.walk import walk


def stuck() -> Problem:
    """Four hidden layers of sigmoid units in torch's own initialization: chance, at whatever rate."""
    with seeded(0):
        hidden = [module for _ in range(3) for module in (nn.Linear(32, 32), nn.Sigmoid())]
        model = nn.Sequential(nn.Linear(FEATURES, 32), nn.Sigmoid(), *hidden, nn.Linear(32, CLASSES))
    return classifier("deep sigmoid network", rate=0.2, model=model)


@pytest.mark.parametrize(
    "remedy",
    [
        AddNormalization(),
        AddNormalization(place="after activation"),
        AddNormalization(kind="layer", place="after activation"),
        AddNormalization(kind="group", place="after activation"),
        AddNormalization(kind="batch-renorm"),
    ],
    ids=str,
)
def test_a_deep_sigmoid_network_leaves_chance(remedy: AddNormalization) -> None:
    problem = stuck()
    (sample,) = problem.data.sample(512, chunk=512, seed=0)
    chance = float(torch.tensor(CLASSES).log())
    with assert_untouched(problem):
        plain, treated = problem.branch(), remedy.apply(problem.branch())
        walk(plain, 150)
        walk(treated, 150)
    assert plain.mean_loss([sample]) > 0.95 * chance
    assert treated.mean_loss([sample]) < 0.8 * chance
    assert treated.mean_loss([sample], mode="evaluation") < 0.85 * chance


def test_its_trial_is_won() -> None:
    trials = tried(ground(stuck(), after=30), AddNormalization(), horizon=60)
    assert [trial.verdict for trial in trials] == ["reference", "reference", "better"]


def test_it_is_proposed_by_what_the_inputs_are() -> None:
    batch, layer = AddNormalization(kind="batch"), AddNormalization(kind="layer")
    assert AddNormalization.propose(only(INPUTS)) == (batch, layer)
    for inputs in (replace(INPUTS, axis=2), replace(INPUTS, axis=0, features=0), FINITE):
        assert AddNormalization.propose(only(inputs)) == (layer,)


@pytest.mark.parametrize(
    ("remedy", "line"),
    [
        (AddNormalization(kind="batch"), " layer,  # each hidden one\n+torch.nn.BatchNorm1d(units),\n activation,"),
        (
            AddNormalization(kind="group", place="after activation"),
            " layer,  # each hidden one\n activation,\n+torch.nn.GroupNorm(groups, units),",
        ),
        (
            AddNormalization(kind="spectral"),
            "-    layer,  # each hidden one that feeds an activation\n"
            "+    torch.nn.utils.parametrizations.spectral_norm(layer),",
        ),
    ],
    ids=str,
)
def test_the_change_to_the_code(remedy: AddNormalization, line: str) -> None:
    assert remedy.diff(zoo.problem(deep)) == line


def test_images_get_the_layers_of_images() -> None:
    assert "+torch.nn.BatchNorm2d(channels)," in AddNormalization().diff(zoo.problem(Pictures))
    assert "+torch.nn.GroupNorm(1, channels)," in AddNormalization(kind="layer").diff(zoo.problem(Pictures))


def test_sequences_and_attention() -> None:
    problem = zoo.problem(Attentive)
    treated = AddNormalization(kind="layer").apply(problem.branch())
    assert walk(treated, 10).broke_at is None


def test_what_cannot_be_done_says_so() -> None:
    with pytest.raises(InputError, match="kind 'feature' is not known; known are batch, layer"):
        AddNormalization(kind="feature")
    with pytest.raises(InputError, match="no layer of the model qualifies"):
        AddNormalization().apply(zoo.MODELS["batch norm"](torch.float64).branch())
    with pytest.raises(InputError, match="'between' is not known"):
        AddNormalization(place="between").apply(zoo.problem(deep).branch())
