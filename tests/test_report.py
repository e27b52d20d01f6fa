"""The report: one document by the contract, stored, read back, and drawn from nothing else."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from tests import readings as made
from tests import zoo
from tests.untouched import assert_untouched

from unstuck import causes, page, remedies, specimens
from unstuck.budget import Cost
from unstuck.cause import Evidence, Finding, Judgement
from unstuck.diagnosis import diagnose
from unstuck.errors import InputError
from unstuck.numerics.statistics import Interval
from unstuck.prescription import Gain, Prescription
from unstuck.reading import Estimate
from unstuck.remedies.lower_learning_rate import LowerLearningRate
from unstuck.remedies.normalize_inputs import NormalizeInputs
from unstuck.report import Diagnosis, Report, document_of, plain, read_document
from unstuck.trial import Trial

NUMBER = (int, float)
NUMBER_OR_NULL = (int, float, type(None))
TEXT_OR_NULL = (str, type(None))


class Every:
    """A mapping of any keys to one shape."""

    def __init__(self, shape: Any) -> None:
        self.shape = shape


class Optional:
    """A shape, or null."""

    def __init__(self, shape: Any) -> None:
        self.shape = shape


COST = {"gradient_evaluations": int, "updates": int, "seconds": float}

CONTRACT: dict[str, Any] = {
    "schema": 1,
    "problem": {"name": str, "parameters": int, "samples": int, "batch_size": int, "optimizer": str},
    "diagnosis": {
        "cause": str,
        "confidence": NUMBER,
        "proof": {"proved", "likely", "works-unproved", "unknown"},
        "summary": str,
        "candidates": [str],
        "decided_by": str,
    },
    "findings": [
        {
            "cause": str,
            "score": NUMBER,
            "evidence": [
                {
                    "reading": str,
                    "update": int,
                    "value": (int, float, str, type(None)),
                    "unit": str,
                    "expected": str,
                    "says": str,
                }
            ],
        }
    ],
    "trials": [
        {
            "arm": {"untouched", "a/a", "remedy", "opposite"},
            "remedy": TEXT_OR_NULL,
            "settings": dict,
            "cause": TEXT_OR_NULL,
            "from_update": int,
            "updates": int,
            "measure": {"train_loss", "valid_loss", "eval_gap"},
            "per_seed": [NUMBER_OR_NULL],
            "interval": [NUMBER_OR_NULL],
            "verdict": {"better", "same", "worse", "failed", "reference"},
        }
    ],
    "prescription": Optional(
        {"from_update": int, "steps": [{"remedy": str, "settings": dict}], "remedy": str, "gain": dict}
    ),
    "readings": Every([{"update": int, "settings": dict, "values": dict, "error": dict, "samples": int, "cost": COST}]),
    "figures": Every({"data": list, "layout": dict}),
    "cost": COST,
}
"""Keys and types that others build on; there may be more keys."""


def assert_fits(value: Any, shape: Any, where: str = "document") -> None:
    if isinstance(shape, Optional):
        if value is not None:
            assert_fits(value, shape.shape, where)
    elif isinstance(shape, Every):
        assert isinstance(value, dict), where
        for key, part in value.items():
            assert_fits(part, shape.shape, f"{where}.{key}")
    elif isinstance(shape, dict):
        assert isinstance(value, dict), where
        assert not shape.keys() - value.keys(), f"{where} lacks {shape.keys() - value.keys()}"
        for key, part in shape.items():
            assert_fits(value[key], part, f"{where}.{key}")
    elif isinstance(shape, list):
        assert isinstance(value, list), where
        for number, part in enumerate(value):
            assert_fits(part, shape[0], f"{where}[{number}]")
    elif isinstance(shape, set):
        assert value in shape, f"{where} is {value!r}"
    elif isinstance(shape, type | tuple):
        assert isinstance(value, shape), f"{where} is {value!r}"
        assert not isinstance(value, bool) or shape is bool, where
    else:
        assert value == shape, f"{where} is {value!r}"


def trial(arm: str, *ends: float) -> Trial:
    remedy = LowerLearningRate(factor=0.1) if arm == "remedy" else None
    return Trial(
        arm=arm,  # type: ignore[arg-type]
        remedy=None if remedy is None else remedy.slug,
        settings={} if remedy is None else dataclasses.asdict(remedy),
        cause=None if remedy is None else "learning-rate-too-high",
        from_update=0,
        updates=33,
        measure="train_loss",
        per_seed=ends,
        half_per_seed=ends,
        interval=Interval(low=-math.inf, high=math.inf, confidence=0.95),
        gain=0.5,
        verdict="reference" if remedy is None else "better",
        because="so it is",
        curves=(((0, 1.0), (24, ends[0])),) * 3,
        treatment=() if remedy is None else (remedy,),
    )


def by_hand() -> Report:
    """A report of hand-made parts, with numbers that are not finite where there may be such numbers."""
    broke = dataclasses.replace(
        made.DIRECTION, end=None, broke_at=3, largest=math.nan, slope=Estimate(0.0, math.inf), losses=(1.0, 2.0)
    )
    step = dataclasses.replace(made.STEP, critical_multiple=math.inf)
    evidence = Evidence(
        reading="step", update=0, value=math.inf, unit="steps", expected="above 1", says="for ever and ever"
    )
    judgement = Judgement(score=0.9, evidence=(evidence,), advice="walk on")
    high = Finding(cause="learning-rate-too-high", means="bounces", chapter=3, judgement=judgement)
    unknown = Finding(
        cause="healthy", means="well", chapter=0, judgement=Judgement(score=0.0), unknown_because="the probe is gone"
    )
    prescription = Prescription(
        from_update=0,
        steps=(LowerLearningRate(factor=0.1), NormalizeInputs(axis=1)),
        gain=Gain(fraction=0.5, interval=(-math.inf, math.inf), says="so it is"),
    )
    diagnosis = Diagnosis(
        cause="learning-rate-too-high",
        confidence=0.9,
        proof="likely",
        summary="It bounces.",
        candidates=("learning-rate-too-high",),
        decided_by="hand",
    )
    document = document_of(
        zoo.problem(zoo.perceptron),
        diagnosis,
        target=None,
        findings=[high, unknown],
        trials=[
            trial("untouched", math.inf, 2.0, math.nan),
            trial("a/a", 1.0, 1.0, 1.0),
            trial("remedy", 0.5, 0.4, 0.6),
        ],
        prescription=prescription,
        readings=made.well_but(broke, step),
        figures={},
        notes=["one note"],
        cost=Cost(gradient_evaluations=10, updates=5, seconds=0.1),
    )
    return Report(document)


@pytest.fixture(scope="module")
def real() -> Report:
    """A diagnosis of the lecture's saddle."""
    return diagnose(specimens.product_at_origin(), budget=600)


@pytest.fixture(params=["by hand", "real"])
def report(request: pytest.FixtureRequest) -> Report:
    found: Report = by_hand() if request.param == "by hand" else request.getfixturevalue("real")
    return found


# --- the contract ---------------------------------------------------------------------------------------------------


def test_keys_and_types_are_those_of_the_contract(report: Report) -> None:
    assert_fits(report.document, CONTRACT)


def test_slugs_are_those_of_the_vocabulary(real: Report) -> None:
    document = real.document
    assert {finding["cause"] for finding in document["findings"]} <= {cause.slug for cause in causes.ALL}
    known = {remedy.slug for remedy in remedies.ALL}
    assert {trial["remedy"] for trial in document["trials"]} <= known | {None}
    assert {step["remedy"] for step in document["prescription"]["steps"]} <= known


def test_it_is_json_without_nan(report: Report) -> None:
    assert json.loads(json.dumps(report.document, allow_nan=False)) == report.document


def test_estimates_stand_beside_their_errors(report: Report) -> None:
    for history in report.document["readings"].values():
        for reading in history:
            assert set(reading["error"]) - {"non_finite"} <= set(reading["values"])
            assert set(reading["says"]) == set(reading["values"]) - {"non_finite"}
    gradient = report.document["readings"]["gradient"][0]
    assert "loss" in gradient["error"]
    assert gradient["units"]["norm"] == "loss / unit"


def test_what_is_not_finite_is_null_and_says_so() -> None:
    document = by_hand().document
    (direction,), (step,) = document["readings"]["direction"], document["readings"]["step"]
    assert direction["values"]["largest"] is None
    assert direction["values"]["non_finite"] is True
    assert direction["error"] == {"slope": None, "non_finite": True}
    assert step["values"]["critical_multiple"] is None
    assert step["values"]["non_finite"] is True
    assert "non_finite" not in document["readings"]["gradient"][0]["values"]
    untouched, again, remedy = document["trials"]
    assert untouched["per_seed"] == [None, 2.0, None]
    assert untouched["mean"] is None
    assert untouched["non_finite"] is True
    assert again["interval"] == [None, None]
    assert remedy["per_seed"] == [0.5, 0.4, 0.6]
    (evidence,) = document["findings"][0]["evidence"]
    assert evidence["value"] is None
    assert evidence["non_finite"] is True


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.floats(),
    lambda part: (
        st.lists(part, max_size=3)
        | st.tuples(part, part)
        | st.dictionaries(st.text("abc", max_size=2), part, max_size=3)
    ),
    max_leaves=12,
)


def broken(value: Any) -> bool:
    """Whether a value, or a list in it at any depth, holds a number that is not finite."""
    if isinstance(value, list | tuple):
        return any(map(broken, value))
    return isinstance(value, float) and not math.isfinite(value)


def assert_marked(before: Any, after: Any) -> None:
    if isinstance(before, dict):
        assert after.get("non_finite", False) is any(map(broken, before.values()))
        for key, part in before.items():
            assert_marked(part, after[key])
    elif isinstance(before, list | tuple):
        for one, other in zip(before, after, strict=True):
            assert_marked(one, other)
    elif broken(before):
        assert after is None
    else:
        assert after == before


@given(ANY)
@example([[math.inf]])
def test_plain_is_json_and_marks_what_it_leaves_out(value: Any) -> None:
    found = plain({"a": value})
    json.dumps(found, allow_nan=False)
    assert_marked({"a": value}, found)
    assert plain(found) == found


# --- as Python sees it ----------------------------------------------------------------------------------------------


def test_properties_are_those_of_the_document(real: Report) -> None:
    diagnosis = real.document["diagnosis"]
    assert (real.cause, real.confidence, real.proof, real.summary) == (
        diagnosis["cause"],
        diagnosis["confidence"],
        diagnosis["proof"],
        diagnosis["summary"],
    )
    assert [finding.cause for finding in real.findings] == [row["cause"] for row in real.document["findings"]]


def test_the_diagnosed_cause_comes_first_then_by_score(real: Report) -> None:
    first, *rest = real.findings
    assert first.cause == real.cause
    assert [finding.score for finding in rest] == sorted((finding.score for finding in rest), reverse=True)


def test_findings_come_back_whole() -> None:
    high, healthy = by_hand().findings
    assert high.signal
    assert high.judgement.advice == "walk on"
    assert high.judgement.evidence[0].says == "for ever and ever"
    assert high.means == "bounces"
    assert high.chapter == 3
    assert not healthy.signal
    assert healthy.unknown_because == "the probe is gone"


def test_no_prescription_is_none() -> None:
    document = copy.deepcopy(dict(by_hand().document))
    assert Report({**document, "prescription": None}).prescription is None


# --- stored and read back -------------------------------------------------------------------------------------------


def test_read_back_it_is_the_same(report: Report, tmp_path: Path) -> None:
    path = report.save(tmp_path / "runs" / "first")
    assert path == tmp_path / "runs" / "first" / "report.html"
    assert path.is_file()
    for place in (path.parent, path.parent / "report.json", str(path.parent)):
        back = Report.read(place)
        assert back.document == report.document
        assert back.cause == report.cause
        assert back.findings == report.findings
        assert back.prescription == report.prescription


def test_a_report_is_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = by_hand()
    first.save(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = Report({**first.document, "notes": ["another"]})
    with pytest.raises(InputError, match="never overwritten"):
        other.save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_prescription_read_back_is_applied_bit_for_bit(real: Report, tmp_path: Path) -> None:
    real.save(tmp_path / "run")
    back = Report.read(tmp_path / "run").prescription
    assert back is not None
    assert real.prescription is not None
    problem = specimens.product_at_origin()
    with assert_untouched(problem):
        here, there = real.prescription.apply(problem).point(), back.apply(problem).point()
    assert here.keys() == there.keys()
    assert all(torch.equal(here[part], there[part]) for part in here)
    assert any(not torch.equal(here[part], tensor) for part, tensor in problem.point().items())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cut off"),
        ('{"schema": 1, "diag', "cut off"),
        ("[1, 2]", '"schema": 1'),
        ('{"schema": 2}', '"schema": 1'),
        ('{"schema": 1}', "no diagnosis"),
    ],
    ids=["empty", "cut off", "a list", "of another version", "of another command"],
)
def test_what_is_no_report_is_refused_by_name(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=says) as raised:
        Report.read(path)
    assert str(path) in str(raised.value)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file") as raised:
        read_document(tmp_path)
    assert "report.json" in str(raised.value)


# --- the page -------------------------------------------------------------------------------------------------------


def test_the_page_is_drawn_from_the_document_alone(report: Report, tmp_path: Path) -> None:
    path = report.save(tmp_path / "run")
    back = Report.read(tmp_path / "run")
    assert page.render(back.document) == path.read_text(encoding="utf-8")
    assert back._repr_html_() == report._repr_html_()


def test_the_page_and_the_notebook_show_the_verdict(real: Report) -> None:
    for shown in (page.render(real.document), real._repr_html_()):
        assert "saddle" in shown


# --- prescriptions --------------------------------------------------------------------------------------------------

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
