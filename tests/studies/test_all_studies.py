"""What holds for every study that is registered."""

from __future__ import annotations

import json
import pkgutil
import sys
from pathlib import Path

import pytest

from unstuck import studies
from unstuck.study import Study

QUICK, FULL = 60, 300
"""Seconds on two cores, at most."""

each = pytest.mark.parametrize("study", studies.ALL, ids=lambda study: study.name)


def test_every_file_is_a_study_that_is_registered_under_its_name() -> None:
    files = {found.name for found in pkgutil.iter_modules(studies.__path__)}
    assert {study.name.replace("-", "_") for study in studies.ALL} == files
    assert all(study.run.__module__ == f"unstuck.studies.{study.name.replace('-', '_')}" for study in studies.ALL)


def test_every_study_has_tests_of_its_own() -> None:
    there = {path.stem for path in Path(__file__).parent.glob("test_*.py")} - {"test_all_studies"}
    assert there == {f"test_{study.name.replace('-', '_')}" for study in studies.ALL}


@each
def test_its_plan_is_json_that_differs_from_run_to_run(study: Study) -> None:
    for quick in (True, False):
        planned = study.plan((3, 8), quick)
        texts = [json.dumps(settings, sort_keys=True, allow_nan=False) for settings in planned]
        assert len(set(texts)) == len(texts)
        assert {settings["seed"] for settings in planned} <= {3, 8}
        assert [json.loads(text) for text in texts] == [dict(settings) for settings in planned]


@each
def test_it_is_a_page_that_can_be_read(study: Study) -> None:
    assert study.claim.endswith(".")
    assert len(study.claim) < 200
    assert len(study.explains) > 300
    assert study.source
    assert study.setting
    assert (sys.modules[study.run.__module__].__doc__ or "").strip()
    assert all(gate.says[0].islower() or not gate.says[0].isalpha() for gate in study.gates)


@each
def test_it_says_how_long_it_takes_and_that_is_short(study: Study) -> None:
    full, quick = study.takes
    assert quick <= QUICK
    assert full <= FULL
    assert len(study.seeds) >= 5
