"""The main job: every specimen, the lecture's example, other kinds of problems, budgets."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests import zoo
from tests.untouched import assert_untouched
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from unstuck import causes, specimens
from unstuck.cause import Cause
from unstuck.causes.healthy import HEALTHY
from unstuck.classifier import classifier, loader, perceptron, table
from unstuck.diagnosis import diagnose
from unstuck.errors import InputError
from unstuck.measures import MEASURES, sample_for
from unstuck.problem import Problem
from unstuck.report import Report
from unstuck.trial import samples_per_update
from unstuck.untouched import seeded
from unstuck.walk import fixed_threads, walk

BUDGET = 1_000
"""Updates: half of the default, with which every specimen can be told."""

NOISY = {specimens.one_at_a_time: 2_000}
"""Specimens whose noise takes more orders to see through."""

Made = Callable[[], Problem]

SICK = [(cause, specimen) for cause in causes.ALL for specimen in cause.sick]
WELL = [(cause, specimen) for cause in causes.ALL for specimen in cause.well]
CURABLE = [(cause, specimen) for cause, specimen in SICK if cause.remedies and cause.slug != "non-finite"]


def name(value: object) -> str:
    return value.slug if isinstance(value, Cause) else getattr(value, "__name__", "")


@functools.cache
def diagnosed(specimen: Made) -> Report:
    """The diagnosis of a specimen, made once."""
    return diagnose(specimen(), budget=NOISY.get(specimen, BUDGET))


def small(**fields: Any) -> Problem:
    """A problem of 24 samples, on which a diagnosis takes a second."""
    return zoo.problem(zoo.perceptron, **fields)


def without_seconds(value: Any) -> Any:
    """A document without what a clock has measured."""
    if isinstance(value, dict):
        return {key: without_seconds(part) for key, part in value.items() if key != "seconds"}
    return [without_seconds(part) for part in value] if isinstance(value, list) else value


def arms(report: Report) -> dict[str, dict[str, Any]]:
    """Trials of remedies by their slugs; the others by what arm they are."""
    return {trial["remedy"] if trial["arm"] == "remedy" else trial["arm"]: trial for trial in report.document["trials"]}


# --- specimens ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cause", "specimen"), SICK, ids=name)
def test_what_is_sick_is_told(cause: Cause, specimen: Made) -> None:
    report = diagnosed(specimen)
    assert report.cause == cause.slug, report.summary
    assert report.proof == "likely"
    assert report.confidence > 0.5
    assert report.findings[0].cause == cause.slug
    assert report.findings[0].signal


@pytest.mark.parametrize(("cause", "specimen"), WELL, ids=name)
def test_what_is_well_is_not_taken_for_it(cause: Cause, specimen: Made) -> None:
    assert diagnosed(specimen).cause != cause.slug, diagnosed(specimen).summary


@pytest.mark.parametrize(("cause", "specimen"), CURABLE, ids=name)
def test_the_prescription_cures(cause: Cause, specimen: Made) -> None:
    """Applied to the problem anew, it gets farther on as many samples than the training as it is."""
    report, problem = diagnosed(specimen), specimen()
    prescription = report.prescription
    assert prescription is not None
    assert prescription.steps[0].slug in {remedy.slug for remedy in cause.remedies}
    with fixed_threads(1):
        by = arms(report)[prescription.steps[0].slug]["measure"]
        sample = sample_for(problem, by, count=512, chunk=256, seed=1)
        before = problem.branch()
        walk(before, prescription.from_update, order=11)
        treated, as_it_is = prescription.apply(before), before.branch()
        for branch in (treated, as_it_is):
            walk(branch, 50 * samples_per_update(problem) // samples_per_update(branch), order=12)
        measure = MEASURES[by]
        otherwise = [found for found in (measure(as_it_is, sample), measure(before, sample)) if math.isfinite(found)]
        if by == "valid_loss":
            otherwise = otherwise[:1]  # it was lower before, as what holds is learned first
        assert measure(treated, sample) < 0.9 * min(otherwise)


@pytest.mark.parametrize("specimen", [specimens.healthy, specimens.bowl], ids=name)
def test_nothing_is_prescribed_to_the_healthy(specimen: Made) -> None:
    assert diagnosed(specimen).prescription is None


def test_spoiled_data_get_advice_that_names_the_place() -> None:
    report = diagnosed(specimens.spoiled_data)
    assert report.prescription is None
    assert "inputs" in report.findings[0].judgement.advice
    assert report.document["trials"] == []


@pytest.mark.parametrize("specimen", sorted({specimen for _, specimen in SICK}, key=name), ids=name)
def test_only_a_trials_winner_is_prescribed(specimen: Made) -> None:
    document = diagnosed(specimen).document
    better = [trial["remedy"] for trial in document["trials"] if trial["verdict"] == "better"]
    steps = document["prescription"]["steps"] if document["prescription"] else []
    assert {step["remedy"] for step in steps} <= set(better)
    assert document["diagnosis"]["cause"] != "healthy" or not steps


def test_two_faults_take_two_steps() -> None:
    inputs, targets = table()
    scaled = inputs * torch.tensor([1_000.0, 1, 1, 1]).repeat(5)
    problem = classifier("two faults", rate=0.05, model=perceptron(nn.Softmax(1)), train=loader(scaled, targets))
    report = diagnose(problem)
    assert report.cause == "unnormalized-inputs"
    assert report.prescription is not None
    assert [step.slug for step in report.prescription.steps] == ["normalize-inputs", "cross-entropy"]
    for step in report.prescription.steps:
        assert step.says() in report.summary


def test_two_faults_that_mask_each_other_are_treated_together() -> None:
    """Sorted samples in other units: neither shuffling nor normalizing gains anything alone."""
    inputs, targets = table()
    order = targets.argsort(stable=True)
    train = DataLoader(TensorDataset(30 * inputs[order], targets[order]), batch_size=32)
    with seeded(0):
        model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
    report = diagnose(classifier("sorted, in other units", rate=0.05, train=train, model=model))
    document = report.document
    assert {step["remedy"] for step in document["prescription"]["steps"]} >= {"shuffle", "normalize-inputs"}
    assert {trial["remedy"]: trial["verdict"] for trial in document["trials"] if not trial["after"]}[
        "shuffle"
    ] == "same"


def test_what_the_loss_does_not_reach_is_told_without_a_trial() -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(zoo.FEATURES, 5), nn.Linear(5, zoo.CLASSES)

        def forward(self, inputs: Tensor) -> Tensor:
            outputs: Tensor = self.head(self.body(inputs).detach().tanh())
            return outputs

    report = diagnose(zoo.problem(Cut), budget=100)
    assert report.cause == "broken-wiring"
    assert report.prescription is None
    assert "body.weight" in report.summary


# --- the lecture's example ------------------------------------------------------------------------------------------


def test_the_lectures_saddle() -> None:
    """(1 − w₁w₂)² at the origin: H = [[0, −2], [−2, 0]], eigenvalues ±2, and the way down is the diagonal."""
    report = diagnosed(specimens.product_at_origin)
    spectrum = report.document["readings"]["spectrum"][0]["values"]
    assert spectrum["lowest"] == pytest.approx(-2, abs=1e-5)
    assert spectrum["largest"] == pytest.approx(2, abs=1e-5)
    assert spectrum["minimum_ratio"] == 0.5
    assert [abs(part) for part in spectrum["eigenvector"]] == pytest.approx([math.sqrt(0.5)] * 2, abs=1e-5)
    assert spectrum["eigenvector"][0] * spectrum["eigenvector"][1] > 0
    assert report.document["readings"]["gradient"][0]["values"]["norm"] == 0
    untouched, escape = arms(report)["untouched"], arms(report)["escape-saddle"]
    assert untouched["per_seed"] == pytest.approx([1.0] * 3)
    assert escape["per_seed"] == pytest.approx([0.0] * 3, abs=1e-3)
    assert escape["verdict"] == "better"
    up = arms(report)["opposite"]  # along the eigenvalue +2, from where it walks back to the saddle
    assert up["per_seed"] == pytest.approx([1.0] * 3, abs=0.01)
    assert up["verdict"] != "better"
    assert report.document["prescription"]["remedy"] in ("escape-saddle", "reinitialize")


def test_three_layers_at_the_origin() -> None:
    """There the Hessian vanishes too; the way out is by a perturbation."""
    report = diagnosed(specimens.deep_product_at_origin)
    spectrum = report.document["readings"]["spectrum"][0]["values"]
    assert spectrum["lowest"] == spectrum["largest"] == 0
    assert report.cause == "saddle-point"
    best = min(trial["mean"] for trial in report.document["trials"])
    assert best < 0.1
    assert arms(report)["untouched"]["mean"] == pytest.approx(1.0)


# --- what can be relied on ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("specimen", [specimens.product_at_origin, specimens.half_wired], ids=name)
def test_the_same_seed_gives_the_same_document(specimen: Made) -> None:
    first = without_seconds(diagnosed(specimen).document)
    torch.rand(5)  # the process's generator decides nothing
    assert without_seconds(diagnose(specimen(), budget=BUDGET).document) == first


def test_another_seed_draws_other_orders() -> None:
    first, second = (diagnose(small(), budget=30, seed=seed, causes=[HEALTHY]) for seed in (0, 1))
    readings = [report.document["readings"]["direction"][0]["values"] for report in (first, second)]
    assert readings[0]["slope"] != readings[1]["slope"]


@pytest.mark.parametrize("budget", [1, 5, 23, 50, 200, 400, 2_000])
def test_no_more_is_walked_than_the_budget_allows(budget: int) -> None:
    cost = diagnose(specimens.product_at_origin(), budget=budget).document["cost"]
    assert 0 < cost["updates"] <= budget
    assert cost["gradient_evaluations"] >= cost["updates"]


def test_a_budget_that_just_bears_a_trial_is_kept_too() -> None:
    report = diagnose(specimens.half_wired(), budget=321)
    assert report.prescription is not None
    assert report.document["cost"]["updates"] <= 321
    assert any("once more" in note for note in report.document["notes"])


def test_a_budget_too_small_for_a_trial_is_said_so() -> None:
    report = diagnose(specimens.product_at_origin(), budget=50)
    assert report.prescription is None
    assert any("too small" in note and "escape-saddle" in note for note in report.document["notes"])


@pytest.mark.parametrize("budget", [0, -3])
def test_a_budget_of_nothing_is_refused(budget: int) -> None:
    with pytest.raises(InputError, match="budget"):
        diagnose(small(), budget=budget)


def test_more_jobs_need_a_target() -> None:
    with pytest.raises(InputError, match="target"):
        diagnose(small(), jobs=2)


def test_progress_is_told_and_goes_up() -> None:
    told: list[tuple[str, float]] = []
    diagnose(specimens.product_at_origin(), budget=600, progress=lambda doing, done: told.append((doing, done)))
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] <= 1
    assert {"walking it as it is", "measuring curvature"} <= {doing for doing, _ in told}


LOOKED_AT: dict[str, Made] = {
    "healthy": lambda: zoo.ZOO["dropout"](torch.float64),
    "batch norm": lambda: zoo.ZOO["batch norm"](torch.float64),
    "per update": lambda: zoo.ZOO["schedule per update"](torch.float64),
    "own step": lambda: zoo.ZOO["own step"](torch.float64),
    "process's generator": lambda: zoo.ZOO["shuffled by the process loader"](torch.float64),
    "saddle": specimens.product_at_origin,
}


@pytest.mark.parametrize("made", LOOKED_AT)
def test_nothing_of_the_callers_is_changed(made: str) -> None:
    problem = LOOKED_AT[made]()
    with assert_untouched(problem):
        report = diagnose(problem, budget=450)
        if report.prescription is not None:
            report.prescription.apply(problem)


# --- kinds of problems ----------------------------------------------------------------------------------------------


def test_with_held_out_data() -> None:
    report = diagnose(small(valid=zoo.shuffled(*zoo.table())), budget=30)
    assert report.document["diagnosis"]["cause"] in {*(cause.slug for cause in causes.ALL), "unknown"}


def own_loss(model: nn.Module, batch: Any) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def test_a_model_that_computes_its_own_loss() -> None:
    """Nothing is known of its outputs; its wiring is told all the same, and cured."""
    inputs, targets = table()
    model = perceptron()
    biases = [parameter for part, parameter in model.named_parameters() if part.endswith("bias")]
    problem = Problem(
        model, None, loader(inputs, targets), torch.optim.SGD(biases, lr=0.1, momentum=0.9), step=own_loss
    )
    report = diagnose(problem, budget=450)
    assert report.cause == "broken-wiring", report.summary
    assert report.document["prescription"]["remedy"] == "train-all-parameters"
    assert report.document["readings"]["outputs"][0]["values"]["constant"] is None


def test_a_problem_broken_from_the_start_is_told_without_walking() -> None:
    made = specimens.healthy()
    with torch.no_grad():
        next(made.model.parameters())[0, 0] = math.nan
    report = diagnose(made, budget=BUDGET)
    assert report.cause == "non-finite"
    assert "0.weight" in report.summary
    assert report.document["cost"]["updates"] == 0


def test_a_problem_that_cannot_be_trained_is_refused() -> None:
    with pytest.raises(InputError, match="loss"):
        diagnose(replace(small(), loss=nn.CrossEntropyLoss(reduction="none")))


def test_findings_carry_what_each_cause_is() -> None:
    found = diagnosed(specimens.healthy).findings
    assert {finding.cause for finding in found} == {cause.slug for cause in causes.ALL}
    by_slug = {cause.slug: cause for cause in causes.ALL}
    for finding in found:
        assert finding.means == by_slug[finding.cause].means
        assert finding.chapter == by_slug[finding.cause].chapter
        assert 0 <= finding.score <= 1
    assert dataclasses.is_dataclass(found[0])
