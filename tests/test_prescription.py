"""Prescriptions go to JSON, come back, and are applied in turn."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from tests import zoo
from tests.untouched import assert_untouched

from unstuck.errors import InputError
from unstuck.prescription import Prescription
from unstuck.remedies.lower_learning_rate import LowerLearningRate
from unstuck.remedies.normalize_inputs import NormalizeInputs

PRESCRIBED: dict[str, Any] = {
    "from_update": 3,
    "steps": [
        {"remedy": "normalize-inputs", "settings": {"axis": 1}},
        {"remedy": "lower-learning-rate", "settings": {"factor": 0.1}},
    ],
    "remedy": "normalize-inputs",
    "gain": {"fraction": 0.5, "interval": [0.1, 0.2], "says": "so it is"},
}


def test_a_prescription_goes_to_json_and_comes_back() -> None:
    found = Prescription.of(PRESCRIBED)
    assert found.steps == (NormalizeInputs(axis=1), LowerLearningRate(factor=0.1))
    assert found.from_update == 3
    assert found.remedy == "normalize-inputs"
    assert found.gain.interval == (0.1, 0.2)
    document = json.loads(json.dumps(found.document(zoo.problem(zoo.perceptron))))
    assert Prescription.of(document) == found
    assert document["steps"][1]["diff"].startswith("-optimizer")
    assert document["steps"][1]["says"] == LowerLearningRate(factor=0.1).says()


def test_its_steps_are_applied_in_turn_to_a_copy() -> None:
    problem = zoo.problem(zoo.perceptron)
    with assert_untouched(problem):
        treated = Prescription.of(PRESCRIBED).apply(problem)
    assert [group["lr"] for group in treated.optimizer.param_groups] == pytest.approx([0.005])
    inputs = problem.data.sample(24, chunk=24, seed=0)[0][0]
    standard = (inputs - inputs.mean(0)) / inputs.std(0, correction=0)
    assert torch.allclose(treated.model(inputs), problem.model(standard))


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ({"remedy": "pray", "settings": {}}, ["pray", "known are", "normalize-inputs"]),
        ({"remedy": "normalize-inputs", "settings": {"axes": 1}}, ["normalize-inputs", "axes"]),
        ({"remedy": "normalize-inputs", "settings": {}}, ["normalize-inputs", "axis"]),
        ({"remedy": "reinitialize", "settings": {"seed": 1, "luck": 2}}, ["reinitialize", "luck"]),
    ],
    ids=["unknown remedy", "unknown setting", "missing setting", "one too many"],
)
def test_what_is_not_known_is_refused(step: dict[str, Any], says: list[str]) -> None:
    with pytest.raises(InputError) as raised:
        Prescription.of({**PRESCRIBED, "steps": [step]})
    assert all(word in str(raised.value) for word in says)
