"""Measuring alone: typed readings for Python, a document for the command line, nothing touched."""

import json
from typing import Any, ClassVar

import pytest
import torch
from tests.untouched import assert_untouched
from torch import Tensor, nn

from unstuck import probes, specimens
from unstuck.budget import Budget
from unstuck.errors import InputError
from unstuck.measuring import Interrupted, measure, measure_document
from unstuck.probes.gradient import Gradient, GradientReading
from unstuck.probes.outputs import Outputs, OutputsReading
from unstuck.probes.spectrum import Spectrum, SpectrumReading
from unstuck.problem import Problem
from unstuck.reading import Reading
from unstuck.view import View

NAMES = [probe.reads.probe for probe in probes.ALL]


def test_one_probe_gives_its_reading() -> None:
    problem = specimens.bowl()
    reading = measure(problem, Spectrum())
    assert isinstance(reading, SpectrumReading)
    inputs = problem.train.dataset.tensors[0].double()  # type: ignore[attr-defined]
    extended = torch.cat([inputs, torch.ones(len(inputs), 1)], 1)
    expected = torch.linalg.eigvalsh(2 * extended.T @ extended / len(inputs))  # of the mean squared error
    assert reading.lowest.value == pytest.approx(float(expected[0]), rel=1e-5)
    assert reading.largest.value == pytest.approx(float(expected[-1]), rel=1e-5)


def test_a_tuple_of_probes_gives_their_readings_in_order() -> None:
    readings = measure(specimens.bowl(), (Outputs(), Gradient()))
    assert [type(reading) for reading in readings] == [OutputsReading, GradientReading]


def test_the_same_seed_gives_the_same_reading() -> None:
    first, again, other = (measure(specimens.healthy(), Gradient(), seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("given", [Gradient, "gradient", (Gradient(), Outputs)])
def test_what_is_no_probe_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match=r"is no probe; give one with its settings, as unstuck\.probes\.Spectrum\(\)"):
        measure(specimens.bowl(), given)


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match="no probe is called 'sprectum'") as caught:
        measure_document(specimens.bowl(), ["gradient", "sprectum"])
    assert all(name in str(caught.value) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_probe_is_found_by_its_name_and_its_reading_goes_to_json(name: str) -> None:
    document = measure_document(specimens.bowl(), [name], target="bowl.py:problem")
    assert document == json.loads(json.dumps(document, allow_nan=False))
    assert list(document["readings"]) == [name]
    assert document["schema"] == 1
    assert document["problem"]["target"] == "bowl.py:problem"
    assert set(document) >= {"tool", "problem", "readings", "figures", "notes", "cost"}
    (reading,) = document["readings"][name]
    assert set(reading) >= {"update", "settings", "values", "error", "samples", "cost"}


def test_without_names_all_are_measured_once_in_their_order() -> None:
    told: list[tuple[str, float]] = []
    document = measure_document(specimens.bowl(), progress=lambda doing, done: told.append((doing, done)))
    assert list(document["readings"]) == NAMES
    assert [doing for doing, _ in told] == [f"measuring {name}" for name in NAMES]
    assert [done for _, done in told] == sorted(done for _, done in told)
    twice = measure_document(specimens.bowl(), ["spectrum", "gradient", "spectrum"])
    assert list(twice["readings"]) == ["gradient", "spectrum"]
    assert {key.rpartition("-")[0] for key in twice["figures"]} == {"gradient", "spectrum"}
    spent = [history[0]["cost"]["gradient_evaluations"] for history in twice["readings"].values()]
    assert twice["cost"]["gradient_evaluations"] == sum(spent) > 0


def test_a_probe_that_fails_leaves_a_note_and_the_others_measure() -> None:
    document = measure_document(specimens.spoiled_data(), ["finite", "spectrum"])
    assert list(document["readings"]) == ["finite"]
    assert document["readings"]["finite"][0]["values"]["finite"] is False
    assert document["notes"][0].startswith("the probe spectrum gave no reading at update 0")
    json.dumps(document, allow_nan=False)


class Failing:
    """A probe that fails in the middle."""

    reads: ClassVar[type[Reading]] = GradientReading
    curvature: ClassVar[bool] = False
    once: ClassVar[bool] = False

    def measure(self, view: View, budget: Budget) -> GradientReading:
        _ = view.gradient
        raise ArithmeticError("in the middle")


def test_nothing_of_the_callers_is_touched() -> None:
    problem = specimens.healthy()
    with assert_untouched(problem):
        measure(problem, (Gradient(), Outputs()))
    with assert_untouched(problem), pytest.raises(ArithmeticError, match="in the middle"):
        measure(problem, Failing())


def test_an_interruption_keeps_the_readings_made() -> None:
    calls = 0

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 60:
            raise KeyboardInterrupt
        return nn.functional.mse_loss(outputs, targets)

    bowl = specimens.bowl()
    problem = Problem(bowl.model, loss, bowl.train, bowl.optimizer)
    with assert_untouched(problem), pytest.raises(Interrupted) as caught:
        measure_document(problem)
    kept = list(caught.value.document["readings"])
    assert kept == NAMES[: len(kept)]
    assert 0 < len(kept) < len(NAMES)


def test_the_clock_chooses_the_way_and_not_the_answer() -> None:
    timed, planned = (
        measure_document(specimens.healthy(), ["spectrum"], tune=tune)["readings"]["spectrum"][0]["values"]
        for tune in (True, False)
    )
    assert timed["largest"] == pytest.approx(planned["largest"], rel=1e-9)
    assert timed["lowest"] == pytest.approx(planned["lowest"], rel=1e-9)
