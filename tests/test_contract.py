"""The document by the contract: its keys, its types, and what is not finite in it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.reports import by_hand, real

from unstuck import causes, remedies
from unstuck.report import Report, plain

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


@pytest.fixture(params=[by_hand, real], ids=lambda made: made.__name__)
def report(request: pytest.FixtureRequest) -> Report:
    """Either report."""
    found: Report = request.param()
    return found


def test_keys_and_types_are_those_of_the_contract(report: Report) -> None:
    assert_fits(report.document, CONTRACT)


def test_slugs_are_those_of_the_vocabulary() -> None:
    document = real().document
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
