"""The report: properties, stored, read back, and drawn from its document alone."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from tests.reports import by_hand, real
from tests.untouched import assert_untouched

from unstuck import page, specimens
from unstuck.errors import InputError
from unstuck.report import Report, read_document


@pytest.fixture(params=[by_hand, real], ids=lambda made: made.__name__)
def report(request: pytest.FixtureRequest) -> Report:
    """Either report."""
    found: Report = request.param()
    return found


def test_properties_are_those_of_the_document() -> None:
    given = real()
    diagnosis = given.document["diagnosis"]
    assert (given.cause, given.confidence, given.proof, given.summary) == (
        diagnosis["cause"],
        diagnosis["confidence"],
        diagnosis["proof"],
        diagnosis["summary"],
    )
    assert [finding.cause for finding in given.findings] == [row["cause"] for row in given.document["findings"]]


def test_the_diagnosed_cause_comes_first_then_by_score() -> None:
    first, *rest = real().findings
    assert first.cause == real().cause
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


def test_the_prescription_read_back_is_applied_bit_for_bit(tmp_path: Path) -> None:
    given = real()
    given.save(tmp_path / "run")
    back = Report.read(tmp_path / "run").prescription
    assert back is not None
    assert given.prescription is not None
    problem = specimens.product_at_origin()
    with assert_untouched(problem):
        here, there = given.prescription.apply(problem).point(), back.apply(problem).point()
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


def test_the_page_is_drawn_from_the_document_alone(report: Report, tmp_path: Path) -> None:
    path = report.save(tmp_path / "run")
    back = Report.read(tmp_path / "run")
    assert page.render(back.document) == path.read_text(encoding="utf-8")
    assert back._repr_html_() == report._repr_html_()


def test_the_page_and_the_notebook_show_the_verdict() -> None:
    for shown in (page.render(real().document), real()._repr_html_()):
        assert "saddle" in shown
