"""Figures from rows made by hand: every one can be counted on the fingers."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from unstuck.errors import InputError
from unstuck.ledger import Row
from unstuck.ward import controls, design, score_page, score_tables, scores
from unstuck.ward.case import Case
from unstuck.ward.outcome import Twins
from unstuck.ward.scores import Diagnosed, Share

TWINS = Twins(faulty=1.0, mended=0.0, constant=2.0)


def result(cause: str, *candidates: str, confidence: float = 0.9, **more: Any) -> dict[str, Any]:
    return {
        "cause": cause,
        "confidence": confidence,
        "proof": "likely",
        "candidates": list(candidates),
        "signals": dict.fromkeys(candidates, 0.6),
        "trials": [],
        "prescription": [],
        "cpu_seconds": 4.0,
        "updates": 100,
        **more,
    }


def case_of(kind: str, host: str = "perceptron", group: str = "faulty", seed: int = 0) -> Case:
    settings = {"kinds": [kind], "severities": [None] if group == "faulty" else []}
    return Case.of({"group": group, "host": host, "optimizer": "sgd", "seed": seed, **settings})


def diagnosed(kind: str, found: dict[str, Any], **more: Any) -> Diagnosed:
    return Diagnosed(case=case_of(kind, **more), result=found, twins=TWINS)


def arm(remedy: str, verdict: str = "same", updates: int = 30) -> dict[str, Any]:
    return {"arm": "remedy", "remedy": remedy, "verdict": verdict, "updates": updates}


CASES = [
    diagnosed("softmax-twice", result("loss-mismatch", "loss-mismatch", treated=0.1, untouched=1.0)),
    diagnosed("zero-weights", result("learning-rate-too-low", "learning-rate-too-low", "saddle-point")),
    diagnosed("body-missing", result("unknown", "broken-wiring", "dead-units", confidence=0.2)),
    diagnosed("one-input", result("healthy", confidence=0.7), host="autoencoder"),
    diagnosed("as-it-is", result("healthy"), group="healthy"),
    diagnosed(
        "as-it-is",
        result("dead-units", treated=1.2, untouched=1.0, confidence=0.7),
        group="healthy",
        host="mixer",
    ),
]


def test_answers_are_right_first_or_in_two() -> None:
    assert [case.right for case in CASES] == [True, False, False, False, True, False]
    assert [case.right_in_two for case in CASES] == [True, True, True, False, True, False]
    assert [case.false_alarm for case in CASES] == [False] * 5 + [True]
    assert [case.unknown for case in CASES] == [False, False, True, False, False, False]


def test_an_equivalent_answer_is_right() -> None:
    case = replace(CASES[0], case=case_of("spikes"), result=result("unnormalized-inputs"))
    assert case.right
    assert scores.confusion([case]) == {("exploding-gradient", "exploding-gradient"): 1}


def test_a_cure_closes_the_gap_and_harm_is_beyond_it() -> None:
    assert [case.closed for case in CASES[:2]] == [pytest.approx(0.9), 0.0]
    assert [case.curable for case in CASES] == [True, True, True, False, False, False]
    assert [case.harmed for case in CASES] == [False] * 5 + [True]


def test_two_faults_need_two_names() -> None:
    settings = {"group": "double", "kinds": ["softmax-twice", "body-missing"], "severities": [None, None]}
    case = Case.of({**settings, "host": "perceptron", "optimizer": "sgd", "seed": 0})
    steps = [{"cause": "broken-wiring"}, {"cause": "loss-mismatch"}]
    named = [
        Diagnosed(case=case, twins=None, result=result("broken-wiring", prescription=steps[:count])) for count in (1, 2)
    ]
    assert [each.both_named for each in named] == [False, True]


def test_figures_by_part() -> None:
    table = score_tables.figures(CASES, [])
    named = {row[0]: row[2:] for row in table.rows}
    assert named["cause named first"][0].startswith("25% (1/4; 5%–70%)")
    assert named["cause in the first two"][0].startswith("75% (3/4;")
    assert named["false alarms on healthy trainings"][:2] == ("0% (0/1; 0%–79%)", "100% (1/1; 21%–100%)")
    assert named["prescription closes 80% of the gap, curable faults"][0].startswith("33% (1/3;")
    assert named["fault called healthy"][0].startswith("25% (1/4;")
    assert named["updates, median and most"][0] == "100, 100"


def test_controls_answer_without_looking() -> None:
    found = controls.controls(CASES, CASES)
    assert [control.right for control in found] == [Share(count=0, of=4), Share(count=1, of=4)]
    assert {control.alarms.value for control in found} == {1.0}


def row(kind: str, case: Case, found: dict[str, Any]) -> Row:
    settings = {"run": kind, "case": case.settings, "code": "c"}
    return Row(key="", settings=settings, state="done", tries=1, owner=None, result=found, error=None, seconds=1.0,
               threads=1)  # fmt: skip


def test_rates_beside_the_grid() -> None:
    grid = {"best_rate": 0.1, "best_end": 1.0}
    found = [(0.2, 9.0), (0.05, 9.0), (0.21, 9.0), (0.9, 1.04), (0.9, None)]
    near = [controls.near({"rate": rate, "treated": end}, grid) for rate, end in found]
    assert near == [True, True, False, True, False]
    case = Case.of({**case_of("rate-too-low").settings, "severities": [0.01]})
    steps = [{"remedy": "raise-learning-rate", "cause": "learning-rate-too-low"}]
    one = Diagnosed(case=case, twins=TWINS, result=result("x", prescription=steps, rate=0.1, treated=0.5))
    assert controls.rates_right([one], [row("rates", case, grid)]) == Share(count=1, of=1)
    assert controls.rates_right([one], []) == Share(count=0, of=0)


@pytest.mark.parametrize(("cures", "remedies", "draws"), [(0, 5, 3), (1, 5, 2), (2, 6, 3), (3, 4, 2), (1, 3, 9)])
def test_drawing_remedies_by_counting_all_draws(cures: int, remedies: int, draws: int) -> None:
    hands = list(itertools.combinations(range(remedies), min(draws, remedies)))
    expected = sum(min(hand) < cures for hand in hands) / len(hands)
    assert controls._hit(cures, remedies, draws) == pytest.approx(expected)


def test_search_at_random() -> None:
    """One of four remedies cures; we try one arm and succeed, at 30 updates: four have to be tried to be as sure."""
    found = replace(CASES[0], result={**CASES[0].result, "trials": [arm("cross-entropy", "better")]})
    tried = row("search", found.case, {"ends": {"a": 0.1, "b": 0.9, "c": None}, "remedies": 4})
    assert controls.search([found], [tried]) == controls.Search(
        cases=1, ours=1.0, our_updates=30, equal=0.25, updates=120
    )
    assert controls.search([found], []) is None


def test_confidence_that_is_what_it_says() -> None:
    sure = [diagnosed("softmax-twice", result("loss-mismatch", confidence=0.75), seed=n) for n in range(3)]
    bins = scores.reliability([*sure, diagnosed("softmax-twice", result("healthy", confidence=0.75))])
    assert [(each.confidence, each.right) for each in bins] == [(0.75, Share(count=3, of=4))]
    assert scores.calibration_error(bins) == 0
    assert scores.calibration_error(scores.reliability(sure)) == pytest.approx(0.25)
    assert math.isnan(scores.calibration_error([]))


def test_pictures() -> None:
    figure = score_tables.draw_confusion(CASES)
    grid = dict(zip((label.split(" ")[0] for label in figure.data[0].y), figure.data[0].z, strict=True))
    assert {cause: sum(filter(None, row)) for cause, row in grid.items()} == dict.fromkeys(grid, pytest.approx(1))
    assert list(figure.data[0].x)[-1] == "unknown"
    assert "2 of 6 diagnoses" in figure.layout.meta["summary"]
    assert score_tables.draw_reliability(CASES).data


def test_a_page_and_results_in_markdown(tmp_path: Path) -> None:
    rows = [row("diagnosis", case.case, dict(case.result)) for case in CASES]
    document = score_page.document_of(rows)
    page = tmp_path / "ward.html"
    score_page.write_page(document, page)
    text = page.read_text(encoding="utf-8")
    assert "Planted causes and those that are named" in text
    assert "learning-rate-too-low" in text
    results = tmp_path / "RESULTS.md"
    results.write_text(f"# Results\n\n{score_page.BEGIN}\nof yesterday\n{score_page.END}\n\nend\n", encoding="utf-8")
    for _ in range(2):
        score_page.write_results(rows, results)
        written = results.read_text(encoding="utf-8")
        assert written.startswith("# Results\n")
        assert written.endswith("\nend\n")
        assert "| cause named first |" in written
        assert "of yesterday" not in written
    with pytest.raises(InputError, match="no place for this section"):
        score_page.write_results(rows, tmp_path / "none.md")


def test_runs_that_broke_off_are_told() -> None:
    found = row("diagnosis", CASES[0].case, dict(CASES[0].result))
    broken = replace(found, state="failed", result=None, error="ValueError")
    assert "broke off" not in score_page.lead_of([found])
    assert "broke off, and are in no figure: 1." in score_page.lead_of([found, broken])


def test_rows_become_diagnoses() -> None:
    case = design.faulty()[0]
    (found,) = scores.diagnosed([row("diagnosis", case, result("healthy")), row("rates", case, {})])
    assert found.case == case
    assert found.twins == design.twins()[case.name]
